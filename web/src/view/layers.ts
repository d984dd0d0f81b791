// What lies over the page on a telephone, the drawer and dialogs, goes away by "back" as it does in every app: each has an entry of
// its own in the browser's history for as long as it is open.

import { isTelephone } from "./surroundings.ts";

const layers: (() => void)[] = [];
/** An entry is being taken away again from here: nobody pressed "back". */
let leaving = false;
/** To take one away needs a moment, and until then nothing may be put upon it: one step after the other. */
let steps: Promise<void> = Promise.resolve();
let waiting = 0;

/** Runs when no entry is being taken away any more. */
export function whenSettled(run: () => void | Promise<void>): void {
  if (waiting === 0) return void run();
  step(run);
}

/** One that fails is no reason for those after it to stay undone. */
function step(run: () => void | Promise<void>): void {
  waiting += 1;
  steps = steps
    .then(run)
    .catch((error) => console.error(error))
    .finally(() => (waiting -= 1));
}

/** All of it is gone from the page at once, unclosed: the next "back" is one. */
export function forgetLayers(): void {
  layers.length = 0;
  leaving = false;
}

function leave(): Promise<void> {
  return new Promise((resolve) => {
    leaving = true;
    addEventListener("popstate", () => resolve(), { once: true });
    history.back();
  });
}

/** Something was opened that `close` closes. What is returned is to be called when it is closed, however that came about. */
export function opened(close: () => void): () => void {
  if (!isTelephone()) return () => undefined;
  layers.push(close);
  whenSettled(() => history.pushState(null, "", location.href));
  return () => {
    const at = layers.indexOf(close);
    if (at < 0) return;
    layers.splice(at, 1);
    step(leave);
  };
}

/** For the handler of `popstate`: true if it was a layer's entry that was left, so that the page beneath is the same. */
export function leftLayer(): boolean {
  if (leaving) {
    leaving = false;
    return true;
  }
  const close = layers.pop();
  close?.();
  return close !== undefined;
}
