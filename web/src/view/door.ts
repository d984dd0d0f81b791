// Where one logs in or registers. Both forms are there at once: nothing to find, and a password manager sees what is
// what. First stands the one that is wanted, most likely.

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

/** `notice` says why one is here again; `entered` is called once there is a session, and says why that did not help. */
export function door(notice: string | null, entered: () => Promise<string | null>): Door {
  if (!navigator.cookieEnabled) notice = NO_COOKIES;
  const logIn = form("Log in", "Welcome back", "current-password", server.logIn, entered);
  const register = form("Register", "New here?", "new-password", server.register, entered);
  // Nobody was in by this browser yet: a newcomer, most likely.
  const forms = wasSomebodyHere(openStores().shared) ? [logIn, register] : [register, logIn];
  forms[0]!.querySelector(".button")!.classList.add("button-main");
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
  return { element, focus: () => forms[0]!.querySelector("input")!.focus() };
}

function form(title: string, greeting: string, autocomplete: string, enter: (name: string, password: string) => Promise<unknown>, entered: () => Promise<string | null>): HTMLFormElement {
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
    name.element,
    password.element,
    error,
    button,
  );
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    // Names are small letters; whoever types a capital means the same.
    const username = name.input.value.trim().toLowerCase();
    error.textContent = "";
    name.say(username === "" ? "A name, please." : isNew && !/^[a-z0-9_-]{3,32}$/.test(username) ? `A name has ${NAME_RULE}.` : "");
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
      } else if (status === 401) {
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
