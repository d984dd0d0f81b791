// When to connect, when to give up, and how long to wait.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BACK_OFF_MOST_MS, OPEN_WAIT_MS, backOff, silenceLimit, step, type Phase } from "../src/connection.ts";
import { statusLine } from "../src/status.ts";

const open: Phase = { name: "open", heard: 0, pingMs: 1_000, since: 0 };

test("back-off doubles up to a limit, with full jitter", () => {
  assert.deepEqual([0, 1, 2, 3].map((attempt) => backOff(attempt, 1)), [500, 1_000, 2_000, 4_000]);
  assert.equal(backOff(20, 1), BACK_OFF_MOST_MS);
  assert.equal(backOff(20, 0), 0);
});

test("a good line that breaks is tried again soon; one that never stood, later and later", () => {
  assert.deepEqual(step(open, { name: "closed" }, 10_000, 1).phase, { name: "waiting", until: 10_500, attempt: 0 });
  const first = step({ name: "connecting", since: 0, attempt: 3 }, { name: "closed" }, 100, 1);
  assert.deepEqual(first.phase, { name: "waiting", until: 8_100, attempt: 4 });
  assert.deepEqual(first.outputs, ["check"]);
});

test("waiting ends by the clock, or at once when something gives hope", () => {
  const waiting: Phase = { name: "waiting", until: 5_000, attempt: 2 };
  assert.deepEqual(step(waiting, { name: "tick" }, 4_999, 1).outputs, []);
  assert.deepEqual(step(waiting, { name: "tick" }, 5_000, 1).outputs, ["open"]);
  assert.deepEqual(step(waiting, { name: "hurry" }, 10, 1).outputs, ["open"]);
});

test("two missed pings are a dead line, any frame is a sign of life", () => {
  const limit = silenceLimit(1_000);
  assert.deepEqual(step(open, { name: "tick" }, limit - 1, 1).outputs, []);
  const dead = step(open, { name: "tick" }, limit, 1);
  assert.deepEqual([dead.phase.name, dead.outputs], ["waiting", ["close"]]);
  const alive = step(open, { name: "heard" }, limit - 1, 1).phase;
  assert.deepEqual(step(alive, { name: "tick" }, limit + 1, 1).outputs, []);
});

test("the server's ping decides what silence is", () => {
  const told = step(open, { name: "heard", pingMs: 25_000 }, 0, 1).phase;
  assert.equal(step(told, { name: "tick" }, 50_000, 1).phase.name, "open");
});

test("a socket that does not open in time is given up", () => {
  const slow = step({ name: "connecting", since: 0, attempt: 0 }, { name: "tick" }, OPEN_WAIT_MS, 0.5);
  assert.deepEqual([slow.phase.name, slow.outputs], ["waiting", ["close", "check"]]);
});

test("in doubt it asks, and believes only the answer", () => {
  assert.deepEqual(step(open, { name: "hurry" }, 3_000, 1).outputs, ["check"]);
  assert.deepEqual(step(open, { name: "hurry" }, 1_000, 1).outputs, []);
  assert.deepEqual(step(open, { name: "unreachable" }, 3_000, 1).outputs, ["close"]);
});

test("stopped is stopped, from everywhere", () => {
  for (const phase of [open, { name: "waiting", until: 1, attempt: 0 } as Phase]) {
    const stopped = step(phase, { name: "stop" }, 0, 1);
    assert.deepEqual([stopped.phase.name, stopped.outputs], ["off", ["close"]]);
    assert.deepEqual(step(stopped.phase, { name: "tick" }, 99, 1).outputs, []);
    assert.deepEqual(step(stopped.phase, { name: "hurry" }, 99, 1).outputs, []);
  }
});

test("the status line counts down, says what waits, and is silent about a blink", () => {
  const waiting: Phase = { name: "waiting", until: 9_000, attempt: 3 };
  assert.equal(statusLine(open, 0, 99_999, true, 0, null), null);
  assert.equal(statusLine(waiting, 5_900, 6_000, true, 0, null), null);
  assert.deepEqual(statusLine(waiting, 0, 6_000, true, 2, null), {
    text: "Reconnecting in 3 s · 2 messages will go out then",
    canTry: true,
    tone: "waiting",
  });
  assert.match(statusLine(waiting, 0, 6_000, false, 0, null)!.text, /offline/);
  assert.equal(statusLine(waiting, 0, 6_000, true, 0, "WebSockets are blocked.")!.text, "WebSockets are blocked. · Reconnecting in 3 s");
});
