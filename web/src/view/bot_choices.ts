// What the owner of a room chooses of the bot, and for how long what is said is kept; for all others the same in a sentence.

import * as server from "../calls.ts";
import type { RoomInfo, Thinking } from "../protocol.ts";
import { h, type RoomChange } from "../shared.ts";
import { labelled } from "./dialog.ts";

const THINKING: [Thinking, string][] = [
  ["off", "Not at all"],
  ["low", "A little"],
  ["medium", "Some"],
  ["high", "A lot"],
];
const DAYS = [1, 7, 30, 90, 365];

const thinkingWords = (value: Thinking) => THINKING.find(([known]) => known === value)?.[1] ?? value;
const daysWords = (days: number) => (days === 1 ? "a day" : days === 365 ? "a year" : `${days.toLocaleString()} days`);

const option = (value: string, words: string, chosen: string) => h("option", { value, selected: value === chosen }, words);

function box(name: string, checked: boolean, words: string, hint: string): HTMLElement {
  return h("label", { class: "option" }, h("input", { type: "checkbox", name, checked }), h("span", null, h("strong", null, words), h("span", { class: "hint" }, hint)));
}

export interface BotChoices {
  element: HTMLElement;
  /** What of them is other than it is. */
  change(info: RoomInfo): RoomChange;
}

export function botChoices(info: RoomInfo): BotChoices {
  const own = "As this server has it";
  const model = h("select", { class: "input" }, option("", own, ""));
  const modelField = labelled("bot-model", "Model", model);
  const thinking = h("select", { class: "input" }, option("", own, info.thinking ?? ""), ...THINKING.map(([value, words]) => option(value, words, info.thinking ?? "")));
  const search = box("search", info.search ?? false, "Looks things up", "It may search the web, and read what is linked");
  const programs = box("programs", info.bot_answers_programs ?? false, "Answers programs, too", "Accounts that are marked as such");
  const days = info.retention_days ?? 0;
  const kept = h("select", { class: "input" }, option("", "As long as this server keeps it", String(days || "")), ...[...new Set([...DAYS, ...(days > 0 ? [days] : [])])].sort((one, other) => one - other).map((count) => option(String(count), daysWords(count)[0]!.toUpperCase() + daysWords(count).slice(1), String(days))));
  modelField.hidden = search.hidden = true;
  const offer = async () => {
    const { models, thinking: usual, search: maySearch } = await server.offers();
    const chosen = info.model ?? "";
    const listed = models.some(({ id }) => id === chosen) || !chosen ? models : [...models, { id: chosen, name: `${chosen} (no longer here)` }];
    model.replaceChildren(option("", models[0] ? `${own} (${models[0].name})` : own, chosen), ...listed.map(({ id, name }) => option(id, name, chosen)));
    modelField.hidden = listed.length < 2 && !chosen;
    search.hidden = !maySearch && !info.search;
    if (usual) thinking.options[0]!.textContent = `${own} (${thinkingWords(usual).toLowerCase()})`;
  };
  // Of a server that tells of no choices nothing is offered.
  offer().catch(() => undefined);
  const checked = (label: HTMLElement) => label.querySelector("input")!.checked;
  return {
    element: h("div", { class: "choices-of-bot" }, h("div", { class: "pair" }, modelField, labelled("bot-thinking", "Thinking", thinking)), search, programs, labelled("kept-days", "What is said is kept", kept)),
    change(now) {
      const change: RoomChange = {};
      if (!modelField.hidden && model.value !== (now.model ?? "")) change.model = model.value || null;
      if (thinking.value !== (now.thinking ?? "")) change.thinking = (thinking.value || null) as Thinking | null;
      if (checked(search) !== (now.search ?? false)) change.search = checked(search);
      if (checked(programs) !== (now.bot_answers_programs ?? false)) change.bot_answers_programs = checked(programs);
      if (Number(kept.value) !== (now.retention_days ?? 0)) change.retention_days = Number(kept.value) || null;
      return change;
    },
  };
}

/** What the owner chose, for those who are in the room. */
export function botFacts({ model, thinking, search, retention_days, bot_answers_programs, bot }: RoomInfo): HTMLElement {
  const facts = h("p", { class: "about" });
  const say = (name: string | null) => {
    const words = bot === "off" ? [] : [name && `It answers by ${name}.`, thinking && `It thinks: ${thinkingWords(thinking).toLowerCase()}.`, search && "It looks things up.", bot_answers_programs && "It answers programs, too."];
    facts.textContent = [...words, retention_days && `What is said is kept for ${daysWords(retention_days)}.`].filter(Boolean).join(" ");
  };
  say(model ?? null);
  if (model) void server.offers().then(({ models }) => say(models.find(({ id }) => id === model)?.name ?? model), () => undefined);
  return facts;
}
