// What is typed goes where it is meant, whatever was clicked or pressed before.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

/** What has the focus, in a word. */
const focused = (person: Person) =>
  person.page.evaluate(async () => {
    // Whatever still wants the focus in the next frame has it by then.
    for (let frame = 0; frame < 3; frame += 1) await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    const { activeElement } = document;
    if (activeElement?.closest(".composer-input")) return "the field";
    return activeElement?.closest("li.row") ? "a row" : activeElement?.closest(".scroller") ? "the conversation" : (activeElement?.tagName ?? "nothing");
  });

async function isIn(person: Person, room: string): Promise<void> {
  await person.page.getByRole("heading", { level: 1, name: room === person.name ? "You and the bot" : room }).waitFor();
}

test("a room is chosen, by a click, by keys or by its name, and what is typed then is a message there", async () => {
  const ada = await stage.person("ada");
  const { keyboard } = ada.page;
  const rooms = [fresh("aft"), fresh("bow")] as const;
  for (const room of rooms) await ada.makes(room, { bot: "Not at all" });
  const types = async (room: string, words: string) => {
    await isIn(ada, room);
    assert.equal(await focused(ada), "the field");
    await keyboard.type(words);
    assert.equal(await ada.composer.inputValue(), words);
    await keyboard.press("Enter");
    await ada.seesSent(words);
  };
  await ada.page.getByRole("link", { name: new RegExp(rooms[0]) }).click();
  await types(rooms[0], "by a click");
  // The one that is looked at already.
  await ada.page.getByRole("link", { name: new RegExp(rooms[0]) }).click();
  await types(rooms[0], "by another click");
  await ada.page.getByRole("link", { name: new RegExp(rooms[1]) }).focus();
  await keyboard.press("Enter");
  await types(rooms[1], "by keys");
  await keyboard.press("Control+k");
  await keyboard.type(rooms[0]);
  await keyboard.press("Enter");
  await types(rooms[0], "by its name");
  await keyboard.press("Alt+ArrowUp");
  await types(ada.name, "by going up the list");
  ada.hadNoTrouble();
});

test("a finger that chooses a room brings up no keyboard", async () => {
  const ada = await stage.person("ada", { width: 390, height: 844, touch: true });
  const rooms = ada.page.getByRole("button", { name: /^Rooms/ });
  await rooms.tap();
  await ada.makes(fresh("aft"));
  await rooms.tap();
  await ada.page.getByRole("link", { name: /You and the bot/ }).tap();
  await isIn(ada, ada.name);
  assert.notEqual(await focused(ada), "the field");
  ada.hadNoTrouble();
});

test("whatever has the focus, what is typed where nothing takes it goes into the field", async () => {
  const ada = await stage.person("ada");
  const { keyboard } = ada.page;
  const elsewhere = [
    () => ada.page.getByRole("heading", { level: 1 }).click(),
    () => ada.conversation.focus(),
    () => ada.page.getByRole("button", { name: "This room" }).focus(),
    () => ada.page.getByRole("link", { name: /You and the bot/ }).focus(),
  ];
  for (const [index, go] of elsewhere.entries()) {
    await go();
    await keyboard.type(`words ${index}`);
    assert.equal(await ada.composer.inputValue(), `words ${index}`);
    await ada.composer.fill("");
  }
  await ada.composer.fill("copied");
  await keyboard.press("Control+a");
  await keyboard.press("Control+x");
  await ada.conversation.focus();
  await keyboard.press("Control+v");
  assert.equal(await ada.composer.inputValue(), "copied");
  // A dialog's own field keeps its words.
  await ada.composer.fill("");
  await ada.page.getByRole("button", { name: "New room" }).click();
  await ada.page.getByRole("dialog").waitFor();
  await keyboard.type("a name");
  assert.equal(await ada.page.getByLabel("Name", { exact: true }).inputValue(), "a name");
  await keyboard.press("Escape");
  assert.equal(await ada.composer.inputValue(), "");
  ada.hadNoTrouble();
});

test("Escape leads from the field into the conversation, and back", async () => {
  const ada = await stage.person("ada");
  await ada.composer.focus();
  await ada.page.keyboard.press("Escape");
  assert.equal(await focused(ada), "the conversation");
  await ada.page.keyboard.press("Escape");
  assert.equal(await focused(ada), "the field");
  await ada.page.keyboard.press("Control+k");
  await ada.page.keyboard.press("Escape");
  assert.equal(await focused(ada), "the field");
  ada.hadNoTrouble();
});

test("Stop and Answer again, pressed with a key, leave the focus in the row they belong to", async () => {
  const ada = await stage.person("ada");
  await ada.says("[[practice: words=400 pace=100ms]] a long one");
  await ada.page.getByRole("button", { name: "Stop the answer" }).press("Enter");
  assert.equal(await focused(ada), "a row");
  const again = ada.page.getByRole("button", { name: "Answer again", exact: true });
  await again.waitFor();
  assert.equal(await focused(ada), "a row");
  await stage.servers.practise(['pace=20ms say="the second answer, which takes its time to be written, and some more"']);
  await again.press("Enter");
  assert.equal(await focused(ada), "a row");
  await ada.seesAnswer("the second answer");
  assert.equal(await focused(ada), "a row");
  await ada.page.keyboard.type("thanks");
  assert.equal(await ada.composer.inputValue(), "thanks");
  ada.hadNoTrouble();
});

test("a name that no room has is said to be none", async () => {
  const ada = await stage.person("ada");
  const { keyboard } = ada.page;
  const links = ada.page.getByRole("navigation", { name: "Rooms" }).getByRole("link");
  await ada.makes(fresh("aft"));
  const before = await links.count();
  await keyboard.press("Control+k");
  await keyboard.type("nowhere");
  await ada.page.getByText("No room has “nowhere” in its name.").waitFor();
  await keyboard.press("Enter");
  assert.equal(await ada.page.getByLabel("Find a room").inputValue(), "nowhere");
  await keyboard.press("Escape");
  await until("the list is whole again", SEEN_MS, async () => (await links.count()) === before);
  assert.equal(await ada.page.getByText("in its name").count(), 0);
  ada.hadNoTrouble();
});
