// What this browser remembers, also where its storage takes nothing more.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Memory } from "../src/memory.ts";
import { PassingStore } from "../src/storage.ts";

class Full extends PassingStore {
  full = true;

  override setItem(key: string, value: string): void {
    if (this.full) throw new Error("full");
    super.setItem(key, value);
  }
}

test("with a full storage what was read and entered is known for as long as the tab lives", () => {
  const shared = new Full();
  const memory = new Memory({ shared, own: new Full() }, "ada");
  memory.enter("lobby");
  memory.enter("den");
  memory.leave("den");
  memory.keepRead("lobby", 7);
  memory.keepRead("lobby", 5);
  assert.deepEqual([memory.entered(), memory.hasEntered("den"), memory.readSeq("lobby")], [["lobby"], false, 7]);
  shared.full = false;
  memory.enter("lobby");
  memory.keepRead("lobby", 8);
  assert.deepEqual([memory.entered(), memory.readSeq("lobby"), shared.length], [["lobby"], 8, 2]);
});

test("what another tab could store counts, and no longer what this one could not", () => {
  const shared = new Full();
  const memory = new Memory({ shared, own: new Full() }, "ada");
  memory.keepRead("lobby", 7);
  shared.full = false;
  new Memory({ shared, own: new Full() }, "ada").keepRead("lobby", 9);
  assert.ok(memory.storageChanged("chinwag:read:ada:lobby"));
  assert.equal(memory.readSeq("lobby"), 9);
});
