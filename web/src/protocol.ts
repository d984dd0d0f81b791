// What goes over the wire (docs/wire.md), as types, and the one place where a frame is read.

export type Kind = "user" | "bot" | "fallback";

/** A message in its place. `seq` is the place and the time, in microseconds since 1970. */
export interface Message {
  room: string;
  seq: number;
  prev: number;
  at: string;
  id: string;
  sender: string;
  kind: Kind;
  message: string;
  reply_to?: string;
}

export type ErrorCode =
  | "bad_request"
  | "unauthorized"
  | "forbidden"
  | "not_found"
  | "too_large"
  | "rate_limited"
  | "unavailable";

export interface DraftFrame {
  type: "draft";
  room: string;
  id: string;
  reply_to: string;
  attempt: number;
  offset: number;
  text: string;
}

export interface ErrorFrame {
  type: "error";
  code: ErrorCode;
  message: string;
  id?: string;
  retry_after_ms?: number;
}

export type ServerFrame =
  | { type: "welcome"; user: string; protocol: number; ping_ms: number }
  | { type: "joined"; room: string; seq: number; complete: boolean }
  | ({ type: "message" } & Message)
  | { type: "ack"; id: string; seq: number }
  | ErrorFrame
  | DraftFrame
  | { type: "typing"; room: string; user: string }
  | { type: "presence"; room: string; users: string[] }
  | { type: "ping" };

export type ClientFrame =
  | { type: "send"; room: string; id: string; message: string; reply_to?: string }
  | { type: "join"; room: string; after?: number }
  | { type: "leave"; room: string }
  | { type: "typing"; room: string }
  | { type: "stop"; room: string; id: string }
  | { type: "again"; room: string; id: string }
  | { type: "pong" };

export type BotPolicy = "always" | "mention" | "off";

export interface RoomInfo {
  name: string;
  private: boolean;
  bot: BotPolicy;
  persona: string | null;
  owner: string;
}

export interface SessionInfo {
  id: string;
  device: string;
  created_at: string;
  last_seen_at: string;
  expires_at: string;
  current: boolean;
}

/** The most characters (code points) of a message, after trimming. */
export const MESSAGE_MAX_CHARS = 4_000;

/** Close codes that mean something to the page. */
export const CLOSE_SESSION_GONE = 4401;
export const CLOSE_NO_HEARTBEAT = 4408;
export const CLOSE_DRAINING = 1012;

/** One frame; null if it is none, or of a kind that this page does not know (a newer server's). */
export function readFrame(text: string): ServerFrame | null {
  let frame: unknown;
  try {
    frame = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof frame !== "object" || frame === null) return null;
  const { type } = frame as { type?: unknown };
  return typeof type === "string" && KNOWN.has(type) ? (frame as ServerFrame) : null;
}

const KNOWN = new Set(["welcome", "joined", "message", "ack", "error", "draft", "typing", "presence", "ping"]);

/** How many characters the server will count: code points, after trimming. */
export function countChars(text: string): number {
  let count = 0;
  for (const _ of text.trim()) count += 1;
  return count;
}

/** Whether a message asks the bot, by the server's own rule: `@bot` anywhere, as a word of its own, in any case. */
export function asksBot(policy: BotPolicy, text: string): boolean {
  if (policy === "always") return true;
  return policy === "mention" && mentions(text, "bot");
}

/** Whether a message is a command to the bot, which has its answer once and for all. */
export function isBotCommand(text: string): boolean {
  return /^\s*(@bot\s+)?\/(help|reset)(\s+@bot)?\s*$/i.test(text);
}

/** Whether `@name` stands in a text as a word of its own, in any case. */
export function mentions(text: string, name: string): boolean {
  const lower = text.toLowerCase();
  const mention = `@${name}`;
  const isName = (char: string | undefined) => char !== undefined && /[\p{L}\p{N}_-]/u.test(char);
  for (let at = lower.indexOf(mention); at >= 0; at = lower.indexOf(mention, at + 1)) {
    const before = [...lower.slice(Math.max(0, at - 2), at)].at(-1);
    const after = [...lower.slice(at + mention.length, at + mention.length + 2)][0];
    if (!isName(before) && !isName(after)) return true;
  }
  return false;
}
