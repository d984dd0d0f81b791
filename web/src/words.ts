// What can be read out of a text without its Markdown: names, addresses, its words in one line. It is never anything but text: no
// HTML is made here.

/** What goes on with a name, by the server's own rule: letters of other scripts than Latin do not, since many set no blank before a word. */
export const OF_NAME = String.raw`(?:[_-]|(?=[\0-\u024f\u1e00-\u1eff])[\p{L}\p{N}])`;
const IS_OF_NAME = new RegExp(OF_NAME, "u");
export const isOfName = (char: string) => IS_OF_NAME.test(char);
const NAME = new RegExp(`(?<!${OF_NAME})@[a-z0-9_-]{3,32}(?!${OF_NAME})`, "giu");

/** Scripts in which words stand beside each other without a blank, or with endings that are no part of what they stand at: from Thai to Korean. */
export const UNSPACED = String.raw`[\u0e00-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\u{1b000}-\u{1b16f}\u{20000}-\u{3ffff}]`;
const BEGINS_UNSPACED = new RegExp(`^${UNSPACED}`, "u");
export const isUnspaced = (char: string) => BEGINS_UNSPACED.test(char);

const RIGHT_TO_LEFT = /[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const NOT_WORDS = new RegExp(`${NAME.source}|^/[a-z]+|https?://\\S+|\`[^\`]*\`|\\\\[a-z]+`, "giu");

export const hasRightToLeft = (text: string) => RIGHT_TO_LEFT.test(text);

/** Which way a text runs: that of its first letter, where names, commands, addresses and code are none of its words. */
export function directionOf(text: string): "ltr" | "rtl" | "auto" {
  const [letter] = /[\p{L}\u200e\u200f]/u.exec(text.replace(NOT_WORDS, " ")) ?? [];
  return !letter ? "auto" : RIGHT_TO_LEFT.test(letter) ? "rtl" : "ltr";
}

/** What a reader takes for characters: a letter with its marks, a family of four. Older browsers only know code points. */
const graphemes = Intl.Segmenter ? new Intl.Segmenter(undefined, { granularity: "grapheme" }) : null;

/** At most so many characters of a text; and of marks, of which one letter may have any number, no more than fit. */
export function beginning(text: string, most: number): string {
  const begin = text.slice(0, most * 16).replace(/[\ud800-\udbff]$/, "");
  let count = 0;
  for (const { index } of graphemes?.segment(begin) ?? []) if ((count += 1) > most) return begin.slice(0, index);
  return graphemes ? begin : [...begin].slice(0, most).join("");
}

/** Whether a name has in it what is looked for, in whatever width or form that was typed. */
export function isFound(name: string, wanted: string): boolean {
  const form = (text: string) => text.normalize("NFKC").toLowerCase().trim();
  return form(name).includes(form(wanted));
}

/** A text cut into names with an `@` before them, and what is between. */
export function pieces(text: string): { text: string; isName: boolean }[] {
  const found: { text: string; isName: boolean }[] = [];
  let done = 0;
  for (const { index, 0: name } of text.matchAll(NAME)) {
    if (index > done) found.push({ text: text.slice(done, index), isName: false });
    found.push({ text: name, isName: true });
    done = index + name.length;
  }
  if (done < text.length) found.push({ text: text.slice(done), isName: false });
  return found;
}

/** The address if it is one of the web's, else null: `javascript:` and its like are none. */
export function safeHref(link: string): string | null {
  try {
    const url = new URL(link);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

/** The words of a text in Markdown, in one line, for where there is no room to show it as it is meant. Roughly: for the eye only. */
export function unmarked(markdown: string): string {
  return markdown
    .replace(/^\s*(```|~~~).*$/gmu, "")
    .replace(/^\s*\|?[\s:|-]*-{3,}[\s:|-]*$/gmu, "")
    .replace(/^\s*\|(.*)\|\s*$/gmu, (_, cells: string) => cells.replaceAll("|", " "))
    .replace(/^\s*(#{1,6}|>|[-*+]|\d+\.)\s+/gmu, "")
    .replace(/!?\[([^\]]*)\]\([^)]*\)/gu, "$1")
    .replace(/(\*\*|__|~~|`)(?=\S)(.+?)(?<=\S)\1/gu, "$2")
    .replace(/(?<![\p{L}\p{N}*_])([*_])(?=\S)([^*_\n]+?)(?<=\S)\1(?![\p{L}\p{N}*_])/gu, "$2")
    .replace(/\s+/gu, " ")
    .trim();
}

/** The server names at most so many who are in a room. */
const PEOPLE_NAMED_MAX = 200;

/** Who is in a room beside the user, in a line; nothing if nobody is. */
export function whoIsHere(people: string[], user: string): string {
  const others = people.filter((name) => name !== user);
  if (others.length === 0) return "";
  const more = others.length - 3;
  const some = others.slice(0, 3).join(", ");
  if (people.length >= PEOPLE_NAMED_MAX) return `${some} and at least ${more} more are here`;
  return more > 0 ? `${some} and ${more} more are here` : `${some} ${others.length === 1 ? "is" : "are"} here`;
}

export const isMoreThanNamed = (people: string[]) => people.length >= PEOPLE_NAMED_MAX;
