// A reply as it grows: pieces by place, counted in characters and not in JavaScript's units.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DRAFT_SILENT_MS, Drafts, shownOf } from "../src/drafts.ts";

const piece = (offset: number, text: string, attempt = 1) => ({ type: "draft" as const, room: "r", id: "d", reply_to: "q", attempt, offset, text });
const after = (...pieces: ReturnType<typeof piece>[]) => {
  const drafts = new Drafts();
  for (const one of pieces) drafts.receive(one, 0);
  return drafts.get("d")!;
};

test("pieces follow each other", () => {
  assert.equal(after(piece(0, "Hello"), piece(5, " world")).text, "Hello world");
});

test("places count characters, also where those take two units", () => {
  const draft = after(piece(0, "👋🏽 "), piece(3, "né"), piece(5, "!"));
  assert.equal(draft.text, "👋🏽 né!");
  assert.equal(draft.chars, 6);
});

test("a piece that comes again, or overlaps, changes what is there from its place on", () => {
  assert.equal(after(piece(0, "😀😀😀"), piece(2, "abc")).text, "😀😀abc");
  assert.equal(after(piece(0, "abc"), piece(0, "abcdef")).text, "abcdef");
});

test("a higher attempt begins anew, a lower one is dropped", () => {
  assert.equal(after(piece(0, "first", 1), piece(0, "second", 2), piece(6, " late", 1)).text, "second");
});

test("whoever comes in the middle sees the rest, and that the beginning is missing", () => {
  const draft = after(piece(100, "in the middle"), piece(113, " of it"));
  assert.deepEqual([draft.text, draft.headless], ["in the middle of it", true]);
  assert.deepEqual(after(piece(100, "middle"), piece(0, "all of it")).headless, false);
});

test("a hole in it is not papered over", () => {
  const draft = after(piece(0, "abc"), piece(10, "xyz"));
  assert.deepEqual([draft.text, draft.headless, draft.chars], ["xyz", true, 13]);
  assert.equal(after(piece(0, "abc"), piece(10, "xyz"), piece(12, "Z!")).text, "xyZ!");
});

test("a draft that fell silent for longer than any deadline goes away", () => {
  const drafts = new Drafts();
  drafts.receive(piece(0, "abc"), 0);
  assert.equal(drafts.expire(DRAFT_SILENT_MS), false);
  assert.equal(drafts.expire(DRAFT_SILENT_MS + 1), true);
  assert.deepEqual(drafts.all(), []);
});

test("an answer that broke off and begins again is known as one, and a first attempt without words broke nothing off", () => {
  assert.equal(after(piece(0, ""), piece(0, "Hello", 2)).brokeOff, false);
  assert.equal(after(piece(0, "Hello"), piece(0, "", 2), piece(0, "Hi", 3)).brokeOff, true);
});

test("what an attempt had said that broke off stands there until another has said as much", () => {
  const former = "A long beginning, of which somebody reads.";
  assert.equal(shownOf(after(piece(0, former), piece(0, "", 2))), former);
  assert.equal(shownOf(after(piece(0, former), piece(0, "Short.", 2))), former);
  assert.equal(shownOf(after(piece(0, former), piece(0, "Short.", 2), piece(0, "", 3))), former);
  const other = "Another beginning, and one that goes on for longer.";
  assert.equal(shownOf(after(piece(0, former), piece(0, "Short.", 2), piece(0, other, 3))), other);
  assert.equal(shownOf(after(piece(0, "x".repeat(900)), piece(0, "y".repeat(200), 2))), "y".repeat(200));
});
