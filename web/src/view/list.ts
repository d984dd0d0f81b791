// The list of messages: ten thousand rows, of which only those in view (and a little around) are in the page.
//
// What the reader looks at stays where it is, whatever is put in above, grows, or turns out higher than guessed: a row
// in view is the anchor, and after every change the list stands so that the anchor is where it was. At the end of the
// list the end is the anchor, until the reader moves up, by whatever means and however little.
//
// Who moved is known by where the list was last seen: a place in which neither this class nor a browser that fits the
// list into another height has put it is the reader's doing. While the reader moves, nothing is scrolled from here,
// since a browser then drops what is left of the movement, or reports later on a place from before: the rows are
// shifted instead, and once all is at rest the shift becomes scrolling, in one step that nobody sees.

import { Heights } from "../heights.ts";
import type { Row } from "../rows.ts";
import { h } from "./dom.ts";

/** How much is made beyond what is seen, in pixels, so that scrolling does not show a blank. */
const AROUND_PX = 900;
/** The end is in view when less than this is below: browsers round the place to the screen's pixels, and the height. */
const END_PX = 1.5;
/** Less than this is no movement, for the same reason. */
const MOVED_PX = 0.5;
/** So long after the last movement the reader is at rest. A wheel and a flung finger report one with every frame. */
const REST_MS = 120;
/** Nearer than this to the beginning or end of what is held: more is asked for; earlier for whoever has left the end. */
const EARLY_PX = 1_200;
const EARLY_MOVING_PX = 4_000;

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
  #keyOf = new WeakMap<Element, string>();
  #atEnd = true;
  /** Whether the last row is the last there is: only then is the end something to stay at. */
  #hasEnd = true;
  /** A row in view, and where it began when it was last looked at. */
  #anchor: { key: string; top: number } | null = null;
  /** The row that is to be brought to a height in the view. */
  #aim: { key: string; offset: number } | null = null;
  /** Where the list was scrolled to, and how high it was, when it was last looked at. */
  #placed = 0;
  #height = 0;
  #width = 0;
  /** By so much the rows stand higher than they should by the list's scrolling. */
  #shift = 0;
  /** The last row, and how high it was, when the reader began to move; null where that was not the room's end. */
  #aimed: { key: string; height: number } | null = null;
  /** A finger is on the list. */
  #held = false;
  #resting: ReturnType<typeof setTimeout> | null = null;
  /** The browser scrolls smoothly to the end, as it was told to. */
  #gliding = false;
  #frame = 0;
  readonly #grown = new ResizeObserver((entries) => {
    const isNews = ({ target, borderBoxSize }: ResizeObserverEntry) =>
      target.isConnected && this.#heights.isNews(this.#keyOf.get(target) ?? "", borderBoxSize[0]!.blockSize);
    if (entries.some(isNews)) this.draw();
  });

  constructor(private readonly events: ListEvents) {
    this.#items = h("ol", { class: "rows" });
    this.element = h("section", { class: "scroller", tabindex: "0", "aria-label": "Conversation" }, this.#items);
    this.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.element.addEventListener("touchstart", (event) => this.#touched(event), { passive: true });
    // End leads to the end, also where that turns out to lie further down than the browser saw when it set out for it.
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "End" || event.target !== this.element || !this.#hasEnd) return;
      event.preventDefault();
      this.toEnd();
    });
    new ResizeObserver(() => this.#resized()).observe(this.element);
  }

  get atEnd(): boolean {
    return this.#atEnd;
  }

  /** Another room: begins at the end, or at a row. */
  reset(rows: Row[], at: string | null): void {
    this.#take(rows);
    this.#shown.clear();
    this.#grown.disconnect();
    this.#items.replaceChildren();
    this.#heights.forget();
    this.#hasEnd = true;
    this.#atEnd = at === null;
    this.#anchor = null;
    this.#aim = at === null ? null : { key: at, offset: 80 };
    this.#stop();
    this.#update();
  }

  set(rows: Row[], hasEnd: boolean): void {
    // Before the rows are others: the reader may have moved in front of those that were there.
    this.#notice();
    this.#hasEnd = hasEnd;
    if (!hasEnd && this.#atEnd) {
      this.#atEnd = false;
      this.#noteAnchor();
    }
    this.#take(rows);
    this.#update();
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
    const isNear = this.#below() < this.element.clientHeight * 3;
    this.#stop();
    this.#atEnd = true;
    if (smooth && isNear && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.#gliding = true;
      this.#noteAnchor();
      this.#moves();
      this.element.scrollTo({ top: this.element.scrollHeight, behavior: "smooth" });
    } else {
      this.#update();
    }
    this.events.moved(true);
  }

  /** Brings a row into view; false if it is not held. */
  reveal(key: string): boolean {
    if (!this.#rows.some((row) => row.key === key)) return false;
    this.#stop();
    this.#atEnd = false;
    this.#aim = { key, offset: this.element.clientHeight / 3 };
    this.#update();
    const shown = this.#shown.get(key)?.element;
    shown?.classList.remove("revealed");
    requestAnimationFrame(() => shown?.classList.add("revealed"));
    shown?.querySelector<HTMLElement>("button")?.focus({ preventScroll: true });
    return true;
  }

  elementOf(key: string): HTMLElement | undefined {
    return this.#shown.get(key)?.element;
  }

  /** The row in which something of the page stands. */
  keyAt(target: EventTarget | null): string | null {
    const element = target instanceof Element ? target.closest(".row") : null;
    return (element && this.#keyOf.get(element)) ?? null;
  }

  #resized(): void {
    if (this.element.clientWidth !== this.#width) {
      this.#width = this.element.clientWidth;
      this.#heights.forget();
      this.#stale = true;
    }
    this.#update();
  }

  // --- the reader's movement ------------------------------------------------------------------------------------

  #scrolled(): void {
    this.#notice();
    this.draw();
  }

  /** Sees whether the reader moved since the list was last looked at. */
  #notice(): void {
    const { scrollTop, clientHeight } = this.element;
    // In another height the browser itself may have put the list where it fits.
    if (clientHeight !== this.#height) return;
    const by = scrollTop - this.#placed;
    if (Math.abs(by) < MOVED_PX) return;
    // A movement that takes a while goes to where the end was when it began.
    const last = this.#keys.length - 1;
    if (this.#resting === null) this.#aimed = this.#hasEnd && last >= 0 ? { key: this.#keys[last]!, height: this.#heights.total - this.#heights.top(last) } : null;
    this.#placed = scrollTop;
    this.#moves();
    if (by < 0) this.#gliding = false;
    // Whoever moves down does not leave the end, and comes to it, though it may have gone further meanwhile.
    const aimedTop = this.#aimed && by > 0 ? this.#topOf(this.#aimed.key) : null;
    const aimed = aimedTop === null ? Number.POSITIVE_INFINITY : aimedTop + this.#aimed!.height - this.#shift - this.#placed - this.#height;
    const below = Math.min(this.#below(), aimed);
    this.#atEnd = this.#hasEnd && ((by > 0 && this.#atEnd) || below < END_PX);
    this.#noteAnchor();
    this.events.moved(this.#atEnd);
  }

  /** Holds back all scrolling from here until nothing has moved for a while. */
  #moves(): void {
    if (this.#resting) clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      this.#resting = null;
      this.#gliding = false;
      this.draw();
    }, REST_MS);
  }

  #touched(event: TouchEvent): void {
    this.#held = true;
    // Where the finger came down, since that row may be taken out of the list before the finger goes up.
    const { target } = event;
    const lifted = ({ touches }: TouchEvent) => {
      if (touches.length > 0) return;
      for (const name of ["touchend", "touchcancel"]) target?.removeEventListener(name, lifted as EventListener);
      this.#held = false;
      this.#moves();
    };
    for (const name of ["touchend", "touchcancel"]) target?.addEventListener(name, lifted as EventListener);
  }

  /** Whatever movement there was, the list is about to be put somewhere. */
  #stop(): void {
    if (this.#resting) clearTimeout(this.#resting);
    this.#resting = null;
    this.#gliding = false;
    this.#aim = null;
    this.#placed = this.element.scrollTop;
  }

  // --- where the rows stand -------------------------------------------------------------------------------------

  /** How much there is below what is in view. */
  #below(): number {
    return this.#heights.total - this.#shift - this.#placed - this.#height;
  }

  #noteAnchor(): void {
    let index = this.#heights.at(this.#placed + this.#shift);
    // The dots and the line "New" go away by themselves: nothing to hold on to.
    while (index < this.#rows.length - 1 && !["message", "draft"].includes(this.#rows[index]!.type)) index += 1;
    const row = this.#rows[index];
    this.#anchor = row ? { key: row.key, top: this.#heights.top(index) } : null;
  }

  #topOf(key: string): number | null {
    const index = this.#keys.indexOf(key);
    return index < 0 ? null : this.#heights.top(index);
  }

  /** How far from the first row's top the view has to begin. */
  #wanted(): number {
    const end = Math.max(0, this.#heights.total - this.#height);
    let place = this.#placed + this.#shift;
    if (this.#aim) place = (this.#topOf(this.#aim.key) ?? place) - this.#aim.offset;
    else if (this.#atEnd && !this.#gliding) place = end;
    else if (this.#anchor) place += (this.#topOf(this.#anchor.key) ?? this.#anchor.top) - this.#anchor.top;
    return Math.max(0, Math.min(end, place));
  }

  #update(): void {
    if (this.element.clientHeight === 0) return;
    this.#notice();
    this.#height = this.element.clientHeight;
    const keys = this.#keys;
    // Rows that are made for the first time may be higher or lower than guessed: then once more.
    for (let round = 0; round < 6; round += 1) {
      if (this.#stale) this.#heights.set(keys, (index) => guessHeight(this.#rows[index]!, this.#width));
      this.#stale = false;
      const top = this.#wanted();
      const from = this.#heights.at(Math.max(0, top - AROUND_PX));
      const to = Math.min(this.#rows.length, this.#heights.at(top + this.#height + AROUND_PX) + 1);
      this.#show(from, to);
      let news = false;
      for (let index = from; index < to; index += 1) {
        const key = keys[index]!;
        const { element } = this.#shown.get(key)!;
        news = this.#heights.measure(key, element.getBoundingClientRect().height) || news;
      }
      this.#stale = news;
      if (!news) break;
    }
    const place = this.#put(this.#wanted());
    // Short enough to be seen to its end, for example, without ever being scrolled.
    if (!this.#atEnd && this.#hasEnd && this.#below() < END_PX) {
      this.#atEnd = true;
      this.events.moved(true);
    }
    this.#noteAnchor();
    const early = this.#atEnd ? EARLY_PX : EARLY_MOVING_PX;
    if (place < early) this.events.nearStart();
    if (this.#heights.total - place - this.#height < early) this.events.nearEnd();
  }

  /** Has the view begin at a place: by shifting the rows while the reader moves, by scrolling otherwise. */
  #put(place: number): number {
    const isFollowing = this.#atEnd && !this.#gliding;
    const isMoving = this.#held || this.#resting !== null;
    // At the very top there is no movement left to be lost, and what is above would be out of reach.
    const isStuck = this.#placed <= 0 && place > 0 && !this.#held;
    const isShifted = isMoving && !isFollowing && !isStuck && this.#aim === null;
    this.#shift = isShifted ? place - this.#placed : 0;
    this.#aim = null;
    this.#items.style.height = `${Math.ceil(this.#heights.total - this.#shift)}px`;
    this.#items.style.transform = this.#shift === 0 ? "" : `translateY(${-this.#shift}px)`;
    if (!isShifted && Math.abs(this.element.scrollTop - place) >= (isFollowing ? END_PX : MOVED_PX)) this.element.scrollTop = place;
    this.#placed = this.element.scrollTop;
    return place;
  }

  #show(from: number, to: number): void {
    const before = this.#shown;
    const { activeElement } = document;
    const focused = this.#items.contains(activeElement) ? activeElement : null;
    this.#shown = new Map();
    let cursor: Element | null = this.#items.firstElementChild;
    const gone: Element[] = [];
    const wanted = new Set<string>();
    for (let index = from; index < to; index += 1) wanted.add(this.#rows[index]!.key);
    for (const [key, { element }] of before) if (!wanted.has(key)) gone.push(element);
    for (const element of gone) {
      if (focused && element.contains(focused)) this.element.focus({ preventScroll: true });
      if (element === cursor) cursor = element.nextElementSibling;
      this.#grown.unobserve(element);
      element.remove();
    }
    cursor = this.#items.firstElementChild;
    for (let index = from; index < to; index += 1) {
      const row = this.#rows[index]!;
      const looks = this.events.looks(row);
      const known = before.get(row.key);
      let element = known?.element;
      const isFocused = focused !== null && element?.contains(focused);
      if (!element || (known?.looks !== looks && !this.events.update(row, element))) {
        const made = this.events.render(row);
        if (element) {
          if (element === cursor) cursor = made;
          this.#grown.unobserve(element);
          element.replaceWith(made);
        }
        element = made;
        this.#keyOf.set(made, row.key);
        this.#grown.observe(made);
      }
      if (element === cursor) cursor = cursor.nextElementSibling;
      else this.#items.insertBefore(element, cursor);
      if (isFocused && document.activeElement !== focused) refocus(element, focused);
      element.style.setProperty("transform", `translateY(${this.#heights.top(index)}px)`);
      this.#shown.set(row.key, { element, looks });
    }
  }
}

/** What had the focus has it again, also in a row that was made anew; if it is gone, or off, the row itself has it. */
function refocus(row: HTMLElement, had: Element): void {
  if (had instanceof HTMLElement && row.contains(had)) return had.focus({ preventScroll: true });
  const nameOf = (element: Element) => element.getAttribute("aria-label") ?? element.textContent;
  const again = [...row.querySelectorAll<HTMLElement>("button:enabled, a")].find((one) => one.tagName === had.tagName && nameOf(one) === nameOf(had));
  if (!again) row.tabIndex = -1;
  (again ?? row).focus({ preventScroll: true });
}

/** Near enough for a scroll bar; what is in view is measured. */
function guessHeight(row: Row, width: number): number {
  if (row.type !== "message") return row.type === "draft" ? 90 : 48;
  const perLine = Math.max(20, Math.min(width - 90, 720) / 8);
  const lines = Math.ceil(row.text.length / perLine);
  return 14 + lines * 24 + (row.together ? 0 : 28) + (row.quote ? 30 : 0);
}
