// What was typed goes out once, in order, with its first id, whatever happens in between.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ACK_WAIT_MS, FOREIGN_AFTER_MS, Outbox } from "../src/outbox.ts";
import type { Store } from "../src/storage.ts";
import type { ErrorCode } from "../src/protocol.ts";

class Shelf implements Store {
  readonly map = new Map<string, string>();
  full = false;
  get length() {
    return this.map.size;
  }
  key(index: number) {
    return [...this.map.keys()][index] ?? null;
  }
  getItem(key: string) {
    return this.map.get(key) ?? null;
  }
  setItem(key: string, value: string) {
    if (this.full) throw new Error("full");
    this.map.set(key, value);
  }
  removeItem(key: string) {
    this.map.delete(key);
  }
}

const outbox = (shelf: Shelf, user = "ada") => new Outbox(shelf, user, () => 0);
const entry = (id: string, room = "lobby") => ({ id, room, text: `text of ${id}`, at: 0 });
const ids = (entries: { id: string }[]) => entries.map(({ id }) => id);
const refusal = (id: string, code: ErrorCode, retry_after_ms?: number) => ({ type: "error" as const, id, code, message: "no", retry_after_ms });

test("one at a time in each room, the oldest first", () => {
  const box = outbox(new Shelf());
  for (const id of ["1", "2", "3"]) box.add(entry(id));
  box.add(entry("4", "other"));
  assert.deepEqual(ids(box.due(0)), ["1", "4"]);
  assert.deepEqual(ids(box.due(1)), []);
  box.remove("1");
  assert.deepEqual(ids(box.due(2)), ["2"]);
});

test("a reload finds everything again, and sends the same ids", () => {
  const shelf = new Shelf();
  const before = outbox(shelf);
  before.add(entry("2"));
  before.add(entry("1"));
  before.due(0);
  const after = outbox(shelf);
  assert.deepEqual(ids(after.all()), ["1", "2"]);
  assert.deepEqual(ids(after.due(0)), ["1"]);
  assert.deepEqual(ids(outbox(shelf, "bob").all()), []);
});

test("what was acked is gone from the storage", () => {
  const shelf = new Shelf();
  const box = outbox(shelf);
  box.add(entry("1"));
  box.remove("1");
  assert.equal(shelf.length, 0);
});

test("a broken line and a missing ack bring the same one again", () => {
  const box = outbox(new Shelf());
  box.add(entry("1"));
  box.add(entry("2"));
  assert.deepEqual(ids(box.due(0)), ["1"]);
  box.lineLost();
  assert.deepEqual(ids(box.due(1)), ["1"]);
  assert.deepEqual(ids(box.due(ACK_WAIT_MS)), []);
  assert.deepEqual(ids(box.due(1 + ACK_WAIT_MS)), ["1"]);
});

test("a broken line does not hasten what the server put off", () => {
  const box = outbox(new Shelf());
  box.add(entry("1"));
  box.add(entry("2", "other"));
  box.due(0);
  box.refused(refusal("1", "unavailable", 9_000), 0);
  box.lineLost();
  assert.deepEqual(ids(box.due(1)), ["2"]);
  assert.deepEqual(ids(box.due(8_999)), []);
  assert.deepEqual(ids(box.due(9_000)), ["1"]);
});

test("a reason that passes delays, and what is behind it waits too", () => {
  const box = outbox(new Shelf());
  box.add(entry("1"));
  box.add(entry("2"));
  box.due(0);
  assert.ok(box.refused(refusal("1", "rate_limited", 3_000), 100));
  assert.equal(box.whyWaiting("1"), "no");
  assert.deepEqual(ids(box.due(3_099)), []);
  assert.equal(box.nextDue(), 3_100);
  assert.deepEqual(ids(box.due(3_100)), ["1"]);
});

test("a clear no marks it as failed, lets the next one through, and survives a reload", () => {
  const shelf = new Shelf();
  const box = outbox(shelf);
  box.add(entry("1"));
  box.add(entry("2"));
  box.due(0);
  box.refused(refusal("1", "forbidden"), 0);
  assert.deepEqual(ids(box.due(1)), ["2"]);
  const after = outbox(shelf);
  assert.equal(after.get("1")?.failed?.code, "forbidden");
  after.remove("2");
  assert.deepEqual(ids(after.due(2)), []);
  after.retry("1");
  assert.deepEqual(ids(after.due(3)), ["1"]);
});

test("an error about something else is not the outbox's", () => {
  const box = outbox(new Shelf());
  assert.equal(box.refused(refusal("9", "forbidden"), 0), false);
});

test("another tab's entry is shown at once, and sent from here only if that tab did not", () => {
  const box = outbox(new Shelf());
  box.storageChanged("chinwag:out:ada:7", JSON.stringify(entry("7")), 1_000);
  assert.deepEqual(ids(box.all()), ["7"]);
  assert.deepEqual(ids(box.due(1_001)), []);
  assert.deepEqual(ids(box.due(1_000 + FOREIGN_AFTER_MS)), ["7"]);
  box.storageChanged("chinwag:out:ada:7", null, 20_000);
  assert.deepEqual(ids(box.all()), []);
  assert.equal(box.storageChanged("chinwag:out:bob:7", "{}", 0), false);
});

test("a full storage loses nothing while the tab lives, and says so", () => {
  const shelf = new Shelf();
  shelf.full = true;
  const box = outbox(shelf);
  box.add(entry("1"));
  assert.equal(box.durable, false);
  assert.deepEqual(ids(box.due(0)), ["1"]);
});

test("rubbish in the storage is passed over", () => {
  const shelf = new Shelf();
  shelf.map.set("chinwag:out:ada:1", "{");
  shelf.map.set("chinwag:out:ada:2", '{"id":"3"}');
  assert.deepEqual(outbox(shelf).all(), []);
});
