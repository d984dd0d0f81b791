// Where one writes. What is half typed is kept for each room with every key.

import { complete, isComplete, readCommand, readSlash, type Completion } from "../completion.ts";
import type { HalfTyped } from "../memory.ts";
import { countChars, MESSAGE_MAX_CHARS } from "../protocol.ts";
import { h, icon, iconButton, isComposing, setText } from "./dom.ts";
import { directionOf } from "../words.ts";
import { isTelephone } from "./surroundings.ts";

/** From so many characters on, what is left is shown. */
const COUNT_FROM = MESSAGE_MAX_CHARS - 400;

export interface ComposerEvents {
  /** False if there is no room for it to go to. */
  send(text: string, replyTo?: string): boolean;
  /** True if the command was carried out, or refused in words. */
  command(name: string, argument: string): void;
  /** There is no such command: nobody else is to read what was meant for the page. */
  unknown(name: string): void;
  changed(draft: HalfTyped): void;
  typing(): void;
  /** What was refused last, or else said last, is to be written anew; false if there is nothing. */
  editLast(): boolean;
  /** A message gets another text; an empty one asks whether it is to be deleted. */
  rewrite(of: string, text: string): void;
  /** What a message says by now: null if it is deleted, undefined if that is not known. */
  says(id: string): string | null | undefined;
  /** For what it replies to. */
  describe(id: string): { sender: string; text: string } | null;
  people(): string[];
  left(): void;
}

/** A key that writes or pastes, pressed where nothing takes it: it is meant for the field, which has to have the focus. */
export function isWriting(event: KeyboardEvent): boolean {
  if (event.target instanceof Element && event.target.closest("input, textarea, select")) return false;
  const isShortcut = (event.ctrlKey || event.metaKey || event.altKey) && !event.getModifierState("AltGraph");
  if (isShortcut) return (event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "v";
  // A space scrolls, or presses the button that has the focus. The last two begin a letter that takes several keys.
  return (event.key.length === 1 && event.key !== " ") || event.key === "Dead" || event.key === "Process";
}

export class Composer {
  readonly element: HTMLFormElement;
  readonly #input: HTMLTextAreaElement;
  readonly #button: HTMLButtonElement;
  readonly #reply: HTMLElement;
  readonly #count: HTMLElement;
  readonly #choices: HTMLElement;
  #replyTo: string | undefined;
  /** The message that is being written anew, what it says, and what was half typed before. */
  #edit: { of: string; said: string; before: HalfTyped } | null = null;
  #completion: Completion | null = null;
  #picked = 0;

  constructor(private readonly events: ComposerEvents) {
    this.#input = h("textarea", {
      id: "composer-input",
      class: "composer-input",
      rows: "1",
      "aria-label": "Message",
      "aria-autocomplete": "list",
      "aria-describedby": "composer-count",
      placeholder: "Write a message",
      enterkeyhint: isTelephone() ? "enter" : "send",
      autocomplete: "off",
      dir: "auto",
    });
    this.#button = h("button", { type: "submit", class: "send-button", "aria-label": "Send", title: "Send" }, icon("send"));
    this.#reply = h("div", { class: "composer-reply", hidden: true });
    this.#count = h("p", { class: "composer-count", id: "composer-count", "aria-live": "polite" });
    this.#choices = h("ul", { class: "choices", role: "listbox", id: "composer-choices", "aria-label": "Suggestions", hidden: true });
    this.element = h(
      "form",
      { class: "composer", "aria-label": "Write" },
      this.#choices,
      this.#reply,
      h("div", { class: "composer-line" }, this.#input, this.#button),
      this.#count,
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#input.addEventListener("input", () => this.#typed());
    this.#input.addEventListener("keydown", (event) => this.#key(event));
    this.#input.addEventListener("blur", () => this.#offer(null));
    this.#input.addEventListener("click", () => this.#suggest());
    this.#choices.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      const item = (event.target as Element).closest<HTMLElement>("[data-index]");
      if (item) this.#take(Number(item.dataset.index));
    });
  }

  get text(): string {
    return this.#input.value;
  }

  focus(): void {
    this.#input.focus({ preventScroll: true });
  }

  show(draft: HalfTyped): void {
    const { edit, ...before } = draft;
    this.#edit = edit ? { of: edit.of, said: "", before } : null;
    this.#input.value = edit?.text ?? draft.text;
    this.#setReply(draft.replyTo);
    this.#offer(null);
    this.#fit();
  }

  /** Writes a message anew, which says `said` so far, beginning with `text`. */
  edit(of: string, said: string, text = said): void {
    this.#edit = { of, said, before: this.#edit?.before ?? this.#draft() };
    this.#input.value = text;
    this.#setReply(this.#replyTo);
    this.#fit();
    this.events.changed(this.#draft());
    this.#focusEnd();
  }

  /** What was half typed before stands there again. */
  #leaveEdit(): void {
    if (!this.#edit) return;
    this.show(this.#edit.before);
    this.events.changed(this.#draft());
  }

  replyTo(id: string | undefined): void {
    this.#leaveEdit();
    this.#setReply(id);
    this.events.changed(this.#draft());
    this.focus();
  }

  /** Shows again what it replies to, which may only now be known. */
  refresh(): void {
    if (this.#edit && this.events.says(this.#edit.of) === null) {
      // Nobody's words are lost with it.
      const { said } = this.#edit;
      const text = this.#input.value;
      this.#leaveEdit();
      if (text.trim() && text !== said) this.fill(text);
    }
    if (this.#replyTo || this.#edit) this.#setReply(this.#replyTo);
  }

  /** Puts a text in, before what there is already. */
  fill(text: string, replyTo?: string): void {
    // Where a message is being written anew, it waits below that.
    if (this.#edit) {
      const { before } = this.#edit;
      this.#edit.before = { text: before.text ? `${text}\n${before.text}` : text, replyTo: replyTo ?? before.replyTo };
      return this.events.changed(this.#draft());
    }
    const before = this.#input.value.trim();
    this.#input.value = before ? `${text}\n${before}` : text;
    if (replyTo) this.#setReply(replyTo);
    this.events.changed(this.#draft());
    this.#fit();
    this.#focusEnd();
  }

  #focusEnd(): void {
    this.focus();
    this.#input.setSelectionRange(this.#input.value.length, this.#input.value.length);
  }

  /** A door that is shut has no field before it. */
  enable(on: boolean): void {
    this.element.hidden = !on;
    this.#input.disabled = !on;
    this.#button.disabled = !on;
  }

  placeholder(text: string): void {
    this.#input.placeholder = text;
  }

  #draft(): HalfTyped {
    if (this.#edit) return { ...this.#edit.before, edit: { of: this.#edit.of, text: this.#input.value } };
    return this.#replyTo ? { text: this.#input.value, replyTo: this.#replyTo } : { text: this.#input.value };
  }

  #setReply(id: string | undefined): void {
    this.#replyTo = id;
    const edit = this.#edit;
    this.#reply.hidden = !id && !edit;
    this.#button.setAttribute("aria-label", edit ? "Save the change" : "Send");
    this.#button.title = edit ? "Save the change" : "Send";
    if (edit) {
      const text = this.events.describe(edit.of)?.text ?? edit.said;
      this.#reply.replaceChildren(icon("edit"), h("p", null, h("strong", null, "Changing"), " ", h("span", { dir: "auto" }, text)), iconButton("close", "Leave it as it is", () => this.#leaveAndFocus()));
      return;
    }
    // What was quoted may be deleted, and stands nowhere then.
    if (!id) return this.#reply.replaceChildren();
    const about = this.events.describe(id);
    this.#reply.replaceChildren(
      icon("reply"),
      h("p", null, h("span", null, "Replying to ", h("strong", null, about?.sender ?? "a message")), h("span", { class: "cut", dir: directionOf(about?.text ?? "") }, about?.text ?? "")),
      iconButton("close", "Do not reply to it", () => this.replyTo(undefined)),
    );
  }

  #leaveAndFocus(): void {
    this.#leaveEdit();
    this.focus();
  }

  #typed(): void {
    this.#fit();
    this.events.changed(this.#draft());
    if (this.#input.value.trim() && !this.#input.value.startsWith("/")) this.events.typing();
    this.#suggest();
  }

  #fit(): void {
    this.#input.dir = directionOf(this.#input.value);
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight}px`;
    const length = this.#input.value.length < COUNT_FROM ? 0 : countChars(this.#input.value);
    const left = MESSAGE_MAX_CHARS - length;
    setText(this.#count, length < COUNT_FROM ? "" : left >= 0 ? `${left} characters left` : `${-left} characters too many`);
    this.#count.classList.toggle("too-many", left < 0);
  }

  #send(): void {
    const text = this.#input.value.trim();
    if (this.#edit && countChars(text) <= MESSAGE_MAX_CHARS) {
      const { of, said } = this.#edit;
      this.#leaveAndFocus();
      if (text !== (this.events.says(of) ?? said)) this.events.rewrite(of, text);
      return;
    }
    if (text === "" || this.#input.disabled) return this.focus();
    if (countChars(text) > MESSAGE_MAX_CHARS) return this.focus();
    const command = readCommand(text);
    const slash = command ? null : readSlash(text);
    if (slash && "unknown" in slash) {
      this.#offer(null);
      this.focus();
      return this.events.unknown(slash.unknown);
    }
    const replyTo = this.#replyTo;
    this.#input.value = "";
    this.#setReply(undefined);
    this.#offer(null);
    this.#fit();
    if (command) {
      this.events.changed({ text: "" });
      this.events.command(command.name, command.argument);
    } else if (!this.events.send(slash ? slash.say : text, replyTo)) {
      this.show({ text, replyTo });
    }
    // A command may have opened a dialog, which has the focus then.
    if (!document.querySelector("dialog[open]")) this.focus();
  }

  #key(event: KeyboardEvent): void {
    if (isComposing(event)) return;
    if (this.#completion) {
      const { choices } = this.#completion;
      const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
      if (step !== 0) {
        event.preventDefault();
        this.#picked = (this.#picked + step + choices.length) % choices.length;
        return this.#drawChoices();
      }
      const isMeant = this.#picked === 0 && isComplete(this.#input.value);
      if (event.key === "Tab" || (event.key === "Enter" && !event.shiftKey && !isMeant)) {
        event.preventDefault();
        return this.#take(this.#picked);
      }
      if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        return this.#offer(null);
      }
    }
    // A telephone's keyboard has no Shift for it: there the button sends.
    if (event.key === "Enter" && !event.shiftKey && !event.altKey && !isTelephone()) {
      event.preventDefault();
      this.#send();
    } else if (event.key === "ArrowUp" && !event.altKey && this.#input.value === "") {
      if (!this.#edit && this.events.editLast()) event.preventDefault();
    } else if (event.key === "Escape") {
      if (this.#edit) {
        event.preventDefault();
        this.#leaveEdit();
      } else if (this.#replyTo) {
        event.preventDefault();
        this.replyTo(undefined);
      } else {
        // Whoever hears this key after the field would otherwise bring the focus back to it.
        event.preventDefault();
        this.events.left();
      }
    }
  }

  #suggest(): void {
    const { selectionStart, selectionEnd, value } = this.#input;
    this.#offer(selectionStart === selectionEnd ? complete(value, selectionStart, this.events.people()) : null);
  }

  #offer(completion: Completion | null): void {
    this.#completion = completion;
    this.#picked = 0;
    this.#drawChoices();
  }

  #drawChoices(): void {
    const open = this.#completion !== null;
    this.#choices.hidden = !open;
    if (open) this.#input.setAttribute("aria-controls", "composer-choices");
    else this.#input.removeAttribute("aria-controls");
    if (!this.#completion) return this.#input.removeAttribute("aria-activedescendant");
    this.#choices.replaceChildren(
      ...this.#completion.choices.map(({ label, hint }, index) =>
        h(
          "li",
          { class: "choice", role: "option", id: `choice-${index}`, "data-index": index, "aria-selected": String(index === this.#picked) },
          h("strong", null, label),
          hint && h("span", null, hint),
        ),
      ),
    );
    this.#input.setAttribute("aria-activedescendant", `choice-${this.#picked}`);
  }

  #take(index: number): void {
    const completion = this.#completion;
    const choice = completion?.choices[index];
    if (!completion || !choice) return;
    const { value } = this.#input;
    this.#input.value = value.slice(0, completion.from) + choice.insert + value.slice(completion.to);
    const caret = completion.from + choice.insert.length;
    this.#input.setSelectionRange(caret, caret);
    this.#offer(null);
    this.#fit();
    this.events.changed(this.#draft());
    this.focus();
  }
}
