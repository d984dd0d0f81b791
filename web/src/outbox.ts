// What was sent and is not acked yet. Every entry lies in the browser's storage under a key of its own, so that it
// outlives a reload and a crash, and two tabs never overwrite each other's. An entry keeps its first id however often
// it goes out, so it is one message however often it arrives.
//
// In each room one entry at a time is on its way, the oldest first: that is what keeps them in order.

import type { ErrorFrame } from "./protocol.ts";
import { PassingStore, type Store } from "./storage.ts";

export interface Outgoing {
  /** UUID version 7: also the order. */
  id: string;
  room: string;
  /** Empty with a deletion. */
  text: string;
  replyTo?: string;
  /** With an edit or a deletion: which message it changes. */
  of?: string;
  /** When it was written, in milliseconds since 1970. */
  at: number;
  /** It went out once: it may have arrived, so it cannot be taken back. */
  sent?: true;
  /** Set once the server said a clear no: it is not sent again by itself. */
  failed?: { code: string; message: string };
}

/** Milliseconds without an `ack` after which an entry is sent again on a line that is alive. */
export const ACK_WAIT_MS = 10_000;
/** Another tab's entry is sent from here only when it is this old: by then that tab is gone, or has no line. */
export const FOREIGN_AFTER_MS = 8_000;
const RETRY_LEAST_MS = 500;
const RETRY_MOST_MS = 20_000;

/** Its times are those of `steadyNow`, and none of them outlives the page: after a reload nothing is waited for. */
interface Flight {
  /** When it last went out; none: not on this connection. */
  sentAt: number | null;
  /** Not before this time. */
  notBefore: number;
  refusals: number;
  /** Why it waits, in the server's words. */
  why?: string;
}

export class Outbox {
  readonly #prefix: string;
  readonly #entries = new Map<string, Outgoing>();
  readonly #flights = new Map<string, Flight>();
  /** False where there is no storage, or once it refused an entry: then a reload would lose it. */
  durable: boolean;

  constructor(
    private readonly store: Store,
    user: string,
    private readonly random: () => number = Math.random,
  ) {
    this.#prefix = `chinwag:out:${user}:`;
    this.durable = !(store instanceof PassingStore);
    for (let index = 0; index < store.length; index += 1) {
      const key = store.key(index);
      if (key?.startsWith(this.#prefix)) this.#read(key, store.getItem(key), 0);
    }
  }

  /** Everything, oldest first. */
  all(): Outgoing[] {
    return [...this.#entries.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** What changes a message, and is not through yet. */
  changesOf(of: string): Outgoing[] {
    return this.all().filter((entry) => entry.of === of);
  }

  inRoom(room: string): Outgoing[] {
    return this.all().filter((entry) => entry.room === room);
  }

  has(id: string): boolean {
    return this.#entries.has(id);
  }

  get(id: string): Outgoing | undefined {
    return this.#entries.get(id);
  }

  /** Why an entry is not through yet, where the server gave a reason that passes. */
  whyWaiting(id: string): string | undefined {
    return this.#flights.get(id)?.why;
  }

  add(entry: Outgoing): void {
    this.#write(entry);
    this.#flights.set(entry.id, { sentAt: null, notBefore: 0, refusals: 0 });
  }

  /** It is kept by the server now, or the user took it back. */
  remove(id: string): Outgoing | undefined {
    const entry = this.#entries.get(id);
    this.#entries.delete(id);
    this.#flights.delete(id);
    try {
      this.store.removeItem(this.#prefix + id);
    } catch {
      // It was never in there, then.
    }
    return entry;
  }

  /** The user asked for it again. */
  retry(id: string): void {
    const entry = this.#entries.get(id);
    if (!entry?.failed) return;
    const { failed: _, sent: __, ...again } = entry;
    this.#write(again);
    this.#flights.set(id, { sentAt: null, notBefore: 0, refusals: 0 });
  }

  /** An `error` frame about an entry. A reason that passes only delays it; a clear no marks it as failed. */
  refused(frame: ErrorFrame, now: number): boolean {
    const entry = frame.id === undefined ? undefined : this.#entries.get(frame.id);
    if (!entry) return false;
    if (frame.code === "rate_limited" || frame.code === "unavailable" || frame.code === "unauthorized") {
      const flight = this.#flights.get(entry.id) ?? { sentAt: null, notBefore: 0, refusals: 0 };
      const backOff = Math.min(RETRY_MOST_MS, RETRY_LEAST_MS * 2 ** flight.refusals);
      // Jitter on top of what the server asks for, so that not everybody comes back at once.
      const wait = Math.max(frame.retry_after_ms ?? 0, backOff) * (1 + this.random() / 2);
      this.#flights.set(entry.id, { sentAt: null, notBefore: now + wait, refusals: flight.refusals + 1, why: frame.message });
    } else {
      this.#write({ ...entry, failed: { code: frame.code, message: frame.message } });
      this.#flights.delete(entry.id);
    }
    return true;
  }

  /**
   * The line broke: nobody knows what arrived, so everything goes out again on the next one; what was refused not before the
   * time that the server named, which is as long off there.
   */
  lineLost(): void {
    for (const flight of this.#flights.values()) {
      if (flight.sentAt !== null || flight.refusals === 0) flight.notBefore = 0;
      flight.sentAt = null;
    }
  }

  /** What to send now: of each room the oldest, unless it is on its way. Counts them as sent. */
  due(now: number): Outgoing[] {
    const due: Outgoing[] = [];
    for (const entry of this.#heads()) {
      const flight = this.#flights.get(entry.id);
      if (!flight || now < flight.notBefore) continue;
      if (flight.sentAt !== null && now < flight.sentAt + ACK_WAIT_MS) continue;
      flight.sentAt = now;
      if (!entry.sent) this.#write({ ...entry, sent: true });
      due.push(entry);
    }
    return due;
  }

  /** When [`due`] may have something again, by the clock that it is told; null if it has nothing to wait for. */
  nextDue(): number | null {
    let next: number | null = null;
    for (const { id } of this.#heads()) {
      const flight = this.#flights.get(id);
      if (!flight) continue;
      const at = flight.sentAt === null ? flight.notBefore : flight.sentAt + ACK_WAIT_MS;
      if (next === null || at < next) next = at;
    }
    return next;
  }

  /** Another tab changed the storage. True if it concerned this outbox. */
  storageChanged(key: string | null, value: string | null, now: number): boolean {
    if (key === null || !key.startsWith(this.#prefix)) return false;
    const id = key.slice(this.#prefix.length);
    if (value === null) {
      this.#entries.delete(id);
      this.#flights.delete(id);
    } else {
      this.#read(key, value, now + FOREIGN_AFTER_MS);
    }
    return true;
  }

  /** Of each room the one that has to go first. */
  #heads(): Outgoing[] {
    const heads = new Map<string, Outgoing>();
    for (const entry of this.all()) {
      if (!entry.failed && !heads.has(entry.room)) heads.set(entry.room, entry);
    }
    return [...heads.values()];
  }

  #read(key: string, value: string | null, notBefore: number): void {
    const id = key.slice(this.#prefix.length);
    let entry: Partial<Outgoing>;
    try {
      entry = JSON.parse(value ?? "null") ?? {};
    } catch {
      return;
    }
    if (entry.id !== id || typeof entry.room !== "string" || typeof entry.text !== "string") return;
    this.#entries.set(id, entry as Outgoing);
    if (entry.failed) this.#flights.delete(id);
    else if (!this.#flights.has(id)) this.#flights.set(id, { sentAt: null, notBefore, refusals: 0 });
  }

  #write(entry: Outgoing): void {
    this.#entries.set(entry.id, entry);
    try {
      this.store.setItem(this.#prefix + entry.id, JSON.stringify(entry));
    } catch {
      this.durable = false;
    }
  }
}
