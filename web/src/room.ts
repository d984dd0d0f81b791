// One room as this page knows it. No network and no page in here.

import { Drafts, shownOf } from "./drafts.ts";
import { asksBot, isBotCommand, type ChangeFrame, type Message, type RoomInfo } from "./protocol.ts";
import { replyId } from "./reply_id.ts";
import { Timeline } from "./timeline.ts";

/** Longer than the pause between two `typing` frames of somebody who goes on. */
const TYPING_MS = 5_000;
/** The server's deadline for a reply is 60 s unless set otherwise; some time after that nobody should be told to wait. */
const THINKING_MS = 65_000;
/** So many messages back there may be a question that is not answered yet. */
const LOOK_BACK = 200;

/** A question to the bot, before a word of its answer is there. */
export interface OpenQuestion {
  request: Message;
  /** The id that the reply will have. */
  replyId: string;
  /** So many others are answered first; 0: it is being answered. */
  before: number;
  /** Whose question is being answered, if it is not this one. */
  ahead: string | null;
  /** How long it is being answered, or waits: milliseconds since 1970. */
  since: number;
  /** It was taken back here. */
  stopping: boolean;
}

/** What a room is called where people read it. */
export const titleOf = ({ name, info, was }: Pick<Room, "name" | "info" | "was">): string => (info ?? was)?.title || name;

export class Room {
  info: RoomInfo | null = null;
  /** What it was when it was last listed, if it is not any more: the user was put out of it. */
  was: RoomInfo | null = null;
  readonly timeline = new Timeline();
  readonly drafts = new Drafts();
  /** Who is there, sorted. */
  people: string[] = [];
  /** Everything up to here was seen by the user. */
  readSeq = 0;
  /** Where the line "new" stands: what was read when the room was opened. Null: nowhere. */
  newFrom: number | null = null;
  /** How much there was to read then. */
  newCount = 0;
  /** Before a page is loaded: from here on all that was said is held. */
  heldFrom = Number.POSITIVE_INFINITY;
  /** A `join` went out on this connection. */
  joined = false;
  /** From where on it asked for what was said. */
  joinedFrom = 0;
  /** That `join` asked for nothing that was said before. */
  joinedBare = false;
  /** The user sees the end of the room. */
  atEnd = true;
  loading: "latest" | "earlier" | "later" | null = null;
  /** Why the history could not be loaded. */
  trouble: { status: number; message: string } | null = null;
  /** Replies after which another was asked for, and when, in milliseconds since 1970. */
  readonly askedAgain = new Map<string, number>();
  /** Messages that others reply to and that lie outside what is held; null: looked for, and not found. */
  readonly quoted = new Map<string, Message | null>();
  /** Replies that were stopped, and by whom. */
  readonly stopped = new Map<string, string>();
  /** The message of which it is asked whether it is to be deleted. */
  asking: string | null = null;
  /** What asked nobody when it was said: an edit of it asks nobody either. */
  readonly #unasked = new Set<string>();
  readonly #typing = new Map<string, number>();

  constructor(readonly name: string) {}

  /**
   * There is no such room for the user, or not any more, as the server says; `listed`: the list of rooms is there. That it was
   * away, or had too much to do, says nothing of the room.
   */
  isMissing(listed: boolean): boolean {
    const status = this.trouble?.status ?? 0;
    return this.was !== null || status === 404 || (listed && !this.info && status >= 400 && status < 500 && status !== 429);
  }

  /** An edit or a deletion, heard of or one's own that was acked. True if something before it is missing. */
  change(frame: ChangeFrame, isOwn = false): boolean {
    const { timeline, drafts } = this;
    const before = timeline.get(frame.of);
    if (before && !before.edited && !asksBot(this.info?.bot ?? "mention", before.message)) this.#unasked.add(frame.of);
    let gap = false;
    if (isOwn) timeline.keepChange(frame);
    else gap = timeline.change(frame);
    const quoted = this.quoted.get(frame.of);
    if (quoted) this.quoted.set(frame.of, timeline.newest(quoted));
    // What was being answered is asked anew, or not at all any more.
    for (const { id, replyTo } of drafts.all()) if (replyTo === frame.of || id === frame.of) drafts.finish(id);
    if (frame.type === "deleted" && this.asking === frame.of) this.asking = null;
    return gap;
  }

  /** Nobody changes another's words. */
  mayEdit(message: Message, user: string): boolean {
    return message.kind === "user" && message.sender === user && !message.deleted;
  }

  /** Its author, the room's owner, an administrator; an answer of the bot also whoever asked. */
  mayDelete(message: Message, user: string, isAdmin: boolean): boolean {
    if (message.deleted) return false;
    if (isAdmin || this.info?.owner === user) return true;
    if (message.kind === "user") return message.sender === user;
    const asked = message.reply_to ? (this.timeline.get(message.reply_to) ?? this.quoted.get(message.reply_to)) : undefined;
    return asked?.sender === user;
  }

  /** What is held tells; where that does not reach back to what was read, the server's count does. */
  unread(user: string): number {
    const { timeline, info, readSeq } = this;
    const counted = timeline.countAfter(readSeq, user);
    const from = !timeline.loaded ? this.heldFrom : timeline.hasEarlier ? (timeline.first?.seq ?? 0) : 0;
    return from > readSeq && info?.read === readSeq ? Math.max(counted, info.unread ?? 0) : counted;
  }

  latest(): Message | undefined {
    return this.timeline.last;
  }

  /** When something was last said here, as far as this page knows: also where that is not loaded. */
  get latestSeq(): number {
    return Math.max(this.timeline.last?.seq ?? 0, this.timeline.heardTo, this.readSeq, this.info?.latest ?? 0);
  }

  typing(user: string, now: number): void {
    this.#typing.set(user, now + TYPING_MS);
  }

  stoppedTyping(user: string): void {
    this.#typing.delete(user);
  }

  whoTypes(now: number): string[] {
    for (const [user, until] of this.#typing) if (until <= now) this.#typing.delete(user);
    return [...this.#typing.keys()].sort();
  }

  /** The last reply to each request, by the request's id. None where the bot is off: then nobody may ask again. */
  newestReplies(): Map<string, Message> {
    const newest = new Map<string, Message>();
    if (this.info?.bot === "off") return newest;
    for (const message of this.timeline.messages) if (message.kind !== "user" && message.reply_to) newest.set(message.reply_to, message);
    for (const id of newest.keys()) {
      const request = this.timeline.get(id);
      if (request?.deleted || isBotCommand(request?.message ?? "")) newest.delete(id);
    }
    return newest;
  }

  /** The questions that the bot owes an answer of which nothing is to be seen yet, in the order in which they are answered. */
  openQuestions(now: number): OpenQuestion[] {
    const policy = this.info?.bot ?? "mention";
    const { messages } = this.timeline;
    const owed: { request: Message; replyId: string; at: number }[] = this.#askedAgain(now);
    const answered = new Set<string>();
    // Whatever the server still tells something of is not given up.
    const drafts = new Map(this.drafts.all().map((draft) => [draft.replyTo, draft]));
    for (let index = messages.length - 1; index >= 0 && index >= messages.length - LOOK_BACK; index -= 1) {
      const message = messages[index]!;
      const at = message.seq / 1_000;
      if (message.kind !== "user") answered.add(message.reply_to ?? "");
      else if (now - at > THINKING_MS && !drafts.has(message.id)) continue;
      else if (message.deleted || this.#unasked.has(message.id)) continue;
      else if (asksBot(policy, message.message) && !answered.has(message.id)) owed.push({ request: message, replyId: replyId(this.name, message.id), at });
    }
    owed.sort((one, other) => one.at - other.at);
    // Before the server says more, a draft without words is a question that is being answered.
    const lastReply = messages.findLast(({ kind }) => kind !== "user");
    const first = owed[0];
    return owed.flatMap(({ request, replyId: reckoned, at }, index) => {
      const draft = drafts.get(request.id);
      if (draft && shownOf(draft)) return [];
      const replyId = draft?.id ?? reckoned;
      const before = draft?.waiting ?? (draft ? 0 : index);
      return [{ request, replyId, before, ahead: before > 0 && request !== first!.request ? first!.request.sender : null, since: Math.max(at, before === 0 ? (lastReply?.seq ?? 0) / 1_000 : 0), stopping: this.stopped.has(replyId) }];
    });
  }

  /** Questions that are to be answered again. */
  #askedAgain(now: number): { request: Message; replyId: string; at: number }[] {
    const newest = this.newestReplies();
    const owed = [];
    for (const [id, at] of this.askedAgain) {
      const reply = this.timeline.get(id);
      const request = reply?.reply_to ? this.timeline.get(reply.reply_to) : undefined;
      const isWaiting = reply && request && newest.get(request.id) === reply && now - at <= THINKING_MS;
      if (isWaiting) owed.push({ request, replyId: replyId(this.name, id), at });
      else this.askedAgain.delete(id);
    }
    return owed;
  }
}
