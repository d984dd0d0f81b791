// The bot's replies as they grow. A draft is live only: pieces of text with the place where each belongs, counted in
// characters (code points, which are not the units that JavaScript counts in).

import type { DraftFrame } from "./protocol.ts";

export interface Draft {
  id: string;
  replyTo: string;
  attempt: number;
  text: string;
  /** Its length in code points. */
  chars: number;
  /** True if the beginning was missed (a reload in the middle): the finished message will have it. */
  headless: boolean;
  /** When the last piece came, by `steadyNow`. */
  at: number;
  /** The user asked for it to stop. */
  stopping: boolean;
  /** An attempt of which something was seen broke off, and this is a later one. */
  brokeOff: boolean;
  /** What that one had said: it stands there until there is as much again, so that nobody's place in it goes away. */
  former: string;
  /** So many questions of the room come before this one, as the server says; null where it says nothing of that. */
  waiting: number | null;
}

/** So many characters of another attempt are enough to read on in. */
const ENOUGH_CHARS = 200;

/** What there is to be seen of a draft. */
export const shownOf = ({ text, chars, former }: Pick<Draft, "text" | "chars" | "former">): string => (chars < Math.min(countPoints(former), ENOUGH_CHARS) ? former : text);

/** Longer than the server's deadline for a reply: a draft that was silent for so long will not go on. */
export const DRAFT_SILENT_MS = 90_000;

export class Drafts {
  readonly #drafts = new Map<string, Draft>();

  all(): Draft[] {
    return [...this.#drafts.values()];
  }

  get(id: string): Draft | undefined {
    return this.#drafts.get(id);
  }

  /** A `draft` frame. True if it changed something. */
  receive(frame: DraftFrame, now: number): boolean {
    const known = this.#drafts.get(frame.id);
    if (known && frame.attempt < known.attempt) return false;
    const again = known && known.attempt === frame.attempt ? known : null;
    const added = countPoints(frame.text);
    if (!again) {
      this.#drafts.set(frame.id, {
        id: frame.id,
        replyTo: frame.reply_to,
        attempt: frame.attempt,
        text: frame.text,
        chars: frame.offset + added,
        headless: frame.offset > 0,
        at: now,
        stopping: known?.stopping ?? false,
        brokeOff: known !== undefined && (known.brokeOff || known.text !== ""),
        former: known ? shownOf(known) : "",
        waiting: frame.waiting ?? null,
      });
      return true;
    }
    again.at = now;
    const wasWaiting = again.waiting;
    again.waiting = frame.waiting ?? null;
    if (frame.offset === again.chars) {
      again.text += frame.text;
      again.chars += added;
      return frame.text !== "" || wasWaiting !== again.waiting;
    }
    if (frame.offset > again.chars) {
      // A piece is missing: show what there is from here on, and let the finished message say it all.
      again.text = frame.text;
      again.headless = true;
    } else if (frame.offset === 0) {
      again.text = frame.text;
      again.headless = false;
    } else {
      const missing = again.headless ? again.chars - countPoints(again.text) : 0;
      const keep = frame.offset - missing;
      again.text = keep > 0 ? takePoints(again.text, keep) + frame.text : frame.text;
    }
    again.chars = frame.offset + added;
    return true;
  }

  stopping(id: string): void {
    const draft = this.#drafts.get(id);
    if (draft) draft.stopping = true;
  }

  /** The finished reply is here. */
  finish(id: string): boolean {
    return this.#drafts.delete(id);
  }

  /** Lets go of drafts that will not go on. True if there were any. */
  expire(now: number): boolean {
    let any = false;
    for (const [id, draft] of this.#drafts) {
      if (now - draft.at > DRAFT_SILENT_MS) any = this.#drafts.delete(id) || any;
    }
    return any;
  }
}

function countPoints(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

function takePoints(text: string, count: number): string {
  let end = 0;
  for (const point of text) {
    if (count === 0) break;
    count -= 1;
    end += point.length;
  }
  return text.slice(0, end);
}
