// The wire as the server's own tests hold it, in `common/tests/golden/`: all of every frame is read, and what the page
// writes is what the server is known to read.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import clientFrames from "../../common/tests/golden/client_frames.json";
import serverFrames from "../../common/tests/golden/server_frames.json";
import { Chat } from "../src/chat.ts";
import { readFrame, type ClientFrame } from "../src/protocol.ts";
import { PassingStore } from "../src/storage.ts";

test("every frame of the server is read, and no field of it lost", () => {
  for (const [name, frame] of Object.entries(serverFrames)) assert.deepEqual(readFrame(JSON.stringify(frame)), frame, name);
});

test("what a newer server adds is not looked at, and what cannot be used is passed over", () => {
  const { message } = serverFrames;
  const read = (change: object) => readFrame(JSON.stringify({ ...message, ...change }));
  assert.deepEqual(read({ colour: "red" }), message);
  assert.deepEqual(read({ reply_to: null }), message);
  assert.deepEqual(read({ kind: "news" }), { ...message, kind: "news" });
  for (const lost of ["room", "seq", "id", "message"]) assert.equal(read({ [lost]: undefined }), null, lost);
  for (const text of ['{"type":"toString"}', '{"type":"ack","id":7,"seq":1}', '{"type":"presence","room":"lobby","users":"ada"}']) {
    assert.equal(readFrame(text), null, text);
  }
});

/** A line on which a test is the server. */
class Line {
  static readonly OPEN = 1;
  static last: Line;
  readonly readyState = Line.OPEN;
  readonly written: ClientFrame[] = [];
  onopen = () => {};
  onmessage = (_: { data: string }) => {};

  constructor() {
    Line.last = this;
  }

  send(text: string): void {
    this.written.push(JSON.parse(text));
  }

  hears(frame: object): void {
    this.onmessage({ data: JSON.stringify(frame) });
  }

  close(): void {}

  /** The only frame of a type since this was last asked. */
  async writes(type: ClientFrame["type"]): Promise<ClientFrame> {
    for (let turns = 0; this.written.length === 0 && turns < 1_000; turns += 1) await new Promise(setImmediate);
    const [frame, ...more] = this.written.splice(0);
    assert.equal(frame?.type, type);
    assert.deepEqual(more, []);
    return frame!;
  }
}

test("every frame that the page writes is one that the server is known to read", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const reply = serverFrames["message, a reply"];
  let past: object[] = [reply];
  const room = { name: "lobby", private: false, bot: "always", persona: null, owner: "ada", read: 0, unread: 0 };
  const answers = (path: string) => (path === "/api/rooms" ? { rooms: [room] } : { messages: past });
  const ignore = { addEventListener() {}, removeEventListener() {} };
  Object.assign(globalThis, ignore, {
    WebSocket: Line,
    document: { hidden: false, ...ignore },
    location: { href: "http://chinwag.test/" },
    fetch: async (path: string) => Response.json(answers(path)),
  });
  const chat = new Chat("ada", { changed() {}, arrived() {}, invited() {}, tell() {} }, { shared: new PassingStore(), own: new PassingStore() });
  // The compiler wants every type of frame in here, and the end of this test wants each of them written.
  const written: Record<ClientFrame["type"], ClientFrame[]> = { send: [], join: [], leave: [], typing: [], stop: [], again: [], edit: [], delete: [], read: [], pong: [] };
  const writes = async (type: ClientFrame["type"]) => written[type].push(await Line.last.writes(type));

  chat.start();
  Line.last.onopen();
  Line.last.hears(serverFrames.welcome);
  await writes("join");
  Line.last.hears(serverFrames.ping);
  await writes("pong");
  const lobby = chat.open("lobby");
  for (const replyTo of [reply.id, undefined]) {
    const { id } = chat.send(lobby, "hi", replyTo);
    await writes("send");
    Line.last.hears({ ...serverFrames.ack, id });
  }
  chat.typing(lobby);
  await writes("typing");
  chat.stopReply(lobby, serverFrames.ack.id);
  await writes("stop");
  chat.answerAgain(lobby, serverFrames.ack.id);
  await writes("again");
  for (const [type, text] of [["edit", "hello"], ["delete", ""]] as const) {
    const { id } = chat.rewrite(lobby, reply.id, text);
    await writes(type);
    Line.last.hears({ ...serverFrames.ack, id });
  }
  chat.atEnd(lobby, true);
  t.mock.timers.tick(1_000);
  await writes("read");
  past = [];
  const leaving = chat.leave(lobby);
  await writes("leave");
  await leaving;
  await writes("join");
  chat.stop();

  // The server trims what it reads, and so does the page before it writes.
  const trimmed = (frame: object) => ("message" in frame ? { ...frame, message: String(frame.message).trim() } : frame);
  const known = Object.values(clientFrames).flatMap(({ frame, is }) => ("read" in is && typeof frame === "object" ? [trimmed(frame)] : []));
  for (const [type, frames] of Object.entries(written)) {
    assert.notEqual(frames.length, 0, type);
    for (const frame of frames) {
      // The page makes the ids of its messages itself; those of the golden frames are all the same.
      const shown = ["send", "edit", "delete"].includes(frame.type) ? { ...frame, id: serverFrames.ack.id } : frame;
      assert.ok(known.some((golden) => isDeepStrictEqual(golden, shown)), JSON.stringify(shown));
    }
  }
});
