// The order of a room, what is known already, and what is missing.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ChangeFrame, Message } from "../src/protocol.ts";
import { Timeline } from "../src/timeline.ts";

const message = (seq: number, prev = seq - 1, id = `id-${seq}`): Message => ({
  room: "lobby",
  seq,
  prev,
  at: "",
  id,
  sender: "ada",
  kind: "user",
  message: `text ${seq}`,
});
const page = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => message(from + index));
const seqs = (timeline: Timeline) => timeline.messages.map(({ seq }) => seq);

test("messages stand by seq, whatever order they come in, and each id once", () => {
  const timeline = new Timeline();
  timeline.reset(page(10, 12), 3);
  assert.equal(timeline.receive(message(13)), "new");
  assert.equal(timeline.receive(message(13)), "known");
  assert.equal(timeline.receive(message(99, 13, "id-12")), "known");
  timeline.addEarlier(page(7, 10), 4);
  assert.deepEqual(seqs(timeline), [7, 8, 9, 10, 11, 12, 13]);
});

test("what came in live before the first page is not lost by it", () => {
  const timeline = new Timeline();
  timeline.receive(message(6));
  timeline.receive(message(4));
  timeline.reset(page(1, 5), 50);
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4, 5, 6]);
  assert.equal(timeline.hasEarlier, false);
  assert.equal(timeline.resumeFrom, 6);
});

test("a missing link is a gap until what is missing is there, and resuming begins before it", () => {
  const timeline = new Timeline();
  timeline.reset(page(1, 3), 50);
  assert.equal(timeline.receive(message(6)), "gap");
  assert.equal(timeline.resumeFrom, 3);
  assert.deepEqual(seqs(timeline), [1, 2, 3, 6]);
  timeline.addLater(page(4, 6), 50);
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4, 5, 6]);
  assert.equal(timeline.resumeFrom, 6);
});

test("an own message that was acked first says nothing about what is before it", () => {
  const timeline = new Timeline();
  timeline.reset(page(1, 3), 50);
  assert.ok(timeline.keepOwn({ ...message(6), prev: 0 }));
  assert.equal(timeline.resumeFrom, 3);
  assert.equal(timeline.receive(message(4)), "new");
  assert.equal(timeline.receive(message(6, 4)), "known");
  assert.equal(timeline.resumeFrom, 6);
});

test("detached, it keeps its place and grows down until it meets what came in live", () => {
  const timeline = new Timeline();
  timeline.reset(page(1, 5), 5);
  timeline.detach();
  timeline.receive(message(100));
  timeline.receive(message(101));
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4, 5]);
  assert.equal(timeline.waitingAside, 2);
  timeline.addLater(page(6, 50), 45);
  assert.equal(timeline.attached, false);
  timeline.addLater(page(51, 99), 49);
  assert.equal(timeline.attached, true);
  assert.equal(timeline.messages.length, 101);
  assert.equal(timeline.resumeFrom, 101);
});

test("detached, what was late for its place is put there", () => {
  const timeline = new Timeline();
  timeline.reset([message(1), message(2), message(4)], 3);
  timeline.detach();
  timeline.receive(message(5, 4));
  assert.equal(timeline.mend(page(1, 4)), 1);
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4]);
  assert.deepEqual([timeline.attached, timeline.waitingAside], [false, 1]);
});

test("to the newest: the last page takes the place of what was held", () => {
  const timeline = new Timeline();
  timeline.reset(page(1, 5), 5);
  timeline.detach();
  timeline.receive(message(201));
  timeline.reset(page(150, 200), 51);
  assert.deepEqual([timeline.first?.seq, timeline.last?.seq, timeline.attached], [150, 201, true]);
});

test("ten thousand messages in pages of a hundred, backwards, are quick", () => {
  const timeline = new Timeline();
  timeline.reset(page(9_901, 10_000), 100);
  const began = performance.now();
  for (let to = 9_900; to > 0; to -= 100) timeline.addEarlier(page(to - 99, to), 100);
  assert.equal(timeline.messages.length, 10_000);
  assert.ok(performance.now() - began < 1_000);
});

test("a room joined at its latest place holds nothing yet, counts what comes in, and goes on from there", () => {
  const timeline = new Timeline();
  timeline.begin(5, 5);
  assert.equal(timeline.loaded, false);
  assert.equal(timeline.resumeFrom, 5);
  assert.equal(timeline.receive(message(6)), "new");
  assert.equal(timeline.countAfter(5, "bob"), 1);
  assert.equal(timeline.resumeFrom, 6);
  timeline.reset(page(3, 6), 4);
  assert.deepEqual(seqs(timeline), [3, 4, 5, 6]);
  assert.equal(timeline.hasHole, false);
});

test("a first page that was read before the room was joined leaves a hole, which is known", () => {
  const timeline = new Timeline();
  // 4 was said after the page was read, and before the room was joined; 6 after that.
  timeline.begin(5, 5);
  timeline.receive(message(6));
  timeline.reset(page(1, 3), 50);
  assert.equal(timeline.hasHole, true);
  assert.equal(timeline.resumeFrom, 3);
  timeline.addLater(page(4, 6), 100);
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4, 5, 6]);
  assert.equal(timeline.hasHole, false);
});

test("a room joined at its latest place after its page was read is whole if the page reached that far", () => {
  const timeline = new Timeline();
  timeline.reset(page(1, 5), 50);
  timeline.begin(5, 5);
  assert.equal(timeline.hasHole, false);
  timeline.begin(7, 7);
  assert.equal(timeline.hasHole, true);
});

test("another stretch takes the place of what was held, and grows down to the end, where what came in meanwhile waits", () => {
  const timeline = new Timeline();
  timeline.reset(page(90, 100), 11);
  timeline.goTo(page(1, 5));
  assert.deepEqual([timeline.attached, timeline.hasEarlier, timeline.get("id-95")], [false, true, undefined]);
  timeline.receive(message(101));
  assert.deepEqual(seqs(timeline), [1, 2, 3, 4, 5]);
  timeline.addLater(page(6, 55), 50);
  timeline.addLater(page(56, 101), 50);
  assert.equal(timeline.attached, true);
  assert.deepEqual(seqs(timeline), page(1, 101).map(({ seq }) => seq));
  assert.equal(timeline.resumeFrom, 101);
});

const edited = (of: number, seq: number, prev = seq - 1): ChangeFrame => ({ type: "edited", room: "lobby", seq, prev, id: `edit-${seq}`, of: `id-${of}`, by: "ada", message: `edited at ${seq}` });
const deleted = (of: number, seq: number, prev = seq - 1): ChangeFrame => ({ type: "deleted", room: "lobby", seq, prev, id: `delete-${seq}`, of: `id-${of}`, by: "ada" });
const said = (timeline: Timeline, of: number) => {
  const message = timeline.get(`id-${of}`);
  return message?.deleted ? null : message?.message;
};

test("a change has a place like a message, and what comes behind it is joined on to it", () => {
  const timeline = new Timeline();
  timeline.reset(page(1, 3), 50);
  assert.equal(timeline.change(edited(2, 4)), false);
  assert.equal(timeline.receive(message(5)), "new");
  assert.deepEqual([seqs(timeline), timeline.resumeFrom, said(timeline, 2)], [[1, 2, 3, 5], 5, "edited at 4"]);
  assert.equal(timeline.change(deleted(3, 8)), true);
  assert.deepEqual([timeline.resumeFrom, said(timeline, 3)], [5, null]);
});

test("the newest state wins in whatever order changes come, and what is deleted stays so", () => {
  const orders = [[edited(1, 4), edited(1, 5)], [edited(1, 5), edited(1, 4)], [edited(1, 5), edited(1, 4), edited(1, 5)]];
  for (const changes of orders) {
    const timeline = new Timeline();
    timeline.reset(page(1, 3), 50);
    for (const change of changes) timeline.change(change);
    assert.deepEqual([said(timeline, 1), timeline.get("id-1")?.edited], ["edited at 5", 5]);
    timeline.change(deleted(1, 6));
    timeline.change(edited(1, 7));
    assert.equal(said(timeline, 1), null);
    timeline.change({ ...edited(2, 8), message: "" } as ChangeFrame);
    assert.equal(said(timeline, 2), null);
  }
});

test("a page that was asked for before a change, and comes after it, does not bring the old words back", () => {
  const timeline = new Timeline();
  timeline.change(edited(2, 9));
  timeline.change(deleted(3, 10));
  timeline.reset(page(1, 8), 50);
  assert.deepEqual([said(timeline, 2), said(timeline, 3), said(timeline, 4)], ["edited at 9", null, "text 4"]);
  timeline.goTo(page(2, 3));
  assert.deepEqual([said(timeline, 2), said(timeline, 3)], ["edited at 9", null]);
  // Live ones that wait aside, too.
  timeline.receive(message(11));
  timeline.change(deleted(11, 12));
  assert.equal(timeline.countAfter(10, "bob"), 0);
  timeline.addLater(page(4, 11), 50);
  assert.equal(said(timeline, 11), null);
});

test("a page in a newer state changes what is held, in its place", () => {
  const timeline = new Timeline();
  timeline.reset(page(1, 4), 50);
  const { version } = timeline;
  assert.equal(timeline.mend([{ ...message(2), message: "newer", edited: 7 }, { ...message(3), message: "", deleted: true }]), 0);
  assert.deepEqual([seqs(timeline), said(timeline, 2), said(timeline, 3)], [[1, 2, 3, 4], "newer", null]);
  assert.notEqual(timeline.version, version);
  // An older page says nothing new.
  timeline.mend(page(1, 4));
  assert.deepEqual([said(timeline, 2), said(timeline, 3)], ["newer", null]);
  assert.equal(timeline.receive({ ...message(4), message: "on resume", edited: 9 }), "known");
  assert.equal(said(timeline, 4), "on resume");
});
