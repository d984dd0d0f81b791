// What is known of one room's messages, in order. No network and no page in here.
//
// The messages that are held are one unbroken stretch of the room's history. Usually its end is the room's end
// ("attached"). After so long an absence that the server sends none of what was missed, somebody who reads further up
// keeps their place: the stretch is then detached, what comes in live waits aside, and the stretch grows downwards by
// pages until it meets it.

import type { ChangeFrame, Message } from "./protocol.ts";

/** Live messages that wait aside while detached; the oldest go first, since paging down brings them again. */
const ASIDE_MAX = 1_000;
/** Changes that are remembered for messages that are not held: a page that was asked for before one may come after it. */
const CHANGES_MAX = 1_000;

/** What of a change belongs to the message: where it stands, and what it says from then on; null: it is deleted. */
type Changed = Pick<ChangeFrame, "seq" | "of"> & { message: string | null };

/** An edit without a text is one whose text was deleted since. */
const changeOf = (frame: ChangeFrame): Changed => ({ seq: frame.seq, of: frame.of, message: (frame.type === "edited" && frame.message) || null });

/** A message as it is after a change; the same if it knew of it, or of a later one. What is deleted stays so. */
function changed(message: Message, { seq, message: text }: Changed): Message {
  if (message.deleted || (text !== null && seq <= (message.edited ?? 0))) return message;
  return text === null ? { ...message, message: "", deleted: true } : { ...message, message: text, edited: seq };
}

/** A message that is held, in the newer of its two states. */
function newer(held: Message, other: Message): Message {
  return changed(held, { of: held.id, seq: other.edited ?? 0, message: other.deleted ? null : other.message });
}

export class Timeline {
  /** Ascending by `seq`, each `id` once. */
  readonly messages: Message[] = [];
  /** Whether the end of `messages` is the end of the room. */
  attached = true;
  /** Whether there may be more before the first. */
  hasEarlier = true;
  /** Whether a first page was loaded. */
  loaded = false;
  /** Up to this `seq` nothing is missing; a new connection resumes from here. */
  resumeFrom = 0;
  /** The latest place in the room that was heard of, whether or not what is there is held. */
  heardTo = 0;
  /** Goes up whenever a message that is held becomes another. */
  version = 0;
  readonly #changes = new Map<string, Changed>();
  readonly #byId = new Map<string, Message>();
  #aside: Message[] = [];

  get first(): Message | undefined {
    return this.messages[0];
  }

  get last(): Message | undefined {
    return this.messages.at(-1);
  }

  get(id: string): Message | undefined {
    return this.#byId.get(id);
  }

  /** Something that was heard of is neither held nor on its way: a page from before the room was joined lacks it. */
  get hasHole(): boolean {
    return this.loaded && this.attached && this.resumeFrom < this.heardTo;
  }

  /** The room has come to `seq` (0 if it is empty), and was joined at `from`: from there on all comes in by itself. */
  begin(from: number, seq: number): void {
    this.heardTo = Math.max(this.heardTo, seq);
    if (!this.loaded) this.resumeFrom = Math.max(this.resumeFrom, from);
  }

  /** How many live messages wait for the stretch to reach them. */
  get waitingAside(): number {
    return this.#aside.length;
  }

  /** The latest page of history, in the place of whatever was held; what came in live since stays. */
  reset(page: Message[], limit: number): void {
    const newest = page.at(-1)?.seq ?? 0;
    // All that is later than the page is known to be in an unbroken row only where nothing was missed.
    const later = [...(this.attached ? this.messages : []), ...this.#aside].filter((message) => message.seq > newest);
    const isFirst = !this.loaded;
    this.messages.length = 0;
    this.#byId.clear();
    this.#aside = [];
    this.attached = true;
    this.loaded = true;
    this.hasEarlier = page.length >= limit;
    for (const message of page) this.#insert(message);
    for (const message of later) this.#insert(message);
    // Of a first page it is not known whether it reaches to where the room was joined: only the links tell, and one's
    // own that was only acked has none.
    if (!isFirst) this.resumeFrom = Math.max(this.resumeFrom, newest);
    else this.resumeFrom = later.reduce((reached, { prev, seq }) => (prev > 0 && prev <= reached ? seq : reached), newest);
  }

  /** A page before the first. Returns how many were new. */
  addEarlier(page: Message[], limit: number): number {
    this.hasEarlier = page.length >= limit;
    return this.#insertAll(page);
  }

  /** A page after the last, while detached, or where a link was missing. Returns how many were new. */
  addLater(page: Message[], limit: number): number {
    const added = this.#insertAll(page);
    const reached = page.at(-1)?.seq ?? this.last?.seq ?? 0;
    if (!this.attached) {
      const aside = this.#aside[0];
      if (page.length < limit || (aside && aside.prev <= reached)) {
        this.attached = true;
        const waiting = this.#aside;
        this.#aside = [];
        for (const message of waiting) this.#insert(message);
      }
    }
    if (this.attached) this.resumeFrom = Math.max(this.resumeFrom, reached);
    return added;
  }

  /** A page that ends where what is held ends: what was late for its place between that is put there. */
  mend(page: Message[]): number {
    return this.#insertAll(page);
  }

  /** Another stretch of the room, somewhere in its past, in the place of what was held. */
  goTo(stretch: Message[]): void {
    this.messages.length = 0;
    this.#byId.clear();
    this.attached = false;
    this.loaded = true;
    this.hasEarlier = true;
    for (const message of stretch) this.#insert(message);
  }

  /** From now on the end of what is held is not the end of the room. */
  detach(): void {
    this.attached = false;
  }

  /**
   * A `message` frame. `known` if its id was here already; `gap` if something between it and what is held is missing:
   * the caller loads what comes after `resumeFrom`. A gap does not keep the message from being shown in its place.
   */
  receive(message: Message): "new" | "known" | "gap" {
    const gap = this.loaded && this.attached && this.resumeFrom > 0 && message.prev > this.resumeFrom;
    if (!gap) this.resumeFrom = Math.max(this.resumeFrom, message.seq);
    this.heardTo = Math.max(this.heardTo, message.seq);
    const held = this.#byId.get(message.id);
    if (held) {
      this.#replace(held, newer(held, message));
      return "known";
    }
    if (!this.attached) {
      if (this.#aside.some((other) => other.id === message.id)) return "known";
      this.#aside.push(message);
      if (this.#aside.length > ASIDE_MAX) this.#aside.shift();
      return "new";
    }
    this.#insert(message);
    return gap ? "gap" : "new";
  }

  /**
   * An edit or a deletion, which has a place in the room's order like a message. True if something is missing between it and what is
   * held. Comes it before its message, or before a page that knows nothing of it, it is held against that as well.
   */
  change(frame: ChangeFrame): boolean {
    const gap = this.loaded && this.attached && this.resumeFrom > 0 && frame.prev > this.resumeFrom;
    if (!gap) this.resumeFrom = Math.max(this.resumeFrom, frame.seq);
    this.heardTo = Math.max(this.heardTo, frame.seq);
    this.keepChange(frame);
    return gap;
  }

  /** A change of one's own that was acked: what is before it may be missing. */
  keepChange(frame: ChangeFrame): void {
    const change = changeOf(frame);
    const known = this.#changes.get(change.of);
    if (known && (known.message === null || (change.message !== null && known.seq >= change.seq))) return;
    this.#changes.delete(change.of);
    this.#changes.set(change.of, change);
    if (this.#changes.size > CHANGES_MAX) this.#changes.delete(this.#changes.keys().next().value!);
    const held = this.#byId.get(change.of);
    if (held) this.#replace(held, changed(held, change));
    this.#aside = this.#aside.map((message) => (message.id === change.of ? changed(message, change) : message));
  }

  /** A message in the newest state that was heard of. */
  newest(message: Message): Message {
    const change = this.#changes.get(message.id);
    return change ? changed(message, change) : message;
  }

  #replace(held: Message, by: Message): void {
    if (held === by) return;
    this.#byId.set(held.id, by);
    this.messages[this.#indexOf(held.seq)] = by;
    this.version += 1;
  }

  /** A message of one's own that was acked before it came back. Its place is known; what is before it may be missing. */
  keepOwn(message: Message): boolean {
    if (this.#byId.has(message.id) || !this.attached) return false;
    this.#insert(message);
    return true;
  }

  /** How many from `sender`s other than this one come after a place. */
  countAfter(seq: number, except: string): number {
    let count = 0;
    for (let index = this.messages.length - 1; index >= 0; index -= 1) {
      const message = this.messages[index]!;
      if (message.seq <= seq) break;
      if (message.sender !== except && !message.deleted) count += 1;
    }
    return count + this.#aside.filter((message) => message.seq > seq && message.sender !== except && !message.deleted).length;
  }

  #insertAll(page: Message[]): number {
    const before = this.messages.length;
    for (const message of page) {
      const held = this.#byId.get(message.id);
      if (held) this.#replace(held, newer(held, message));
    }
    // A whole page before the first is put there at once: one by one would move everything behind it each time.
    const fresh = page.filter((message) => !this.#byId.has(message.id)).map((message) => this.newest(message));
    if (fresh.length > 0 && this.first && fresh.at(-1)!.seq < this.first.seq) {
      for (const message of fresh) this.#byId.set(message.id, message);
      this.messages.unshift(...fresh);
    } else {
      for (const message of fresh) this.#insert(message);
    }
    return this.messages.length - before;
  }

  #insert(message: Message): void {
    const held = this.#byId.get(message.id);
    if (held) return this.#replace(held, newer(held, message));
    const newest = this.newest(message);
    this.#byId.set(message.id, newest);
    this.messages.splice(this.#indexOf(message.seq), 0, newest);
  }

  /** Where a message with this place is, or would be. */
  #indexOf(seq: number): number {
    let low = 0;
    let high = this.messages.length;
    if (high > 0 && this.messages[high - 1]!.seq < seq) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.messages[middle]!.seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
