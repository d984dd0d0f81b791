// A text in Markdown that grows, cut into the blocks it is made of: those that can change no more are settled, and only what comes
// after them is read again. Pure: what is made of the blocks is the page's affair.

import { read } from "./dialect.ts";

export interface Growth {
  /** The text began anew: nothing of what was settled before holds. */
  anew: boolean;
  /** Blocks that were settled now, as they were written. */
  settled: string[];
  /** What is not settled, as far as it was read. */
  open: string;
  /** What came after that: a few words, to be shown as they are until it is worth reading all of the open part again. */
  unread: string;
}

/** So much of an open part may have grown before it is read again: a long list must not be read for each of its words. */
const UNREAD_PART = 1 / 24;

/** A line that consists of signs alone, or of a number: what it is shows when more of it is there. */
const SIGNS = /^[ \t>]*(?![ \t>])(?:[-*+=_#|:`~ \t]*|(?:[-*+]|\d{1,9}[.)]?)[ \t]*(?:\[[ xX]?\]?[ \t]*)?)$/;
/** One that begins a block of code: its language may not be whole. */
const FENCE = /^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?(?:`{3,}[^`]*|~{3,}.*)$/;
/** A line in a paragraph that the one below it may make the first of a table. */
const TABLE = /(?:^|\n)(?! {0,3}\|)(?=[^\n]*\S)[^\n]*\n( {0,3}\|[^\n]*(?:\n[ \t|:-]*)?)$/;
/** The beginning of a sign that is written in several characters, or that may go with what comes behind it. */
const HALF = /(?:&#?\w{0,31}|\\\$*|(?<!\$)\$+|(?<=https?):\/{0,2}|(?<=^|\s)!|<(?:b(?:r *\/?)?)?)$/i;
/** Longer than what any of these may be. */
const LINES_MAX_CHARS = 2_000;

/**
 * What of a text that grows can be shown: all but its last few characters, where those may turn out to be signs and not words. So nothing
 * that was shown goes away again.
 */
export function steady(text: string): string {
  const from = text.lastIndexOf("\n") + 1;
  const line = text.slice(from);
  if (isInCode(text.slice(0, from))) return /^[ \t>]*(?:`+|~+)[ \t]*$/.test(line) ? text.slice(0, from) : text;
  if (FENCE.test(line)) return text.slice(0, from);
  const table = TABLE.exec(text.slice(-LINES_MAX_CHARS))?.[1];
  if (table) return text.slice(0, -table.length);
  if (SIGNS.test(line)) return text.slice(0, from);
  return text.slice(0, from) + line.replace(HALF, "");
}

/** What of a text that was not read yet is words and nothing else, and goes on with what was read. */
export const plain = (open: string, unread: string) => open.slice(open.trimEnd().length).includes("\n") ? "" : unread.split(/[/*_`~[\]<>&!|\\$\n#:]/, 1)[0]!;

export class Blocks {
  /** Characters that were read, in all: what a test counts. */
  charsRead = 0;
  #done = "";
  #open = "";

  grow(text: string): Growth {
    const anew = !text.startsWith(this.#done);
    if (anew) this.#done = this.#open = "";
    let rest = text.slice(this.#done.length);
    const known = rest.startsWith(this.#open) ? this.#open.length : 0;
    const isCode = openCode(rest) !== null;
    // It is read again when enough of it is new, which is at once where it is short.
    if (known > 0 && !isCode && rest.length - known < known * UNREAD_PART) return { anew, settled: [], open: this.#open, unread: rest.slice(known) };
    const settled: string[] = [];
    // Nothing inside a fence that is not shut can be settled.
    if (!isCode) {
      this.charsRead += rest.length;
      const tokens = read(rest, true);
      // The last block may go on, and what is behind it too; a blank line alone does not end a list.
      let last = tokens.length - 1;
      while (last > 0 && tokens[last]!.type === "space") last -= 1;
      // Characters may be written otherwise there: then nothing is settled before the end.
      const isTrue = rest.startsWith(tokens.map(({ raw }) => raw).join(""));
      for (const { raw } of isTrue ? tokens.slice(0, Math.max(0, last)) : []) {
        settled.push(raw);
        rest = rest.slice(raw.length);
      }
    }
    this.#done += settled.join("");
    this.#open = rest;
    return { anew, settled: settled.filter((raw) => raw.trim() !== ""), open: rest, unread: "" };
  }
}

/** A block of code that was begun and not ended: its language, and what is there of it. */
export function openCode(text: string): { language: string; code: string } | null {
  const fence = /^ {0,3}(`{3,}|~{3,})([^`\n]*)(?:\n|$)/.exec(text);
  if (!fence) return null;
  const code = text.slice(fence[0].length);
  const [mark] = fence[1]!;
  if (new RegExp(`^ {0,3}${mark}{${fence[1]!.length},} *$`, "m").test(code)) return null;
  return { language: /^[\w+#-]{1,24}/.exec(fence[2]!.trim())?.[0] ?? "", code };
}

/** Whether a text ends within a block of code, which may stand in an item of a list or in a quotation. */
export function isInCode(text: string): boolean {
  let fence = "";
  for (const [, mark, rest] of text.matchAll(/^[ \t>*+-]*(?:\d+[.)][ \t]+)?(`{3,}|~{3,})(.*)$/gm)) {
    if (fence === "") fence = mark!;
    else if (mark!.startsWith(fence) && rest!.trim() === "") fence = "";
  }
  return fence !== "";
}
