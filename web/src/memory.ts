// What this browser remembers for a user: what is half typed, which public rooms the user went into, and what was read.
// Each thing lies under a key of its own, so that two tabs never overwrite each other's. Nothing here is secret, and
// losing it (a private window, cleared storage) loses comfort only.

export interface HalfTyped {
  text: string;
  replyTo?: string;
}

export class Memory {
  /** Nothing was remembered when this began: all that is there counts as read. */
  isNewHere: boolean;
  readonly #halfTyped = new Map<string, HalfTyped>();

  constructor(
    private readonly storage: Storage,
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

  enter(room: string): void {
    this.#set(`in:${room}`, "1");
  }

  leave(room: string): void {
    this.#set(`in:${room}`, null);
  }

  draft(room: string): HalfTyped {
    const known = this.#halfTyped.get(room);
    if (known) return known;
    try {
      const kept = JSON.parse(this.#get(`half:${room}`) ?? "null");
      if (typeof kept?.text === "string") return kept;
    } catch {
      // Not ours, then.
    }
    return { text: "" };
  }

  keepDraft(room: string, draft: HalfTyped | null): void {
    const empty = !draft || (draft.text === "" && !draft.replyTo);
    if (empty) this.#halfTyped.set(room, { text: "" });
    else this.#halfTyped.set(room, draft);
    this.#set(`half:${room}`, empty ? null : JSON.stringify(draft));
  }

  /** True if another tab changed what was read. */
  storageChanged(key: string | null): boolean {
    return key?.startsWith(this.#key("read:")) ?? false;
  }

  #key(name: string): string {
    return `chinwag:${name.split(":")[0]}:${this.user}:${name.slice(name.indexOf(":") + 1)}`;
  }

  #get(name: string): string | null {
    try {
      return this.storage.getItem(this.#key(name));
    } catch {
      return null;
    }
  }

  #set(name: string, value: string | null): void {
    try {
      if (value === null) this.storage.removeItem(this.#key(name));
      else this.storage.setItem(this.#key(name), value);
    } catch {
      // Full or forbidden: it is kept in this tab only.
    }
  }
}
