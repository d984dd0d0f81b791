// Where one logs in or registers. Both forms are there at once: nothing to find, and a password manager sees what is
// what. First stands the one that is wanted, most likely.

import type { DoorKey } from "../door_key.ts";
import { wasSomebodyHere } from "../memory.ts";
import * as server from "../server.ts";
import { openStores } from "../storage.ts";
import { h, mark } from "./dom.ts";

const NAME_RULE = "3 to 32 letters (a to z), digits, _ or -";

const NO_COOKIES = `This browser takes no cookies from ${location.host}, and without one nobody can be logged in. Allow them for this page, then load it again.`;
/** What is said to somebody who was let in, and whom the server does not know a moment later. */
export const NO_SESSION = `You were let in, but your browser kept no cookie of it. Allow cookies for ${location.host}${location.protocol === "http:" ? ", or come by https: the server may want that" : ""}, then try again.`;

export interface Door {
  element: HTMLElement;
  focus(): void;
}

/** Who may come in, and what somebody has in hand who stands here. */
export interface Knock extends server.DoorInfo {
  key: DoorKey | null;
}

/** `notice` says why one is here again; `entered` is called once there is a session, and says why that did not help. */
export function door(notice: string | null, knock: Knock, entered: () => Promise<string | null>): Door {
  if (!navigator.cookieEnabled) notice = NO_COOKIES;
  const forms = cards(knock, entered);
  forms[0]!.querySelector(".button")?.classList.add("button-main");
  const element = h(
    "main",
    { class: "door" },
    h(
      "header",
      { class: "door-brand" },
      mark("mark-large"),
      h("div", null, h("h1", { class: "brand" }, "Chinwag"), h("p", { class: "tagline" }, "Good talk, with people and with the AI in the room.")),
    ),
    notice && h("p", { class: "door-notice", role: "status" }, notice),
    h("div", { class: "door-forms" }, ...forms),
  );
  return { element, focus: () => element.querySelector<HTMLElement>("input, .button")?.focus() };
}

/** The one that is wanted most likely first. */
function cards({ registration, passwords, oidc, key }: Knock, entered: () => Promise<string | null>): HTMLElement[] {
  const token = key?.token;
  if (passwords === false) return [...(oidc ? [byProvider(oidc.name, token && key.kind === "invite" ? token : undefined)] : []), ...(registration === "open" || token ? [] : [shut(registration)])];
  const forms = passwordCards(registration, key, entered);
  return oidc && key?.kind !== "reset" ? [byProvider(oidc.name, token), ...forms] : forms;
}

/** Who is in at a provider of single sign-on is in here by a click. */
function byProvider(name: string, invite: string | undefined): HTMLElement {
  const error = h("p", { class: "form-error", role: "alert" });
  const button = h("button", { type: "button", class: "button" }, `Log in with ${name}`);
  button.addEventListener("click", async () => {
    error.textContent = "";
    button.disabled = true;
    try {
      location.assign(await server.signOn(invite));
    } catch (refusal) {
      error.textContent = server.wordsOf(refusal);
      button.disabled = false;
    }
  });
  return h("section", { class: "card card-wide" }, invite !== undefined && h("h2", { class: "card-title" }, "You are invited"), error, button);
}

function passwordCards(registration: Knock["registration"], key: DoorKey | null, entered: () => Promise<string | null>): HTMLElement[] {
  const token = key?.token;
  if (token && key?.kind === "reset") return [form("Set the password", "A new password", "new-password", (_, password) => server.reset(token, password), entered, false)];
  const logIn = form("Log in", "Welcome back", "current-password", server.logIn, entered);
  if (token) return [form("Register", "You are invited", "new-password", (name, password) => server.register(name, password, token), entered), logIn];
  if (registration !== "open") return [logIn, shut(registration)];
  const register = form("Register", "New here?", "new-password", server.register, entered);
  // Nobody was in by this browser yet: a newcomer, most likely.
  return wasSomebodyHere(openStores().shared) ? [logIn, register] : [register, logIn];
}

/** What somebody is told who has no account, and cannot make one. */
function shut(registration: "invite" | "closed"): HTMLElement {
  const words =
    registration === "invite"
      ? "One comes in here by invitation. Ask somebody who is in already for a link, and open it."
      : "Nobody new is let in at the moment. Whoever runs this server can make an exception, with a link.";
  return h("section", { class: "card" }, h("h2", { class: "card-title" }, "New here?"), h("p", null, words));
}

function form(title: string, greeting: string, autocomplete: string, enter: (name: string, password: string) => Promise<unknown>, entered: () => Promise<string | null>, hasName = true): HTMLFormElement {
  const isNew = autocomplete === "new-password";
  const id = isNew ? "register" : "log-in";
  const name = field(`${id}-name`, "Username", isNew ? NAME_RULE : null, {
    name: "username",
    autocomplete: "username",
    autocapitalize: "none",
    autocorrect: "off",
    spellcheck: "false",
    maxlength: "64",
  });
  const password = field(`${id}-password`, "Password", isNew ? "At least 8 characters" : null, {
    name: "password",
    type: "password",
    autocomplete,
  });
  const error = h("p", { class: "form-error", role: "alert" });
  const button = h("button", { class: "button", type: "submit" }, title);
  const element = h(
    "form",
    { class: "card", "aria-label": title, novalidate: true },
    h("h2", { class: "card-title" }, greeting),
    hasName && name.element,
    password.element,
    error,
    button,
  );
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    // Names are small letters; whoever types a capital means the same.
    const username = name.input.value.trim().toLowerCase();
    error.textContent = "";
    name.say(!hasName ? "" : username === "" ? "A name, please." : isNew && !/^[a-z0-9_-]{3,32}$/.test(username) ? `A name has ${NAME_RULE}.` : "");
    password.say(
      password.input.value === ""
        ? "A password, please."
        : isNew && [...password.input.value].length < 8
          ? "A password has at least 8 characters."
          : "",
    );
    const wrong = [name, password].find((one) => one.wrong());
    if (wrong) return wrong.input.focus();
    button.disabled = true;
    element.setAttribute("aria-busy", "true");
    try {
      await enter(username, password.input.value);
      error.textContent = await entered();
    } catch (refusal) {
      const status = refusal instanceof server.Refusal ? refusal.status : -1;
      const message = server.wordsOf(refusal);
      if (status === 409) {
        name.say(message);
        name.input.focus();
      } else if (status === 401 && !isNew) {
        password.say("Name and password do not match.");
        password.input.select();
      } else {
        error.textContent = message;
      }
    } finally {
      button.disabled = false;
      element.removeAttribute("aria-busy");
    }
  });
  return element;
}

interface Field {
  element: HTMLElement;
  input: HTMLInputElement;
  /** Shows what is wrong beside it; an empty text takes that away. */
  say(text: string): void;
  wrong(): boolean;
}

function field(id: string, label: string, hint: string | null, attributes: Record<string, string>): Field {
  const error = h("p", { class: "field-error", id: `${id}-error`, "aria-live": "polite" });
  const described = `${id}-error${hint ? ` ${id}-hint` : ""}`;
  const input = h("input", { id, class: "input", required: true, "aria-describedby": described, ...attributes });
  const say = (text: string) => {
    error.textContent = text;
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  input.addEventListener("input", () => say(""));
  const element = h(
    "div",
    { class: "field" },
    h("label", { for: id, class: "label" }, label),
    input,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
    error,
  );
  return { element, input, say, wrong: () => error.textContent !== "" };
}
