// Blocks of code: a frame with a copy button around each, and colours, which come with the first of them.

import { copyText, h, icon } from "./dom.ts";
import { style } from "./later.ts";

/** What is longer is left as it is: to find its colours would take as long as a long answer. */
const COLOURED_MAX_CHARS = 20_000;

type Highlighter = typeof import("../highlight.ts");
let highlighter: Highlighter | null = null;
let loading: Promise<Highlighter> | null = null;

export type Say = (text: string) => void;

export function codeFrame(code: HTMLElement, language: string, say: Say): HTMLElement {
  const copy = h("button", { type: "button", class: "code-copy", "aria-label": "Copy the code" }, icon("copy"), h("span", null, "Copy"));
  copy.addEventListener("click", async () => say((await copyText(code.textContent ?? "")) ? "Code copied." : "The browser did not let this be copied."));
  const block = h("pre", { tabindex: "0", role: "group", "aria-label": language ? `Code, ${language}` : "Code", dir: "ltr" }, code);
  return h("div", { class: "code" }, h("div", { class: "code-bar" }, h("span", null, language), copy), block);
}

/** Puts a frame around each block of code, and lets wide tables scroll by themselves. */
export function withCode(fragment: DocumentFragment, say: Say): DocumentFragment {
  for (const block of fragment.querySelectorAll("pre")) {
    const code = block.querySelector("code") ?? h("code", null, block.textContent);
    const language = /language-(\S+)/.exec(code.className)?.[1] ?? "";
    block.replaceWith(codeFrame(code, language, say));
    if (language) void colour(code, language.toLowerCase());
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = h("div", { class: "table-frame", tabindex: "0", role: "group", "aria-label": "Table" });
    frame.dir = table.dir;
    table.replaceWith(frame);
    frame.append(table);
  }
  return fragment;
}

async function colour(code: HTMLElement, language: string): Promise<void> {
  const text = code.textContent ?? "";
  if (text.length > COLOURED_MAX_CHARS) return;
  try {
    // Beside this file, wherever that lies. At once where it is there already, so that nothing flickers.
    loading ??= import(new URL("highlight.js", import.meta.url).href) as Promise<Highlighter>;
    if (!highlighter) [highlighter] = await Promise.all([loading, style()]);
    const pieces = highlighter.pieces(text, language);
    if (pieces) code.replaceChildren(...pieces.map(({ text, kinds }) => (kinds.length > 0 ? h("span", { class: kinds.join(" ") }, text) : text)));
  } catch {
    // Code without colours is code. The next block tries again.
    loading = null;
  }
}
