// What was typed goes out once, in order, whatever dies in between.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
// Pings often, so that a dead line is noticed within the story.
before(async () => void (stage = await Stage.set({ PING_MS: "3000" })));
after(() => stage.clear());

async function waiting(person: Person): Promise<string[]> {
  return person.page.evaluate(() =>
    Object.keys(localStorage)
      .filter((key) => key.startsWith("chinwag:out:"))
      .sort()
      .map((key) => key.split(":").at(-1)!),
  );
}

async function arrived(person: Person, room: string, texts: string[]): Promise<void> {
  await until(`${texts.length} messages are in ${room}`, SEEN_MS, async () => (await person.history(room)).length >= texts.length);
  assert.deepEqual((await person.history(room)).map(({ message }) => message), texts);
}

test("the edge is killed while somebody types: the line says so, and everything goes out once, in order", async () => {
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await ada.says("before");
  await ada.seesSent("before");
  await ada.composer.pressSequentially("one, half");
  await stage.servers.killEdge();
  await ada.composer.pressSequentially(" typed", { delay: 30 });
  await ada.composer.press("Enter");
  await ada.says("two");
  await ada.says("three");
  await ada.page.getByText(/Reconnecting|Connecting/).first().waitFor();
  await ada.page.getByText(/3 messages will go out then/).waitFor();
  const ids = await waiting(ada);
  await ada.composer.pressSequentially("not sent ye");
  await stage.servers.startEdge();
  await ada.seesSent("three");
  await arrived(ada, room, ["before", "one, half typed", "two", "three"]);
  assert.deepEqual((await ada.history(room)).slice(1).map(({ id }) => id), ids);
  assert.deepEqual(await waiting(ada), []);
  assert.equal(await ada.composer.inputValue(), "not sent ye");
  await ada.reconnects();
  ada.hadNoTrouble();
});

test("the tab goes away with unsent messages: the next one sends them, with their first ids", async () => {
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await stage.servers.killEdge();
  await ada.says("one");
  await ada.says("two");
  await ada.composer.pressSequentially("and half a");
  const ids = await waiting(ada);
  assert.equal(ids.length, 2);
  await ada.page.close();
  await stage.servers.startEdge();
  const later = await ada.tab(`/rooms/${room}`);
  await later.seesSent("two");
  await arrived(later, room, ["one", "two"]);
  assert.deepEqual((await later.history(room)).map(({ id }) => id), ids);
  assert.equal(await later.composer.inputValue(), "and half a");
  later.hadNoTrouble();
});

test("a frozen edge is noticed by the missed pings, and nothing is sent twice when it thaws", async () => {
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await ada.says("before");
  await ada.seesSent("before");
  stage.servers.freezeEdge();
  await ada.says("during");
  await ada.page.getByText(/Reconnecting|Connecting/).first().waitFor();
  stage.servers.thawEdge();
  await ada.seesSent("during");
  await arrived(ada, room, ["before", "during"]);
});

test("offline and back", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await bob.opens(room);
  await ada.context.setOffline(true);
  await ada.page.getByText(/offline/).first().waitFor();
  await ada.says("written offline");
  await bob.says("meanwhile");
  await bob.seesSent("meanwhile");
  await ada.context.setOffline(false);
  await ada.sees("meanwhile");
  await ada.seesSent("written offline");
  await bob.sees("written offline");
  await ada.reconnects();
});

test("two tabs show the same, and a message is sent by one of them", async () => {
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  const second = await ada.tab(`/rooms/${room}`);
  await ada.says("from the first");
  await second.sees("from the first");
  await second.says("from the second");
  await ada.sees("from the second");
  await stage.servers.killEdge();
  await ada.says("while it is away");
  await second.sees("while it is away");
  await stage.servers.startEdge();
  for (const tab of [ada, second]) await tab.seesSent("while it is away");
  await arrived(ada, room, ["from the first", "from the second", "while it is away"]);
  for (const tab of [ada, second]) assert.equal(await tab.row("while it is away").count(), 1);
});
