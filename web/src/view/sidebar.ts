// The list of rooms: one's own first, then by what was said last, then the public ones one has not gone into.

import type { Chat } from "../chat.ts";
import type { Room } from "../room.ts";
import { inOneLine } from "../rows.ts";
import { avatar, h, icon, iconButton, mark } from "./dom.ts";
import { shortTime } from "./times.ts";

/** Below so many rooms nobody has to search. */
const FILTER_FROM = 8;

export interface SidebarEvents {
  open(room: string): void;
  newRoom(): void;
  settings(): void;
}

export class Sidebar {
  readonly element: HTMLElement;
  readonly #mine = h("ul", { class: "room-list" });
  readonly #others = h("ul", { class: "room-list" });
  readonly #othersTitle = h("h2", { class: "side-title", id: "others-title" }, "Open to everybody");
  readonly #filter: HTMLInputElement;
  #drawn = new Map<string, { element: HTMLElement; looks: string }>();

  constructor(
    private readonly chat: Chat,
    private readonly events: SidebarEvents,
  ) {
    this.#filter = h("input", {
      class: "input room-filter",
      type: "search",
      "aria-label": "Find a room",
      placeholder: "Find a room",
      autocomplete: "off",
      hidden: true,
    });
    this.#filter.addEventListener("input", () => this.draw());
    this.#filter.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this.#filter.value = "";
        this.draw();
      }
      if (event.key !== "Enter") return;
      const first = this.element.querySelector<HTMLElement>(".room-link");
      if (first?.dataset.room) this.events.open(first.dataset.room);
    });
    this.element = h(
      "aside",
      { class: "side", id: "side", "aria-label": "Rooms and account" },
      h("header", { class: "side-head" }, mark("mark-small"), h("span", { class: "brand-small" }, "Chinwag"), iconButton("plus", "New room", () => events.newRoom())),
      this.#filter,
      h(
        "nav",
        { class: "side-rooms", "aria-label": "Rooms" },
        h("h2", { class: "side-title" }, "Your rooms"),
        this.#mine,
        this.#othersTitle,
        this.#others,
      ),
      h(
        "button",
        { type: "button", class: "me", onclick: () => events.settings() },
        avatar(chat.user),
        h("span", { class: "me-name" }, chat.user, h("span", { class: "sr-only" }, ": devices and settings")),
        icon("gear"),
      ),
    );
    this.element.addEventListener("click", (event) => {
      const link = (event.target as Element).closest<HTMLElement>(".room-link");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      this.#filter.value = "";
      events.open(link.dataset.room!);
    });
  }

  find(): void {
    this.#filter.hidden = false;
    this.#filter.focus();
  }

  /** The names in the order in which they are shown, for going up and down. */
  get order(): string[] {
    return [...this.element.querySelectorAll<HTMLElement>(".room-link")].map((link) => link.dataset.room!);
  }

  draw(): void {
    const { chat } = this;
    const wanted = this.#filter.value.trim().toLowerCase();
    const rooms = [...chat.rooms.values()].filter((room) => room.info && (wanted === "" || room.name.includes(wanted)));
    const mine = rooms.filter((room) => chat.isMine(room));
    const others = rooms.filter((room) => !chat.isMine(room));
    mine.sort((a, b) => Number(b.name === chat.user) - Number(a.name === chat.user) || lastSeq(b) - lastSeq(a) || (a.name < b.name ? -1 : 1));
    others.sort((a, b) => (a.name < b.name ? -1 : 1));
    const before = this.#drawn;
    this.#drawn = new Map();
    place(this.#mine, mine.map((room) => this.#link(room, true, before)));
    place(this.#others, others.map((room) => this.#link(room, false, before)));
    this.#othersTitle.hidden = others.length === 0;
    if (rooms.length >= FILTER_FROM) this.#filter.hidden = false;
  }

  #link(room: Room, isMine: boolean, before: Map<string, { element: HTMLElement; looks: string }>): HTMLElement {
    const { chat } = this;
    const isCurrent = room === chat.current;
    const unread = isMine ? room.unread(chat.user) : 0;
    const latest = room.latest();
    const isOwnRoom = room.name === chat.user;
    let line = isOwnRoom ? "Only you and the bot" : isMine ? "Nothing said yet" : `by ${room.info!.owner}`;
    if (isMine && latest) line = `${latest.sender === chat.user ? "you" : latest.sender}: ${inOneLine(latest, 80)}`;
    const time = isMine && latest ? shortTime(latest.seq / 1_000) : "";
    const looks = JSON.stringify([isCurrent, unread, line, time, room.info!.private, isMine]);
    const known = before.get(room.name);
    if (known?.looks === looks) {
      this.#drawn.set(room.name, known);
      return known.element;
    }
    const count = unread > 99 ? "99+" : String(unread);
    const link = h(
      "a",
      { class: "room-link", href: `/rooms/${encodeURIComponent(room.name)}`, "data-room": room.name, "aria-current": isCurrent && "page" },
      avatar(room.name, isOwnRoom),
      h(
        "span",
        { class: "room-words" },
        h("span", { class: "room-name" }, h("span", { class: "room-title" }, isOwnRoom ? "You and the bot" : room.name), room.info!.private && !isOwnRoom && icon("lock", "icon icon-tiny"), room.info!.private && !isOwnRoom && h("span", { class: "sr-only" }, "private"), h("span", { class: "room-time" }, time)),
        h("span", { class: "room-line" }, h("span", { class: "room-last" }, line), unread > 0 && h("span", { class: "badge" }, count, h("span", { class: "sr-only" }, " unread"))),
      ),
    );
    const element = h("li", null, link);
    if (known?.element.contains(document.activeElement)) requestAnimationFrame(() => link.focus({ preventScroll: true }));
    this.#drawn.set(room.name, { element, looks });
    return element;
  }
}

function lastSeq(room: Room): number {
  return room.latest()?.seq ?? 0;
}

/** Puts elements in order without touching those that are where they should be. */
function place(list: HTMLElement, wanted: HTMLElement[]): void {
  const keep = new Set(wanted);
  for (const child of [...list.children]) if (!keep.has(child as HTMLElement)) child.remove();
  wanted.forEach((element, index) => {
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
}

