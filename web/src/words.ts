// People's text cut into words, links and names. It is never anything but text: no HTML is made here.

export type Piece = { type: "text"; text: string } | { type: "link"; text: string; href: string } | { type: "mention"; text: string };

const SPECIAL = /(https?:\/\/[^\s<>"'`]+)|((?<![\p{L}\p{N}_-])@[a-z0-9_-]{3,32}(?![\p{L}\p{N}_-]))/giu;

/** Links are `http` and `https` alone, and end before a full stop or a bracket that closes the sentence around them. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let done = 0;
  const plain = (end: number) => {
    if (end > done) found.push({ type: "text", text: text.slice(done, end) });
  };
  for (const match of text.matchAll(SPECIAL)) {
    const at = match.index;
    let word = match[0];
    if (match[2]) {
      plain(at);
      found.push({ type: "mention", text: word });
    } else {
      word = trimLink(word);
      const href = safeHref(word);
      if (!href) continue;
      plain(at);
      found.push({ type: "link", text: word, href });
    }
    done = at + word.length;
  }
  plain(text.length);
  return found;
}

function trimLink(link: string): string {
  for (;;) {
    const last = link.at(-1)!;
    if (/[.,;:!?…*_~]/.test(last)) link = link.slice(0, -1);
    else if (last === ")" && count(link, "(") < count(link, ")")) link = link.slice(0, -1);
    else if (last === "]" && count(link, "[") < count(link, "]")) link = link.slice(0, -1);
    else return link;
  }
}

function count(text: string, char: string): number {
  return text.split(char).length - 1;
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
