// What goes over the wire (docs/wire.md), as types, and the one place where a frame is read. `common/tests/golden/` has an
// example of every frame; test/wire.test.ts holds against it what is read and what is written here.

import botCommands from "../../common/tests/golden/commands.json";
import { isOfName, safeHref } from "./words.ts";

/** Reads one field of a frame; undefined if it cannot be used. */
type Reader<T> = (value: unknown) => T | undefined;

const text: Reader<string> = (value) => (typeof value === "string" ? value : undefined);
const number: Reader<number> = (value) => (typeof value === "number" ? value : undefined);
const flag: Reader<boolean> = (value) => (typeof value === "boolean" ? value : undefined);
const names: Reader<string[]> = (value) => (Array.isArray(value) ? value.filter((name) => typeof name === "string") : undefined);

/** Where an answer looked things up: only what lies on the web. */
export interface Source {
  title: string;
  uri: string;
}

/** History comes by a call, and is read no sooner than it is shown. */
export const sources: Reader<Source[]> = (value) =>
  Array.isArray(value) ? value.flatMap((one) => (typeof one?.uri === "string" && safeHref(one.uri) ? [{ uri: one.uri, title: typeof one.title === "string" && one.title.trim() ? one.title : new URL(one.uri).hostname }] : [])) : undefined;

export type Kind = "user" | "bot" | "fallback";

export type ErrorCode =
  | "bad_request"
  | "unauthorized"
  | "forbidden"
  | "not_found"
  | "too_large"
  | "rate_limited"
  | "unavailable";

/** The fields of each frame that the server sends: those that this page cannot do without, and those that it can. */
const FRAMES = {
  welcome: { needs: { user: text }, may: { protocol: number, ping_ms: number } },
  joined: { needs: { room: text, seq: number, complete: flag }, may: {} },
  message: {
    // A kind that only a newer server knows is shown like the bot's: to pass the message over would leave a hole.
    needs: { room: text, seq: number, prev: number, id: text, sender: text, kind: text as Reader<Kind>, message: text },
    // In its newest state: `edited` is the place of its last edit; one that is deleted has no text.
    // An answer says who stopped it, and where it looked things up; its `suggestions` are shown in a frame, by a call of their own.
    may: { at: text, reply_to: text, edited: number, deleted: flag, stopped_by: text, sources, suggestions: text },
  },
  // Events in the room's order that change a message.
  edited: { needs: { room: text, seq: number, prev: number, id: text, of: text, by: text, message: text }, may: { at: text } },
  deleted: { needs: { room: text, seq: number, prev: number, id: text, of: text, by: text }, may: { at: text } },
  ack: { needs: { id: text, seq: number }, may: {} },
  error: { needs: { code: text as Reader<ErrorCode>, message: text }, may: { id: text, retry_after_ms: number } },
  draft: { needs: { room: text, id: text, reply_to: text, attempt: number, offset: number, text }, may: { thinking: flag, waiting: number } },
  typing: { needs: { room: text, user: text }, may: {} },
  presence: { needs: { room: text, users: names }, may: {} },
  invited: { needs: { room: text, by: text }, may: {} },
  read: { needs: { room: text, seq: number }, may: {} },
  ping: { needs: {}, may: {} },
};

/** The same as types, so that what is read and what is known of it cannot differ. */
type Value<R> = R extends Reader<infer T> ? T : never;
type Frames = {
  [T in keyof typeof FRAMES]: { type: T } & { [F in keyof (typeof FRAMES)[T]["needs"]]: Value<(typeof FRAMES)[T]["needs"][F]> } & {
    [F in keyof (typeof FRAMES)[T]["may"]]?: Value<(typeof FRAMES)[T]["may"][F]>;
  };
};

export type ServerFrame = Frames[keyof Frames];
export type DraftFrame = Frames["draft"];
export type ErrorFrame = Frames["error"];
/** A message in its place. `seq` is the place and the time, in microseconds since 1970. */
export type Message = Omit<Frames["message"], "type">;

/** An edit or a deletion in its place. */
export type ChangeFrame = Frames["edited"] | Frames["deleted"];

export type ClientFrame =
  | { type: "send"; room: string; id: string; message: string; reply_to?: string }
  | { type: "join"; room: string; after?: number }
  | { type: "leave"; room: string }
  | { type: "typing"; room: string }
  | { type: "stop"; room: string; id: string }
  | { type: "again"; room: string; id: string }
  | { type: "edit"; room: string; id: string; of: string; message: string }
  | { type: "delete"; room: string; id: string; of: string }
  | { type: "read"; room: string; seq: number }
  | { type: "pong" };

export type BotPolicy = "always" | "mention" | "off";

export interface RoomInfo {
  name: string;
  private: boolean;
  bot: BotPolicy;
  /** The list leaves it out. */
  persona?: string | null;
  owner: string;
  /** What it is called, in place of its name, and what it is about. */
  title?: string;
  topic?: string;
  /** What the owner chose of the bot; without it the room has what the server has. The list leaves these out. */
  model?: string | null;
  thinking?: Thinking | null;
  search?: boolean | null;
  bot_answers_programs?: boolean;
  /** So many days what is said is kept. */
  retention_days?: number | null;
  /** The place of what was said last, 0 if nothing was. Older servers do not tell. */
  latest?: number;
  /** How far the user has read it on any device, 0 if never; and how many of others' messages are behind that, up to a hundred or so. */
  read?: number;
  unread?: number;
  /** Who invited the user, until that is taken or declined. */
  invited_by?: string;
}

export type Thinking = "off" | "low" | "medium" | "high";

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

/**
 * One frame, with the fields that this page knows. Null if it is none, if it is of a kind that this page does not know (a
 * newer server's), or if it lacks what it needs.
 */
export function readFrame(text: string): ServerFrame | null {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof raw !== "object" || raw === null) return null;
  const fields = raw as Record<string, unknown>;
  if (typeof fields.type !== "string" || !Object.hasOwn(FRAMES, fields.type)) return null;
  const { needs, may }: { needs: Record<string, Reader<unknown>>; may: Record<string, Reader<unknown>> } = FRAMES[fields.type as keyof typeof FRAMES];
  const frame: Record<string, unknown> = { type: fields.type };
  for (const [name, read] of Object.entries(needs)) {
    frame[name] = read(fields[name]);
    if (frame[name] === undefined) return null;
  }
  for (const [name, read] of Object.entries(may)) {
    const value = read(fields[name]);
    if (value !== undefined) frame[name] = value;
  }
  return frame as ServerFrame;
}

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

/** What the bot takes as a command; a message like any other. From the bot's own list, by name. */
export const BOT_COMMANDS = [...botCommands].sort((one, other) => (one.name < other.name ? -1 : 1));

/** The bot's command that sums up what one has not read, where it has that one. */
export const CATCH_UP = BOT_COMMANDS.some(({ name }) => name === "catchup") ? "@bot /catchup" : null;
/** Whether a message is that command. */
export const asksToCatchUp = (text: string) => /^\s*(@bot\s+)*\/catchup(\s|$)/i.test(text);

const BOT_COMMAND = new RegExp(`^\\s*(@bot\\s+)*/(${BOT_COMMANDS.map(({ name }) => name).join("|")})(\\s+@bot)*\\s*$`, "i");

/** Whether a message is a command to the bot, which has its answer once and for all, by the bot's own rule. */
export function isBotCommand(text: string): boolean {
  return BOT_COMMAND.test(text);
}

/** Whether `@name` stands in a text as a word of its own, in any case. */
export function mentions(text: string, name: string): boolean {
  const lower = text.toLowerCase();
  const mention = `@${name}`;
  const isName = (char: string | undefined) => char !== undefined && isOfName(char);
  for (let at = lower.indexOf(mention); at >= 0; at = lower.indexOf(mention, at + 1)) {
    const before = [...lower.slice(Math.max(0, at - 2), at)].at(-1);
    const after = [...lower.slice(at + mention.length, at + mention.length + 2)][0];
    if (!isName(before) && !isName(after)) return true;
  }
  return false;
}
