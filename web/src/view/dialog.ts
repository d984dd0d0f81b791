// A dialog, and what is in most of them.

import * as server from "../calls.ts";
import { copyText, h, iconButton, opened } from "../shared.ts";

export type Tell = (text: string) => void;

export function dialog(title: string, ...content: (Node | null | false)[]): HTMLDialogElement {
  const close = iconButton("close", "Close", () => element.close());
  const notice = h("p", { class: "dialog-notice", role: "status" });
  const element = h("dialog", { class: "dialog", "aria-label": title }, h("header", { class: "dialog-head" }, h("h2", null, title), close), ...content, notice);
  const before = document.activeElement;
  const closed = opened(() => element.close());
  element.addEventListener("close", () => {
    closed();
    element.remove();
    // What had the focus has it again, but in Chromium a field then takes no keys until it is focused anew.
    if (before instanceof HTMLElement && document.activeElement === before) {
      before.blur();
      before.focus({ preventScroll: true });
    }
  });
  element.addEventListener("pointerdown", (event) => {
    if (event.target === element) element.close();
  });
  document.body.append(element);
  element.showModal();
  return element;
}

/** Runs a call; what it is refused for stands in `error`. */
export async function attempt(error: HTMLElement, button: HTMLButtonElement, call: () => Promise<void>): Promise<void> {
  error.textContent = "";
  button.disabled = true;
  try {
    await call();
  } catch (refusal) {
    error.textContent = server.wordsOf(refusal);
  } finally {
    button.disabled = false;
  }
}

/** Where it stands why a call was refused. */
export const errorLine = () => h("p", { class: "form-error", role: "alert" });

/** A label, its field, and perhaps a hint. */
export function labelled(id: string, label: string, input: HTMLElement, hint?: string): HTMLElement {
  input.id = id;
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  return h("div", { class: "field" }, h("label", { class: "label", for: id }, label), input, hint !== undefined && h("p", { class: "hint", id: `${id}-hint` }, hint));
}

export function passwordField(id: string, label: string, autocomplete: "current-password" | "new-password", hint?: string): { element: HTMLElement; input: HTMLInputElement } {
  const input = h("input", { class: "input", type: "password", autocomplete, required: true });
  return { element: labelled(id, label, input, hint), input };
}

/** What is seldom wanted, under a heading that opens it. */
export function folded(title: string, ...content: (Node | string | null | false)[]): HTMLDetailsElement {
  return h("details", { class: "folded" }, h("summary", null, title), h("div", { class: "folded-body" }, ...content));
}

/** A secret link or token, which is shown this once: to be copied, and never to be had again. */
export function shownOnce(label: string, secret: string, tell: Tell): HTMLElement {
  const field = h("input", { class: "input", readonly: true, value: secret, "aria-label": label, spellcheck: "false" });
  field.addEventListener("focus", () => field.select());
  const copy = async () => tell((await copyText(secret)) ? "Copied." : "The browser did not let this be copied: select it and copy it by hand.");
  return h("div", { class: "once" }, h("p", { class: "label" }, label), h("div", { class: "invite-line" }, field, h("button", { type: "button", class: "button", onclick: copy }, "Copy")), h("p", { class: "hint" }, "It is shown this once. Whoever has it may use it, so send it to nobody else."));
}

/** A button whose deed is asked about once, in its own place. */
export function sure(label: string, question: string, deed: string, act: (error: HTMLElement, button: HTMLButtonElement) => Promise<void>, className = "chip-button"): HTMLElement {
  const place = h("span", { class: "sure" });
  const error = errorLine();
  const offer = () => {
    const button = h("button", { type: "button", class: className, onclick: ask }, label);
    place.replaceChildren(button);
    return button;
  };
  const ask = () => {
    const yes = h("button", { type: "button", class: "chip-button chip-bad" }, deed);
    const no = h("button", { type: "button", class: "chip-button", onclick: () => offer().focus() }, "No");
    yes.addEventListener("click", () => void act(error, yes));
    place.replaceChildren(h("span", { class: "hint" }, question), yes, no, error);
    place.onkeydown = (event) => {
      if (event.key !== "Escape" || !no.isConnected) return;
      event.preventDefault();
      offer().focus();
    };
    yes.focus();
  };
  offer();
  return place;
}
