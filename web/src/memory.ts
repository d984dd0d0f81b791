// What this browser remembers for a user: what is half typed, which public rooms the user went into, and what was read.
// Each thing lies under a key of its own, so that two tabs never overwrite each other's; what is half typed is each tab's own, and the
// last of it is there for a tab that has none. Nothing here is secret, and losing it (a private window, cleared storage) loses comfort only.

import type { Store, Stores } from "./storage.ts";

export interface HalfTyped {
  text: string;
  replyTo?: string;
  /** A message that is being given another text; what is half typed beside that waits. */
  edit?: { of: string; text: string };
}

/** Whether anybody was in with this browser, as far as it remembers. */
export function wasSomebodyHere(store: Store): boolean {
  for (let index = 0; index < store.length; index += 1) if (store.key(index)?.startsWith("chinwag:here:")) return true;
  return false;
}

export class Memory {
  /** Nothing was remembered when this began: all that is there counts as read. */
  isNewHere: boolean;
  readonly #halfTyped = new Map<string, HalfTyped>();
  /** What the shared storage did not take, by its key: it lasts as long as the tab. */
  readonly #kept = new Map<string, string | null>();

  constructor(
    private readonly stores: Stores,
    private readonly user: string,
  ) {
    this.isNewHere = this.#get("here") === null;
  }

  /** After the first list of rooms: from now on what is new is new. */
  settle(first: boolean): void {
    if (first) this.#set("here", "1");
  }

  readSeq(room: string): number | null {
    const value = Number(this.#get(`read:${room}`) ?? Number.NaN);
    return Number.isFinite(value) ? value : null;
  }

  keepRead(room: string, seq: number): void {
    if (seq > (this.readSeq(room) ?? -1)) this.#set(`read:${room}`, String(seq));
  }

  hasEntered(room: string): boolean {
    return this.#get(`in:${room}`) !== null;
  }

  /** The rooms that were gone into. */
  entered(): string[] {
    const { shared } = this.stores;
    const prefix = this.#key("in:");
    const keys = new Set([...Array.from({ length: shared.length }, (_, index) => shared.key(index) ?? ""), ...this.#kept.keys()]);
    return [...keys].filter((key) => key.startsWith(prefix) && this.#kept.get(key) !== null).map((key) => key.slice(prefix.length));
  }

  enter(room: string): void {
    this.#set(`in:${room}`, "1");
  }

  leave(room: string): void {
    this.#set(`in:${room}`, null);
  }

  draft(room: string): HalfTyped {
    const known = this.#halfTyped.get(room);
    if (known) return known;
    // An empty one of this tab's own counts: there something was sent or wiped away.
    return readHalfTyped(this.#get(`half:${room}`, this.stores.own)) ?? readHalfTyped(this.#get(`half:${room}`)) ?? { text: "" };
  }

  keepDraft(room: string, draft: HalfTyped | null): void {
    const kept = draft ?? { text: "" };
    const isEmpty = kept.text === "" && !kept.replyTo && !kept.edit;
    const before = JSON.stringify(this.draft(room));
    this.#halfTyped.set(room, kept);
    this.#set(`half:${room}`, JSON.stringify(kept), this.stores.own);
    if (!isEmpty) this.#set(`half:${room}`, JSON.stringify(kept));
    // Another tab's is left to it.
    else if (this.#get(`half:${room}`) === before) this.#set(`half:${room}`, null);
  }

  /** True if another tab changed what was read. */
  storageChanged(key: string | null): boolean {
    // It took that one, so it is there now.
    if (key !== null) this.#kept.delete(key);
    return key?.startsWith(this.#key("read:")) ?? false;
  }

  #key(name: string): string {
    return `chinwag:${name.split(":")[0]}:${this.user}:${name.slice(name.indexOf(":") + 1)}`;
  }

  #get(name: string, store: Store = this.stores.shared): string | null {
    const key = this.#key(name);
    const kept = store === this.stores.shared ? this.#kept.get(key) : undefined;
    if (kept !== undefined) return kept;
    try {
      return store.getItem(key);
    } catch {
      return null;
    }
  }

  #set(name: string, value: string | null, store: Store = this.stores.shared): void {
    const key = this.#key(name);
    try {
      if (value === null) store.removeItem(key);
      else store.setItem(key, value);
      if (store === this.stores.shared) this.#kept.delete(key);
    } catch {
      // Full or forbidden: it is kept in this tab only.
      if (store === this.stores.shared) this.#kept.set(key, value);
    }
  }
}

function readHalfTyped(text: string | null): HalfTyped | null {
  try {
    const kept = JSON.parse(text ?? "null");
    return typeof kept?.text === "string" ? kept : null;
  } catch {
    // Not ours, then.
    return null;
  }
}
