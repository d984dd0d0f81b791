// What was done, and what cannot be done, is said where it is seen.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

/** Nothing lies over it, and it is inside the window. */
async function seesUncovered(person: Person, words: string): Promise<void> {
  const found = person.page.getByText(words, { exact: true });
  await until(`"${words}" is to be seen`, SEEN_MS, async () => {
    for (const one of await found.all()) {
      const isUncovered = await one.evaluate((element) => {
        const { left, top, width, height } = element.getBoundingClientRect();
        const at = document.elementFromPoint(left + Math.min(width, 40) / 2, top + height / 2);
        return width > 1 && (at === element || element.contains(at));
      });
      if (isUncovered) return true;
    }
    return false;
  });
}

test("what is done in a dialog is told in it", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  await ada.makes(fresh("lobby"));
  await ada.page.getByRole("button", { name: "This room" }).click();
  await ada.page.getByLabel("To everything").check();
  await ada.page.getByRole("button", { name: "Save" }).click();
  await seesUncovered(ada, "Saved.");
  await ada.page.getByLabel("Name of the person").fill(bob.name);
  await ada.page.getByRole("button", { name: "Invite" }).click();
  await seesUncovered(ada, `${bob.name} was invited.`);
  await ada.page.getByRole("button", { name: `Remove ${bob.name}` }).click();
  await seesUncovered(ada, `${bob.name} was removed.`);
  ada.hadNoTrouble();
});

test("a room that becomes private names those it puts out first, and keeps those who are invited", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const cleo = await stage.person("cleo");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  for (const person of [bob, cleo]) {
    await person.opens(room);
    await person.says(`${person.name} was here`);
    await ada.sees(`${person.name} was here`);
  }
  await ada.page.getByRole("button", { name: "This room" }).click();
  await ada.page.getByLabel("Private").check();
  await ada.page.getByText(`${bob.name} and ${cleo.name} would be put out`).waitFor();
  await ada.page.getByLabel(`Invite ${cleo.name}`).uncheck();
  await ada.page.getByRole("button", { name: "Save" }).click();
  await seesUncovered(ada, `Saved. ${bob.name} was invited.`);
  // Who was put out has a door before her, and no field.
  await cleo.page.getByRole("heading", { name: "You are no longer in this room" }).waitFor();
  await cleo.page.getByText(`${ada.name} can let you in again.`).waitFor();
  assert.equal(await cleo.composer.count(), 0);
  assert.equal(await cleo.row("was here").count(), 0);
  await bob.says("I stay");
  await bob.seesSent("I stay");
  await ada.page.keyboard.press("Escape");
  await ada.invites(cleo.name);
  await cleo.page.getByRole("button", { name: "Look again" }).click();
  await cleo.sees("I stay");
  await cleo.says("and so do I");
  await ada.sees("and so do I");
  for (const person of [ada, bob, cleo]) person.hadNoTrouble();
});
