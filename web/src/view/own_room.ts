// What only the owner of a room does with it: who may not come in, whose it is to be, and that it goes.

import * as server from "../calls.ts";
import type { Chat } from "../chat.ts";
import type { Room } from "../room.ts";
import { h } from "../shared.ts";
import { attempt, errorLine, folded, labelled, shownOnce, sure, type Tell } from "./dialog.ts";

export interface OwnRoomEvents {
  tell: Tell;
  /** The room is gone, or somebody else's: there is nothing left to set here. */
  done(text: string): void;
}

/** `person` makes a field for somebody's name. */
export function ownersPart(chat: Chat, room: Room, person: (label: string) => { input: HTMLInputElement; suggestions: HTMLElement }, events: OwnRoomEvents): HTMLElement[] {
  return [...(chat.mayInvite ? [inviting(room, events.tell)] : []), ...(room.info?.private ? [] : [banning(room, person("Whom to ban"), events.tell)]), handingOver(chat, room, person("Whose it is to be"), events), deleting(chat, room, events)];
}

/** A link by which somebody without an account comes in, and into this room. */
function inviting(room: Room, tell: Tell): HTMLElement {
  const error = errorLine();
  const place = h("div", null);
  const button = h("button", { type: "button", class: "button" }, "Make a link");
  button.addEventListener("click", () =>
    attempt(error, button, async () => {
      const { link } = await server.makeInvite({ room: room.name, uses: 1 });
      place.replaceChildren(shownOnce("The link, for one person", link, tell));
      place.querySelector("input")!.focus();
    }),
  );
  return folded("Invite by link", h("p", { class: "hint" }, "For somebody who has no account yet: by the link they make one, and are in this room."), h("p", { class: "hint-after" }, button), place, error);
}

function banning(room: Room, person: { input: HTMLInputElement; suggestions: HTMLElement }, tell: Tell): HTMLElement {
  const error = errorLine();
  const list = h("ul", { class: "members", "aria-label": "Banned" });
  const { input, suggestions } = person;
  const button = h("button", { type: "submit", class: "button" }, "Ban");
  const load = async () => {
    const banned = await server.bans(room.name);
    list.replaceChildren(
      ...banned.map((name) => {
        const lift = h("button", { type: "button", class: "chip-button", "aria-label": `Let ${name} back in` }, "Let back in");
        lift.addEventListener("click", () =>
          attempt(error, lift, async () => {
            await server.liftBan(room.name, name);
            tell(`${name} may come in again.`);
            input.focus();
            await load();
          }),
        );
        return h("li", null, h("span", { class: "member-name" }, name), lift);
      }),
    );
    list.hidden = banned.length === 0;
  };
  const form = h("form", { "aria-label": "Ban somebody" }, h("p", { class: "hint" }, "They neither see this room nor write in it, from this moment on."), list, h("div", { class: "invite-line" }, input, button), suggestions, error);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = input.value.trim().toLowerCase().replace(/^@/, "");
    if (!name) return input.focus();
    void attempt(error, button, async () => {
      await server.ban(room.name, name);
      input.value = "";
      tell(`${name} is banned.`);
      await load();
    });
  });
  const element = folded("Ban people", form);
  element.addEventListener("toggle", () => element.open && load().catch((refusal) => (error.textContent = server.wordsOf(refusal))));
  return element;
}

function handingOver(chat: Chat, room: Room, person: { input: HTMLInputElement; suggestions: HTMLElement }, events: OwnRoomEvents): HTMLElement {
  const { input, suggestions } = person;
  const name = () => input.value.trim().toLowerCase().replace(/^@/, "");
  const act = sure("Hand it over", "You stay as a member, and own it no more.", "Hand over", (error, button) =>
    attempt(error, button, async () => {
      const to = name();
      if (!to) return input.focus();
      await chat.change(room, { owner: to });
      events.done(`This room is ${to}’s now.`);
    }),
  "button");
  return folded("Hand it over", h("div", { class: "invite-line" }, input, act), suggestions);
}

function deleting(chat: Chat, room: Room, events: OwnRoomEvents): HTMLElement {
  const error = errorLine();
  const input = h("input", { class: "input", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const button = h("button", { type: "submit", class: "button button-bad", disabled: true }, "Delete this room");
  input.addEventListener("input", () => (button.disabled = input.value.trim() !== room.name));
  const form = h(
    "form",
    { "aria-label": "Delete this room" },
    h("p", { class: "hint" }, "All that was said in it goes with it, for everybody and for good."),
    labelled("delete-room", `Type its name, ${room.name}`, input),
    error,
    h("div", { class: "dialog-foot" }, button),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (button.disabled) return;
    void attempt(error, button, async () => {
      await chat.remove(room);
      events.done(`${room.name} is deleted.`);
    });
  });
  return folded("Delete it", form);
}
