// One room as this page knows it. No network and no page in here.

import { Drafts } from "./drafts.ts";
import { asksBot, isBotCommand, type Message, type RoomInfo } from "./protocol.ts";
import { Timeline } from "./timeline.ts";

/** Longer than the pause between two `typing` frames of somebody who goes on. */
const TYPING_MS = 5_000;
/** The server's deadline for a reply is 60 s unless set otherwise; after that nobody should be told to wait. */
const THINKING_MS = 60_000;

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
  /** A `join` went out on this connection. */
  joined = false;
  /** That `join` asked for nothing that was said before. */
  joinedBare = false;
  /** The user sees the end of the room. */
  atEnd = true;
  loading: "latest" | "earlier" | "later" | null = null;
  /** Why the history could not be loaded. */
  trouble: { status: number; message: string } | null = null;
  /** Replies after which another was asked for, and when, in milliseconds since 1970. */
  readonly askedAgain = new Map<string, number>();
  readonly #typing = new Map<string, number>();

  constructor(readonly name: string) {}

  unread(user: string): number {
    return this.timeline.countAfter(this.readSeq, user);
  }

  latest(): Message | undefined {
    return this.timeline.last;
  }

  /** When something was last said here, as far as this page knows: also where that is not loaded. */
  get latestSeq(): number {
    return Math.max(this.timeline.last?.seq ?? 0, this.timeline.heardTo, this.readSeq);
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
    for (const id of newest.keys()) if (isBotCommand(this.timeline.get(id)?.message ?? "")) newest.delete(id);
    return newest;
  }

  /** The latest question that the bot has neither answered nor begun to answer; null if it owes nothing. */
  thinkingAbout(now: number): Message | null {
    const again = this.#thinkingAgain(now);
    if (again) return again;
    const policy = this.info?.bot ?? "mention";
    const { messages } = this.timeline;
    const answered = new Set(this.drafts.all().map((draft) => draft.replyTo));
    for (let index = messages.length - 1; index >= 0 && index >= messages.length - 50; index -= 1) {
      const message = messages[index]!;
      if (message.kind !== "user") {
        if (message.reply_to) answered.add(message.reply_to);
      } else if (now - message.seq / 1_000 > THINKING_MS) {
        return null;
      } else if (asksBot(policy, message.message)) {
        return answered.has(message.id) ? null : message;
      }
    }
    return null;
  }

  /** A question that is to be answered again, as long as nothing of that is to be seen. */
  #thinkingAgain(now: number): Message | null {
    const newest = this.newestReplies();
    for (const [id, at] of this.askedAgain) {
      const reply = this.timeline.get(id);
      const request = reply?.reply_to ? this.timeline.get(reply.reply_to) : undefined;
      const isWaiting = reply && request && newest.get(request.id) === reply && now - at <= THINKING_MS;
      if (!isWaiting) this.askedAgain.delete(id);
      else if (!this.drafts.all().some((draft) => draft.replyTo === request.id)) return request;
    }
    return null;
  }
}
