// What Markdown means here, beyond what its reader knows: emphasis and links in scripts that set no blanks between words, only `~~`
// that strikes, formulas, and a line that breaks in a table's cell. Pure; the reader of an answer that grows has the same.

import { Marked, Tokenizer, type MarkedExtension, type Tokens } from "marked";
import { isUnspaced, UNSPACED } from "./words.ts";

export const FORMULA = "formula";

export interface Formula extends Tokens.Generic {
  type: typeof FORMULA;
  /** With its signs, as it was written. */
  raw: string;
  isBlock: boolean;
  /** It is not, or not yet, ended: it is shown as it was written. */
  isOpen: boolean;
}

const BEGINS = /\\\(|\\\[|\$\$/;
/** Within a formula a backslash goes with what comes after it, and there is no blank line. */
const inner = (more: string) => String.raw`(?:(?!\n[ \t]*\n)(?:\\[^]|[^\\${more}]))`;
const endedBy = (end: string, more = "") => String.raw`(?:(?!${end})${inner(more)})+${end}`;
const ROUND = String.raw`\\\(${endedBy(String.raw`\\\)`)}`;
// A link's brackets may be masked.
const SQUARE = String.raw`\\\[${endedBy(String.raw`\\\]`)}(?!\()`;
const DOLLARS = String.raw`\$\$(?!\$)${endedBy(String.raw`\$\$`, "$")}(?!\$)`;
const INLINE = new RegExp(`^(?:${ROUND}|${SQUARE}|${DOLLARS})`);
const ALL = new RegExp(`${ROUND}|${SQUARE}|${DOLLARS}`, "g");
const BLOCK = new RegExp(`^ {0,3}(${SQUARE}|${DOLLARS})[ \\t]*(?:\\n+|$)`);
const OPEN = new RegExp(`^(?:${BEGINS.source})${inner("")}*$`);
const OPEN_BLOCK = new RegExp(String.raw`^ {0,3}(?:\\\[|\$\$)${inner("")}*$`);

/** `$$` may be many other things: a formula has no blank at its edges, or at both and something of mathematics or lines of its own. */
function isFormula(raw: string): boolean {
  if (!raw.startsWith("$")) return true;
  const words = raw.slice(2, -2);
  const begins = /^\s/.test(words);
  return begins === /\s$/.test(words) && (!begins || /[\\^_=<>+*/{}\n]/.test(words));
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

/** The marks within a formula are its own. In what comes here as masked, its backslashes are masked already. */
function withoutFormulas(masked: string, src: string): string {
  const done = masked.length - src.length;
  for (const { index, 0: raw } of src.matchAll(ALL)) masked = masked.slice(0, done + index) + letters(raw) + masked.slice(done + index + raw.length);
  return masked;
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
  let address = host + (REST.exec(behind)?.[0] ?? "");
  for (;;) {
    const [signs] = /[?!.,:;*_~']+$/.exec(address) ?? (address.split(")").length > address.split("(").length ? /\)$/.exec(address) : null) ?? [];
    if (!signs) return address;
    address = address.slice(0, -signs.length);
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
          const [raw, words] = BLOCK.exec(src) ?? [];
          if (raw && isFormula(words!)) return formula(raw, true);
          const [open] = (grows && !INLINE.test(src.trimStart()) && OPEN_BLOCK.exec(src)) || [];
          return open ? formula(open, true, true) : undefined;
        },
      },
      {
        name: FORMULA,
        level: "inline",
        start: (src: string) => BEGINS.exec(src)?.index,
        tokenizer(src: string) {
          const raw = INLINE.exec(src)?.[0];
          if (raw && isFormula(raw)) return formula(raw, false);
          if (grows && !raw && OPEN.test(src)) return formula(src, false, true);
          // As it was written: to Markdown the backslash alone would go.
          return /^\\[()[\]]/.test(src) ? { type: "text", raw: src.slice(0, 2), text: src.slice(0, 2) } : undefined;
        },
      },
    ],
    tokenizer: {
      emStrong(src: string, masked: string, before = "") {
        return Tokenizer.prototype.emStrong.call(this, src, withoutFormulas(masked, src), src.startsWith("*") ? beside(src, before) : before);
      },
      del(src: string, masked: string, before = "") {
        return src.startsWith("~~") ? Tokenizer.prototype.del.call(this, src, masked, beside(src, before)) : undefined;
      },
      url(src: string) {
        const raw = addressAt(src);
        return raw ? { type: "link", raw, text: raw, href: raw, tokens: [{ type: "text", raw, text: raw }] } : false;
      },
    },
  };
}

/** A reader of whole texts, or of the end of one that grows, in which what is begun may still be ended. */
export const reader = (grows: boolean) => new Marked(dialect(grows));
