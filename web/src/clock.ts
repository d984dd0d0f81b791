// What time it is by the server's clock, since a browser's own may be off by hours. Messages carry the server's time.

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
