// What is said, by people and by the bot, is Markdown, made into nodes that can do no harm. HTML in it is shown as the text that it is; what Markdown
// itself makes then goes through DOMPurify with a short list of what may be. The Content-Security-Policy is the wall
// behind that one.

import DOMPurify from "dompurify";
import { Marked } from "marked";
import { pieces, safeHref } from "./words.ts";

const escapes: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (text: string) => text.replace(/[&<>"']/g, (char) => escapes[char]!);

const marked = new Marked({
  gfm: true,
  breaks: true,
  async: false,
  renderer: {
    html: ({ text }) => escape(text),
    // Below the headings of the page, which has its own first and second.
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + 2);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    // No request ever goes to another site: a picture becomes the link to it.
    image: ({ href, text }) => (safeHref(href) ? `<a href="${escape(href)}">${escape(text || href)}</a>` : escape(text || href)),
  },
});

const ALLOWED = {
  ALLOWED_TAGS: [
    ..."p br hr strong em del code pre blockquote ul ol li a table thead tbody tr th td h1 h2 h3 h4 h5 h6 input".split(" "),
  ],
  ALLOWED_ATTR: ["href", "align", "start", "type", "checked", "disabled", "class"],
  ALLOWED_URI_REGEXP: /^https?:\/\//i,
  // No addresses: else what they say would be held against the line above.
  ADD_URI_SAFE_ATTR: ["align", "start", "type", "checked", "disabled"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
};

/** Nodes for a text. */
export function markdown(text: string): DocumentFragment {
  const fragment = DOMPurify.sanitize(marked.parse(text) as string, ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    const href = safeHref(link.getAttribute("href") ?? "");
    if (href) {
      link.target = "_blank";
      link.rel = "noopener noreferrer nofollow";
    } else {
      link.replaceWith(...link.childNodes);
    }
  }
  for (const marked of fragment.querySelectorAll("[class]")) {
    const language = /^language-[\w+#-]{1,24}$/.exec(marked.className);
    if (marked.tagName !== "CODE" || !language) marked.removeAttribute("class");
  }
  // Each piece runs the way of its own first letters.
  for (const piece of fragment.querySelectorAll("p, li, ul, ol, td, th, blockquote, h3, h4, h5, h6")) piece.setAttribute("dir", "auto");
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
        return name;
      }),
    );
  }
  return fragment;
}
