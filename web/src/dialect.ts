// What Markdown means here, beyond what its reader knows: emphasis and links in scripts that set no blanks between words, only `~~`
// that strikes, formulas, and a line that breaks in a table's cell. Pure; the reader of an answer that grows has the same.

import { Marked, Tokenizer, type MarkedExtension, type Token, type Tokens } from "marked";
import { isUnspaced, UNSPACED } from "./words.ts";

export const FORMULA = "formula";
/** The words of a link of which the address is not there yet. */
export const BEGUN = "begun";

export interface Formula extends Tokens.Generic {
  type: typeof FORMULA;
  /** With its signs, as it was written. */
  raw: string;
  isBlock: boolean;
  /** It is not, or not yet, ended: whether it is one shows when it is. */
  isOpen: boolean;
}

const BEGINS = /\\[([]|\$\$/g;
const ENDS: Record<string, string> = { "\\(": "\\)", "\\[": "\\]", "$$": "$$" };
const BLANK_LINE = /\n[ \t]*\n/y;
/** What of each kind began last and was not ended: whatever begins behind it is not ended either, and need not be looked at. */
const unended: Record<string, string> = {};

/** The formula that a text begins with; nothing if it begins with none, null if that is not ended. By hand, since anybody may write what makes a pattern slow. */
function formulaAt(src: string): string | null {
  const begin = src.slice(0, 2);
  const end = ENDS[begin];
  if (!end) return "";
  if (unended[begin]?.endsWith(src)) return null;
  for (let at = 2; at < src.length; at += 1) {
    const char = src[at];
    if (src.startsWith(end, at)) return isFormula(src, at) ? src.slice(0, at + 2) : "";
    // A backslash goes with what comes after it.
    if (char === "\\") at += 1;
    else if (char === "$" && end === "$$") return "";
    else if (char === "\n") {
      BLANK_LINE.lastIndex = at;
      if (BLANK_LINE.test(src)) return "";
    }
  }
  unended[begin] = src;
  return null;
}

/**
 * Between `\[` and `\](` may be the words of a link. `$$` may be many other things: a formula has no blank at its edges, or at both and something of
 * mathematics or lines of its own.
 */
function isFormula(src: string, end: number): boolean {
  const words = src.slice(2, end);
  if (!words.trim() || (src[0] === "\\" && src[1] === "[" && src[end + 2] === "(")) return false;
  if (src[0] === "\\") return true;
  const begins = /^\s/.test(words);
  return src[end + 2] !== "$" && begins === /\s$/.test(words) && (!begins || /[\\^_=<>+*/{}\n]/.test(words));
}

/** Signs beside which emphasis begins or ends. */
const SIGN = String.raw`(?![*~])[\p{P}\p{S}]`;
const BEFORE_UNSPACED = new RegExp(`${SIGN}(?=[*~]+${UNSPACED})`, "gu");
const AFTER_UNSPACED = new RegExp(`(?<=${UNSPACED}[*~]+)${SIGN}`, "gu");
const UNSPACED_SIGN = new RegExp(`(?=${SIGN})${UNSPACED}`, "gu");
const letters = (found: string) => "a".repeat(found.length);

/** Emphasis begins and ends where blanks or signs are. Where no blanks are set, a sign beside a mark counts as a letter. */
function beside(src: string, before: string): string {
  const next = /^[*~]+(.)/su.exec(src)?.[1] ?? "";
  return isUnspaced(before) || isUnspaced(next) ? "" : before;
}

let masks = { before: "", from: 0, after: "" };

/** The marks within a formula are its own. In what comes here as masked, its backslashes are masked already. */
function withoutFormulas(masked: string, src: string): string {
  if (src.search(BEGINS) < 0) return masked;
  // Once for all marks of a piece.
  if (masks.before === masked && masks.from >= src.length) return masks.after;
  let after = masked.slice(0, masked.length - src.length);
  let done = 0;
  for (const { index } of src.matchAll(BEGINS)) {
    const raw = index < done ? "" : formulaAt(src.slice(index));
    if (!raw) continue;
    const from = masked.length - src.length;
    after += masked.slice(from + done, from + index) + letters(raw);
    done = index + raw.length;
  }
  after = done > 0 ? after + masked.slice(masked.length - src.length + done) : masked;
  masks = { before: masked, from: src.length, after };
  return after;
}

/** A host in letters without accents ends where a script without blanks begins; one in any letters has all that are there. */
const HOST = new RegExp(String.raw`^https?:\/\/(?:[a-z\d](?:[a-z\d.-]*[a-z\d])?(?:(?=[.-]*${UNSPACED})|(?![.-]*[\p{L}\p{M}\p{N}]))|[\p{L}\p{N}](?:[\p{L}\p{M}\p{N}.-]*[\p{L}\p{M}\p{N}])?)(?::\d+)?`, "iu");
/** What ends an address beside blanks: quotation marks, and the signs of other scripts than Latin. */
const STOPS = String.raw`\s<>"\u0589\u05be\u05c0\u05c3\u05f3\u05f4\u060c\u061b\u061f\u06d4\u0964\u0965\u2018-\u201f\u3000-\u3004\u3008-\u3020\u3030\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65`;
/** The words that come behind an address without a blank are none of it; those that a part of its path begins with are. */
const REST = new RegExp(String.raw`^[/?#](?!${UNSPACED})(?:(?!${UNSPACED})[^${STOPS}]|(?<=[/=&?#_+-])${UNSPACED}(?:(?![/=&?#])[^${STOPS}])*)*`, "u");

/** The address that a text begins with, without the signs that belong to the sentence. */
export function addressAt(src: string): string {
  const host = HOST.exec(src)?.[0] ?? "";
  const behind = src.slice(host.length);
  if (/^[^\s/]*@/.test(behind)) return "";
  const address = host + (REST.exec(behind)?.[0] ?? "");
  let unopened = address.split(")").length - address.split("(").length;
  let end = address.length;
  // By hand: a pattern would look through all of it again for each sign.
  for (; end > 0; end -= 1) {
    if (address[end - 1] === ")" && unopened > 0) unopened -= 1;
    else if (!"?!.,:;*_~'".includes(address[end - 1]!)) break;
  }
  return address.slice(0, end);
}

/** A text that grows, while it is read. */
let growth: string | null = null;
/** Something was begun in it that is not ended. */
let begins = false;

/** Things that are begun within each other: nobody means more, and each is read within the one before. */
const WITHIN_MAX = 8;
let within = 0;

function wordsWithin(lexer: Tokenizer["lexer"], words: string): Token[] {
  within += 1;
  try {
    return lexer.inlineTokens(words);
  } finally {
    within -= 1;
  }
}

const lastLine = (text: string) => text.trimEnd().slice(text.trimEnd().lastIndexOf("\n") + 1);

/** Whether nothing comes behind a piece of the text that is read: what is begun there may still be ended. */
const isAtEnd = (src: string) => growth !== null && within < WITHIN_MAX && growth.endsWith(lastLine(src));

/** Whether a mark that a piece begins with may be ended in it, by one that stands behind a word and in no code. */
const mayEnd = (src: string) => new RegExp(`[^\\s${src[0]}]\\${src[0]}`).test(src.replace(/`[^`]*`|\]\((?:[^()]|\([^()]*\))*\)/g, ""));

/** What is begun at the end of a text that grows is shown as what it is about to be; its sign alone is not shown, since it may be the half of another one. */
function begun(src: string, type: string, text: string, tokens?: Token[]): Tokens.Generic {
  begins = true;
  return { type: text ? type : "text", raw: src, text, ...(text && tokens ? { tokens } : {}) };
}

/** Emphasis that is not ended. A star between letters or numbers is most likely none. */
function begunEmphasis(lexer: Tokenizer["lexer"], src: string, before: string): Tokens.Generic | undefined {
  if (!isAtEnd(src)) return undefined;
  if (/^[*_~]+$/.test(src)) return begun(src, "text", "");
  const [, mark, next] = /^(\*{1,3}|_{1,2}|~~)([^\s*_~])/u.exec(src) ?? [];
  if (!mark || (/[\p{L}\p{N}]/u.test(before) && (mark === "*" || mark[0] === "_" || /[\p{P}\p{S}]/u.test(next!)))) return undefined;
  const words = src.slice(mark.length);
  const tokens = wordsWithin(lexer, words);
  if (mark.length === 3) return begun(src, "em", words, [{ type: "strong", raw: words, text: words, tokens }]);
  return begun(src, mark === "~~" ? "del" : mark.length === 1 ? "em" : "strong", words, tokens);
}

/** Quotations, lists, emphasis and links within each other: anybody may write thousands of them, and the reader calls itself for each. */
const NESTED_MAX = 30;
let nested = 0;

/** What would stand deeper than that is words with signs. */
function nesting<Found>(find: () => Found): Found | undefined {
  if (nested >= NESTED_MAX) return undefined;
  nested += 1;
  try {
    return find();
  } finally {
    nested -= 1;
  }
}

function dialect(grows: boolean): MarkedExtension {
  const formula = (raw: string, isBlock: boolean, isOpen = false) => ({ type: FORMULA, raw, isBlock, isOpen });
  return {
    gfm: true,
    breaks: true,
    async: false,
    hooks: {
      emStrongMask: (src: string) => src.replace(UNSPACED_SIGN, letters).replace(BEFORE_UNSPACED, letters).replace(AFTER_UNSPACED, letters),
    },
    extensions: [
      {
        name: `${FORMULA}s`,
        level: "block",
        start: (src: string) => /\n {0,3}(?=\\\[|\$\$)/.exec(src)?.index,
        tokenizer(src: string) {
          const begin = /^ {0,3}(?=\\\[|\$\$)/.exec(src)?.[0];
          if (begin === undefined) return undefined;
          const found = formulaAt(src.slice(begin.length));
          if (found === null) return grows ? formula(src, true, true) : undefined;
          const behind = /^[ \t]*(?:\n+|$)/.exec(src.slice(begin.length + found.length));
          return found && behind ? formula(begin + found + behind[0], true) : undefined;
        },
      },
      {
        name: FORMULA,
        level: "inline",
        start: (src: string) => {
          const at = src.search(BEGINS);
          return at < 0 ? undefined : at;
        },
        tokenizer(src: string) {
          const found = formulaAt(src);
          if (found) return formula(found, false);
          if (grows && found === null) return formula(src, false, true);
          // As it was written: to Markdown the backslash alone would go.
          return /^\\[()[\]]/.test(src) ? { type: "text", raw: src.slice(0, 2), text: src.slice(0, 2) } : undefined;
        },
      },
    ],
    tokenizer: {
      blockquote(src: string) {
        return nesting(() => Tokenizer.prototype.blockquote.call(this, src));
      },
      list(src: string) {
        return nesting(() => Tokenizer.prototype.list.call(this, src));
      },
      link(src: string) {
        return nesting(() => Tokenizer.prototype.link.call(this, src));
      },
      emStrong(src: string, masked: string, before = "") {
        const whole = nesting(() => Tokenizer.prototype.emStrong.call(this, src, withoutFormulas(masked, src), src.startsWith("*") ? beside(src, before) : before));
        return whole ?? (/^[*_]/.test(src) ? (begunEmphasis(this.lexer, src, before) as Tokens.Em | undefined) : undefined);
      },
      del(src: string, masked: string, before = "") {
        const whole = src.startsWith("~~") ? nesting(() => Tokenizer.prototype.del.call(this, src, masked, beside(src, before))) : undefined;
        return whole ?? (src.startsWith("~") ? (begunEmphasis(this.lexer, src, before) as Tokens.Del | undefined) : undefined);
      },
      codespan(src: string) {
        const whole = Tokenizer.prototype.codespan.call(this, src);
        const [, words] = (!whole && isAtEnd(src) && /^`+((?:[^`]|`+(?!`|$))*)/.exec(src)) || [];
        return words === undefined ? whole : (begun(src, "codespan", words.replaceAll("\n", " ")) as Tokens.Codespan);
      },
      // Also where a mark comes by that has none to end it: of such a one the reader itself asks nothing more.
      reflink(src: string, links: Parameters<Tokenizer["reflink"]>[1]) {
        if (/^[*_~]/.test(src) && isAtEnd(src) && !mayEnd(src)) return begunEmphasis(this.lexer, src, growth!.at(-src.trimEnd().length - 1) ?? "") as Tokens.Text | undefined;
        const whole = nesting(() => Tokenizer.prototype.reflink.call(this, src, links));
        const isLink = whole && whole.type !== "text";
        const [, words] = (!isLink && isAtEnd(src) && /^!?\[((?:[^[\]\\]|\\.)*)(?:\](?:\((?:[^()\n]|\([^()\n]*\))*(?:\([^()\n]*)?)?)?$/.exec(src)) || [];
        return words === undefined ? whole : (begun(src, BEGUN, words, wordsWithin(this.lexer, words)) as Tokens.Link);
      },
      // The first line of one, before the second says that it is one.
      table(src: string) {
        const whole = Tokenizer.prototype.table.call(this, src);
        const line = !whole && isAtEnd(src) && /^ {0,3}(\|[^\n]*?)\|?[ \t]*\n?$/.exec(src)?.[1];
        const cells = line ? line.replace(/\\./g, "").split("|").length - 1 : 0;
        const table = cells > 0 ? Tokenizer.prototype.table.call(this, `${line}|\n${"|-".repeat(cells)}|`) : undefined;
        return table ? { ...table, raw: src } : whole;
      },
      url(src: string) {
        const raw = addressAt(src);
        if (raw && raw.length === src.length && isAtEnd(src)) begins = true;
        return raw ? { type: "link", raw, text: raw, href: raw, tokens: [{ type: "text", raw, text: raw }] } : false;
      },
    },
  };
}

/** A reader of whole texts, or of the end of one that grows, in which what is begun may still be ended. */
export const reader = (grows: boolean) => new Marked(dialect(grows));
const whole = reader(false);
const growing = reader(true);

/** A text as it was written, in one paragraph. */
function asWritten(raw: string): Token[] {
  const lines = raw.split("\n").flatMap((text, index) => [...(index > 0 ? [{ type: "br", raw: "\n" }] : []), { type: "escape", raw: text, text }]);
  return [{ type: "paragraph", raw, text: raw, tokens: lines } as Token];
}

/**
 * What a text consists of, or the end of one that grows: there what is begun is taken for what it is about to be. One that cannot be read is
 * shown as it was written: a single message must not take the others from the page.
 */
export function read(text: string, grows = false): Token[] {
  begins = begins && !grows;
  growth = grows ? text.trimEnd() : null;
  try {
    return (grows ? growing : whole).lexer(text);
  } catch {
    return asWritten(text);
  } finally {
    growth = null;
  }
}

/** Whether something was begun, and not ended, in the text that grows and was read last. */
export const isBegun = () => begins;
