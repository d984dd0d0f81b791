// Where browsers differ from what one would think: their clocks, their input methods, and "back".

import assert from "node:assert/strict";
import { test } from "node:test";
import { steadyNow } from "../src/clock.ts";
import { Link } from "../src/link.ts";
import { isComposing } from "../src/view/dom.ts";

const HOUR_MS = 3_600_000;
const turn = () => new Promise(setImmediate);

test("the time for waiting never goes back with the day's clock, and counts the sleep of the machine", (t) => {
  let wall = Date.now();
  let steady = performance.now();
  t.mock.method(Date, "now", () => wall);
  t.mock.method(performance, "now", () => steady);
  const after = (wallMs: number, steadyMs: number) => {
    const before = steadyNow();
    wall += wallMs;
    steady += steadyMs;
    return Math.round(steadyNow() - before);
  };
  assert.equal(after(250, 250), 250);
  assert.equal(after(-HOUR_MS, 250), 250);
  assert.equal(after(HOUR_MS, 250), HOUR_MS);
  assert.equal(after(600, 500), 500);
});

test("a clock that is set back while the page waits does not keep it from connecting again", async (t) => {
  const sockets: { onclose?: (event: object) => void }[] = [];
  class WebSocket {
    onclose?: (event: object) => void;
    constructor() {
      sockets.push(this);
    }
    close() {}
  }
  const none = () => undefined;
  const fetch = () => Promise.reject(new TypeError("away"));
  Object.assign(globalThis, { WebSocket, fetch, addEventListener: none, removeEventListener: none, document: { hidden: false, addEventListener: none, removeEventListener: none }, location: { href: "http://localhost/" } });
  let wall = Date.now();
  let steady = performance.now();
  t.mock.method(Date, "now", () => wall);
  t.mock.method(performance, "now", () => steady);
  t.mock.timers.enable({ apis: ["setInterval"] });
  const link = new Link({ frame: none, lost: none, phase: none, sessionGone: none });
  t.after(() => link.stop());
  link.start();
  sockets[0]!.onclose!({});
  assert.equal(link.phase.name, "waiting");
  wall -= HOUR_MS;
  steady += 60_000;
  t.mock.timers.tick(250);
  assert.equal(sockets.length, 2);
});

test("the Enter that ends a word of an input method is known in every browser", () => {
  const key = (isComposing: boolean, keyCode: number) => ({ key: "Enter", isComposing, keyCode }) as KeyboardEvent;
  assert.deepEqual([key(true, 13), key(false, 229), key(false, 13)].map(isComposing), [true, true, false]);
});

test("after the page is gone, with what lay over it, the first \"back\" is one; and what fails holds nothing else up", async (t) => {
  t.mock.method(console, "error", () => undefined);
  let popped = () => {};
  const history = { pushState: () => undefined, back: () => undefined };
  Object.assign(globalThis, { matchMedia: () => ({ matches: true }), addEventListener: (_: string, run: () => void) => (popped = run), history, location: { href: "" } });
  const { forgetLayers, leftLayer, opened, whenSettled } = await import("../src/view/layers.ts");
  opened(() => undefined);
  const closed = opened(() => undefined);
  closed();
  await turn();
  forgetLayers();
  assert.equal(leftLayer(), false);
  const done: string[] = [];
  whenSettled(() => {
    throw new Error("once");
  });
  whenSettled(() => void done.push("next"));
  popped();
  await turn();
  assert.deepEqual(done, ["next"]);
});
