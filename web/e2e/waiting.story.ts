// From the question to the answer: whoever waits knows for what, and can take it back.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, Stage } from "./people.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

test("a question says that it is thought about, or its place in line, and can be taken back at once", async () => {
  const ada = await stage.person("ada");
  const kim = await stage.person("kim");
  const room = fresh("lobby");
  await ada.makes(room);
  await kim.opens(room);
  await stage.servers.practise(["delay=60s"]);
  await kim.says("@bot what takes so long?");
  for (const person of [ada, kim]) await person.row(/Thinking, \d+ s/).waitFor();
  await ada.says("@bot and what about me?");
  const second = (of: typeof ada) => of.row(/2nd in line|1 before yours/);
  await second(ada).getByText(`Waiting for ${kim.name}’s answer, 1 before yours`).waitFor();
  await second(kim).getByText("Waiting for your answer, 2nd in line").waitFor();
  await second(ada).getByRole("button", { name: "Cancel the question" }).click();
  await ada.row("stopped by you").getByText("Stopped, before I had said anything.").waitFor();
  await kim.row("Stopped, before I had said anything.").waitFor();
  // Hers is still thought about, until she takes it back as well, by keys, which leaves the focus in the row.
  await kim.row(/Thinking, \d+ s/).getByRole("button", { name: "Cancel the question" }).press("Enter");
  await kim.row("stopped by you").waitFor();
  assert.ok(await kim.page.evaluate(() => document.activeElement?.closest("li.row") !== null));
  assert.deepEqual((await kim.history(room)).filter(({ kind }) => kind !== "user").length, 2);
  ada.hadNoTrouble();
  kim.hadNoTrouble();
});

test("an answer that breaks off and begins again says so", async () => {
  const ada = await stage.person("ada");
  await stage.servers.practise(["cut after=5 pace=150ms words=60", "pace=150ms words=40"]);
  await ada.says("tell me something");
  await ada.page.locator(".row-draft").getByText("It broke off, and begins again").waitFor();
  await ada.page.locator(".row-draft").waitFor({ state: "detached" });
  assert.equal(await ada.page.getByText("It broke off").count(), 0);
  ada.hadNoTrouble();
});

test("a browser whose clock is a day off is told that the bot thinks, too", async () => {
  for (const off of [-86_400_000, 86_400_000]) {
    const ada = await stage.somebody();
    await ada.page.addInitScript((off) => {
      const { now } = Date;
      Date.now = () => now() + off;
    }, off);
    await ada.page.reload();
    await ada.registers(fresh("ada"));
    await stage.servers.practise(["delay=60s"]);
    await ada.says("what takes so long?");
    await ada.row(/Thinking, \d s/).getByRole("button", { name: "Cancel the question" }).click();
    await ada.row("stopped by you").waitFor();
    ada.hadNoTrouble();
  }
});
