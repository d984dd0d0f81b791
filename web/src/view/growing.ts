// An answer as it grows on the page: what is settled of it stays as it is, whatever comes after.

import { Blocks, isInCode, openCode, plain, steady } from "../blocks.ts";
import { isBegun } from "../dialect.ts";
import { h } from "./dom.ts";

export class Growing {
  readonly #blocks = new Blocks();
  #open = "";
  /** It ends in something that was begun and is not ended. */
  #begun = false;
  /** The first node of what is not settled. */
  #tail: Node | null = null;
  /** The block of code at the end that is not shut yet. */
  #code: { element: HTMLElement; language: string } | null = null;
  readonly #unread = document.createTextNode("");

  constructor(
    private readonly element: HTMLElement,
    private readonly make: (markdown: string, grows: boolean) => DocumentFragment,
    private readonly frame: (code: HTMLElement, language: string) => HTMLElement,
  ) {}

  show(text: string): void {
    const { anew, settled, open, unread } = this.#blocks.grow(steady(text));
    const code = openCode(open);
    if (anew) {
      this.element.replaceChildren();
      this.#tail = this.#code = null;
    }
    if (code && settled.length === 0 && this.#code?.language === code.language) {
      this.#unread.remove();
      merge(this.#code.element, this.#code.element.firstChild, h("code", null, code.code));
    } else if (open !== this.#open || settled.length > 0 || anew) {
      this.#unread.remove();
      const made = document.createDocumentFragment();
      for (const raw of settled) made.append(this.make(raw, false));
      const before = made.childNodes.length;
      const element = code && h("code", null, code.code);
      made.append(element ? this.frame(element, code.language) : this.make(open, true));
      this.#begun = !element && isBegun();
      this.#code = element && { element, language: code.language };
      this.#tail = merge(this.element, this.#tail, made, before);
    }
    this.#open = open;
    const inCode = isInCode(open);
    // Words behind something that was begun may belong to it.
    const shown = inCode ? unread.split(/\n[ \t>]*[`~]/, 1)[0]! : this.#begun ? "" : plain(open, unread);
    if (this.#unread.data !== shown) this.#unread.data = shown;
    if (shown && !this.#unread.isConnected) deepest(this.element, inCode).append(this.#unread);
  }

  /** It grows no more: what it says is known. */
  end(made: Element): void {
    this.#unread.remove();
    merge(this.element, this.element.firstChild, made);
  }
}

/**
 * Makes the nodes from `old` on into those that were made anew. What is the same stays, and what is selected in it; of a text only what differs is
 * put in. Gives back the node that stands at a place then.
 */
function merge(parent: Node, old: Node | null, made: Node, at = 0): Node | null {
  let found: Node | null = null;
  for (const [index, wanted] of [...made.childNodes].entries()) {
    const next: Node | null = old?.nextSibling ?? null;
    const stays = old !== null && becomes(old, wanted);
    if (index === at) found = stays ? old : wanted;
    if (!stays && old) parent.replaceChild(wanted, old);
    else if (!stays) parent.appendChild(wanted);
    old = next;
  }
  while (old) {
    const next: Node | null = old.nextSibling;
    parent.removeChild(old);
    old = next;
  }
  return found;
}

function becomes(old: Node, made: Node): boolean {
  if (old.isEqualNode(made)) return true;
  if (old instanceof Text && made instanceof Text) {
    let same = 0;
    while (same < old.length && old.data[same] === made.data[same]) same += 1;
    old.replaceData(same, old.length - same, made.data.slice(same));
    return true;
  }
  // Buttons and formulas know what they were made for.
  const isLike = old instanceof HTMLElement && !old.matches(".code, .formula") && old.cloneNode().isEqualNode(made.cloneNode());
  if (isLike) merge(old, old.firstChild, made);
  return isLike;
}

/** Where the next words belong: in the last paragraph, item or cell, and in a block of code only where that is not shut. */
function deepest(element: HTMLElement, inCode: boolean): HTMLElement {
  const last = element.lastElementChild;
  if (last?.matches(".code")) return inCode ? last.querySelector("code")! : element;
  return last instanceof HTMLElement && /^(UL|OL|LI|P|BLOCKQUOTE|DIV|TABLE|TBODY|TR|TD)$/.test(last.tagName) ? deepest(last, inCode) : element;
}
