// What opens above the page: a new room, a room's people and bot, and one's own devices and settings. The browser's own
// dialogs: they keep the focus inside, close with Escape, and give the focus back. Not loaded before they are likely to be wanted.

import * as server from "../calls.ts";
import type { Chat } from "../chat.ts";
import type { BotPolicy, SessionInfo } from "../protocol.ts";
import type { Outgoing } from "../outbox.ts";
import type { Room } from "../room.ts";
import { attempt, dialog, labelled, type Tell } from "./dialog.ts";
import { botChoices, botFacts } from "./bot_choices.ts";
import { dataPart, elsewhere, invitesPart, leavingPart, passwordPart, signOnPart, tokensPart } from "./own_account.ts";
import { ownersPart } from "./own_room.ts";
import { usagePart } from "./usage.ts";
import { addressOf, avatar, canNotify, clockTime, copyText, dayName, h, icon, iconButton, isMoreThanNamed, notifyState, setTheme, themeChoice, titleOf, wantNotifications, whenSettled, type Theme } from "../shared.ts";

const POLICIES: [BotPolicy, string, string][] = [
  ["mention", "When it is called", "It answers what has @bot in it"],
  ["always", "To everything", "It answers every message"],
  ["off", "Not at all", "It stays out of this room"],
];
const PERSONA_MAX_CHARS = 2_000;
const TITLE_MAX_CHARS = 100;
const TOPIC_MAX_CHARS = 500;

function policyChoice(chosen: BotPolicy): HTMLFieldSetElement {
  return h(
    "fieldset",
    { class: "fieldset" },
    h("legend", { class: "label" }, "The bot answers"),
    ...POLICIES.map(([value, label, hint]) =>
      h(
        "label",
        { class: "option" },
        h("input", { type: "radio", name: "bot", value, checked: value === chosen }),
        h("span", null, h("strong", null, label), h("span", { class: "hint" }, hint)),
      ),
    ),
  );
}

function personaField(value: string): HTMLElement {
  return h(
    "div",
    { class: "field" },
    h("label", { class: "label", for: "persona" }, "Who the bot is here"),
    h("textarea", { id: "persona", name: "persona", class: "input", dir: "auto", rows: "3", maxlength: PERSONA_MAX_CHARS, "aria-describedby": "persona-hint" }, value),
    h("p", { class: "hint", id: "persona-hint" }, "For example: a patient teacher of Spanish, who answers in short sentences"),
  );
}

/** What stands for the name, which itself stays the same: it is in the address. */
const titleField = (value: string) => labelled("room-shown", "Shown name", h("input", { name: "title", class: "input", dir: "auto", autocomplete: "off", maxlength: TITLE_MAX_CHARS, value }), "In place of the name, in any letters; its address stays");

const topicField = (value: string) => labelled("topic", "What it is about", h("textarea", { name: "topic", class: "input", dir: "auto", rows: "2", maxlength: TOPIC_MAX_CHARS }, value));

function privateBox(checked: boolean): HTMLElement {
  return h(
    "label",
    { class: "option" },
    h("input", { type: "checkbox", name: "private", checked }),
    h("span", null, h("strong", null, "Private"), h("span", { class: "hint" }, "Only you and those you invite can see it")),
  );
}

export { watchBudgets } from "./usage.ts";

export function newRoom(chat: Chat, made: (room: string) => void): void {
  const error = h("p", { class: "form-error", role: "alert" });
  const button = h("button", { type: "submit", class: "button button-main" }, "Make the room");
  const form = h(
    "form",
    { class: "dialog-body", "aria-label": "New room", novalidate: true },
    h(
      "div",
      { class: "field" },
      h("label", { class: "label", for: "room-name" }, "Name"),
      h("input", { id: "room-name", name: "name", class: "input", autofocus: true, autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: "64", "aria-describedby": "room-name-hint" }),
      h("p", { class: "hint", id: "room-name-hint" }, "3 to 64 letters (a to z), digits, _ or -"),
    ),
    privateBox(false),
    policyChoice("mention"),
    personaField(""),
    error,
    h("div", { class: "dialog-foot" }, button),
  );
  const shown = dialog("New room", form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const data = new FormData(form);
    const name = String(data.get("name")).trim().toLowerCase().replace(/\s+/g, "-");
    if (!/^[a-z0-9_-]{3,64}$/.test(name)) {
      error.textContent = "A name has 3 to 64 letters (a to z), digits, _ or -.";
      return form.querySelector("input")!.focus();
    }
    void attempt(error, button, async () => {
      const persona = String(data.get("persona")).trim();
      await chat.create({ name, private: data.has("private"), bot: data.get("bot") as BotPolicy, ...(persona ? { persona } : {}) });
      // Only when it is closed does the focus go where the page wants it.
      shown.addEventListener("close", () => made(name));
      shown.close();
    });
  });
}

/** A room's people and bot. What is returned brings who is here up to date. */
export function roomDetails(chat: Chat, room: Room, events: { left(): void; tell(text: string): void }): () => void {
  const { info } = room;
  if (!info) return () => undefined;
  const isOwner = info.owner === chat.user;
  const isOwnRoom = room.name === chat.user;
  const here = h("ul", { class: "people" });
  const drawHere = () => {
    const names = room.people.length > 0 ? room.people : [chat.user];
    // More than find room are scrolled, by keys as well.
    here.tabIndex = names.length > 12 ? 0 : -1;
    here.replaceChildren(...names.map((name) => h("li", null, avatar(name), name === chat.user ? `${name} (you)` : name, chat.programs.has(name) && h("span", { class: "hint" }, "program"))), isMoreThanNamed(names) ? h("li", { class: "hint" }, "and perhaps more") : "");
  };
  drawHere();
  const parts: (Node | null | false)[] = [
    h("p", { class: "about" }, info.private ? icon("lock", "icon icon-tiny") : null, isOwnRoom ? "Yours alone: you and the bot." : `${info.private ? "A private room" : "A public room"}, owned by ${isOwner ? "you" : info.owner}.`),
    h("h3", { class: "dialog-title" }, "Here now"),
    here,
    !isOwnRoom && !isOwner && !info.private && h("p", { class: "hint-after" }, linkButton(room, (text) => events.tell(text))),
    !isOwnRoom && (isOwner || info.private) && members(chat, room, isOwner, events),
    isOwner && settings(chat, room, events),
    isOwner && !isOwnRoom && h("div", { class: "foldeds" }, ...ownersPart(chat, room, (label) => personField(chat, label), {
      tell: (text) => events.tell(text),
      done: (text) => {
        shown.close();
        if (chat.current !== room) events.left();
        events.tell(text);
      },
    })),
    info.topic && !isOwner ? h("p", { class: "topic", dir: "auto" }, info.topic) : null,
    !isOwner && h("p", { class: "about" }, POLICIES.find(([value]) => value === info.bot)?.[2] ?? "", "."),
    !isOwner && botFacts(info),
    !isOwner && info.persona ? h("blockquote", { class: "persona", dir: "auto" }, info.persona) : null,
    !isOwner && !isOwnRoom && leaving(chat, room, () => shown.close(), events),
  ];
  const shown = dialog(isOwnRoom ? "You and the bot" : titleOf(room), h("div", { class: "dialog-body" }, ...parts.filter((part) => part !== false && part !== null)));
  return drawHere;
}

/** A field for somebody's name, which suggests those who were heard of. */
function personField(chat: Chat, label: string): { input: HTMLInputElement; suggestions: HTMLElement } {
  const id = label.toLowerCase().replaceAll(" ", "-");
  const input = h("input", { class: "input", name: "member", "aria-label": label, placeholder: label, autocomplete: "off", autocapitalize: "none", spellcheck: "false", list: id });
  const suggestions = h("datalist", { id });
  input.addEventListener("focus", () => suggestions.replaceChildren(...chat.knownPeople().map((name) => h("option", { value: name }))));
  return { input, suggestions };
}

function linkButton(room: Room, tell: (text: string) => void): HTMLElement {
  const link = new URL(addressOf(room.name), location.href).href;
  const copy = async () => tell((await copyText(link)) ? "The link is copied. Send it to whom you like." : `This is the link: ${link}`);
  return h("button", { type: "button", class: "chip-button", onclick: copy }, icon("link"), "Copy the link");
}

/** How to bring people into a room in which nobody has said anything yet. */
export function bringPeople(chat: Chat, room: Room, tell: (text: string) => void): HTMLElement {
  const isOwner = room.info?.owner === chat.user;
  const error = h("p", { class: "form-error", role: "alert" });
  const { input, suggestions } = personField(chat, "Whom to invite");
  const button = h("button", { type: "submit", class: "button" }, "Invite");
  const form = h("form", { class: "bring", "aria-label": "Bring somebody in" }, isOwner && h("div", { class: "invite-line" }, input, button), isOwner && suggestions, error, linkButton(room, tell));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = input.value.trim().toLowerCase().replace(/^@/, "");
    if (!name) return input.focus();
    void attempt(error, button, async () => {
      await server.addMember(room.name, name);
      input.value = "";
      tell(`${name} was invited.`);
      input.focus();
    });
  });
  return form;
}

/** Who was invited; the owner invites and removes. */
function members(chat: Chat, room: Room, isOwner: boolean, events: { tell(text: string): void }): HTMLElement {
  const error = h("p", { class: "form-error", role: "alert" });
  const list = h("ul", { class: "members", "aria-label": "Members" }, h("li", { class: "hint" }, "Loading…"));
  const { input, suggestions } = personField(chat, "Name of the person");
  const invite = h("button", { type: "submit", class: "button button-main" }, "Invite");
  const load = async () => {
    const { members: invited, programs } = await server.roomMembers(room.name);
    chat.heardOfPrograms(programs ?? [], room);
    const line = (name: string, more: Node | string | false) => h("li", null, avatar(name), h("span", { class: "member-name" }, name === chat.user ? `${name} (you)` : name), chat.programs.has(name) && h("span", { class: "hint" }, "program"), more);
    const removing = (name: string) => {
      const remove = h("button", { type: "button", class: "chip-button", "aria-label": `Remove ${name}` }, "Remove");
      remove.addEventListener("click", () =>
        attempt(error, remove, async () => {
          await server.removeMember(room.name, name);
          events.tell(`${name} was removed.`);
          input.focus();
          await load();
        }),
      );
      return remove;
    };
    list.replaceChildren(line(room.info?.owner ?? "", h("span", { class: "hint" }, "owner")), ...invited.map((name) => line(name, isOwner && removing(name))));
  };
  load().catch((refusal) => (error.textContent = server.wordsOf(refusal)));
  const form = h(
    "form",
    { "aria-label": "People" },
    h("h3", { class: "dialog-title" }, "Members"),
    list,
    isOwner && h("div", { class: "invite-line" }, input, invite),
    isOwner && suggestions,
    isOwner && h("p", { class: "hint" }, room.info?.private ? "Only those invited can see this room." : "This room is open to everybody; those invited stay when it becomes private."),
    h("p", { class: "hint-after" }, linkButton(room, (text) => events.tell(text))),
    error,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = input.value.trim().toLowerCase().replace(/^@/, "");
    if (!name) return input.focus();
    void attempt(error, invite, async () => {
      await server.addMember(room.name, name);
      input.value = "";
      events.tell(`${name} was invited.`);
      await load();
    });
  });
  return form;
}

function settings(chat: Chat, room: Room, events: { tell(text: string): void }): HTMLElement {
  const info = room.info!;
  const error = h("p", { class: "form-error", role: "alert" });
  const button = h("button", { type: "submit", class: "button button-main" }, "Save");
  const isOwnRoom = room.name === chat.user;
  const outsiders = putOut(room);
  const choices = botChoices(info);
  const isPrivate = privateBox(info.private);
  isPrivate.addEventListener("change", () => void outsiders.show(!info.private && new FormData(form).has("private")));
  const form = h(
    "form",
    { "aria-label": "Room settings" },
    h("h3", { class: "dialog-title" }, isOwnRoom ? "The bot" : "Settings"),
    !isOwnRoom && titleField(info.title ?? ""),
    !isOwnRoom && topicField(info.topic ?? ""),
    !isOwnRoom && isPrivate,
    outsiders.element,
    policyChoice(info.bot),
    personaField(info.persona ?? ""),
    choices.element,
    error,
    h("div", { class: "dialog-foot" }, button),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const data = new FormData(form);
    const change: Parameters<Chat["change"]>[1] = choices.change(room.info!);
    if (data.get("bot") !== info.bot) change.bot = data.get("bot") as BotPolicy;
    if (String(data.get("persona")) !== (info.persona ?? "")) change.persona = String(data.get("persona"));
    for (const what of ["title", "topic"] as const) {
      const said = String(data.get(what) ?? "").trim();
      if (!isOwnRoom && said !== (info[what] ?? "")) change[what] = said;
    }
    if (!isOwnRoom && data.has("private") !== info.private) change.private = data.has("private");
    void attempt(error, button, async () => {
      let invited: string[] = [];
      if (change.private) {
        // Nobody is put out who was not named before.
        if (await outsiders.show(true)) return;
        invited = outsiders.wanted();
        for (const name of invited) await server.addMember(room.name, name);
      }
      if (Object.keys(change).length > 0) await chat.change(room, change);
      Object.assign(info, room.info);
      void outsiders.show(false);
      events.tell(invited.length > 0 ? `Saved. ${inWords(invited)} ${invited.length === 1 ? "was" : "were"} invited.` : "Saved.");
    });
  });
  return form;
}

interface PutOut {
  element: HTMLElement;
  /** Names those who would lose a room that becomes private; true if one of them was not named before. */
  show(on: boolean): Promise<boolean>;
  /** Those of them who are to be invited. */
  wanted(): string[];
}

/** Who is in a public room, or has spoken there, and was not invited. */
function putOut(room: Room): PutOut {
  const element = h("fieldset", { class: "put-out", hidden: true, "aria-live": "polite" });
  const named = new Set<string>();
  const boxes = () => [...element.querySelectorAll<HTMLInputElement>("input")];
  return {
    element,
    wanted: () => boxes().filter((box) => box.checked).map((box) => box.value),
    async show(on) {
      element.hidden = !on;
      if (!on) return false;
      const invited = await server.members(room.name);
      const spoke = room.timeline.messages.filter(({ kind }) => kind === "user").map(({ sender }) => sender);
      const names = [...new Set([...room.people, ...spoke])].filter((name) => name !== room.info?.owner && !invited.includes(name)).sort();
      const unchecked = new Set(boxes().filter((box) => !box.checked).map((box) => box.value));
      const isNews = names.some((name) => !named.has(name));
      names.forEach((name) => named.add(name));
      element.hidden = names.length === 0;
      element.replaceChildren(
        h("legend", { class: "label" }, `${inWords(names)} would be put out`),
        h("p", { class: "hint" }, "Those you invite stay."),
        ...names.map((name) => h("label", { class: "option" }, h("input", { type: "checkbox", value: name, checked: !unchecked.has(name) }), h("span", null, `Invite ${name}`))),
      );
      return isNews;
    },
  };
}

/** Names as they stand in a sentence; of many the first few. */
export function inWords(names: string[]): string {
  if (names.length > 4) return `${names.slice(0, 3).join(", ")} and ${names.length - 3} others`;
  return names.length < 2 ? (names[0] ?? "") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

function leaving(chat: Chat, room: Room, close: () => void, events: { left(): void }): HTMLElement {
  const error = h("p", { class: "form-error", role: "alert" });
  const button = h("button", { type: "button", class: "button" }, "Leave this room");
  button.addEventListener("click", () =>
    attempt(error, button, async () => {
      await chat.leave(room);
      close();
      events.left();
    }),
  );
  return h("div", { class: "dialog-foot" }, error, button);
}

export function account(chat: Chat, events: { logOut(): void; ended(): void; administer(): void; departed(): void; tell(text: string): void }): void {
  const tell = (text: string) => events.tell(text);
  const theme = themeChoice();
  const devices = h("ul", { class: "devices" }, h("li", { class: "hint" }, "Loading…"));
  const error = h("p", { class: "form-error", role: "alert" });
  const notify = h("button", { type: "button", class: "button", disabled: notifyState() === "denied" }, notifyWords());
  notify.addEventListener("click", async () => {
    await wantNotifications(notifyState() !== "on");
    notify.textContent = notifyWords();
    notify.disabled = notifyState() === "denied";
  });
  const themes: [Theme, string][] = [
    ["auto", "As the system"],
    ["light", "Light"],
    ["dark", "Dark"],
  ];
  const unsent = chat.outbox.all().length;
  const foldeds = h("div", { class: "foldeds" }, chat.hasPassword && passwordPart(tell, () => void load()), chat.mayInvite && invitesPart(chat.user, tell), tokensPart(tell), dataPart(), leavingPart(chat.user, chat.hasPassword, events.departed));
  void server.doorInfo().then(({ oidc }) => oidc && foldeds.prepend(signOnPart(oidc.name, tell)));
  const shown = dialog(
    "Settings",
    h(
      "div",
      { class: "dialog-body" },
      h("p", { class: "account" }, avatar(chat.user), h("strong", null, chat.user)),
      h(
        "fieldset",
        { class: "setting" },
        h("legend", { class: "setting-title" }, "Colours"),
        h("div", { class: "fieldset-row" }, ...themes.map(([value, label]) =>
          h("label", { class: "pill" }, h("input", { type: "radio", name: "theme", value, checked: value === theme, onchange: () => setTheme(value) }), label),
        )),
      ),
      canNotify() &&
        h(
          "section",
          { class: "setting" },
          h("h3", { class: "setting-title" }, "Notifications"),
          h("p", { class: "hint" }, "When this tab is hidden: private rooms, your name, and answers to you."),
          h("p", { class: "hint-after" }, notifyState() === "denied" ? h("em", null, "They are blocked; the settings of the browser can allow them.") : notify),
        ),
      usagePart(chat.current?.info ? chat.current.name : undefined),
      h("section", { class: "setting" }, h("h3", { class: "setting-title" }, "Where you are logged in"), devices, error, h("p", { class: "hint-after" }, elsewhere(() => (tell("All other devices are logged out."), void load())))),
      foldeds,
      h(
        "div",
        { class: "dialog-foot" },
        unsent > 0 ? h("p", { class: "hint" }, `${unsent} unsent ${unsent === 1 ? "message stays" : "messages stay"} in this browser until you log in again.`) : null,
        chat.isAdmin && h("button", { type: "button", class: "button", onclick: () => (shown.addEventListener("close", () => whenSettled(() => events.administer())), shown.close()) }, "Administration"),
        h("button", { type: "button", class: "button", onclick: () => events.logOut() }, "Log out"),
      ),
    ),
  );
  const load = async () => {
    try {
      devices.replaceChildren(...(await server.sessions()).map((session) => device(session, end)));
    } catch (refusal) {
      error.textContent = server.wordsOf(refusal);
    }
  };
  const end = (session: SessionInfo, button: HTMLButtonElement) =>
    void attempt(error, button, async () => {
      await server.endSession(session.id);
      if (session.current) events.ended();
      else await load();
    });
  void load();
}

function device(session: SessionInfo, end: (session: SessionInfo, button: HTMLButtonElement) => void): HTMLElement {
  const seen = new Date(session.last_seen_at).getTime();
  const name = deviceName(session.device);
  const button = h("button", { type: "button", class: "chip-button", "aria-label": `Log out ${name}` }, "Log out");
  button.addEventListener("click", () => end(session, button));
  return h(
    "li",
    null,
    h("div", null, h("strong", { title: session.device }, name), h("p", { class: "hint" }, session.current ? "This browser" : `Last seen: ${dayName(seen)}, ${clockTime(seen)}`)),
    !session.current && button,
  );
}

/** A browser's long description of itself, in two words. */
export function deviceName(agent: string): string {
  const browser = /Edg\//.test(agent) ? "Edge" : /OPR\//.test(agent) ? "Opera" : /Firefox\//.test(agent) ? "Firefox" : /Chrome\//.test(agent) ? "Chrome" : /Safari\//.test(agent) ? "Safari" : null;
  const system = /Android/.test(agent) ? "Android" : /iPhone|iPad/.test(agent) ? "iOS" : /Windows/.test(agent) ? "Windows" : /Mac OS/.test(agent) ? "macOS" : /Linux/.test(agent) ? "Linux" : null;
  if (browser && system) return `${browser} on ${system}`;
  return browser ?? system ?? (agent.slice(0, 40) || "A program");
}

function notifyWords(): string {
  const state = notifyState();
  return state === "on" ? "Turn notifications off" : state === "denied" ? "Blocked in the browser's settings" : "Turn notifications on";
}

/** What stands before a room that one may not see, or not any more. Words that never got there can be had back. */
export function shutDoor({ name, info, was }: Room, unsent: Outgoing[], events: { back(): void; lookAgain(): void; tell: Tell }): Node[] {
  const copy = async (text: string) => events.tell((await copyText(text)) ? "Copied." : "The browser did not let this be copied.");
  return [
    h("span", { class: "door-lock" }, icon("lock")),
    h("h2", null, was ? "You are no longer in this room" : "No such room"),
    h("p", null, was ? `“${titleOf({ name, info, was })}” was deleted, or you were put out of it. ${was.owner} can let you in again.` : `There is no room “${name}”, or it is a private one that you were not invited to.`),
    ...unsent.map(({ text }) => h("p", { class: "unsent" }, h("strong", null, "Not sent: "), h("span", { dir: "auto" }, text), iconButton("copy", "Copy what was not sent", () => void copy(text)))),
    h("div", { class: "door-choices" }, h("button", { type: "button", class: "button button-main", onclick: events.back }, "Back to your own room"), h("button", { type: "button", class: "button", onclick: events.lookAgain }, "Look again")),
  ];
}
