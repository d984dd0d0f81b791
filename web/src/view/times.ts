// Times in the words of the reader's own language and zone.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const isHalfDays = clock.resolvedOptions().hour12;
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dayOfAnyYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

const DAY_MS = 86_400_000;

function daysAgo(at: number, now: number): number {
  const midnight = (time: number) => new Date(time).setHours(0, 0, 0, 0);
  return Math.round((midnight(now) - midnight(at)) / DAY_MS);
}

export const clockTime = (at: number) => clock.format(at);
/** Where there is hardly room: without "AM" or "PM", which the time above it says. */
export const tightTime = (at: number) => (isHalfDays ? clock.formatToParts(at).filter(({ type }) => type !== "dayPeriod").map(({ value }) => value).join("").trim() : clock.format(at));
export const fullTime = (at: number) => full.format(at);

export function dayName(at: number, now = Date.now()): string {
  const ago = daysAgo(at, now);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  if (ago > 1 && ago < 7) return weekday.format(at);
  return new Date(at).getFullYear() === new Date(now).getFullYear() ? dayOfYear.format(at) : dayOfAnyYear.format(at);
}

/** For the list of rooms: as short as can be. */
export function shortTime(at: number, now = Date.now()): string {
  const ago = daysAgo(at, now);
  if (ago === 0) return clock.format(at);
  if (ago === 1) return "Yesterday";
  return short.format(at);
}
