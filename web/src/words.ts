// What can be read out of a text without its Markdown: names, addresses, its words in one line. It is never anything but text: no
// HTML is made here.

const NAME = /(?<![\p{L}\p{N}_-])@[a-z0-9_-]{3,32}(?![\p{L}\p{N}_-])/giu;

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
