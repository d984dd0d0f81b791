// What a room's list shows, row by row: days, messages (grouped by who wrote them), replies as they grow, and one's
// own that are not sent yet. Pure: from what is known to what is to be seen.

import { base } from "./base.ts";
import { shownOf, type Draft } from "./drafts.ts";
import type { Outgoing } from "./outbox.ts";
import { CATCH_UP, sources, type Kind, type Message, type Source } from "./protocol.ts";
import type { OpenQuestion, Room } from "./room.ts";
import { beginning, unmarked } from "./words.ts";

/** Messages of one sender this close together stand under one name. */
const TOGETHER_MS = 5 * 60 * 1_000;

/** So much that is new one may want to have summed up. */
const MUCH_NEW = 30;

/** Of other people's questions that wait, so many are shown. */
const WAITING_ROWS_MAX = 3;

export interface Quote {
  sender: string;
  text: string;
  /** It is not known what it says, and worth asking for. */
  isWanted: boolean;
}

export interface MessageRow {
  type: "message";
  key: string;
  id: string;
  sender: string;
  kind: Kind;
  text: string;
  /** Milliseconds since 1970. */
  at: number;
  own: boolean;
  /** Under the name of the row before. */
  together: boolean;
  quote: Quote | null;
  replyTo: string | null;
  state: "kept" | "waiting" | "failed";
  /** It waits, and never went out: it can be taken back. */
  isHeld: boolean;
  /** Why it waits or failed. */
  why: string | null;
  /** With the newest reply to a request: whether another may be asked for, or was. */
  again: "offered" | "asked" | null;
  /** Who stopped it, if that is known. */
  stoppedBy: string | null;
  /** It ends where a message is full, or where the model broke off: it can be asked to go on. */
  goesOn: "full" | "broken" | null;
  /** Where it looked things up, and where there is more of the kind, which a search engine asks to be shown: an address of this server's. */
  sources: Source[];
  suggestions: string | null;
  /** A program wrote it, and no person. */
  isProgram: boolean;
  /** Nothing was said after it. */
  isLatest: boolean;
  /** When it was last changed, in milliseconds since 1970. */
  edited: number | null;
  deleted: boolean;
  /** What of it is not through yet: a message of one's own, or a change of one that is kept; the entry of the outbox. */
  entry: Outgoing | null;
  mayEdit: boolean;
  mayDelete: boolean;
  /** It is asked whether it is to be deleted. */
  isAsked: boolean;
}

/** A question of which no answer is to be seen yet. */
export interface WaitingRow {
  type: "waiting";
  /** The reply's id: the answer takes the row's place. */
  key: string;
  words: string;
  stopping: boolean;
  quote: Quote | null;
  replyTo: string;
}

export type Row =
  | { type: "day"; key: string; at: number }
  | { type: "new"; key: string; canSumUp: boolean }
  | { type: "begin"; key: string }
  | WaitingRow
  | { type: "draft"; key: string; draft: Draft; quote: Quote | null; together: boolean }
  | MessageRow;

function day(at: number): number {
  const date = new Date(at);
  return date.getFullYear() * 10_000 + date.getMonth() * 100 + date.getDate();
}

/** The rows of what is kept. They only change with the timeline. */
export function keptRows(room: Room, user: string, isAdmin = false, programs: ReadonlySet<string> = new Set()): Row[] {
  const rows: Row[] = [];
  if (!room.timeline.hasEarlier && room.timeline.messages.length > 0) rows.push({ type: "begin", key: "begin" });
  let before: MessageRow | null = null;
  let newShown = room.newFrom === null;
  const newest = room.newestReplies();
  for (const message of room.timeline.messages) {
    const at = message.seq / 1_000;
    if (!before || day(before.at) !== day(at)) {
      rows.push({ type: "day", key: `day-${day(at)}`, at });
      before = null;
    }
    if (!newShown && message.seq > room.newFrom! && message.sender !== user) {
      rows.push({ type: "new", key: "new", canSumUp: CATCH_UP !== null && room.newCount >= MUCH_NEW && room.info?.bot !== "off" });
      newShown = true;
      before = null;
    }
    const row: MessageRow = {
      type: "message",
      key: message.id,
      id: message.id,
      sender: message.sender,
      kind: message.kind,
      text: message.message,
      at,
      own: message.sender === user && message.kind === "user",
      together: false,
      quote: quote(room, message, rows),
      replyTo: message.reply_to ?? null,
      state: "kept",
      isHeld: false,
      why: null,
      again: newest.get(message.reply_to ?? "") !== message ? null : room.askedAgain.has(message.id) ? "asked" : "offered",
      stoppedBy: stopper(room, message, user),
      goesOn: message === room.timeline.last && room.info?.bot !== "off" ? goesOn(message) : null,
      sources: message.deleted ? [] : (sources(message.sources) ?? []),
      suggestions: message.suggestions && !message.deleted ? suggestionsOf(room.name, message.id) : null,
      isProgram: message.kind === "user" && programs.has(message.sender),
      isLatest: message === room.timeline.last,
      edited: message.edited && !message.deleted ? message.edited / 1_000 : null,
      deleted: message.deleted ?? false,
      entry: null,
      mayEdit: room.mayEdit(message, user),
      mayDelete: room.mayDelete(message, user, isAdmin),
      isAsked: room.asking === message.id,
    };
    row.together = isTogether(before, row);
    rows.push(row);
    before = row;
  }
  return rows;
}

/** Whether a message stands in the list, and still says something. */
function isHeld(room: Room, id: string): boolean {
  const message = room.timeline.get(id);
  return message !== undefined && !message.deleted;
}

/** The rows of messages that are changed here, as they are to be, before the server has the change. */
function withChanges(room: Room, kept: Row[], outgoing: Outgoing[], why: (id: string) => string | undefined): Row[] {
  // The latest of a message counts.
  const changes = new Map(outgoing.flatMap((entry) => (entry.of && isHeld(room, entry.of) ? [[entry.of, entry]] : [])));
  if (changes.size === 0) return kept;
  return kept.map((row) => {
    const entry = row.type === "message" ? changes.get(row.id) : undefined;
    if (!entry || row.type !== "message") return row;
    const state = entry.failed ? "failed" : "waiting";
    const said = entry.failed?.message ?? why(entry.id) ?? null;
    return entry.text
      ? { ...row, entry, text: entry.text, state, why: said, isHeld: !entry.failed && !entry.sent, mayEdit: false, mayDelete: false }
      : { ...row, entry, state, why: said, deleted: true, isAsked: false };
  });
}

/** What comes behind: growing replies, then one's own that are not kept yet. */
export function allRows(room: Room, kept: Row[], outgoing: Outgoing[], why: (id: string) => string | undefined, user: string, now: number): Row[] {
  const rest: Row[] = [];
  kept = withChanges(room, kept, outgoing, why);
  if (!room.timeline.attached) return kept;
  let before: Row | null = kept.at(-1) ?? null;
  for (const entry of outgoing) {
    if (room.timeline.get(entry.id) || (entry.of && (isHeld(room, entry.of) || !entry.text))) continue;
    const row: MessageRow = {
      type: "message",
      key: entry.id,
      id: entry.id,
      sender: user,
      kind: "user",
      text: entry.text,
      at: entry.at,
      own: true,
      together: false,
      quote: entry.replyTo ? quoteOf(room.timeline.get(entry.replyTo)) : null,
      replyTo: entry.replyTo ?? null,
      state: entry.failed ? "failed" : "waiting",
      isHeld: !entry.failed && !entry.sent,
      why: entry.failed?.message ?? why(entry.id) ?? null,
      again: null,
      stoppedBy: null,
      goesOn: null,
      sources: [],
      suggestions: null,
      isProgram: false,
      isLatest: false,
      edited: null,
      deleted: false,
      entry,
      mayEdit: false,
      mayDelete: false,
      isAsked: false,
    };
    row.together = isTogether(before?.type === "message" ? before : null, row);
    rest.push(row);
    before = row;
  }
  const latest = room.timeline.last;
  for (const draft of room.drafts.all()) {
    // One without words waits or is thought about: see below.
    if (!shownOf(draft)) continue;
    const answers = room.timeline.get(draft.replyTo);
    rest.push({
      type: "draft",
      key: draft.id,
      draft,
      quote: answers && answers !== latest ? quoteOf(answers) : null,
      together: false,
    });
  }
  const open = room.openQuestions(now);
  for (const [index, question] of open.entries()) {
    const { request, replyId, stopping } = question;
    if (index >= WAITING_ROWS_MAX && request.sender !== user) continue;
    const quote = open.length > 1 || request !== latest ? quoteOf(request) : null;
    rest.push({ type: "waiting", key: replyId, words: waitingWords(question, user, now), stopping, quote, replyTo: request.id });
  }
  return rest.length === 0 ? kept : [...kept, ...rest];
}

function stopper(room: Room, { id, stopped_by, deleted }: Message, user: string): string | null {
  const by = deleted ? undefined : (stopped_by ?? room.stopped.get(id));
  return by === user ? "you" : (by ?? null);
}

const suggestionsOf = (room: string, id: string) => `${base}/api/rooms/${room}/messages/${id}/suggestions`;

/** By the marks that the server's own cutting leaves: an ellipsis where a message is full, and its words where the model broke off. */
function goesOn({ kind, message, deleted, stopped_by }: Message): "full" | "broken" | null {
  if (kind !== "bot" || deleted || stopped_by) return null;
  return /\s…$/.test(message) ? "full" : message.endsWith("*(The answer breaks off here.)*") ? "broken" : null;
}

/** What stands in the place of an answer that is not begun. */
export function waitingWords({ request, before, ahead, since, stopping }: OpenQuestion, user: string, now: number): string {
  if (stopping) return "Taking it back";
  const seconds = Math.floor((now - since) / 1_000);
  if (before === 0) return seconds >= 1 ? `Thinking, ${seconds} s` : "Thinking";
  const place = request.sender === user ? `${before} before yours` : `${before + 1}${before === 1 ? "nd" : before === 2 ? "rd" : "th"} in line`;
  if (!ahead) return `Waiting, ${place}`;
  const whose = ahead !== user ? `${ahead}’s` : request.sender === user ? "your earlier" : "your";
  return `Waiting for ${whose} answer, ${place}`;
}

function isTogether(before: MessageRow | null, row: MessageRow): boolean {
  return (
    before !== null &&
    before.sender === row.sender &&
    before.kind === row.kind &&
    row.kind === "user" &&
    row.at - before.at < TOGETHER_MS
  );
}

/** What a message replies to, unless it stands right above it. */
function quote(room: Room, message: Message, rows: Row[]): Quote | null {
  if (!message.reply_to) return null;
  const above = rows.at(-1);
  if (above?.type === "message" && above.id === message.reply_to) return null;
  const known = room.timeline.get(message.reply_to) ?? room.quoted.get(message.reply_to);
  return quoteOf(known ?? undefined) ?? { sender: "", text: "An earlier message", isWanted: known === undefined };
}

function quoteOf(message: Message | undefined): Quote | null {
  if (!message) return null;
  if (message.deleted) return { sender: "", text: DELETED, isWanted: false };
  return { sender: message.sender, text: inOneLine(message, 140), isWanted: false };
}

/** What stands where the words of a deleted message would. */
const DELETED = "A deleted message";

const lines = new WeakMap<Message, Map<number, string>>();

/** What was said, as one line of words. The same message is asked for with every word of an answer that grows below it. */
export function inOneLine(message: Message, most: number): string {
  const known = lines.get(message) ?? new Map<number, string>();
  lines.set(message, known);
  const line = known.get(most) ?? firstLine(message.deleted ? DELETED : unmarked(message.message), most);
  known.set(most, line);
  return line;
}

/** The beginning of a text, in one line. */
export function firstLine(text: string, most: number): string {
  const line = text.replace(/\s+/gu, " ").trim();
  return beginning(line, most) === line ? line : `${beginning(line, most - 1)}…`;
}
