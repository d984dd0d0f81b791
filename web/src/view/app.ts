// The rooms on the page: puts the parts together, and brings what changed in the chat onto the page, once a frame.

import { addressOf, base } from "../base.ts";
import { Chat, type Change } from "../chat.ts";
import { serverNow, steadyNow } from "../clock.ts";
import { CATCH_UP, type Message } from "../protocol.ts";
import { titleOf, type Room } from "../room.ts";
import { allRows, inOneLine, keptRows, type Row } from "../rows.ts";
import * as server from "../server.ts";
import { statusLine } from "../status.ts";
import { openStores } from "../storage.ts";
import { whoIsHere } from "../words.ts";
import { Composer, isWriting } from "./composer.ts";
import { avatar, h, icon, iconButton, setText } from "./dom.ts";
import { admin, dialogs, loadAhead, noticeInDialog } from "./later.ts";
import { leftLayer, opened, whenSettled } from "./layers.ts";
import { List } from "./list.ts";
import { looksOf, renderRow, updateRow, type RowActions } from "./rows.ts";
import { Sidebar } from "./sidebar.ts";
import { isTelephone, mayFocusField, notify } from "./surroundings.ts";

const NOTICE_MS = 6_000;
/** Pages of messages, each fetched by itself, and waits for one. */
const PRINTED_PAGES_MAX = 1_000;

export class App {
  readonly #chat: Chat;
  readonly #sidebar: Sidebar;
  readonly #list: List;
  readonly #actions: RowActions;
  readonly #composer: Composer;
  readonly #shell: HTMLElement;
  readonly #title = h("h1", { class: "room-heading", dir: "auto" });
  readonly #people = h("p", { class: "room-people" });
  readonly #picture = h("span", { class: "room-picture" });
  readonly #status = h("div", { class: "status" });
  readonly #invitation = h("div", { class: "invitation", role: "status" });
  readonly #statusText = h("span", null);
  /** Said once: the seconds that are counted down are for the eye. */
  readonly #statusSpoken = h("p", { class: "sr-only", role: "status" });
  readonly #tryNow: HTMLButtonElement;
  readonly #details = iconButton("people", "This room: people and bot", () => void this.#openDetails());
  readonly #notice = h("p", { class: "notice", role: "status" });
  readonly #spoken = h("div", { class: "sr-only", "aria-live": "polite", role: "log", "aria-label": "New messages" });
  readonly #typing = h("p", { class: "typing", "aria-live": "polite" });
  readonly #jump: HTMLButtonElement;
  readonly #jumpCount = h("span", null);
  readonly #blank = h("div", { class: "blank" });
  readonly #menuButton: HTMLButtonElement;
  readonly #menuBadge = h("span", { class: "badge badge-menu" });
  #drawDetails: () => void = () => undefined;
  #menuClosed: () => void = () => undefined;
  #dirty = new Set<Change>();
  #stopped = false;
  #opening = false;
  #administration: HTMLElement | null = null;
  #ahead: ReturnType<typeof setTimeout> | null = null;
  #frame = 0;
  /** When the line was last up, by `steadyNow`; 0: it is. */
  #upSince = steadyNow();
  #clock: ReturnType<typeof setInterval> | null = null;
  #noticeTimer: ReturnType<typeof setTimeout> | null = null;
  #kept: { room: Room; signature: string; rows: Row[] } | null = null;
  #drawnRoom: Room | null = null;
  /** The list shows a question that waits for its answer. */
  #awaits = false;
  /** The place from which on what arrived below, out of view, is counted. */
  #seenTo = 0;

  constructor(
    me: server.Me,
    private readonly leave: (notice: string | null) => void,
  ) {
    const { user } = me;
    this.#chat = new Chat(
      user,
      {
        changed: (change, room) => this.#changed(change, room),
        arrived: (room, message) => this.#arrived(room, message),
        invited: (room, by) => notify(`${by} invites you`, room, room, () => this.#go(room)),
        tell: (text) => this.tell(text),
      },
      openStores(),
    );
    this.#chat.isAdmin = me.admin ?? false;
    this.#chat.mayInvite = me.may_invite ?? false;
    this.#chat.hasPassword = me.password ?? true;
    this.#sidebar = new Sidebar(this.#chat, {
      open: (room) => this.#go(room),
      newRoom: () => void this.#later(({ newRoom }) => newRoom(this.#chat, (room) => this.#go(room))),
      settings: () => this.#openAccount(),
    });
    const actions = this.#rowActions();
    this.#actions = actions;
    this.#list = new List({
      render: (row) => renderRow(row, actions),
      update: (row, element) => updateRow(row, element, actions),
      looks: looksOf,
      nearStart: () => this.#chat.current && void this.#chat.loadEarlier(this.#chat.current),
      nearEnd: () => this.#chat.current && void this.#chat.loadLater(this.#chat.current),
      moved: (atEnd) => this.#moved(atEnd),
    });
    // A finger that touches a message brings up what can be done with it, as a mouse does that lies over it.
    this.#list.element.addEventListener("click", ({ target }) => {
      for (const row of this.#list.element.querySelectorAll(".touched")) row.classList.remove("touched");
      if (isTelephone()) (target as Element).closest(".row")?.classList.add("touched");
    });
    this.#list.element.addEventListener("keydown", (event) => this.#rowKey(event));
    this.#composer = new Composer({
      send: (text, replyTo) => this.#send(text, replyTo),
      command: (name, argument) => void this.#command(name, argument),
      unknown: (name) => this.tell(`There is no command /${name}. To say it as it is, begin with two slashes.`),
      changed: (draft) => this.#chat.current && this.#chat.memory.keepDraft(this.#chat.current.name, draft),
      typing: () => this.#chat.current && this.#chat.typing(this.#chat.current),
      editLast: () => this.#editLast(),
      rewrite: (of, text) => (text ? this.#rewrite(of, text) : this.#askErase(of)),
      says: (id) => {
        const message = this.#chat.current?.timeline.get(id);
        return message?.deleted ? null : message?.message;
      },
      describe: (id) => {
        const message = this.#chat.current?.timeline.get(id);
        return message ? { sender: message.sender, text: inOneLine(message, 120) } : null;
      },
      people: () => (this.#chat.current?.people ?? []).filter((name) => name !== user),
      left: () => this.#list.element.focus(),
    });
    this.#tryNow = h("button", { type: "button", class: "status-button", onclick: () => this.#chat.tryNow() }, "Try now");
    this.#status.append(this.#statusText, this.#tryNow);
    this.#jump = h("button", { type: "button", class: "jump", hidden: true, onclick: () => void this.#toNewest() }, this.#jumpCount, icon("down"));
    this.#menuButton = iconButton("menu", "Rooms", () => this.#menu(true), "icon-button menu-button");
    this.#menuButton.append(this.#menuBadge);
    this.#shell = h(
      "div",
      { class: "shell" },
      this.#sidebar.element,
      h("div", { class: "veil", onclick: () => this.#menu(false) }),
      h(
        "main",
        { class: "main" },
        h(
          "header",
          { class: "room-head" },
          this.#menuButton,
          this.#picture,
          h("div", { class: "room-about" }, this.#title, this.#people),
          this.#details,
        ),
        this.#status,
        this.#invitation,
        h("div", { class: "conversation" }, this.#list.element, this.#blank, this.#jump),
        this.#typing,
        this.#notice,
        this.#composer.element,
      ),
      this.#spoken,
      this.#statusSpoken,
    );
  }

  start(): void {
    document.body.replaceChildren(this.#shell);
    addEventListener("popstate", this.#popped);
    document.addEventListener("visibilitychange", this.#seen);
    document.addEventListener("keydown", this.#key);
    addEventListener("beforeprint", this.#print);
    addEventListener("afterprint", this.#printed);
    this.#clock = setInterval(() => this.#drawStatus(), 250);
    this.#chat.start();
    this.#ahead = loadAhead();
    const path = location.pathname.slice(base.length);
    const room = roomOfAddress();
    const isAdmin = isAdminAddress();
    this.#show(room ?? this.#chat.user, isAdmin ? "stay" : "replace");
    if (isAdmin) void this.#administer();
    else if (!room && path !== "" && path !== "/") this.tell(`There is nothing at ${base}${path}. This is your own room.`);
    if (!this.#chat.outbox.durable) this.tell("This browser lets the page store nothing: what is half typed or not sent is lost when it is loaded again.");
  }

  stop(): void {
    this.#stopped = true;
    this.#chat.stop();
    removeEventListener("popstate", this.#popped);
    document.removeEventListener("visibilitychange", this.#seen);
    document.removeEventListener("keydown", this.#key);
    removeEventListener("beforeprint", this.#print);
    removeEventListener("afterprint", this.#printed);
    this.#printed();
    this.#leaveAdministration();
    if (this.#ahead) clearTimeout(this.#ahead);
    if (this.#clock) clearInterval(this.#clock);
    if (this.#frame) cancelAnimationFrame(this.#frame);
  }

  // --- going about ----------------------------------------------------------------------------------------------

  #go(room: string): void {
    this.#menu(false);
    whenSettled(() => {
      if (this.#stopped) return;
      const isHere = this.#chat.current?.name === room && !this.#administration;
      this.#leaveAdministration();
      this.#show(room, isHere ? "stay" : "push");
    });
  }

  #show(name: string, how: "push" | "replace" | "stay"): void {
    const address = addressOf(name);
    if (how === "push") history.pushState(null, "", address);
    if (how === "replace") history.replaceState(null, "", address);
    const room = this.#chat.open(name);
    this.#composer.show(this.#chat.memory.draft(name));
    this.#dirty.add("room").add("people").add("typing");
    this.#drawnRoom = null;
    this.#draw();
    if (mayFocusField()) this.#composer.focus();
    this.#chat.atEnd(room, this.#list.atEnd);
  }

  #popped = () => {
    if (leftLayer()) return;
    if (isAdminAddress()) return void this.#administer();
    this.#leaveAdministration();
    this.#show(roomOfAddress() ?? this.#chat.user, "stay");
  };

  /** What administrators see lies in the place of the rooms, which go on behind it. */
  async #administer(): Promise<void> {
    if (this.#administration) return;
    if (!this.#chat.isAdmin) {
      this.#show(this.#chat.user, "replace");
      return this.tell("Only administrators see that page.");
    }
    const module = await admin().catch((error: Error) => this.tell(error.message));
    if (!module || this.#stopped || this.#administration || !isAdminAddress()) return;
    const shown = module.administration(this.#chat.user, () => this.#go(this.#chat.current?.name ?? this.#chat.user));
    this.#administration = shown.element;
    this.#shell.hidden = true;
    document.body.append(shown.element);
    document.title = "Administration · Chinwag";
    shown.focus();
  }

  #leaveAdministration(): void {
    this.#administration?.remove();
    this.#administration = null;
    this.#shell.hidden = false;
  }

  #menu(open: boolean): void {
    const isOpen = this.#shell.classList.contains("menu-open");
    this.#shell.classList.toggle("menu-open", open);
    if (open) this.#sidebar.focus();
    if (open && !isOpen) this.#menuClosed = opened(() => this.#menu(false));
    else if (!open && isOpen) this.#menuClosed();
  }

  #key = (event: KeyboardEvent) => {
    if (event.defaultPrevented || this.#administration || document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      this.#menu(true);
      this.#sidebar.find();
    } else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "p" && this.#chat.current?.timeline.hasEarlier) {
      event.preventDefault();
      void this.#printAll(this.#chat.current);
    } else if (event.altKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      const { order } = this.#sidebar;
      const at = order.indexOf(this.#chat.current?.name ?? "");
      const next = order[(at + (event.key === "ArrowDown" ? 1 : -1) + order.length) % order.length];
      if (next) this.#go(next);
    } else if (event.key === "Escape") {
      // Only where there is little room is there a drawer that was open, and a button for it.
      const isDrawer = this.#shell.classList.contains("menu-open") && this.#menuButton.offsetParent !== null;
      this.#menu(false);
      if (isDrawer) this.#menuButton.focus();
      else this.#composer.focus();
    } else if (isWriting(event)) {
      this.#menu(false);
      this.#composer.focus();
    }
  };

  #seen = () => {
    if (document.hidden) return;
    this.#chat.markRead();
    void this.#chat.refreshRooms();
  };

  /** What is not held of a conversation is fetched first. */
  async #printAll(room: Room): Promise<void> {
    this.tell("Fetching the whole conversation to print it…");
    if (!room.timeline.attached) await this.#chat.toNewest(room);
    const isLeft = () => room !== this.#chat.current || this.#stopped;
    for (let pages = 0; pages < PRINTED_PAGES_MAX && room.timeline.hasEarlier && !room.trouble && !isLeft(); pages += 1) {
      await this.#chat.loadEarlier(room);
      // Another page may be on its way, which is then waited for.
      await new Promise(requestAnimationFrame);
    }
    if (!isLeft()) print();
  }

  /** On paper stands all that is held of the conversation, not the few rows that are in view. */
  #print = () => {
    const room = this.#chat.current;
    if (!room || this.#drawnRoom !== room) return;
    this.#printed();
    const rows = this.#rows(room).map((row) => renderRow(row, this.#actions));
    document.body.append(h("main", { class: "print" }, h("h1", null, this.#title.textContent), room.timeline.hasEarlier && h("p", null, "What was said before this is not printed."), h("ol", null, ...rows)));
  };

  #printed = () => document.querySelector(".print")?.remove();

  async #openDetails(): Promise<void> {
    const room = this.#chat.current;
    if (!room) return;
    try {
      await this.#chat.details(room);
    } catch (refusal) {
      return this.tell(server.wordsOf(refusal));
    }
    await this.#later(({ roomDetails }) => {
      if (room === this.#chat.current) this.#drawDetails = roomDetails(this.#chat, room, { left: () => whenSettled(() => this.#show(this.#chat.user, "replace")), tell: (text) => this.tell(text) });
    });
  }

  /** Opens something that is loaded later, and only once however often it is asked for meanwhile. */
  async #later(open: (module: Awaited<ReturnType<typeof dialogs>>) => void): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    const module = await dialogs().catch((error: Error) => this.tell(error.message));
    this.#opening = false;
    if (module && !this.#stopped) open(module);
  }

  #openAccount(): void {
    void this.#later(({ account }) => account(this.#chat, {
      logOut: async () => {
        try {
          await server.logOut();
        } catch (refusal) {
          if ((refusal as server.Refusal).status !== 401) return this.tell(server.wordsOf(refusal));
        }
        history.replaceState(null, "", `${base}/`);
        this.leave(null);
      },
      ended: () => this.leave("You logged this browser out."),
      administer: () => {
        history.pushState(null, "", `${base}/admin`);
        void this.#administer();
      },
      departed: () => this.leave("Your account is deleted."),
      tell: (text) => this.tell(text),
    }));
  }

  // --- writing --------------------------------------------------------------------------------------------------

  #send(text: string, replyTo?: string): boolean {
    const room = this.#chat.current;
    if (!room) return false;
    this.#chat.send(room, text, replyTo);
    if (room.timeline.attached) this.#list.toEnd();
    else void this.#toNewest();
    return true;
  }

  async #command(name: string, argument: string): Promise<void> {
    const room = this.#chat.current;
    if (!room) return;
    const who = argument.toLowerCase();
    try {
      if (name === "new") await this.#later(({ newRoom }) => newRoom(this.#chat, (made) => this.#go(made)));
      else if (name === "room") await this.#openDetails();
      else if (name === "stop") {
        const growing = room.drafts.all().at(-1)?.id ?? room.openQuestions(serverNow())[0]?.replyId;
        if (growing) this.#chat.stopReply(room, growing);
        else this.tell("No answer is being written.");
      } else if (name === "leave") {
        if (room.info?.owner === this.#chat.user) return this.tell(room.name === this.#chat.user ? "This room is your own; it stays." : "You own this room: hand it over first, or delete it.");
        await this.#chat.leave(room);
        this.#show(this.#chat.user, "replace");
      } else if (!who) {
        this.tell(`Whom? Write /${name} and a name.`);
      } else if (name === "invite") {
        await server.addMember(room.name, who);
        this.tell(`${who} was invited.`);
      } else if (name === "remove") {
        await server.removeMember(room.name, who);
        this.tell(`${who} was removed.`);
      }
    } catch (refusal) {
      this.tell(server.wordsOf(refusal));
    }
  }

  #editLast(): boolean {
    const room = this.#chat.current;
    if (!room) return false;
    const unsent = this.#chat.outbox.inRoom(room.name);
    const failed = unsent.findLast((entry) => entry.failed);
    if (failed) {
      this.#takeBack(failed.id);
      return true;
    }
    // The last one is on its way, and another is not meant; one that is there already may wait for its ack.
    if (unsent.some(({ id, of }) => !of && !room.timeline.get(id)) || !room.timeline.attached) return false;
    const last = room.timeline.messages.findLast((message) => room.mayEdit(message, this.#chat.user));
    if (last) this.#edit(last.id);
    return last !== undefined;
  }

  /** What is not through yet is written anew: a message, or a change of one that is there. */
  #takeBack(id: string): void {
    const entry = this.#chat.takeBack(id);
    if (!entry) return;
    const kept = entry.of ? this.#chat.current?.timeline.get(entry.of) : undefined;
    if (kept && !kept.deleted) this.#composer.edit(kept.id, kept.message, entry.text);
    else this.#composer.fill(entry.text, entry.replyTo);
  }

  #edit(id: string): void {
    const message = this.#chat.current?.timeline.get(id);
    if (message) this.#composer.edit(id, message.message);
  }

  #rewrite(of: string, text: string): void {
    if (this.#chat.current) this.#chat.rewrite(this.#chat.current, of, text);
  }

  /** Asks in the message's own row, once; the answer that is meant has the focus. */
  #askErase(id: string | null): void {
    const room = this.#chat.current;
    if (!room) return;
    const before = room.asking;
    room.asking = id;
    this.#drawRoom(room);
    if (id !== null && !this.#list.elementOf(id)) this.#list.reveal(id);
    const row = this.#list.elementOf(id ?? before ?? "");
    row?.querySelector<HTMLElement>(id === null ? ".tools button" : ".ask button")?.focus();
  }

  #erase(id: string): void {
    const room = this.#chat.current;
    if (!room) return;
    room.asking = null;
    this.#chat.rewrite(room, id, "");
  }

  /** What can be done with a message by a key, wherever in its row the focus is. */
  #rowKey(event: KeyboardEvent): void {
    const room = this.#chat.current;
    const message = room?.timeline.get(this.#list.keyAt(event.target) ?? "");
    if (!room || !message || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "F2" && room.mayEdit(message, this.#chat.user)) this.#edit(message.id);
    else if ((event.key === "Delete" || event.key === "Backspace") && room.mayDelete(message, this.#chat.user, this.#chat.isAdmin)) this.#askErase(message.id);
    else if (event.key === "Escape" && room.asking === message.id) this.#askErase(null);
    else return;
    event.preventDefault();
  }

  async #showMessage(id: string): Promise<void> {
    const room = this.#chat.current;
    if (!room || this.#list.reveal(id)) return;
    try {
      const isFound = await this.#chat.goTo(room, id);
      if (room !== this.#chat.current) return;
      this.#list.set(this.#rows(room), room.timeline.attached);
      if (!isFound || !this.#list.reveal(id)) this.tell("That message was not found.");
    } catch (refusal) {
      this.tell(server.wordsOf(refusal));
    }
  }

  #rowActions(): RowActions {
    return {
      user: this.#chat.user,
      reply: (id) => this.#composer.replyTo(id),
      showMessage: (id) => void this.#showMessage(id),
      wantQuote: (id) => this.#chat.current && void this.#chat.wantQuote(this.#chat.current, id),
      retry: (id) => this.#chat.retry(id),
      edit: (id) => this.#takeBack(id),
      rewrite: (id) => this.#edit(id),
      askErase: (id) => this.#askErase(id),
      erase: (id) => this.#erase(id),
      discard: (id) => {
        const entry = this.#chat.takeBack(id);
        if (entry) this.tell("Discarded.");
        this.#composer.focus();
      },
      stop: (id) => this.#chat.current && this.#chat.stopReply(this.#chat.current, id),
      answerAgain: (id) => this.#chat.current && this.#chat.answerAgain(this.#chat.current, id),
      catchUp: () => this.#send(CATCH_UP!),
      goOn: () => this.#send(this.#chat.current?.info?.bot === "always" ? "Go on" : "@bot go on"),
      say: (text) => this.tell(text),
    };
  }

  // --- what comes in --------------------------------------------------------------------------------------------

  #changed(change: Change, room?: string): void {
    if (change === "gone") {
      // Within the handler of a frame; the page goes after it.
      queueMicrotask(() => this.#stopped || this.leave("Your session has ended. Log in again: what you wrote is kept."));
      return;
    }
    if (change === "phase" && this.#chat.phase.name === "open") this.#upSince = 0;
    else if (change === "phase" && this.#upSince === 0) this.#upSince = steadyNow();
    if (room !== undefined && room !== this.#chat.current?.name) return;
    this.#dirty.add(change);
    // Animation frames stop in a hidden tab, and its title has to go on.
    if (document.hidden && (change === "rooms" || change === "room")) this.#drawTitle();
    this.#drawSoon();
  }

  #drawSoon(): void {
    if (this.#stopped) return;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #arrived(room: Room, message: Message): void {
    if (room === this.#chat.current && message.sender !== this.#chat.user) {
      this.#speak(message.id, `${message.sender}: ${inOneLine(message, 300)}`);
    }
    const isMine = message.kind !== "user" && room.timeline.get(message.reply_to ?? "")?.sender === this.#chat.user;
    if (isMine) void dialogs().then(({ watchBudgets }) => watchBudgets(room.name, (text) => this.tell(text))).catch(() => undefined);
    if (this.#chat.concerns(room, message)) {
      const title = room.name === this.#chat.user ? message.sender : `${message.sender} in ${titleOf(room)}`;
      notify(title, inOneLine(message, 160), room.name, () => this.#go(room.name));
    }
  }

  #speak(id: string | null, words: string): void {
    this.#spoken.append(h("p", { "data-id": id }, words));
    while (this.#spoken.childElementCount > 10) this.#spoken.firstElementChild!.remove();
  }

  /** What is deleted is not read out either. */
  #unspeak(room: Room): void {
    for (const line of [...this.#spoken.children] as HTMLElement[]) if (room.timeline.get(line.dataset.id!)?.deleted) line.remove();
  }

  tell(text: string): void {
    const notice = noticeInDialog() ?? this.#notice;
    if (this.#noticeTimer) clearTimeout(this.#noticeTimer);
    for (const other of [this.#notice, noticeInDialog()]) if (other && other !== notice) other.textContent = "";
    notice.textContent = text;
    this.#noticeTimer = setTimeout(() => (notice.textContent = ""), NOTICE_MS);
  }

  // --- drawing --------------------------------------------------------------------------------------------------

  #draw(): void {
    const dirty = this.#dirty;
    this.#dirty = new Set();
    const room = this.#chat.current;
    if (dirty.has("rooms") || dirty.has("room")) {
      this.#sidebar.draw();
      this.#drawInvitation();
      this.#drawTitle();
    }
    if (!room) {
      if (dirty.has("rooms")) this.#show(this.#chat.user, "replace");
      return;
    }
    if (dirty.has("room") || dirty.has("rooms") || dirty.has("outbox") || dirty.has("draft")) this.#drawRoom(room);
    if (dirty.has("people") || dirty.has("rooms") || dirty.has("room")) this.#drawHead(room);
    if (dirty.has("people")) this.#drawDetails();
    if (dirty.has("typing")) this.#drawTyping(room);
    this.#drawStatus();
  }

  #drawTitle(): void {
    if (this.#administration) return;
    const unread = this.#chat.unreadInAll();
    const name = this.#chat.current && this.#chat.current.name !== this.#chat.user ? `${titleOf(this.#chat.current)} · Chinwag` : "Chinwag";
    document.title = unread > 0 ? `(${unread > 99 ? "99+" : unread}) ${name}` : name;
    setText(this.#menuBadge, unread > 99 ? "99+" : unread > 0 ? String(unread) : "");
    this.#menuButton.setAttribute("aria-label", unread > 0 ? `Rooms, ${this.#menuBadge.textContent} unread` : "Rooms");
  }

  #rows(room: Room): Row[] {
    const { messages, hasEarlier } = room.timeline;
    const signature = `${messages.length} ${messages[0]?.seq} ${messages.at(-1)?.seq} ${hasEarlier} ${room.newFrom} ${new Date().getDate()} ${room.info?.bot} ${[...room.askedAgain.keys()].join()} ${room.stopped.size} ${[...room.quoted.values()].filter(Boolean).length} ${room.timeline.version} ${room.asking} ${room.info?.owner} ${this.#chat.programs.size} ${room.newCount}`;
    if (this.#kept?.room !== room || this.#kept.signature !== signature) {
      this.#kept = { room, signature, rows: keptRows(room, this.#chat.user, this.#chat.isAdmin, this.#chat.programs) };
    }
    const { outbox } = this.#chat;
    const rows = allRows(room, this.#kept.rows, outbox.inRoom(room.name), (id) => outbox.whyWaiting(id), this.#chat.user, serverNow());
    const last = rows.at(-1);
    // Said once: the seconds that are counted are for the eye.
    if (last?.type === "waiting" && !this.#awaits) this.#speak(null, `bot: ${last.words.replace(/, \d+ s$/, "")}`);
    this.#awaits = last?.type === "waiting";
    return rows;
  }

  #drawRoom(room: Room): void {
    const isMissing = room.isMissing(this.#chat.listed);
    const isShut = isMissing || room.info?.invited_by !== undefined;
    if (isShut) this.#drawnRoom = null;
    // Before the list is there nobody knows whether it is a room that one is only invited to.
    const isKnown = room.info !== null || this.#chat.listed;
    const rows = isShut || !isKnown ? [] : room.timeline.loaded || this.#chat.outbox.inRoom(room.name).length > 0 ? this.#rows(room) : [];
    if (this.#drawnRoom !== room && !isShut && isKnown && (room.timeline.loaded || rows.length > 0)) {
      this.#drawnRoom = room;
      this.#seenTo = room.timeline.last?.seq ?? 0;
      this.#list.reset(rows, rows.some((row) => row.key === "new") ? "new" : null);
      this.#chat.atEnd(room, this.#list.atEnd);
    } else if (this.#drawnRoom !== room) {
      this.#list.reset([], null);
    } else {
      this.#list.set(rows, room.timeline.attached);
    }
    this.#unspeak(room);
    this.#drawBlank(room, isMissing, rows.length === 0);
    this.#composer.enable(!isShut);
    this.#details.hidden = !room.info || isShut;
    this.#composer.refresh();
    this.#moved(this.#list.atEnd);
  }

  #drawBlank(room: Room, isMissing: boolean, isEmpty: boolean): void {
    const unsent = isMissing ? this.#chat.outbox.inRoom(room.name) : [];
    const invitedBy = room.info?.invited_by;
    const shown = invitedBy ? `invited ${room.name}` : isMissing ? `missing ${room.name} ${room.was?.owner} ${unsent.map(({ id }) => id)}` : room.trouble && isEmpty ? `trouble ${room.trouble.message}` : (!room.timeline.loaded || (!room.info && !this.#chat.listed)) && isEmpty ? "loading" : isEmpty ? `empty ${room.name} ${room.info?.bot} ${room.info?.private}` : "";
    this.#blank.hidden = shown === "";
    if (this.#blank.dataset.shown === shown) return;
    this.#blank.dataset.shown = shown;
    if (invitedBy) {
      this.#blank.replaceChildren(avatar(room.name), h("h2", null, titleOf(room)), h("p", null, `${invitedBy} invites you into this ${room.info!.private ? "private " : ""}room.`), this.#joinOrDecline(room));
    } else if (isMissing) {
      const hadFocus = document.activeElement === null || document.activeElement === document.body;
      this.#blank.replaceChildren(h("h2", null, "This room is shut"));
      void dialogs().then(({ shutDoor }) => {
        if (this.#blank.dataset.shown !== shown) return;
        this.#blank.replaceChildren(...shutDoor(room, unsent, { back: () => this.#go(this.#chat.user), lookAgain: () => this.#chat.tryLoading(room), tell: (text) => this.tell(text) }));
        if (hadFocus) this.#blank.querySelector<HTMLElement>("button")?.focus();
      }, () => undefined);
    } else if (shown.startsWith("trouble")) {
      this.#blank.replaceChildren(
        h("p", null, room.trouble!.message),
        h("button", { type: "button", class: "button", onclick: () => this.#chat.tryLoading(room) }, "Try again"),
      );
    } else if (shown === "loading") {
      this.#blank.replaceChildren(h("p", { class: "loading" }, "Loading…"));
    } else if (shown) {
      this.#blank.replaceChildren(...this.#welcome(room));
    } else {
      this.#blank.replaceChildren();
    }
  }

  #joinOrDecline(room: Room): HTMLElement {
    const answer = async (call: () => Promise<void>) => {
      try {
        await call();
      } catch (refusal) {
        this.tell(server.wordsOf(refusal));
      }
    };
    const join = async () => {
      await this.#chat.takeInvitation(room);
      this.#go(room.name);
    };
    return h(
      "div",
      { class: "door-choices" },
      h("button", { type: "button", class: "button button-main", onclick: () => void answer(join) }, "Join"),
      h("button", { type: "button", class: "button", onclick: () => void answer(() => this.#chat.decline(room)) }, "Decline"),
    );
  }

  /** The latest invitation, in whatever room one is. */
  #drawInvitation(): void {
    const room = this.#chat.invitations.filter((room) => room !== this.#chat.current).at(-1);
    const shown = room ? room.name : "";
    if (this.#invitation.dataset.shown === shown) return;
    this.#invitation.dataset.shown = shown;
    // The button that was pressed goes, and the focus with it.
    const hadFocus = this.#invitation.contains(document.activeElement);
    if (room) this.#invitation.replaceChildren(h("p", null, h("strong", null, room.info!.invited_by!), " invites you into ", h("strong", null, titleOf(room))), this.#joinOrDecline(room));
    else this.#invitation.replaceChildren();
    if (hadFocus && mayFocusField()) this.#composer.focus();
    else if (hadFocus) this.#list.element.focus();
  }

  /** What stands in a room where nothing was said yet. */
  #welcome(room: Room): Node[] {
    const isOwn = room.name === this.#chat.user;
    const answers = room.info?.bot ?? "mention";
    const words = isOwn
      ? ["This room is yours: only you are in here, with me. I answer everything you write: I explain, draft, translate, work through a plan or a piece of code.", "In rooms with other people, write @bot and I join in."]
      : answers === "off"
        ? ["Nothing was said here yet. The bot stays out of this room."]
        : answers === "always"
          ? ["Nothing was said here yet. The bot answers every message in this room."]
          : ["Nothing was said here yet. Write @bot in a message and the bot answers it."];
    const ideas = isOwn ? ["What can you do?", "Explain how a message travels through a chat server", "Help me plan a weekend by the sea"] : answers === "mention" ? ["@bot introduce yourself"] : [];
    return [
      isOwn ? avatar("bot", true) : avatar(room.name),
      h("h2", null, isOwn ? `Hello, ${this.#chat.user}` : titleOf(room)),
      ...words.map((text) => h("p", null, text)),
      ...(isOwn || !room.info ? [] : [h("p", null, room.info.private ? (room.info.owner === this.#chat.user ? "Only those you invite can see it." : "Only those who were invited can see it.") : "Anybody can come in by its link."), this.#bringPeople(room)]),
      h("div", { class: "ideas" }, ...ideas.map((text) => h("button", { type: "button", class: "idea", onclick: () => this.#send(text) }, text))),
    ];
  }

  /** How to bring people in comes into its place a moment later. */
  #bringPeople(room: Room): HTMLElement {
    const place = h("div", null);
    void dialogs().then(({ bringPeople }) => place.replaceWith(bringPeople(this.#chat, room, (text) => this.tell(text))), () => undefined);
    return place;
  }

  #drawHead(room: Room): void {
    const isOwn = room.name === this.#chat.user;
    setText(this.#title, isOwn ? "You and the bot" : titleOf(room));
    if (this.#picture.dataset.room !== room.name) {
      this.#picture.dataset.room = room.name;
      this.#picture.replaceChildren(avatar(room.name, isOwn));
    }
    const privacy = room.info ? (isOwn ? "Yours alone" : room.info.private ? "Private" : "Public") : "";
    const here = whoIsHere(room.people, this.#chat.user) || privacy;
    const topic = room.info?.topic?.replace(/\s+/gu, " ");
    setText(this.#people, topic ? `${topic} · ${here}` : here);
    this.#composer.placeholder(isOwn || room.info?.bot === "always" ? "Write to the bot" : "Write a message");
  }

  #drawTyping(room: Room): void {
    const names = room.whoTypes(steadyNow());
    const text = names.length === 0 ? "" : names.length === 1 ? `${names[0]} is typing…` : names.length < 4 ? `${names.join(", ")} are typing…` : "Several people are typing…";
    setText(this.#typing, text);
    // The seconds go on, and a row goes away by itself when nobody is owed an answer any more.
    if (!this.#awaits && room.openQuestions(serverNow()).length === 0) return;
    this.#dirty.add("room");
    this.#drawSoon();
  }

  #drawStatus(): void {
    const { phase, outbox } = this.#chat;
    const waiting = outbox.all().filter((entry) => !entry.failed).length;
    const line = statusLine(phase, this.#upSince, steadyNow(), navigator.onLine, waiting, this.#chat.lineTrouble);
    this.#status.classList.toggle("shown", line !== null);
    setText(this.#statusText, line?.text ?? "");
    setText(this.#statusSpoken, line ? `${this.#chat.lineTrouble ?? "The connection is lost."} Reconnecting.` : "");
    this.#tryNow.hidden = !line?.canTry;
  }

  #moved(atEnd: boolean): void {
    const room = this.#chat.current;
    if (!room) return;
    const isEnd = atEnd && room.timeline.attached;
    if (isEnd) this.#seenTo = room.timeline.last?.seq ?? 0;
    if (room.atEnd !== isEnd) this.#chat.atEnd(room, isEnd);
    const below = isEnd ? 0 : room.timeline.countAfter(this.#seenTo, this.#chat.user);
    this.#jump.hidden = isEnd || this.#drawnRoom === null;
    const words = below === 0 ? "Newest" : below === 1 ? "1 new message" : `${below > 99 ? "99+" : below} new messages`;
    setText(this.#jumpCount, words);
  }

  async #toNewest(): Promise<void> {
    const room = this.#chat.current;
    if (!room) return;
    await this.#chat.toNewest(room);
    this.#list.set(this.#rows(room), room.timeline.attached);
    this.#list.toEnd(true);
    this.#composer.focus();
  }
}

const isAdminAddress = () => location.pathname.slice(base.length) === "/admin";

function roomOfAddress(): string | null {
  const [, place, name] = location.pathname.slice(base.length).split("/");
  if (place !== "rooms" || !name) return null;
  try {
    return decodeURIComponent(name).toLowerCase();
  } catch {
    return null;
  }
}
