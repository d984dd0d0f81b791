// How each kind of row looks.

import { markdown, peopleMarkdown } from "../markdown.ts";
import { shownOf } from "../drafts.ts";
import { firstLine, type MessageRow, type Quote, type Row, type WaitingRow } from "../rows.ts";
import type { Source } from "../protocol.ts";
import { directionOf } from "../words.ts";
import { codeFrame, withCode } from "./code.ts";
import { avatar, copyText, h, hueOf, icon, iconButton, setText } from "./dom.ts";
import { withFormulas } from "./formulas.ts";
import { Growing } from "./growing.ts";
import { clockTime, dayName, fullTime, tightTime } from "./times.ts";

export interface RowActions {
  user: string;
  reply(id: string): void;
  showMessage(id: string): void;
  /** What a message says that another replies to is to be seen. */
  wantQuote(id: string): void;
  retry(id: string): void;
  edit(id: string): void;
  discard(id: string): void;
  stop(id: string): void;
  answerAgain(id: string): void;
  /** Asks for what is new in a few words. */
  catchUp(): void;
  /** Asks for what comes behind an answer that was cut off. */
  goOn(id: string): void;
  /** Writes a message that is kept anew. */
  rewrite(id: string): void;
  /** Asks whether a message is to be deleted; `null`: it stays. */
  askErase(id: string | null): void;
  erase(id: string): void;
  say(text: string): void;
}

/** Differs whenever the row looks different. */
export function looksOf(row: Row): string {
  switch (row.type) {
    case "day":
      return `${dayName(row.at)}`;
    case "new":
      return `${row.canSumUp}`;
    case "waiting":
      return `waiting ${row.words} ${row.stopping} ${row.quote?.text ?? ""}`;
    case "draft":
      return `${row.draft.attempt} ${row.draft.chars} ${row.draft.headless} ${row.draft.stopping} ${row.quote?.text ?? ""}`;
    case "message":
      return `${row.state} ${row.isHeld} ${row.together} ${row.why ?? ""} ${row.quote?.text ?? ""} ${row.own} ${row.again} ${row.isLatest} ${row.stoppedBy} ${row.edited} ${row.deleted} ${row.isAsked} ${row.mayEdit} ${row.mayDelete} ${row.entry?.id} ${row.goesOn} ${row.sources.length} ${row.suggestions} ${row.isProgram}`;
    default:
      return "";
  }
}

export function renderRow(row: Row, actions: RowActions): HTMLElement {
  switch (row.type) {
    case "day":
      return h("li", { class: "row row-day" }, h("h2", null, dayName(row.at)));
    case "new":
      return h("li", { class: "row row-new" }, h("span", null, "New"), row.canSumUp && h("button", { type: "button", class: "chip-button", onclick: () => actions.catchUp() }, "Sum it up"));
    case "begin":
      return h("li", { class: "row row-begin" }, "This is where it begins.");
    case "waiting":
      return waiting(row, actions);
    case "draft":
      return draft(row, actions);
    case "message":
      if (row.deleted) return gone(row);
      if (row.kind === "user") return row.own ? own(row, actions) : person(row, actions);
      return bot(row, actions);
  }
}

type DraftRow = Row & { type: "draft" };

/**
 * Only the words of an answer that grows change; the button under them stays the one that is being pressed. And when it is there, its words
 * stay the same ones: somebody may have begun to select them.
 */
export function updateRow(row: Row, element: HTMLElement, actions: RowActions): boolean {
  const grown = row.type === "message" && growing.get(element);
  if (grown) {
    const made = bot(row, actions);
    const [before, after] = [element, made].map((one) => one.querySelector(".prose")!) as [HTMLElement, HTMLElement];
    grown.end(after);
    before.className = after.className;
    before.removeAttribute("aria-busy");
    around(before, after);
    around(before.parentElement!, after.parentElement!);
    element.className = made.className;
    delete element.dataset.frame;
    growing.delete(element);
    return true;
  }
  if (row.type === "waiting" && element.dataset.frame === frameOf(row)) {
    setText(element.querySelector(".wait")!, row.words);
    return true;
  }
  if (row.type !== "draft" || element.dataset.frame !== frameOf(row)) return false;
  growing.get(element)!.show(shownOf(row.draft));
  return true;
}

/** Puts what stands beside an element beside another one. */
function around(kept: HTMLElement, made: HTMLElement): void {
  const siblings = [...made.parentElement!.children];
  const at = siblings.indexOf(made);
  for (const old of [...kept.parentElement!.children]) if (old !== kept) old.remove();
  kept.before(...siblings.slice(0, at));
  kept.after(...siblings.slice(at + 1));
}

/** The words of answers that grow, by their rows. */
const growing = new WeakMap<HTMLElement, Growing>();

/** What of a row that grows is not its words. */
function frameOf(row: DraftRow | WaitingRow): string {
  const more = row.type === "draft" ? `${row.draft.stopping} ${row.draft.headless} ${row.draft.brokeOff} ${shownOf(row.draft) !== row.draft.text}` : row.stopping;
  return `${row.type} ${more} ${row.quote?.text ?? ""}`;
}

/** It is said once that an answer is awaited: the seconds that are counted are for the eye. */
function waiting(row: WaitingRow, actions: RowActions): HTMLElement {
  const cancel = h(
    "button",
    { type: "button", class: "chip-button", "aria-label": "Cancel the question", disabled: row.stopping, onclick: () => actions.stop(row.key) },
    icon("close"),
    row.stopping ? "Cancelling…" : "Cancel",
  );
  return h(
    "li",
    { class: "row row-bot row-waiting", "data-frame": frameOf(row) },
    avatar("bot", true),
    h(
      "div",
      { class: "body" },
      head("bot", null, null),
      quoteOf(row.quote, row.replyTo, actions),
      h("div", { class: "wait-line" }, h("span", { class: "dots", "aria-hidden": "true" }, h("i", null), h("i", null), h("i", null)), h("span", { class: "wait" }, row.words), cancel),
    ),
  );
}

function draft(row: DraftRow, actions: RowActions): HTMLElement {
  const { id, stopping, headless, brokeOff } = row.draft;
  const text = shownOf(row.draft);
  const isFormer = text !== row.draft.text;
  const words = h("div", { class: isFormer ? "prose former" : "prose growing", "aria-busy": "true" });
  const missed = headless ? "… the beginning comes with the finished answer" : brokeOff ? "It broke off, and begins again:" : null;
  const stop = h(
    "button",
    { type: "button", class: "chip-button", "aria-label": "Stop the answer", disabled: stopping, onclick: () => actions.stop(id) },
    icon("stop"),
    stopping ? "Stopping…" : "Stop",
  );
  const element = h(
    "li",
    { class: "row row-bot row-draft", "data-frame": frameOf(row) },
    avatar("bot", true),
    h("div", { class: "body" }, head("bot", null, isFormer ? "begins again" : "is writing"), quoteOf(row.quote, row.draft.replyTo, actions), missed && h("p", { class: "missed" }, missed), words, h("div", { class: "foot" }, stop)),
  );
  const grows = new Growing(
    words,
    (markdownText, isOpen) => withFormulas(withCode(markdown(markdownText, isOpen), actions.say)),
    (code, language) => codeFrame(code, language, actions.say),
  );
  growing.set(element, grows);
  grows.show(text);
  return element;
}

function bot(row: MessageRow, actions: RowActions): HTMLElement {
  const isFallback = row.kind === "fallback";
  // Behind the latest it takes the place of "Stop"; of an earlier answer it is one of the tools.
  const again =
    row.again &&
    (isFallback || row.isLatest || row.again === "asked") &&
    h(
      "button",
      { type: "button", class: "chip-button", disabled: row.again === "asked", onclick: () => actions.answerAgain(row.id) },
      icon("again"),
      row.again === "asked" ? "Asked again" : isFallback ? "Try again" : "Answer again",
    );
  return h(
    "li",
    { class: isFallback ? "row row-bot row-fallback" : "row row-bot" },
    avatar("bot", true),
    h(
      "div",
      { class: "body" },
      head(row.sender, row.at, row.stoppedBy ? `stopped by ${row.stoppedBy}` : isFallback && row.text.startsWith("Stopped, ") ? "stopped" : isFallback ? "automatic reply: the model gave no answer" : null),
      quoteOf(row.quote, row.replyTo, actions),
      h("div", { class: "prose" }, withFormulas(withCode(markdown(row.text), actions.say))),
      (row.sources.length > 0 || row.suggestions) && sourcesOf(row),
      row.goesOn === "full" && h("p", { class: "missed" }, "It does not fit into one message."),
      (again || row.goesOn) && h("div", { class: "foot" }, row.goesOn && h("button", { type: "button", class: "chip-button", onclick: () => actions.goOn(row.id) }, icon("down"), "Go on"), again),
      asked(row, actions),
    ),
    tools(row, actions),
  );
}

/** Where an answer looked things up. Whoever is sent there does not hear from where. */
function sourcesOf({ sources, suggestions }: MessageRow): HTMLElement {
  const link = ({ title, uri }: Source) => h("li", null, h("a", { href: uri, target: "_blank", rel: "noopener noreferrer nofollow", referrerpolicy: "no-referrer", dir: "auto" }, title));
  return h(
    "div",
    { class: "sources", role: "group", "aria-label": "Sources" },
    h("span", { "aria-hidden": "true" }, "Sources"),
    h("ol", null, ...sources.map(link)),
    // A search engine's own: it can do nothing but look as it does, and open links beside the page.
    suggestions && h("iframe", { src: suggestions, title: "Searches that the engine suggests", sandbox: "allow-popups allow-popups-to-escape-sandbox", referrerpolicy: "no-referrer", loading: "lazy" }),
  );
}

/** In place of what was deleted, and is about to be. */
function gone(row: MessageRow): HTMLElement {
  const words = h("p", { class: "gone" }, icon("bin", "icon icon-tiny"), row.state !== "waiting" ? "Deleted" : row.why ? `To be deleted. Waiting: ${row.why}` : "Deleting…");
  const hidden = h("p", { class: "sr-only" }, `${row.own ? "You" : row.sender}, ${clockTime(row.at)}`);
  if (row.own) return h("li", { class: "row row-own row-gone" }, h("div", { class: "body" }, hidden, words));
  const side = row.together ? h("span", { class: "aside-time", "aria-hidden": "true" }) : avatar(row.sender, row.kind !== "user");
  return h("li", { class: `row row-person row-gone ${row.together ? "together" : ""}` }, side, h("div", { class: "body" }, row.together ? hidden : head(row.sender, row.at, null), words));
}

/** Asked once, in the row itself. */
function asked(row: MessageRow, actions: RowActions): HTMLElement | false {
  return (
    row.isAsked &&
    h(
      "div",
      { class: "foot ask", role: "group", "aria-label": "Delete this message?" },
      h("span", null, "Delete it for everybody?"),
      h("button", { type: "button", class: "chip-button chip-bad", onclick: () => actions.erase(row.id) }, icon("bin"), "Delete"),
      h("button", { type: "button", class: "chip-button", onclick: () => actions.askErase(null) }, "Keep it"),
    )
  );
}

function editedNote(row: MessageRow): HTMLElement | false {
  return row.edited !== null && h("span", { class: "edited", title: `Changed ${fullTime(row.edited)}` }, "edited");
}

function person(row: MessageRow, actions: RowActions): HTMLElement {
  return h(
    "li",
    { class: row.together ? "row row-person together" : "row row-person" },
    row.together ? h("time", { class: "aside-time", datetime: new Date(row.at).toISOString(), "aria-hidden": "true" }, tightTime(row.at)) : avatar(row.sender),
    h(
      "div",
      { class: "body" },
      row.together ? h("p", { class: "sr-only" }, `${row.sender}, ${clockTime(row.at)}`) : head(row.sender, row.at, row.isProgram ? "program" : null, editedNote(row)),
      quoteOf(row.quote, row.replyTo, actions),
      h("div", { class: "prose text" }, withFormulas(withCode(peopleMarkdown(row.text, actions.user), actions.say))),
      row.together && editedNote(row),
      asked(row, actions),
    ),
    tools(row, actions),
  );
}

function own(row: MessageRow, actions: RowActions): HTMLElement {
  const bubble = h(
    "div",
    { class: "bubble" },
    h("p", { class: "sr-only" }, `You, ${clockTime(row.at)}`),
    quoteOf(row.quote, row.replyTo, actions),
    h("div", { class: "prose text" }, withFormulas(withCode(peopleMarkdown(row.text, actions.user), actions.say))),
  );
  const state = h("p", { class: "state" });
  const isChange = row.entry?.of !== undefined;
  const id = row.entry?.id ?? row.id;
  if (row.state === "waiting") {
    state.append(icon("clock"), row.why ? `Waiting: ${row.why}` : isChange ? "The change waits to be sent" : "Waiting to be sent");
    if (!row.why) state.classList.add("state-quiet");
    if (row.isHeld) state.append(h("button", { type: "button", class: "text-button", onclick: () => actions.edit(id) }, "Take back"));
  } else if (row.state === "failed") {
    state.classList.add("state-failed");
    state.append(icon("alert"), h("span", null, `Not ${isChange ? "changed" : "sent"}: ${row.why ?? "refused"}`));
  }
  const choices =
    row.state === "failed" &&
    h(
      "div",
      { class: "foot" },
      h("button", { type: "button", class: "chip-button", onclick: () => actions.retry(id) }, icon("again"), "Try again"),
      h("button", { type: "button", class: "chip-button", onclick: () => actions.edit(id) }, icon("edit"), "Edit"),
      h("button", { type: "button", class: "chip-button", onclick: () => actions.discard(id) }, icon("close"), "Discard"),
    );
  const time =
    row.state === "kept" &&
    h("time", { class: "own-time", datetime: new Date(row.at).toISOString(), title: fullTime(row.at), "aria-hidden": "true" }, clockTime(row.at));
  return h(
    "li",
    { class: `row row-own ${row.together ? "together" : ""} ${row.state}` },
    h("div", { class: "body" }, h("div", { class: "bubble-line" }, row.state === "kept" && tools(row, actions), time, editedNote(row), bubble), row.state !== "kept" && state, choices, asked(row, actions)),
  );
}

function head(sender: string, at: number | null, note: string | null, edited: HTMLElement | false = false): HTMLElement {
  return h(
    "p",
    { class: "head" },
    h("strong", { class: sender === "bot" ? "sender" : `sender ${hueOf(sender)}` }, sender),
    note && h("span", { class: "note" }, note),
    at !== null && h("time", { datetime: new Date(at).toISOString(), title: fullTime(at) }, clockTime(at)),
    edited,
  );
}

function quoteOf(quote: Quote | null, id: string | null, actions: RowActions): HTMLElement | null {
  if (!quote || !id) return null;
  if (quote.isWanted) actions.wantQuote(id);
  return h(
    "button",
    { type: "button", class: "quote", onclick: () => actions.showMessage(id) },
    h("span", { class: "sr-only" }, "In reply to "),
    quote.sender && h("strong", null, quote.sender),
    quote.sender && h("span", { class: "sr-only" }, ": "),
    h("span", { class: "cut", dir: directionOf(quote.text) }, quote.text),
  );
}

function tools(row: MessageRow, actions: RowActions): HTMLElement {
  const begin = firstLine(row.text, 40);
  return h(
    "div",
    { class: "tools" },
    row.again === "offered" && iconButton("again", `Answer again: ${begin}`, () => actions.answerAgain(row.id)),
    iconButton("reply", `Reply to ${row.own ? "yourself" : row.sender}: ${begin}`, () => actions.reply(row.id)),
    iconButton("copy", `Copy the text: ${begin}`, async () => actions.say((await copyText(row.text)) ? "Copied." : "The browser did not let this be copied.")),
    row.mayEdit && keyed("F2", iconButton("edit", `Change: ${begin}`, () => actions.rewrite(row.id))),
    row.mayDelete && keyed("Delete", iconButton("bin", `Delete: ${begin}`, () => actions.askErase(row.id))),
  );
}

/** The key that does the same wherever in the row the focus is. */
function keyed(key: string, button: HTMLElement): HTMLElement {
  button.setAttribute("aria-keyshortcuts", key);
  button.title += ` (${key})`;
  return button;
}
