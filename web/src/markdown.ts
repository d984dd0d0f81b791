// What is said, by people and by the bot, is Markdown, made into nodes that can do no harm. HTML in it is shown as the text that it is; what Markdown
// itself makes then goes through DOMPurify with a short list of what may be. The Content-Security-Policy is the wall
// behind that one.

import DOMPurify from "dompurify";
import type { Parser, Token, Tokens } from "marked";
import { FORMULA, reader, type Formula } from "./dialect.ts";
import { directionOf, hasRightToLeft, pieces, safeHref } from "./words.ts";

const escapes: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (text: string) => text.replace(/[&<>"']/g, (char) => escapes[char]!);

/** A cell has no other way to begin a line. */
const withBreaks = (tokens: Token[]): Token[] =>
  tokens.map((token) => {
    if (token.type === "html" && /^<br *\/?>$/i.test(token.raw)) return { type: "br", raw: token.raw };
    return "tokens" in token && token.tokens ? { ...token, tokens: withBreaks(token.tokens) } : token;
  });

const shown = {
  extensions: [
    {
      name: FORMULA,
      renderer(token: unknown) {
        const { raw, isBlock, isOpen } = token as Formula;
        const words = escape(raw.trim());
        const kind = isOpen ? "written" : isBlock || !raw.startsWith("\\(") ? "formula display" : "formula";
        const piece = `<span class="${kind}">${words}</span>`;
        return isBlock ? `<p>${piece}</p>` : piece;
      },
    },
  ],
  renderer: {
    tablecell(cell: Tokens.TableCell) {
      cell.tokens = withBreaks(cell.tokens);
      return false as const;
    },
    html: ({ text }: { text: string }) => escape(text),
    // Below the headings of the page, which has its own first and second.
    heading(this: { parser: Parser }, { tokens, depth }: Tokens.Heading) {
      const level = Math.min(6, depth + 2);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    // No request ever goes to another site: a picture becomes the link to it.
    image: ({ href, text }: Tokens.Image) => (safeHref(href) ? `<a href="${escape(href)}">${escape(text || href)}</a>` : escape(text || href)),
  },
};
const whole = reader(false).use(shown);
const growing = reader(true).use(shown);

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."p br hr strong em del code pre blockquote ul ol li a table thead tbody tr th td h1 h2 h3 h4 h5 h6 input span".split(" "),
  ],
  ALLOWED_ATTR: ["href", "align", "start", "type", "checked", "disabled", "class"],
  ALLOWED_URI_REGEXP: /^https?:\/\//i,
  // No addresses: else what they say would be held against the line above.
  ADD_URI_SAFE_ATTR: ["align", "start", "type", "checked", "disabled"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
};

/** Nodes for a text, or for the end of one that grows. */
export function markdown(text: string, grows = false): DocumentFragment {
  const fragment = DOMPurify.sanitize((grows ? growing : whole).parse(text) as string, ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    const href = safeHref(link.getAttribute("href") ?? "");
    if (href) {
      link.target = "_blank";
      link.rel = "noopener noreferrer nofollow";
      // An address runs the way of the web, and is none of the words around it.
      if (/^https?:/i.test(link.textContent)) link.dir = "ltr";
    } else {
      link.replaceWith(...link.childNodes);
    }
  }
  for (const marked of fragment.querySelectorAll("[class]")) {
    const language = /^language-[\w+#-]{1,24}$/.exec(marked.className);
    const isOurs = marked.tagName === "CODE" ? language !== null : marked.tagName === "SPAN";
    if (!isOurs) marked.removeAttribute("class");
  }
  for (const code of fragment.querySelectorAll<HTMLElement>("code")) code.dir = "ltr";
  for (const piece of fragment.querySelectorAll<HTMLElement>("p, td, th, h3, h4, h5, h6")) piece.dir = "auto";
  // What has other pieces in it runs the way of its first letters, which the browser does not find where those have their own.
  if (hasRightToLeft(text)) {
    for (const frame of fragment.querySelectorAll<HTMLElement>("li, ul, ol, table, blockquote")) {
      const words = frame.cloneNode(true) as HTMLElement;
      for (const code of words.querySelectorAll("code")) code.remove();
      frame.dir = directionOf(words.textContent);
    }
  }
  // Only the tick boxes of task lists, and those cannot be used.
  for (const input of fragment.querySelectorAll("input")) {
    const box = document.createElement("span");
    box.textContent = input.hasAttribute("checked") ? "☑ " : "☐ ";
    input.replaceWith(box);
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
