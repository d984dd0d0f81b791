// What one does oneself holds, whatever an older answer of the server says that comes after it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Chat, type Change } from "../src/chat.ts";
import type { RoomInfo } from "../src/protocol.ts";
import { PassingStore } from "../src/storage.ts";

interface Call {
  what: string;
  answer(body: unknown, status?: number): void;
}

/** A browser without a page: the calls wait here until they are answered, and the line comes up when a test says so. */
class Browser {
  readonly sent: { type: string; room?: string; id?: string; of?: string; message?: string }[] = [];
  readonly told: string[] = [];
  #socket: { onopen?(): void; onclose?(event: object): void; onmessage?(event: object): void } = {};
  readonly calls: Call[] = [];
  readonly changes: Change[] = [];
  readonly chat: Chat;

  constructor() {
    const none = () => undefined;
    const fetch = (address: string, { method }: RequestInit) =>
      new Promise<Response>((resolve) => {
        this.calls.push({ what: `${method} ${address}`, answer: (body, status = 200) => resolve(body === undefined ? new Response(null, { status: 204 }) : Response.json(body, { status })) });
      });
    const opened = (socket: object) => (this.#socket = socket);
    const { sent } = this;
    class WebSocket {
      static readonly OPEN = 1;
      readonly readyState = 1;
      readonly close = none;
      constructor() {
        opened(this);
      }
      send(frame: string) {
        sent.push(JSON.parse(frame));
      }
    }
    Object.assign(globalThis, { fetch, WebSocket, addEventListener: none, removeEventListener: none, document: { hidden: false, addEventListener: none, removeEventListener: none }, location: { href: "http://localhost/" } });
    this.chat = new Chat("ada", { changed: (change) => this.changes.push(change), arrived: none, invited: none, tell: (text) => this.told.push(text) }, { shared: new PassingStore(), own: new PassingStore() });
    this.chat.start();
  }

  hears(frame: object): void {
    this.#socket.onmessage!({ data: JSON.stringify(frame) });
  }

  /** The line breaks, and another is tried at once. */
  loses(): void {
    this.#socket.onclose!({ code: 1006 });
    this.chat.tryNow();
  }

  lineUp(): void {
    this.#socket.onopen!();
    this.hears({ type: "welcome", user: "ada", ping_ms: 25_000 });
  }

  /** Waits for a call, which is answered by whoever asks. */
  async asked(what: string): Promise<Call> {
    for (let turns = 0; turns < 1_000; turns += 1) {
      const at = this.calls.findIndex((call) => call.what === what);
      if (at >= 0) return this.calls.splice(at, 1)[0]!;
      await new Promise(setImmediate);
    }
    throw new Error(`nobody asked ${what}`);
  }

  async answers(what: string, body: unknown): Promise<void> {
    (await this.asked(what)).answer(body);
    for (let turns = 0; turns < 20; turns += 1) await new Promise(setImmediate);
  }
}

const LIST = "GET /api/rooms";
const room = (name: string, more: Partial<RoomInfo> = {}): RoomInfo => ({ name, owner: "ada", private: true, bot: "mention", ...more }) as RoomInfo;
const own = room("ada");

/** A browser that has its first list. */
async function browser(t: { after(run: () => void): void }, first: unknown = { rooms: [own] }): Promise<Browser> {
  const browser = new Browser();
  t.after(() => browser.chat.stop());
  await browser.answers(LIST, first);
  return browser;
}

test("a room that was made while the list was on its way is not missed in it", async (t) => {
  const tab = await browser(t);
  const { chat } = tab;
  void chat.refreshRooms();
  const older = await tab.asked(LIST);
  const made = chat.create({ name: "plans", private: true, bot: "mention" });
  await tab.answers("POST /api/rooms", room("plans"));
  const plans = await made;
  const listed = chat.refreshRooms();
  older.answer({ rooms: [own] });
  await listed;
  assert.deepEqual([plans.was, plans.info?.name], [null, "plans"]);
});

test("an invitation that was taken or declined while the list was on its way does not come back with it", async (t) => {
  const invited = (name: string) => room(name, { owner: "bob", invited_by: "bob" });
  const tab = await browser(t, { rooms: [own, invited("one"), invited("two")] });
  const { chat } = tab;
  const listed = chat.refreshRooms();
  const older = await tab.asked(LIST);
  const taken = chat.takeInvitation(chat.rooms.get("one")!);
  await tab.answers("PUT /api/rooms/one/members/ada", undefined);
  await taken;
  const declined = chat.decline(chat.rooms.get("two")!);
  await tab.answers("DELETE /api/rooms/two/members/ada", undefined);
  await declined;
  older.answer({ rooms: [own, invited("one"), invited("two")] });
  await listed;
  assert.deepEqual([chat.invitations, [...chat.rooms.keys()]], [[], ["ada", "one"]]);
  // What came after that list is in the one that is asked for next, without anybody's doing.
  await tab.answers(LIST, { rooms: [own, room("one", { owner: "bob" }), invited("three")] });
  assert.deepEqual(chat.invitations.map(({ name }) => name), ["three"]);
});

test("whoever leaves a room sees that at once, and not when the list is there", async (t) => {
  const tab = await browser(t, { rooms: [own, room("den", { owner: "bob" })] });
  const { chat } = tab;
  const left = chat.leave(chat.open("den"));
  tab.changes.length = 0;
  await tab.answers("DELETE /api/rooms/den/members/ada", undefined);
  await left;
  assert.deepEqual([chat.current, chat.rooms.has("den"), tab.changes.includes("rooms")], [null, false, true]);
  assert.ok(await tab.asked(LIST));
});

test("whoever has seen the end of the list is not offered more of it again, and whoever has not, is", async (t) => {
  const open = (name: string) => room(name, { owner: "bob", private: false });
  const tab = await browser(t);
  const { chat } = tab;
  const lists = async (page: unknown) => {
    void chat.refreshRooms();
    await tab.answers(LIST, page);
    return chat.hasMoreRooms;
  };
  const page = { rooms: [own, open("a")], next: "a" };
  assert.equal(await lists({ rooms: [own] }), false);
  assert.equal(await lists(page), true);
  const more = chat.loadMoreRooms();
  await tab.answers("GET /api/rooms?after=a", { rooms: [open("b")] });
  await more;
  assert.equal(chat.hasMoreRooms, false);
  assert.equal(await lists(page), false);
});

test("a room is missing where the server says so, and not where it was only away", async (t) => {
  const { chat } = await browser(t);
  const den = chat.open("den");
  for (const [status, isMissing] of [[0, false], [503, false], [429, false], [404, true], [400, true]] as const) {
    den.trouble = { status, message: "no" };
    assert.equal(den.isMissing(true), isMissing, String(status));
  }
});

test("whoever is put out of the room that is looked at does not ask to be let in again and again", async (t) => {
  const tab = await browser(t, { rooms: [own, room("den", { owner: "bob" })] });
  const { chat } = tab;
  tab.lineUp();
  const den = chat.open("den");
  await tab.answers("GET /api/rooms/den/messages?limit=100", { messages: [] });
  const joins = () => tab.sent.filter((frame) => frame.type === "join" && frame.room === "den").length;
  assert.equal(joins(), 1);
  tab.hears({ type: "error", code: "not_found", message: "there is no such room, or you may not see it" });
  await tab.answers(LIST, { rooms: [own] });
  assert.deepEqual([den.was?.owner, joins()], ["bob", 1]);
  // Let in again, it asks once more.
  tab.hears({ type: "invited", room: "den", by: "bob" });
  await tab.answers(LIST, { rooms: [own, room("den", { owner: "bob" })] });
  assert.deepEqual([den.was, joins()], [null, 2]);
});

test("what was read anywhere is read here, and what was read here is told once a second at most", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const tab = await browser(t, { rooms: [own, room("den", { owner: "bob", read: 4_000, unread: 3, latest: 9_000 }), room("open", { owner: "bob", private: false, read: 0, unread: 0, latest: 9_000 })] });
  const { chat } = tab;
  tab.lineUp();
  const den = chat.rooms.get("den")!;
  // A browser in which nobody was before: the count is the server's, until what was missed is there.
  assert.deepEqual([den.readSeq, den.unread("ada"), chat.isMine(chat.rooms.get("open")!)], [4_000, 3, false]);
  tab.hears({ type: "joined", room: "den", seq: 9_000, complete: true });
  const said = (seq: number, prev: number) => ({ type: "message", room: "den", seq, prev, id: `m${seq}`, sender: "bob", kind: "user", message: "hi", at: "" });
  for (const [seq, prev] of [[5_000, 4_000], [9_000, 5_000]] as const) tab.hears(said(seq, prev));
  assert.equal(den.unread("ada"), 2);
  tab.hears({ type: "read", room: "den", seq: 5_000 });
  assert.equal(den.unread("ada"), 1);
  const told = () => tab.sent.filter(({ type }) => type === "read");
  chat.open("den");
  chat.atEnd(den, true);
  tab.hears(said(9_500, 9_000));
  assert.deepEqual([den.unread("ada"), told()], [0, []]);
  t.mock.timers.tick(1_000);
  t.mock.timers.tick(1_000);
  assert.deepEqual(told(), [{ type: "read", room: "den", seq: 9_500 }]);
  // An older place is no news.
  tab.hears({ type: "read", room: "den", seq: 1 });
  assert.equal(den.readSeq, 9_500);
});

/** A room that is looked at, with a message of one's own in it. */
async function inDen(t: { after(run: () => void): void }) {
  const tab = await browser(t, { rooms: [own, room("den")] });
  tab.lineUp();
  const den = tab.chat.open("den");
  const said = { room: "den", seq: 5_000, prev: 0, id: "m1", sender: "ada", kind: "user", message: "teh", at: "" };
  await tab.answers("GET /api/rooms/den/messages?limit=100", { messages: [said] });
  return { tab, den, sent: (type: string) => tab.sent.filter((frame) => frame.type === type) };
}

test("a change goes out until it is acked, under its first id, and is applied once", async (t) => {
  const { tab, den, sent } = await inDen(t);
  const { id } = tab.chat.rewrite(den, "m1", "the ");
  assert.deepEqual(sent("edit"), [{ type: "edit", room: "den", id, of: "m1", message: "the" }]);
  // A new line: nobody knows whether it arrived.
  tab.loses();
  tab.lineUp();
  assert.deepEqual(sent("edit").map((frame) => frame.id), [id, id]);
  tab.hears({ type: "edited", room: "den", seq: 6_000, prev: 5_000, id, of: "m1", by: "ada", message: "the", at: "" });
  tab.hears({ type: "ack", id, seq: 6_000 });
  assert.deepEqual([den.timeline.get("m1")?.message, den.timeline.get("m1")?.edited, den.timeline.resumeFrom, tab.chat.outbox.all()], ["the", 6_000, 6_000, []]);
});

test("a change that never went out gives way to a later one, and a deletion that is refused is said and no more", async (t) => {
  const { tab, den, sent } = await inDen(t);
  tab.loses();
  tab.chat.rewrite(den, "m1", "one");
  tab.chat.rewrite(den, "m1", "two");
  const { id } = tab.chat.rewrite(den, "m1", "");
  tab.lineUp();
  assert.deepEqual([sent("edit"), sent("delete")], [[], [{ type: "delete", room: "den", id, of: "m1" }]]);
  tab.hears({ type: "error", code: "forbidden", message: "only its author may", id });
  assert.deepEqual([tab.told.at(-1), tab.chat.outbox.all(), den.timeline.get("m1")?.message], ["Not deleted: Only its author may.", [], "teh"]);
});

test("whoever reads further up after a long absence has each page that is held read again", async (t) => {
  const { tab, den } = await inDen(t);
  den.atEnd = false;
  tab.hears({ type: "joined", room: "den", seq: 9_000, complete: false });
  await tab.answers("GET /api/rooms/den/messages?limit=100&before=5001", { messages: [{ ...den.timeline.last, message: "", deleted: true }] });
  assert.equal(den.timeline.get("m1")?.deleted, true);
});
