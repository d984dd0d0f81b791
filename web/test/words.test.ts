// Links, names, commands, ids: what is read out of what people write.

import assert from "node:assert/strict";
import { test } from "node:test";
import commandTexts from "../../common/tests/golden/command_texts.json";
import { COMMANDS, complete, isComplete, readCommand, readSlash } from "../src/completion.ts";
import { newId } from "../src/ids.ts";
import { asksBot, BOT_COMMANDS, countChars, isBotCommand, mentions, readFrame } from "../src/protocol.ts";
import { pieces, unmarked, whoIsHere } from "../src/words.ts";

test("nothing of a text is lost by cutting it", () => {
  for (const text of ["plain", "@bot hi https://a.b.", "a@bot.com", "", "https://", "😀 @ada-b, x"]) {
    assert.equal(pieces(text).map((piece) => piece.text).join(""), text);
  }
});

test("names are words of their own", () => {
  const names = (text: string) => pieces(text).flatMap((piece) => (piece.isName ? [piece.text] : []));
  assert.deepEqual(names("@bot and mail@bot.com, @ada-b!"), ["@bot", "@ada-b"]);
});

test("the bot is asked by the server's own rule", () => {
  for (const text of ["@bot", "hi @BOT!", "(@bot)", "é @bot"]) assert.ok(asksBot("mention", text), text);
  for (const text of ["@bots", "a@bot", "@bot-2", "@bot_", "é@bot"]) assert.ok(!asksBot("mention", text), text);
  assert.ok(asksBot("always", "hi") && !asksBot("off", "@bot"));
  assert.ok(mentions("a@bot @bot", "bot"));
});

test("characters are counted as the server counts them", () => {
  assert.equal(countChars("  👋🏽é \n"), 3);
});

test("`@` and `/` complete", () => {
  assert.deepEqual(complete("hi @b", 5, ["bob", "ada"])?.choices.map(({ insert }) => insert), ["@bot ", "@bob "]);
  assert.equal(complete("mail@b", 6, ["bob"]), null);
  assert.equal(complete("@bot", 4, []), null);
  assert.deepEqual(complete("/in", 3, [])?.choices.map(({ insert }) => insert), ["/invite "]);
  assert.equal(complete("a /in", 5, []), null);
  assert.deepEqual(complete("/re", 3, [])?.choices.map(({ insert }) => insert), ["/remove ", "@bot /reset"]);
});

test("the bot's commands are those that the bot takes as such", () => {
  for (const { text, command } of commandTexts) assert.equal(isBotCommand(text), command !== null, text);
});

test("no command of the bot is one of the page as well", () => {
  for (const { name } of BOT_COMMANDS) assert.ok(!COMMANDS.some((known) => known.name === name), name);
});

test("a line about an answer has its words without the signs around them", () => {
  assert.equal(unmarked("# Tides\n\n- the **Moon** pulls, _a little_: see [here](https://x.org) and `code`"), "Tides the Moon pulls, a little: see here and code");
  assert.equal(unmarked("```python\nx = 2 * 3 * 4\n```\n> quoted\n\n| a | b |\n|---|---|\n| 1 | 2 |"), "x = 2 * 3 * 4 quoted a b 1 2");
  assert.equal(unmarked("snake_case_name stays, and 2 * 2"), "snake_case_name stays, and 2 * 2");
});

test("commands are whole lines; paths and sentences are messages", () => {
  assert.deepEqual(readCommand("/invite @bob "), { name: "invite", argument: "bob" });
  assert.deepEqual(readCommand("/invite"), { name: "invite", argument: "" });
  assert.deepEqual(readCommand("/stop"), { name: "stop", argument: "" });
  for (const text of ["/etc/hosts", "/new york is nice", "/new york", "/shrug", "a /stop"]) assert.equal(readCommand(text), null, text);
});

test("ids are version 7, and in order within a millisecond and over a clock that goes back", () => {
  const made = [...Array.from({ length: 5_000 }, () => newId(1_000_000)), newId(999_000), newId(1_000_500)];
  assert.deepEqual([...made].sort(), made);
  assert.equal(new Set(made).size, made.length);
  for (const id of made) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test("frames that are none, or unknown, are passed over", () => {
  for (const text of ["", "1", "null", "[]", '{"type":"later"}', '{"type":1}']) assert.equal(readFrame(text), null);
  assert.equal(readFrame('{"type":"ping"}')?.type, "ping");
});

test("a line that begins with a slash is a command, the bot's, or nobody's; paths and sentences are none", () => {
  assert.deepEqual(readSlash("/inivte bob"), { unknown: "inivte" });
  assert.deepEqual(readSlash("//shrug"), { say: "/shrug" });
  assert.deepEqual(readSlash(`/${BOT_COMMANDS[0]!.name}`), { say: `@bot /${BOT_COMMANDS[0]!.name}` });
  for (const text of ["/etc/hosts", "/new york is nice", "a /stop", "// a comment", "/", "/5"]) assert.equal(readSlash(text), null, text);
  for (const [text, is] of [["/stop", true], ["/invite", false], ["/invite bob", true], ["/st", false], [`/${BOT_COMMANDS[0]!.name}`, true]] as const) {
    assert.equal(isComplete(text), is, text);
  }
});

test("who is in a room is counted, as far as the server names them", () => {
  const people = (count: number) => Array.from({ length: count }, (_, index) => `p${index}`);
  assert.equal(whoIsHere(["ada"], "ada"), "");
  assert.equal(whoIsHere(["ada", "bob"], "ada"), "bob is here");
  assert.equal(whoIsHere([...people(5), "ada"], "ada"), "p0, p1, p2 and 2 more are here");
  assert.equal(whoIsHere(people(200), "ada"), "p0, p1, p2 and at least 197 more are here");
});
