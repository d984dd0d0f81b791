// What `@` and `/` complete to, and what a line that begins with `/` orders. Pure.

import { BOT_COMMANDS } from "./protocol.ts";
import { OF_NAME } from "./words.ts";

export interface Choice {
  /** What is put in. */
  insert: string;
  label: string;
  hint: string;
}

export interface Completion {
  /** Where the word that is completed begins and ends. */
  from: number;
  to: number;
  choices: Choice[];
}

export interface Command {
  name: string;
  argument: string | null;
  hint: string;
}

export const COMMANDS: Command[] = [
  { name: "invite", argument: "name", hint: "Let somebody into this room" },
  { name: "remove", argument: "name", hint: "Take somebody out of this room" },
  { name: "stop", argument: null, hint: "Stop the answer that is being written" },
  { name: "new", argument: null, hint: "Make a room" },
  { name: "room", argument: null, hint: "This room: people, bot, persona" },
  { name: "leave", argument: null, hint: "Leave this room" },
];

const MOST = 8;
/** Some input methods write the sign as wide as their own letters. */
const NAME_BEGUN = new RegExp(`(?<!${OF_NAME})[@\uff20]([a-z0-9_-]*)$`, "iu");

/** What could be meant at the caret; null if nothing. */
export function complete(text: string, caret: number, people: string[]): Completion | null {
  const before = text.slice(0, caret);
  const command = /^\/([a-z]*)$/i.exec(before);
  if (command) {
    const typed = command[1]!.toLowerCase();
    const choices = COMMANDS.filter((known) => known.name.startsWith(typed)).map((known) => ({
      insert: `/${known.name}${known.argument ? " " : ""}`,
      label: `/${known.name}${known.argument ? ` ${known.argument}` : ""}`,
      hint: known.hint,
    }));
    for (const { name, hint } of BOT_COMMANDS) if (name.startsWith(typed)) choices.push({ insert: `@bot /${name}`, label: `/${name}`, hint });
    return choices.length > 0 ? { from: 0, to: caret, choices } : null;
  }
  const name = NAME_BEGUN.exec(before);
  if (!name) return null;
  const typed = name[1]!.toLowerCase();
  const names = ["bot", ...people.filter((person) => person !== "bot")];
  const choices = names
    .filter((person) => person.startsWith(typed))
    .slice(0, MOST)
    .map((person) => ({ insert: `@${person} `, label: `@${person}`, hint: person === "bot" ? "Ask the bot" : "" }));
  if (choices.length === 0 || (choices.length === 1 && choices[0]!.label === `@${typed}`)) return null;
  return { from: caret - name[0].length, to: caret, choices };
}

/** Of a line that begins with `/` and a word: what it orders of the bot, that nobody knows the command, or null for all others. */
export function readSlash(text: string): { say: string } | { unknown: string } | null {
  const found = /^\/(\/?)([a-z]+)(?=\s|$)/i.exec(text.trim());
  if (!found) return null;
  const name = found[2]!.toLowerCase();
  const ofBot = BOT_COMMANDS.some((known) => known.name === name);
  if (ofBot && !found[1] && text.trim().length === found[0].length) return { say: `@bot /${name}` };
  if (ofBot || COMMANDS.some((known) => known.name === name)) return null;
  return found[1] ? { say: text.trim().slice(1) } : { unknown: name };
}

/** Whether a line is a command that needs nothing more: it goes at the first Enter, whatever is suggested. */
export function isComplete(text: string): boolean {
  const command = readCommand(text);
  if (command) return command.argument !== "" || COMMANDS.some(({ name, argument }) => name === command.name && argument === null);
  const slash = readSlash(text);
  return slash !== null && "say" in slash && slash.say.startsWith("@bot ");
}

/** A whole line that is a command, with an empty argument if it lacks one; null if it is a message. Paths and the like (`/etc/hosts`) are messages. */
export function readCommand(text: string): { name: string; argument: string } | null {
  const found = /^\/([a-z]+)(?:[ \t]+(\S+))?\s*$/i.exec(text.trim());
  const command = COMMANDS.find((known) => known.name === found?.[1]?.toLowerCase());
  if (!found || !command) return null;
  const argument = (found[2] ?? "").replace(/^@/, "");
  // `/new york is nice` is a message.
  if (command.argument === null && argument !== "") return null;
  return { name: command.name, argument };
}
