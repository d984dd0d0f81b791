// What was said is changed and deleted, by whoever may, and everybody sees the newest of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hasNoViolations } from "./axe.ts";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

/** What can be done with a message stands beside it when the pointer is over it. */
async function does(person: Person, deed: "Change" | "Delete" | "Reply", text: string): Promise<void> {
  const row = person.row(text).first();
  await row.hover();
  await row.getByRole("button", { name: new RegExp(`^${deed}`) }).first().click();
}

async function deletes(person: Person, text: string): Promise<void> {
  await does(person, "Delete", text);
  await person.page.getByRole("group", { name: "Delete this message?" }).getByRole("button", { name: "Delete" }).click();
}

async function seesNothingOf(person: Person, text: string): Promise<void> {
  const has = () => person.page.evaluate((text) => document.body.innerHTML.split("<").find((piece) => piece.includes(text)) ?? null, text);
  await until(`${person.name} sees nothing of "${text}"`, SEEN_MS, async () => (await has()) === null).catch(async (error) => assert.fail(`${error.message}: ${await has()}`));
}

test("an author changes what was said, by the arrow or beside the message, and all see it and that it was", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await bob.opens(room);
  await ada.says("teh first");
  await ada.says("the secnd");
  await ada.seesSent("the secnd");
  await ada.composer.press("ArrowUp");
  await ada.page.getByText("Changing").waitFor();
  assert.equal(await ada.composer.inputValue(), "the secnd");
  await hasNoViolations(ada, "changing a message");
  await ada.composer.fill("the second");
  await ada.composer.press("Enter");
  await bob.sees("the second");
  await bob.row("the second").getByText("edited").waitFor();
  assert.equal(await bob.row("the secnd").count(), 0);
  // What was half typed waits meanwhile, and Escape leaves it as it was.
  await ada.composer.fill("half typed");
  await does(ada, "Change", "teh first");
  assert.equal(await ada.composer.inputValue(), "teh first");
  await ada.composer.press("Escape");
  assert.equal(await ada.composer.inputValue(), "half typed");
  await does(ada, "Change", "teh first");
  await ada.composer.fill("the first");
  await ada.page.getByRole("button", { name: "Save the change" }).click();
  await bob.sees("the first");
  assert.equal(await ada.composer.inputValue(), "half typed");
  // Whoever comes later sees the newest, and nobody else may change it.
  await bob.page.reload();
  await bob.sees("the first");
  await bob.row("the first").getByText("edited").waitFor();
  await bob.row("the first").hover();
  assert.equal(await bob.row("the first").getByRole("button", { name: /^(Change|Delete)/ }).count(), 0);
  for (const person of [ada, bob]) person.hadNoTrouble();
});

test("a deletion asks once, and leaves a quiet line, for those who look on, come back and quote", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await bob.opens(room);
  await bob.says("my password is hunter2");
  await ada.sees("hunter2");
  await does(ada, "Reply", "hunter2");
  await ada.says("oh dear");
  await ada.says("something between");
  await bob.sees("something between");
  await does(bob, "Reply", "hunter2");
  await bob.says("never mind");
  await ada.sees("never mind");
  await does(bob, "Delete", "hunter2");
  await hasNoViolations(bob, "being asked");
  await bob.page.getByRole("button", { name: "Keep it" }).click();
  await deletes(bob, "hunter2");
  for (const person of [ada, bob]) {
    await person.row("Deleted").first().waitFor();
    await seesNothingOf(person, "hunter2");
    await person.row("never mind").getByText("A deleted message").waitFor();
  }
  await hasNoViolations(ada, "a deleted message");
  await ada.page.reload();
  await ada.row("Deleted").first().waitFor();
  await seesNothingOf(ada, "hunter2");
  // The room is ada's: she may delete what others said.
  await deletes(ada, "never mind");
  await seesNothingOf(bob, "never mind");
  assert.deepEqual((await bob.history(room)).map(({ message }) => message), ["", "oh dear", "something between", ""]);
  for (const person of [ada, bob]) person.hadNoTrouble();
});

test("with the keyboard alone a message is changed and deleted, and the focus is kept", async () => {
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await ada.says("one");
  await ada.seesSent("one");
  const reply = ada.row("one").getByRole("button", { name: /^Reply/ });
  await reply.focus();
  await ada.page.keyboard.press("F2");
  await ada.composer.fill("two");
  await ada.composer.press("Enter");
  await ada.sees("two");
  await ada.row("two").getByText("edited").waitFor();
  await ada.row("two").getByRole("button", { name: /^Copy/ }).focus();
  await ada.page.keyboard.press("Delete");
  const focused = () => ada.page.evaluate(() => document.activeElement?.textContent);
  assert.equal(await focused(), "Delete");
  await ada.page.keyboard.press("Escape");
  await ada.page.getByRole("group", { name: "Delete this message?" }).waitFor({ state: "detached" });
  await ada.page.keyboard.press("Delete");
  await ada.page.keyboard.press("Enter");
  await ada.row("Deleted").waitFor();
  assert.equal(await ada.page.evaluate(() => document.activeElement?.closest(".row") !== null), true);
  // To change one's words to nothing is to delete them.
  await ada.says("three");
  await ada.seesSent("three");
  await ada.composer.press("ArrowUp");
  await ada.composer.fill("");
  await ada.composer.press("Enter");
  await ada.page.getByRole("group", { name: "Delete this message?" }).waitFor();
  await ada.page.keyboard.press("Enter");
  await seesNothingOf(ada, "three");
  ada.hadNoTrouble();
});

test("a question that is changed is answered anew, and one that is deleted is not answered", async () => {
  const ada = await stage.person("ada");
  await stage.servers.practise(['pace=400ms say="the long answer to the first question, which takes a while to be written down word by word"']);
  await ada.says("first question");
  await ada.page.locator(".row-draft").waitFor();
  await stage.servers.practise(['say="the answer to the second"']);
  await does(ada, "Change", "first question");
  await ada.composer.fill("second question");
  await ada.composer.press("Enter");
  await ada.seesAnswer("the answer to the second");
  await stage.servers.practise(['pace=400ms say="what nobody is to read, and which takes a while to be written down word by word"']);
  await ada.says("third question");
  await ada.page.locator(".row-draft").waitFor();
  await deletes(ada, "third question");
  await ada.page.locator(".row-draft, .row-waiting").first().waitFor({ state: "detached" });
  await ada.row("Deleted").waitFor();
  // An answer goes with whoever asked for it.
  await deletes(ada, "the answer to the second");
  await seesNothingOf(ada, "the answer to the second");
  ada.hadNoTrouble();
});

test("changes that wait outlive a reload, and go out once when there is a line again", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await ada.says("stays wrong");
  await ada.says("goes away");
  await ada.seesSent("goes away");
  await bob.opens(room);
  await bob.sees("goes away");
  await stage.servers.killEdge();
  await ada.page.getByText(/Reconnecting|Connecting/).first().waitFor();
  await does(ada, "Change", "stays wrong");
  await ada.composer.fill("is right");
  await ada.composer.press("Enter");
  await ada.sees("is right");
  await ada.row("is right").getByText("The change waits to be sent").waitFor();
  await deletes(ada, "goes away");
  await ada.row("Deleting…").waitFor();
  const ids = await ada.page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("chinwag:out:")).length);
  assert.equal(ids, 2);
  await stage.servers.startEdge();
  await bob.sees("is right");
  await bob.row("Deleted").waitFor();
  await until("all of it went out", SEEN_MS, async () => (await ada.page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("chinwag:out:")).length)) === 0);
  assert.deepEqual((await ada.history(room)).map(({ message }) => message), ["is right", ""]);
  for (const person of [ada, bob]) person.hadNoTrouble();
});
