// What is said, by people and by the bot, is Markdown, and is made into nodes that can do no harm: each is made here, of a kind that
// stands here, with words that are only ever set as text. No HTML is put together anywhere, so none has to be made clean: what looks
// like it in a message is shown as the text that it is. The Content-Security-Policy is the wall behind that one.

import type { MarkedToken, Token } from "marked";
import { BEGUN, FORMULA, read, type Formula } from "./dialect.ts";
import { h } from "./view/dom.ts";
import { directionOf, hasRightToLeft, pieces, safeHref } from "./words.ts";

const reference = document.createElement("textarea");

/** A text with its `&nbsp;` and `&#8212;` read, each by itself: the browser knows all their names. */
const said = (text: string) =>
  text.replace(/&(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z][a-z\d]{1,31});/gi, (found) => {
    reference.innerHTML = found;
    return reference.value;
  });

type Piece = MarkedToken | Formula | { type: typeof BEGUN; tokens: Token[] };

/** Pieces within each other: anybody may write thousands of them, and browsers would lay them all out. */
const WITHIN_MAX = 60;
let within = 0;

function all(tokens: Token[] = [], isInLink = false): (Node | string)[] {
  if (within >= WITHIN_MAX) return tokens.map(({ raw }) => raw);
  within += 1;
  try {
    return tokens.flatMap((token) => made(token as Piece, isInLink));
  } finally {
    within -= 1;
  }
}

/** A cell has no other way to begin a line. */
const withBreaks = (tokens: Token[]): Token[] =>
  tokens.map((token) => {
    if (token.type === "html" && /^<br *\/?>$/i.test(token.raw)) return { type: "br", raw: token.raw };
    return "tokens" in token && token.tokens ? { ...token, tokens: withBreaks(token.tokens) } : token;
  });

function link(address: string, words: (Node | string)[]): (Node | string)[] {
  const href = safeHref(address);
  if (!href) return words;
  const made = h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, ...words);
  // An address runs the way of the web, and is none of the words around it.
  if (/^https?:/i.test(made.textContent)) made.dir = "ltr";
  return [made];
}

function made(piece: Piece, isInLink: boolean): (Node | string)[] {
  switch (piece.type) {
    case "paragraph":
      return [h("p", { dir: "auto" }, ...all(piece.tokens))];
    case "heading": {
      // Below the headings of the page, which has its own first and second.
      const level = Math.min(6, piece.depth + 2) as 3 | 4 | 5 | 6;
      return [h(`h${level}`, { dir: "auto" }, ...all(piece.tokens))];
    }
    case "strong":
    case "em":
    case "del":
    case "blockquote":
      return [h(piece.type, null, ...all(piece.tokens, isInLink))];
    case "hr":
    case "br":
      return [h(piece.type, null)];
    case "list":
      return [h(piece.ordered ? "ol" : "ul", { start: piece.ordered && piece.start !== 1 && piece.start }, ...piece.items.map(({ tokens }) => h("li", null, ...all(tokens))))];
    case "checkbox":
      return [piece.checked ? "☑ " : "☐ "];
    case "code": {
      const [language] = /^\S*/.exec(piece.lang ?? "")!;
      const words = piece.text ? `${piece.text.replace(/\n$/, "")}\n` : "";
      return [h("pre", null, h("code", { class: /^[\w+#-]{1,24}$/.test(language) && `language-${language}`, dir: "ltr" }, words))];
    }
    case "codespan":
      return [h("code", { dir: "ltr" }, piece.text)];
    case "table": {
      const row = (cells: typeof piece.header) => h("tr", null, ...cells.map(({ header, align, tokens }) => h(header ? "th" : "td", { align, dir: "auto" }, ...all(withBreaks(tokens)))));
      return [h("table", null, h("thead", null, row(piece.header)), piece.rows.length > 0 && h("tbody", null, ...piece.rows.map(row)))];
    }
    case "link":
      // One that was written as it is has nothing in it that stands for something else.
      return piece.autolink || piece.raw === piece.text ? link(piece.href, [piece.text]) : link(said(piece.href), all(piece.tokens, true));
    case "image": {
      // No request ever goes to another site: a picture becomes the link to it.
      const words = said(piece.text || piece.href);
      return isInLink ? [words] : link(said(piece.href), [words]);
    }
    case FORMULA: {
      const { isOpen, isBlock, raw } = piece as Formula;
      const shown = h("span", { class: isOpen ? "written" : isBlock || !raw.startsWith("\\(") ? "formula display" : "formula" }, isOpen ? "…" : raw.trim());
      return [isBlock ? h("p", { dir: "auto" }, shown) : shown];
    }
    case BEGUN:
      return [h("a", null, ...all(piece.tokens, true))];
    case "text":
      return "tokens" in piece && piece.tokens ? all(piece.tokens, isInLink) : [said(piece.text)];
    case "escape":
    case "html":
      return [piece.text];
    default:
      return [];
  }
}

/** Nodes for a text, or for the end of one that grows. */
export function markdown(text: string, grows = false): DocumentFragment {
  const fragment = document.createDocumentFragment();
  fragment.append(...all(read(text, grows)));
  // A name, or an address, may have been read in several pieces.
  fragment.normalize();
  // What has other pieces in it runs the way of its first letters, which the browser does not find where those have their own.
  if (hasRightToLeft(text)) {
    for (const frame of fragment.querySelectorAll<HTMLElement>("li, ul, ol, table, blockquote")) {
      const words = frame.cloneNode(true) as HTMLElement;
      for (const code of words.querySelectorAll("code")) code.remove();
      frame.dir = directionOf(words.textContent);
    }
  }
  return fragment;
}

/** The same for what somebody wrote: names with an `@` stand out, `user`'s own most of all. */
export function peopleMarkdown(text: string, user: string): DocumentFragment {
  const fragment = markdown(text);
  const texts = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const found: Text[] = [];
  while (texts.nextNode()) if (!texts.currentNode.parentElement?.closest("code, a")) found.push(texts.currentNode as Text);
  for (const node of found) {
    const cut = pieces(node.data);
    if (cut.every(({ isName }) => !isName)) continue;
    node.replaceWith(
      ...cut.map(({ text, isName }) => {
        if (!isName) return text;
        const name = document.createElement("span");
        name.className = text.toLowerCase() === `@${user}` ? "mention mention-me" : "mention";
        name.textContent = text;
        name.dir = "ltr";
        return name;
      }),
    );
  }
  return fragment;
}
