// What the list shows, and where its rows lie.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { Heights } from "../src/heights.ts";
import { asksToCatchUp, CATCH_UP, type Message } from "../src/protocol.ts";
import { replyId } from "../src/reply_id.ts";
import { Room } from "../src/room.ts";
import { allRows, firstLine, keptRows } from "../src/rows.ts";

const START = new Date(2026, 4, 3, 12).getTime();
let count = 0;
const message = (minutes: number, sender: string, more: Partial<Message> = {}): Message => {
  count += 1;
  return { room: "r", seq: (START + minutes * 60_000) * 1_000 + count, prev: 0, at: "", id: `m${count}`, sender, kind: "user", message: `text ${count}`, ...more };
};
const room = (...messages: Message[]) => {
  const made = new Room("r");
  made.timeline.reset(messages, 50);
  return made;
};
const shape = (rows: ReturnType<typeof keptRows>) =>
  rows.map((row) => (row.type === "message" ? `${row.together ? "+" : ""}${row.sender}` : row.type)).join(" ");

test("grouped by sender, while they follow soon, and by day", () => {
  const made = room(message(0, "ada"), message(1, "ada"), message(2, "bob"), message(20, "bob"), message(60 * 24, "bob"));
  assert.equal(shape(keptRows(made, "ada")), "begin day ada +ada bob bob day bob");
});

test("the line `new` stands before the first of somebody else's that was not read", () => {
  const messages = [message(0, "bob"), message(1, "ada"), message(2, "bob")];
  const made = room(...messages);
  made.newFrom = messages[0]!.seq;
  assert.equal(shape(keptRows(made, "ada")), "begin day bob ada new bob");
});

test("much that is new may be summed up, where the bot can do that", () => {
  const made = room(message(0, "bob"), message(1, "bob"));
  made.newFrom = made.timeline.first!.seq;
  const offered = (count: number, bot: "mention" | "off") => {
    made.newCount = count;
    made.info = { name: "r", private: false, bot, owner: "ada" };
    const line = keptRows(made, "ada").find((row) => row.type === "new");
    return line?.type === "new" && line.canSumUp;
  };
  assert.deepEqual(["@bot /catchup", " /CatchUp ", "@bot catchup", "/catchups"].map(asksToCatchUp), [true, true, false, false]);
  assert.deepEqual([offered(30, "mention"), offered(29, "mention"), offered(30, "off")], [CATCH_UP !== null, false, false]);
});

test("a reply shows what it replies to, unless that stands right above", () => {
  const question = message(0, "ada");
  const made = room(question, message(1, "bot", { kind: "bot", reply_to: question.id }), message(2, "bob", { reply_to: question.id }));
  const quotes = keptRows(made, "ada").flatMap((row) => (row.type === "message" ? [row.quote?.text ?? null] : []));
  assert.deepEqual(quotes, [null, null, question.message]);
});

test("another answer is offered after the newest reply to a request, and noted once it was asked for", () => {
  const question = message(0, "ada");
  const reply = (minutes: number) => message(minutes, "bot", { kind: "bot", reply_to: question.id });
  const made = room(question, reply(1), reply(2), message(3, "bob"));
  const offers = () => keptRows(made, "ada").flatMap((row) => (row.type === "message" ? [row.again] : []));
  assert.deepEqual(offers(), [null, null, "offered", null]);
  made.askedAgain.set(made.timeline.messages[2]!.id, START);
  assert.deepEqual(offers(), [null, null, "asked", null]);
  assert.deepEqual(made.openQuestions(START + 1).map(({ request }) => request), [question]);
  assert.deepEqual(made.openQuestions(START + 3_600_000), []);
  assert.deepEqual(offers(), [null, null, "offered", null]);
  made.info = { name: "r", private: false, bot: "off", persona: null, owner: "ada" };
  assert.deepEqual(offers(), [null, null, null, null]);
});

test("what is not kept yet stands last, and once only", () => {
  const sent = message(0, "ada");
  const made = room(sent);
  const outgoing = [
    { id: sent.id, room: "r", text: "the same", at: START },
    { id: "z1", room: "r", text: "waits", at: START },
    { id: "z2", room: "r", text: "refused", at: START, failed: { code: "forbidden", message: "no" } },
  ];
  const rows = allRows(made, keptRows(made, "ada"), outgoing, () => undefined, "ada", START + 999_999);
  const states = rows.flatMap((row) => (row.type === "message" ? [`${row.id} ${row.state}`] : []));
  assert.deepEqual(states, [`${sent.id} kept`, "z1 waiting", "z2 failed"]);
});

test("a question says its place in line, then how long it is thought about, until its answer begins, and not for ever", () => {
  const questions = ["kim", "ada", "kim"].map((sender, index) => message(index / 60, sender, { message: "@bot why?" }));
  const made = room(...questions);
  const shown = (seconds: number) =>
    allRows(made, keptRows(made, "ada"), [], () => undefined, "ada", START + seconds * 1_000).flatMap((row) => (row.type === "waiting" ? [row.words] : row.type === "draft" ? [row.draft.text] : []));
  assert.deepEqual(shown(8.5), ["Thinking, 8 s", "Waiting for kim’s answer, 1 before yours", "Waiting for kim’s answer, 3rd in line"]);
  assert.deepEqual(shown(80), []);
  // Of what the server still tells something, somebody still waits for an answer.
  made.drafts.receive({ type: "draft", room: "r", id: replyId("r", questions[0]!.id), reply_to: questions[0]!.id, attempt: 1, offset: 0, text: "", thinking: true }, START);
  assert.deepEqual(shown(80.5), ["Thinking, 80 s"]);
  made.drafts.finish(replyId("r", questions[0]!.id));
  const draft = (question: Message, text: string, more = {}) =>
    made.drafts.receive({ type: "draft", room: "r", id: replyId("r", question.id), reply_to: question.id, attempt: 1, offset: 0, text, ...more }, START);
  // What the server says is better than what the page reckons.
  draft(questions[1]!, "", { waiting: 4 });
  assert.deepEqual(shown(8.5)[1], "Waiting for kim’s answer, 4 before yours");
  draft(questions[0]!, "", { thinking: true });
  assert.deepEqual(shown(8.5)[0], "Thinking, 8 s");
  draft(questions[0]!, "Be");
  assert.deepEqual(shown(8.5), ["Be", "Waiting for kim’s answer, 4 before yours", "Waiting for kim’s answer, 3rd in line"]);
  made.stopped.set(replyId("r", questions[1]!.id), "ada");
  assert.deepEqual(shown(8.5)[1], "Taking it back");
  made.timeline.receive(message(1, "bot", { kind: "bot", reply_to: questions[0]!.id }));
  made.drafts.finish(replyId("r", questions[0]!.id));
  assert.deepEqual(shown(62), ["Taking it back", "Waiting for your answer, 2nd in line"]);
});

test("an answer that was cut off can be asked to go on while it is the last, and says who stopped it, to everybody", () => {
  const question = message(0, "ada", { message: "@bot why?" });
  const shown = (more: Partial<Message>, ...behind: Message[]) => {
    const made = room(question, message(1, "bot", { kind: "bot", reply_to: question.id, ...more }), ...behind);
    const row = keptRows(made, "ada").find((row) => row.type === "message" && row.kind !== "user");
    return row?.type === "message" ? `${row.goesOn} ${row.stoppedBy} ${row.sources.map(({ title }) => title)}` : "";
  };
  assert.equal(shown({ message: "and so …" }), "full null ");
  assert.equal(shown({ message: "and so\n\n*(The answer breaks off here.)*" }), "broken null ");
  assert.equal(shown({ message: "and so on." }), "null null ");
  assert.equal(shown({ message: "and so …" }, message(2, "bob")), "null null ");
  assert.equal(shown({ message: "and so …", stopped_by: "kim" }), "null kim ");
  assert.equal(shown({ stopped_by: "ada" }), "null you ");
  assert.equal(shown({ sources: [{ title: "One", uri: "https://a.b" }] }), "null null One");
});

test("a reply's id follows from the room and the request, by the server's rule", () => {
  const room = "day-at-the-sea";
  const request = "01900000-0000-7000-8000-000000000001";
  const bytes = createHash("sha256").update(`chinwag reply\0${room}`).update(Buffer.from(request.replaceAll("-", ""), "hex")).digest().subarray(0, 16);
  const id = replyId(room, request).replaceAll("-", "");
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  assert.equal(id, bytes.toString("hex"));
});

test("the beginning of a text, in one line, never half a character", () => {
  assert.equal(firstLine(" a\n\n b ", 10), "a b");
  assert.equal(firstLine("😀😀😀😀", 3), "😀😀…");
});

test("rows are found by height, measured ones where they are and others where guessed", () => {
  const heights = new Heights();
  heights.set(["a", "b", "c"], () => 10);
  assert.deepEqual([heights.total, heights.at(0), heights.at(9.9), heights.at(10), heights.at(999)], [30, 0, 0, 1, 2]);
  assert.equal(heights.measure("a", 50), true);
  assert.equal(heights.measure("a", 50.2), false);
  heights.set(["0", "a", "b", "c"], () => 10);
  assert.deepEqual([heights.top(2), heights.total, heights.at(59)], [60, 80, 1]);
});

test("what is changed here is shown at once, and what it was is there again where the server says no", () => {
  const own = message(0, "ada");
  const made = room(own, message(1, "bob"));
  const entry = { id: "e1", room: "r", text: "better", of: own.id, at: START };
  const shown = (...outgoing: Parameters<typeof allRows>[2]) => allRows(made, keptRows(made, "ada"), outgoing, () => undefined, "ada", START + 999_999).flatMap((row) => (row.type === "message" ? [row] : []));
  assert.deepEqual(shown(entry).map(({ text, state }) => `${text} ${state}`), [`better waiting`, `${made.timeline.last!.message} kept`]);
  assert.deepEqual(shown({ ...entry, text: "" }).map(({ deleted }) => deleted), [true, false]);
  const [failed] = shown({ ...entry, failed: { code: "forbidden", message: "no" } });
  assert.deepEqual([failed!.state, failed!.text, failed!.entry?.id], ["failed", "better", "e1"]);
  // What it would have changed is gone: the words stand by themselves, and a deletion has none.
  made.change({ type: "deleted", room: "r", seq: own.seq + 9e9, prev: 0, id: "d1", of: own.id, by: "bob" });
  assert.deepEqual(shown(entry, { ...entry, id: "e2", text: "" }).map(({ text, deleted }) => `${text} ${deleted}`), [" true", `${made.timeline.last!.message} false`, "better false"]);
});

test("an author changes and deletes, the owner and administrators delete, and of an answer also whoever asked", () => {
  const question = message(0, "bob");
  const made = room(question, message(1, "bot", { kind: "bot", reply_to: question.id }), message(2, "ada"));
  made.info = { name: "r", private: false, bot: "mention", owner: "cleo" };
  const may = (user: string, isAdmin = false) =>
    keptRows(made, user, isAdmin).flatMap((row) => (row.type === "message" ? [`${row.mayEdit ? "e" : ""}${row.mayDelete ? "d" : ""}`] : [])).join();
  assert.deepEqual([may("bob"), may("ada"), may("cleo"), may("dan"), may("dan", true)], ["ed,d,", ",,ed", "d,d,d", ",,", "d,d,d"]);
});

test("a deleted message is quoted without its words, and owed no answer; a changed one is asked anew", () => {
  const question = message(0, "ada", { message: "@bot secret?" });
  const other = message(0.1, "bob", { message: "@bot and this?", reply_to: question.id });
  const made = room(question, message(0.05, "cleo"), other);
  const change = (type: "edited" | "deleted", of: Message, seconds: number) => made.change({ type, room: "r", seq: (START + seconds * 1_000) * 1_000, prev: 0, id: `${type}-${seconds}`, of: of.id, by: "ada", message: "@bot better?" });
  const draft = (of: Message) => made.drafts.receive({ type: "draft", room: "r", id: replyId("r", of.id), reply_to: of.id, attempt: 1, offset: 0, text: "It" }, START);
  draft(question);
  draft(other);
  change("deleted", question, 8);
  assert.deepEqual(made.drafts.all().map(({ replyTo }) => replyTo), [other.id]);
  assert.deepEqual(keptRows(made, "ada").flatMap((row) => (row.type === "message" && row.quote ? [row.quote] : [])), [{ sender: "", text: "A deleted message", isWanted: false }]);
  change("edited", other, 9);
  assert.deepEqual(made.drafts.all(), []);
  // What asked nobody at first asks nobody by an edit.
  change("edited", made.timeline.messages[1]!, 10);
  assert.deepEqual(made.openQuestions(START + 20_000).map(({ request }) => request.id), [other.id]);
});
