// The list of rooms: one's own first, then by what was said last, then the public ones one has not gone into.

import type { Chat } from "../chat.ts";
import { titleOf, type Room } from "../room.ts";
import { inOneLine } from "../rows.ts";
import { addressOf } from "../base.ts";
import { directionOf, isFound } from "../words.ts";
import { avatar, h, icon, iconButton, isComposing, mark, setText } from "./dom.ts";
import { shortTime } from "./times.ts";

/** Below so many rooms nobody has to search. */
const FILTER_FROM = 8;

export interface SidebarEvents {
  open(room: string): void;
  newRoom(): void;
  settings(): void;
}

interface Line {
  readonly element: HTMLElement;
  readonly link: HTMLElement;
  looks: string;
}

export class Sidebar {
  readonly element: HTMLElement;
  readonly #mine = h("ul", { class: "room-list" });
  readonly #others = h("ul", { class: "room-list" });
  readonly #invited = h("ul", { class: "room-list" });
  readonly #invitedTitle = h("h2", { class: "side-title" }, "Invitations");
  readonly #more = h("button", { type: "button", class: "side-more", hidden: true, onclick: () => void this.chat.loadMoreRooms() }, "More rooms");
  readonly #othersTitle = h("h2", { class: "side-title", id: "others-title" }, "Open to everybody");
  readonly #filter: HTMLInputElement;
  readonly #title = h("h2", { class: "side-title" }, "Your rooms");
  readonly #none = h("p", { class: "side-none", role: "status" });
  readonly #nav: HTMLElement;
  #drawn = new Map<string, Line>();
  /** The room that is looked at, where it is in the list, and how high that was. */
  #current: Room | null = null;
  #height = 0;
  #searching = false;
  /** Only what stands in a line that is in view is worth asking for. */
  readonly #inView = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
      const { room } = (target as HTMLElement).dataset;
      this.chat.lineShown(room!, isIntersecting);
    }
  });

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
      if (isComposing(event)) return;
      if (event.key === "Escape") this.#found();
      if (event.key !== "Enter") return;
      // The key would go on into the field that has the focus then, as a line break.
      event.preventDefault();
      const [first] = this.order;
      if (!first) return;
      this.#found();
      this.events.open(first);
    });
    this.#nav = h("nav", { class: "side-rooms", "aria-label": "Rooms" }, this.#none, this.#invitedTitle, this.#invited, this.#title, this.#mine, this.#othersTitle, this.#others, this.#more);
    this.element = h(
      "aside",
      { class: "side", id: "side", "aria-label": "Rooms and account" },
      h("header", { class: "side-head" }, mark("mark-small"), h("span", { class: "brand-small" }, "Chinwag"), iconButton("plus", "New room", () => events.newRoom())),
      this.#filter,
      this.#nav,
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
      this.#found();
      events.open(link.dataset.room!);
    });
    new ResizeObserver(() => this.#resized()).observe(this.#nav);
  }

  /** The line of the room that is looked at has the focus, or the first one. */
  focus(): void {
    const line = this.#drawn.get(this.chat.current?.name ?? "")?.link ?? this.#nav.querySelector<HTMLElement>(".room-link");
    line?.focus();
  }

  find(): void {
    this.#searching = true;
    this.#filter.hidden = false;
    this.#filter.focus();
    this.#filter.select();
  }

  /** Nobody searches any more: the list is whole again. */
  #found(): void {
    this.#searching = false;
    this.#filter.value = "";
    this.draw();
  }

  /** The names in the order in which they are shown, for going up and down. */
  get order(): string[] {
    return [...this.element.querySelectorAll<HTMLElement>(".room-link")].map((link) => link.dataset.room!);
  }

  draw(): void {
    const { chat } = this;
    const wasSeen = this.#seesCurrent();
    const wanted = this.#filter.value.trim();
    const listed = [...chat.rooms.values()].filter((room) => room.info);
    const rooms = listed.filter((room) => isFound(room.name, wanted) || isFound(titleOf(room), wanted));
    const mine = rooms.filter((room) => chat.isMine(room));
    const invited = rooms.filter((room) => room.info?.invited_by);
    const others = rooms.filter((room) => !chat.isMine(room) && !room.info?.invited_by);
    mine.sort((a, b) => Number(b.name === chat.user) - Number(a.name === chat.user) || b.latestSeq - a.latestSeq || (a.name < b.name ? -1 : 1));
    others.sort((a, b) => (a.name < b.name ? -1 : 1));
    const before = this.#drawn;
    const focused = document.activeElement;
    this.#drawn = new Map();
    place(this.#invited, invited.map((room) => this.#line(room, false, before)));
    place(this.#mine, mine.map((room) => this.#line(room, true, before)));
    place(this.#others, others.map((room) => this.#line(room, false, before)));
    for (const [name, { element }] of before) if (!this.#drawn.has(name)) this.#inView.unobserve(element);
    // A line that is moved loses the focus. It has it again at once, since what was chosen may take it next.
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.#nav.contains(focused)) focused.focus({ preventScroll: true });
    this.#title.hidden = mine.length === 0;
    this.#invitedTitle.hidden = invited.length === 0;
    this.#more.hidden = !chat.hasMoreRooms;
    this.#othersTitle.hidden = others.length === 0;
    setText(this.#none, rooms.length === 0 && wanted !== "" ? `No room has “${wanted}” in its name.` : "");
    this.#filter.hidden = listed.length < FILTER_FROM && !this.#searching;
    this.#showCurrent([...invited, ...mine, ...others], wasSeen);
  }

  /** Whether nobody has scrolled away from the line of the room that was looked at: all of it is in view, before anything is moved. */
  #seesCurrent(height = this.#nav.clientHeight): boolean {
    const line = this.#drawn.get(this.#current?.name ?? "")?.element.getBoundingClientRect();
    const { top } = this.#nav.getBoundingClientRect();
    return line !== undefined && line.top > top - 1 && line.bottom < top + height + 1;
  }

  /** What is above or below the list takes more or less room now. */
  #resized(): void {
    const before = this.#height;
    this.#height = this.#nav.clientHeight;
    if (this.#current && this.#seesCurrent(before)) this.#drawn.get(this.#current.name)!.element.scrollIntoView({ block: "nearest" });
  }

  /** The line of the room that is looked at comes into view, and stays there when others go past it, or grow. */
  #showCurrent(order: Room[], wasSeen: boolean): void {
    const { current } = this.chat;
    const at = current ? order.indexOf(current) : -1;
    const isOther = this.#current !== current;
    if (at >= 0 && (isOther || wasSeen)) this.#drawn.get(current!.name)!.element.scrollIntoView({ block: "nearest" });
    if (at >= 0) this.#current = current;
  }

  #line(room: Room, isMine: boolean, before: Map<string, Line>): HTMLElement {
    const { chat } = this;
    const isCurrent = room === chat.current;
    const unread = isMine ? room.unread(chat.user) : 0;
    const latest = room.latest();
    const isOwnRoom = room.name === chat.user;
    let words = isOwnRoom ? "Only you and the bot" : room.info!.invited_by ? `${room.info!.invited_by} invites you` : !isMine ? `by ${room.info!.owner}` : room.timeline.loaded ? "Nothing said yet" : "";
    const sender = isMine && latest ? `${latest.sender === chat.user ? "you" : latest.sender}: ` : "";
    if (isMine && latest) words = inOneLine(latest, 80);
    const time = isMine && room.latestSeq > 0 ? shortTime(room.latestSeq / 1_000) : "";
    const looks = JSON.stringify([isCurrent, unread, sender, words, time, room.info!.private, isMine, titleOf(room)]);
    const line = before.get(room.name) ?? this.#newLine(room);
    this.#drawn.set(room.name, line);
    if (line.looks === looks) return line.element;
    line.looks = looks;
    const count = unread > 99 ? "99+" : String(unread);
    const isPrivate = room.info!.private && !isOwnRoom;
    if (isCurrent) line.link.setAttribute("aria-current", "page");
    else line.link.removeAttribute("aria-current");
    line.link.replaceChildren(
      avatar(room.name, isOwnRoom),
      h(
        "span",
        { class: "room-words" },
        h("span", { class: "room-name" }, h("span", { class: "room-title", dir: "auto" }, isOwnRoom ? "You and the bot" : titleOf(room)), isPrivate && icon("lock", "icon icon-tiny"), isPrivate && h("span", { class: "sr-only" }, "private"), h("span", { class: "room-time" }, time)),
        h("span", { class: "room-line" }, h("span", { class: "room-last" }, sender, h("span", { class: "cut", dir: directionOf(words) }, words)), unread > 0 && h("span", { class: "badge" }, count, h("span", { class: "sr-only" }, " unread"))),
      ),
    );
    return line.element;
  }

  /** The link stays the same whatever is in it, so that it keeps the focus. */
  #newLine(room: Room): Line {
    const link = h("a", { class: "room-link", href: addressOf(room.name), "data-room": room.name });
    const element = h("li", { "data-room": room.name }, link);
    this.#inView.observe(element);
    return { element, link, looks: "" };
  }
}

/** Puts elements in order without touching those that are where they should be. */
function place(list: HTMLElement, wanted: HTMLElement[]): void {
  const keep = new Set(wanted);
  for (const child of [...list.children]) if (!keep.has(child as HTMLElement)) child.remove();
  wanted.forEach((element, index) => {
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
}

