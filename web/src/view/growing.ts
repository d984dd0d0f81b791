// An answer as it grows on the page: what is settled of it stays as it is, whatever comes after.

import { Blocks, isInCode, openCode } from "../blocks.ts";
import { h } from "./dom.ts";

export class Growing {
  readonly #blocks = new Blocks();
  #open = "";
  #tail: Node[] = [];
  /** The block of code at the end that is not shut yet. */
  #code: { element: HTMLElement; language: string } | null = null;
  readonly #unread = document.createTextNode("");

  constructor(
    private readonly element: HTMLElement,
    private readonly make: (markdown: string) => DocumentFragment,
    private readonly frame: (code: HTMLElement, language: string) => HTMLElement,
  ) {}

  show(text: string): void {
    const { anew, settled, open, unread } = this.#blocks.grow(text);
    const code = openCode(open);
    if (anew) {
      this.#drop();
      this.element.replaceChildren();
    }
    if (code && settled.length === 0 && this.#code?.language === code.language) {
      this.#code.element.textContent = code.code;
    } else if (open !== this.#open || settled.length > 0 || anew) {
      this.#drop();
      for (const raw of settled) this.element.append(this.make(raw));
      this.#end(open, code);
    }
    this.#open = open;
    if (this.#unread.data !== unread) this.#unread.data = unread;
    if (unread && !this.#unread.isConnected) deepest(this.element, isInCode(open)).append(this.#unread);
  }

  /** Takes away what was not settled. */
  #drop(): void {
    this.#unread.remove();
    for (const node of this.#tail) node.parentNode?.removeChild(node);
    this.#tail = [];
    this.#code = null;
  }

  #end(open: string, code: { language: string; code: string } | null): void {
    if (code) {
      const element = h("code", null, code.code);
      this.#code = { element, language: code.language };
      this.#tail = [this.frame(element, code.language)];
    } else {
      this.#tail = [...this.make(open).childNodes];
    }
    this.element.append(...this.#tail);
  }
}

/** Where the next words belong: in the last paragraph, item or cell, and in a block of code only where that is not shut. */
function deepest(element: HTMLElement, inCode: boolean): HTMLElement {
  const last = element.lastElementChild;
  if (last?.matches(".code")) return inCode ? last.querySelector("code")! : element;
  return last instanceof HTMLElement && /^(UL|OL|LI|P|BLOCKQUOTE|DIV|TABLE|TBODY|TR|TD)$/.test(last.tagName) ? deepest(last, inCode) : element;
}
