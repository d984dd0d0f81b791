// What the owner of a room does with it, and what others see of that.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hasNoViolations } from "./axe.ts";
import { fresh, Stage, type Person } from "./people.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set({ GEMINI_MODELS: "gemini-quick=Quick one,gemini-deep=Deep one", BOT_SEARCH: "on" })));
after(() => stage.clear());

async function opensRoom(person: Person, part?: string): Promise<void> {
  await person.page.getByRole("button", { name: "This room" }).click();
  await person.page.getByRole("dialog").waitFor();
  if (part) await person.page.locator("summary").filter({ hasText: part }).click();
}

test("a room has a title and a topic, which stand in place of its name", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("sea");
  await ada.makes(room, { bot: "Not at all" });
  await opensRoom(ada);
  await ada.page.getByLabel("Shown name").fill("Ein Tag am Meer");
  await ada.page.getByLabel("What it is about").fill("Boat, picnic, swimming");
  await ada.page.getByRole("button", { name: "Save" }).click();
  await ada.page.getByText("Saved.").first().waitFor();
  await hasNoViolations(ada, "an owner's room");
  await ada.page.keyboard.press("Escape");
  await bob.opens(room);
  await bob.page.getByRole("heading", { level: 1, name: "Ein Tag am Meer" }).waitFor();
  await bob.page.getByText("Boat, picnic, swimming").first().waitFor();
  await bob.page.getByRole("link", { name: /Ein Tag am Meer/ }).waitFor();
  for (const person of [ada, bob]) person.hadNoTrouble();
});

test("whoever is banned is out at once, and comes in again when the ban is lifted", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("open");
  await ada.makes(room, { bot: "Not at all" });
  await bob.opens(room);
  await bob.says("spam");
  await ada.sees("spam");
  await opensRoom(ada, "Ban people");
  const form = ada.page.getByRole("form", { name: "Ban somebody" });
  await form.getByLabel("Whom to ban").fill(bob.name);
  await form.getByRole("button", { name: "Ban", exact: true }).click();
  await ada.page.getByText(`${bob.name} is banned.`).first().waitFor();
  await bob.page.getByRole("heading", { name: "You are no longer in this room" }).waitFor();
  await form.getByRole("button", { name: `Let ${bob.name} back in` }).click();
  await ada.page.getByText(`${bob.name} may come in again.`).first().waitFor();
  // The door says it, in words of its own, and nothing else does.
  assert.equal(await bob.page.locator(".notice").textContent(), "");
  await bob.page.reload();
  await bob.comesIn();
  await bob.sees("spam");
  for (const person of [ada, bob]) person.hadNoTrouble();
});

test("a room is handed over, left and deleted, and all who are in it see that", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("den");
  await ada.makes(room, { private: true, bot: "Not at all" });
  await ada.invites(bob.name);
  await bob.opens(room);
  await ada.says("/leave");
  await ada.page.getByText("You own this room: hand it over first, or delete it.").waitFor();
  await opensRoom(ada, "Hand it over");
  await ada.page.getByLabel("Whose it is to be").fill(bob.name);
  await ada.page.getByRole("button", { name: "Hand it over" }).click();
  await ada.page.getByRole("button", { name: "Hand over", exact: true }).click();
  await ada.page.getByText(`This room is ${bob.name}’s now.`).first().waitFor();
  await ada.says("all yours");
  await bob.sees("all yours");
  await bob.page.reload();
  await bob.sees("all yours");
  await opensRoom(bob, "Delete it");
  const form = bob.page.getByRole("form", { name: "Delete this room" });
  assert.equal(await form.getByRole("button", { name: "Delete this room" }).isDisabled(), true);
  await form.getByLabel(`Type its name, ${room}`).fill(room);
  await form.getByRole("button", { name: "Delete this room" }).click();
  await bob.page.getByText(`${room} is deleted.`).first().waitFor();
  await bob.page.getByRole("heading", { level: 1, name: "You and the bot" }).waitFor();
  await ada.page.getByText("was deleted, or you were put out of it").waitFor();
  assert.equal(await ada.row("all yours").count(), 0);
  for (const person of [ada, bob]) person.hadNoTrouble();
});

test("an owner chooses the model, how much it thinks and whether it looks things up, and others are told", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("study");
  await ada.makes(room);
  await bob.opens(room);
  await opensRoom(ada);
  const form = ada.page.getByRole("form", { name: "Room settings" });
  await form.getByLabel("Model").selectOption({ label: "Deep one" });
  await form.getByLabel("Thinking").selectOption({ label: "A lot" });
  await form.getByLabel("Looks things up").check();
  await hasNoViolations(ada, "choices of the bot");
  await form.getByRole("button", { name: "Save" }).click();
  await ada.page.getByText("Saved.").first().waitFor();
  await opensRoom(bob);
  await bob.page.getByText("It answers by Deep one. It thinks: a lot. It looks things up.").waitFor();
  await bob.page.keyboard.press("Escape");
  await stage.servers.practise(['search say="The tide is high at noon."']);
  await ada.page.keyboard.press("Escape");
  await ada.says("@bot when is the tide high?");
  await bob.seesAnswer("The tide is high at noon.");
  const sources = bob.page.getByRole("group", { name: "Sources" });
  assert.match((await sources.getByRole("link").first().getAttribute("href"))!, /^https?:/);
  await sources.locator("iframe").scrollIntoViewIfNeeded();
  await bob.page.frameLocator(".sources iframe").locator("a").first().waitFor();
  await hasNoViolations(bob, "an answer with what it stands on");
  await opensRoom(ada);
  // And back to what the server has, which only what was changed is sent for.
  await form.getByLabel("Model").selectOption("");
  await form.getByLabel("Looks things up").uncheck();
  await form.getByRole("button", { name: "Save" }).click();
  await ada.page.getByText("Saved.").first().waitFor();
  await opensRoom(bob);
  await bob.page.getByText("It thinks: a lot.", { exact: true }).waitFor();
  for (const person of [ada, bob]) person.hadNoTrouble();
});
