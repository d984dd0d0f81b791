// What time it is by the server's clock, since a browser's own may be off by hours: messages carry the server's time. And how much
// time has passed, for all that waits: a browser's own clock may be set while the page is open.

/** Nearer than this the clocks agree: the server tells its time in whole seconds, and a call takes a while. */
const AGREE_MS = 3_000;

let ahead = 0;

/** The server said `date` (a `Date` header) in an answer to a call that was made at `from` and ended at `to`. */
export function heardDate(date: string | null, from: number, to: number): void {
  // On average half a second of what it says is cut off.
  const off = Date.parse(date ?? "") + 500 - (from + to) / 2;
  if (Number.isFinite(off)) ahead = Math.abs(off) < AGREE_MS + (to - from) / 2 ? 0 : off;
}

/** Milliseconds since 1970. */
export const serverNow = () => Date.now() + ahead;

/** Further than this the clocks do not part by themselves. */
const PART_MS = 1_000;

let passed = 0;
let lastWall = 0;
let lastSteady = 0;

/**
 * Milliseconds since something of this page's own, never going back: what waits for a time by the day's clock would wait for
 * hours where that is set back. The other clock of a browser may stand still while the machine sleeps, and no line outlives
 * a long sleep: so what the day's clock is ahead by counts too. Where it was only set, a wait ends too early, which does little harm.
 */
export function steadyNow(): number {
  const wall = Date.now();
  const steady = performance.now();
  const slept = lastSteady > 0 ? wall - lastWall - (steady - lastSteady) : 0;
  passed += steady - lastSteady + (slept > PART_MS ? slept : 0);
  lastWall = wall;
  lastSteady = steady;
  return passed;
}
