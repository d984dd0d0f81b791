// When to connect, when to give a connection up, and how long to wait before the next try: a state machine without
// sockets and clocks. link.ts feeds it and does what it says.

export type Phase =
  /** Not wanted: nobody is logged in, or the session is gone. */
  | { name: "off" }
  /** A socket is being opened, since `since`. */
  | { name: "connecting"; since: number; attempt: number }
  /** The line stands. Something was last heard at `heard`. */
  | { name: "open"; heard: number; pingMs: number; since: number }
  /** The next try is at `until`. */
  | { name: "waiting"; until: number; attempt: number };

export type Input =
  | { name: "start" }
  | { name: "stop" }
  | { name: "opened" }
  | { name: "heard"; pingMs?: number }
  | { name: "closed" }
  /** The user asked, the browser says that the network is back, or the tab is looked at again. */
  | { name: "hurry" }
  /** A question to the server, asked because the line is in doubt, was not answered. */
  | { name: "unreachable" }
  | { name: "tick" };

export type Output = "open" | "close" | "check";

/** A connection that takes longer to open will not come. */
export const OPEN_WAIT_MS = 10_000;
export const BACK_OFF_LEAST_MS = 500;
export const BACK_OFF_MOST_MS = 30_000;
/** A line that stood for so long was a good one: the next try begins with the shortest wait again. */
const GOOD_LINE_MS = 5_000;
/** Until the server says how often it pings. */
const PING_MS_BEFORE_WELCOME = 25_000;

export interface Step {
  phase: Phase;
  outputs: Output[];
}

/** Full jitter: anything between nothing and a limit that doubles with each attempt. */
export function backOff(attempt: number, random: number): number {
  return Math.round(random * Math.min(BACK_OFF_MOST_MS, BACK_OFF_LEAST_MS * 2 ** attempt));
}

/** After how long without a sign of life a line is dead: two pings missed, and a little for the way. */
export function silenceLimit(pingMs: number): number {
  return pingMs * 2 + 1_000;
}

/** `attempt` counts the tries since the last good line; `random` is between 0 and 1. */
export function step(phase: Phase, input: Input, now: number, random: number): Step {
  const stay: Step = { phase, outputs: [] };
  const connect = (attempt: number): Step => ({ phase: { name: "connecting", since: now, attempt }, outputs: ["open"] });
  const wait = (attempt: number, outputs: Output[]): Step => ({
    phase: { name: "waiting", until: now + backOff(attempt, random), attempt },
    outputs,
  });
  if (input.name === "stop") return { phase: { name: "off" }, outputs: phase.name === "off" ? [] : ["close"] };
  switch (phase.name) {
    case "off":
      return input.name === "start" ? connect(0) : stay;
    case "connecting":
      if (input.name === "opened") {
        return { phase: { name: "open", heard: now, pingMs: PING_MS_BEFORE_WELCOME, since: now }, outputs: [] };
      }
      // Whether the server is away or the session is gone is not told before the line stands: ask.
      if (input.name === "closed") return wait(phase.attempt + 1, ["check"]);
      if (input.name === "unreachable") return stay;
      if (input.name === "tick" && now - phase.since >= OPEN_WAIT_MS) return wait(phase.attempt + 1, ["close", "check"]);
      return stay;
    case "open":
      if (input.name === "heard") {
        return { phase: { ...phase, heard: now, pingMs: input.pingMs ?? phase.pingMs }, outputs: [] };
      }
      if (input.name === "closed") return wait(now - phase.since >= GOOD_LINE_MS ? 0 : 1, []);
      if (input.name === "unreachable") return wait(0, ["close"]);
      if (input.name === "hurry") return { phase, outputs: now - phase.heard > 2_000 ? ["check"] : [] };
      if (input.name === "tick" && now - phase.heard >= silenceLimit(phase.pingMs)) return wait(0, ["close"]);
      return stay;
    case "waiting":
      if (input.name === "hurry") return connect(phase.attempt);
      if (input.name === "tick" && now >= phase.until) return connect(phase.attempt);
      return stay;
  }
}
