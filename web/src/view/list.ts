// The list of messages: ten thousand rows, of which only those in view (and a little around) are in the page.
//
// What the reader looks at stays where it is, whatever is put in above, grows, or turns out higher than guessed: a row
// in view is the anchor, and after every change the list is scrolled so that it is where it was. At the end of the
// list the end is the anchor.

import { Heights } from "../heights.ts";
import type { Row } from "../rows.ts";
import { h } from "./dom.ts";

/** How much is made beyond what is seen, in pixels, so that scrolling does not show a blank. */
const AROUND_PX = 900;
/** Nearer than this to the end counts as being there. */
const END_PX = 48;
/** Nearer than this to the beginning of what is held: more is asked for. */
const EARLY_PX = 1_200;

export interface ListEvents {
  render(row: Row): HTMLElement;
  /** Brings a row that is in the page up to date, without taking its buttons from under the pointer; false if it must be made anew. */
  update(row: Row, element: HTMLElement): boolean;
  /** A text that differs whenever a row looks different. */
  looks(row: Row): string;
  /** Scrolled near the beginning or the end of what is held. */
  nearStart(): void;
  nearEnd(): void;
  /** Whether the end is in view changed, or how far away it is. */
  moved(atEnd: boolean): void;
}

export class List {
  readonly element: HTMLElement;
  readonly #items: HTMLElement;
  readonly #heights = new Heights();
  #rows: Row[] = [];
  #keys: string[] = [];
  /** Where the rows lie has to be reckoned again. */
  #stale = true;
  #shown = new Map<string, { element: HTMLElement; looks: string }>();
  #atEnd = true;
  /** Whether the last row is the last there is: only then is the end something to stay at. */
  #hasEnd = true;
  #anchor: { key: string; offset: number } | null = null;
  #width = 0;
  #frame = 0;

  constructor(private readonly events: ListEvents) {
    this.#items = h("ol", { class: "rows" });
    this.element = h("section", { class: "scroller", tabindex: "0", "aria-label": "Conversation" }, this.#items);
    this.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#resized()).observe(this.element);
    const grown = new ResizeObserver(() => this.draw());
    grown.observe(this.#items);
  }

  get atEnd(): boolean {
    return this.#atEnd;
  }

  /** Another room: begins at the end, or at a row. */
  reset(rows: Row[], at: string | null): void {
    this.#take(rows);
    this.#shown.clear();
    this.#items.replaceChildren();
    this.#heights.forget();
    this.#hasEnd = true;
    this.#atEnd = at === null;
    this.#anchor = at === null ? null : { key: at, offset: 80 };
    this.#update();
  }

  set(rows: Row[], hasEnd: boolean): void {
    this.#take(rows);
    this.#hasEnd = hasEnd;
    if (!hasEnd && this.#atEnd) {
      this.#atEnd = false;
      this.#noteAnchor();
    }
    this.draw();
  }

  #take(rows: Row[]): void {
    if (rows === this.#rows) return;
    this.#rows = rows;
    this.#keys = rows.map((row) => row.key);
    this.#stale = true;
  }

  /** At the next frame, however often it is asked for. */
  draw(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#update();
    });
  }

  toEnd(smooth = false): void {
    this.#atEnd = true;
    this.#anchor = null;
    const isNear = this.element.scrollHeight - this.element.scrollTop < this.element.clientHeight * 4;
    if (smooth && isNear && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.element.scrollTo({ top: this.element.scrollHeight, behavior: "smooth" });
    } else {
      this.#update();
    }
    this.events.moved(true);
  }

  /** Brings a row into view; false if it is not held. */
  reveal(key: string): boolean {
    if (!this.#rows.some((row) => row.key === key)) return false;
    this.#atEnd = false;
    this.#anchor = { key, offset: this.element.clientHeight / 3 };
    this.#update();
    this.#noteAnchor();
    const shown = this.#shown.get(key)?.element;
    shown?.classList.remove("revealed");
    requestAnimationFrame(() => shown?.classList.add("revealed"));
    shown?.querySelector<HTMLElement>("button")?.focus({ preventScroll: true });
    return true;
  }

  elementOf(key: string): HTMLElement | undefined {
    return this.#shown.get(key)?.element;
  }

  #resized(): void {
    if (this.element.clientWidth !== this.#width) {
      this.#width = this.element.clientWidth;
      this.#heights.forget();
      this.#stale = true;
    }
    this.#update();
  }

  #scrolled(): void {
    const atEnd = this.#isNearEnd();
    this.#atEnd = atEnd;
    this.#noteAnchor();
    this.draw();
    this.events.moved(atEnd);
  }

  #isNearEnd(): boolean {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    return this.#hasEnd && scrollHeight - scrollTop - clientHeight < END_PX;
  }

  #noteAnchor(): void {
    if (this.#atEnd) {
      this.#anchor = null;
      return;
    }
    const { scrollTop } = this.element;
    const index = this.#heights.at(scrollTop);
    const row = this.#rows[index];
    this.#anchor = row ? { key: row.key, offset: this.#heights.top(index) - scrollTop } : null;
  }

  /** Where the list has to be scrolled to for the anchor to be where it was. */
  #wanted(): number {
    const end = Math.max(0, this.#heights.total - this.element.clientHeight);
    if (this.#atEnd || !this.#anchor) return this.#atEnd ? end : this.element.scrollTop;
    const { key, offset } = this.#anchor;
    const index = this.#rows.findIndex((row) => row.key === key);
    if (index < 0) return this.element.scrollTop;
    return Math.max(0, Math.min(end, this.#heights.top(index) - offset));
  }

  #update(): void {
    const { clientHeight } = this.element;
    if (clientHeight === 0) return;
    const keys = this.#keys;
    // Rows that are made for the first time may be higher or lower than guessed: then once more.
    for (let round = 0; round < 6; round += 1) {
      if (this.#stale) this.#heights.set(keys, (index) => guessHeight(this.#rows[index]!, this.#width));
      this.#stale = false;
      const top = this.#wanted();
      const from = this.#heights.at(Math.max(0, top - AROUND_PX));
      const to = Math.min(this.#rows.length, this.#heights.at(top + clientHeight + AROUND_PX) + 1);
      this.#show(from, to);
      this.#items.style.height = `${this.#heights.total}px`;
      let news = false;
      for (let index = from; index < to; index += 1) {
        const key = keys[index]!;
        const { element } = this.#shown.get(key)!;
        news = this.#heights.measure(key, element.getBoundingClientRect().height) || news;
      }
      this.#stale = news;
      if (!news) break;
    }
    const top = this.#wanted();
    if (Math.abs(this.element.scrollTop - top) >= 1) this.element.scrollTop = top;
    // Short enough to be seen to its end, for example, without ever being scrolled.
    if (!this.#atEnd && this.#isNearEnd()) {
      this.#atEnd = true;
      this.#anchor = null;
      this.events.moved(true);
    }
    if (this.element.scrollTop < EARLY_PX) this.events.nearStart();
    if (this.#heights.total - this.element.scrollTop - clientHeight < EARLY_PX) this.events.nearEnd();
  }

  #show(from: number, to: number): void {
    const before = this.#shown;
    const focused = document.activeElement;
    this.#shown = new Map();
    let cursor: Element | null = this.#items.firstElementChild;
    const gone: Element[] = [];
    const wanted = new Set<string>();
    for (let index = from; index < to; index += 1) wanted.add(this.#rows[index]!.key);
    for (const [key, { element }] of before) if (!wanted.has(key)) gone.push(element);
    for (const element of gone) {
      if (element.contains(focused)) this.element.focus({ preventScroll: true });
      if (element === cursor) cursor = element.nextElementSibling;
      element.remove();
    }
    cursor = this.#items.firstElementChild;
    for (let index = from; index < to; index += 1) {
      const row = this.#rows[index]!;
      const looks = this.events.looks(row);
      const known = before.get(row.key);
      let element = known?.element;
      if (!element || (known?.looks !== looks && !this.events.update(row, element))) {
        const made = this.events.render(row);
        if (element) {
          if (element === cursor) cursor = made;
          const focusedName = element.contains(focused) ? focused?.getAttribute("aria-label") : null;
          element.replaceWith(made);
          if (focusedName) {
            const again = [...made.querySelectorAll<HTMLElement>("button")].find((button) => button.getAttribute("aria-label") === focusedName);
            (again ?? this.element).focus({ preventScroll: true });
          }
        }
        element = made;
      }
      if (element === cursor) cursor = cursor.nextElementSibling;
      else this.#items.insertBefore(element, cursor);
      element.style.setProperty("transform", `translateY(${this.#heights.top(index)}px)`);
      this.#shown.set(row.key, { element, looks });
    }
  }
}

/** Near enough for a scroll bar; what is in view is measured. */
function guessHeight(row: Row, width: number): number {
  if (row.type !== "message") return row.type === "draft" ? 90 : 48;
  const perLine = Math.max(20, Math.min(width - 90, 720) / 8);
  const lines = Math.ceil(row.text.length / perLine);
  return 14 + lines * 24 + (row.together ? 0 : 28) + (row.quote ? 30 : 0);
}
