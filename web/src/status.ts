// The quiet line that says what is going on with the connection. Pure: from the phase and the time to words.

import type { Phase } from "./connection.ts";

export interface StatusLine {
  text: string;
  /** Whether trying at once makes sense. */
  canTry: boolean;
  tone: "calm" | "waiting";
}

/** A line that is back sooner than this was not worth a word. */
const QUIET_MS = 1_200;

/** `since` is when the line was last up (or the page began), `waiting` how many messages are not sent, `trouble` why there is no line, if that is known. */
export function statusLine(phase: Phase, since: number, now: number, online: boolean, waiting: number, trouble: string | null): StatusLine | null {
  if (phase.name === "open" || phase.name === "off") return null;
  if (now - since < QUIET_MS) return null;
  const unsent = waiting === 0 ? "" : waiting === 1 ? " · 1 message will go out then" : ` · ${waiting} messages will go out then`;
  const why = !online ? "You seem to be offline · " : trouble ? `${trouble} · ` : "";
  if (phase.name === "connecting") return { text: `${why}Connecting…${unsent}`, canTry: false, tone: "waiting" };
  const seconds = Math.max(0, Math.ceil((phase.until - now) / 1_000));
  const when = seconds === 0 ? "Reconnecting…" : `Reconnecting in ${seconds} s`;
  return { text: `${why}${when}${unsent}`, canTry: true, tone: "waiting" };
}
