// A telephone: fingers, a keyboard that comes and goes, and "back".

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

const PHONE = { width: 390, height: 844, touch: true };

/** What is to be touched and is smaller than a finger's tip, and fields in which a telephone would zoom. */
async function tooSmall(person: Person): Promise<string[]> {
  return person.page.evaluate(() => {
    const found: string[] = [];
    for (const element of document.querySelectorAll<HTMLElement>("button, input, textarea, select, a, [role=option], label.option, label.pill")) {
      const { width, height } = element.getBoundingClientRect();
      const { visibility, fontSize, display } = getComputedStyle(element);
      if (width < 2 || visibility === "hidden" || display === "inline") continue;
      const isField = element.matches("textarea, input:not([type=radio], [type=checkbox])");
      // A box stands in a label that is touched in its place.
      const isBox = element.matches("input[type=radio], input[type=checkbox]");
      const words = (element.getAttribute("aria-label") ?? element.textContent ?? "").slice(0, 30);
      if (!isBox && (width < 43.5 || height < 43.5)) found.push(`${element.className} "${words}": ${Math.round(width)} x ${Math.round(height)}`);
      if (isField && Number.parseFloat(fontSize) < 16) found.push(`${element.className} "${words}": letters of ${fontSize}`);
    }
    return [...new Set(found)];
  });
}

test("what is to be touched is as large as a finger's tip, and no field makes a telephone zoom", async () => {
  const ada = await stage.somebody(PHONE);
  await ada.page.getByRole("form").first().waitFor();
  assert.deepEqual(await tooSmall(ada), [], "the door");
  await ada.registers(fresh("ada"));
  await ada.page.getByText("I answer everything").waitFor();
  assert.deepEqual(await tooSmall(ada), [], "an empty room");
  const room = fresh("lobby");
  await ada.page.getByRole("button", { name: "Rooms" }).tap();
  assert.deepEqual(await tooSmall(ada), [], "the drawer");
  await ada.makes(room);
  assert.deepEqual(await tooSmall(ada), [], "a new room");
  await ada.composer.fill("hello");
  await ada.send.tap();
  await ada.seesSent("hello");
  await ada.composer.fill('@bot [[practice: say="```rust\\nfn main() {}\\n```"]] code');
  await ada.send.tap();
  await ada.page.getByRole("button", { name: "Answer again" }).first().waitFor();
  await ada.row("hello").locator(".text").tap();
  await ada.row("hello").getByRole("button", { name: /^Reply/ }).tap();
  await ada.composer.pressSequentially("@");
  await ada.page.getByRole("listbox").waitFor();
  assert.deepEqual(await tooSmall(ada), [], "a conversation");
  await ada.composer.fill("");
  await ada.page.getByRole("button", { name: "This room" }).tap();
  await ada.page.getByRole("dialog").waitFor();
  assert.deepEqual(await tooSmall(ada), [], "a room's details");
  ada.hadNoTrouble();
});

test("Enter makes a new line, and the button sends", async () => {
  const ada = await stage.person("ada", PHONE);
  await ada.composer.pressSequentially("one");
  await ada.composer.press("Enter");
  await ada.composer.pressSequentially("two");
  assert.equal(await ada.composer.inputValue(), "one\ntwo");
  assert.equal(await ada.composer.getAttribute("enterkeyhint"), "enter");
  await ada.send.tap();
  await ada.seesSent("one");
  ada.hadNoTrouble();
});

test("the drawer and dialogs go away by back, and leave no entries behind when they are closed otherwise", async () => {
  const ada = await stage.person("ada", PHONE);
  const rooms = ada.page.getByRole("button", { name: /^Rooms/ });
  const drawer = ada.page.locator(".menu-open");
  const heading = (room: string) => ada.page.getByRole("heading", { level: 1, name: room }).waitFor();
  const [aft, bow] = [fresh("aft"), fresh("bow")] as const;
  for (const room of [aft, bow]) {
    await rooms.tap();
    await ada.makes(room);
  }
  // Back from an open drawer closes it, and the room stays.
  await rooms.tap();
  await drawer.waitFor();
  await ada.page.goBack();
  await drawer.waitFor({ state: "detached" });
  await heading(bow);
  await ada.page.getByRole("button", { name: "This room" }).tap();
  await ada.page.getByRole("dialog").waitFor();
  await ada.page.goBack();
  await ada.page.getByRole("dialog").waitFor({ state: "detached" });
  await heading(bow);
  // Closed by their own buttons, they are not in the way.
  await ada.page.getByRole("button", { name: "This room" }).tap();
  await ada.page.getByRole("button", { name: "Close" }).tap();
  await ada.page.getByRole("dialog").waitFor({ state: "detached" });
  await rooms.tap();
  await ada.page.getByRole("link", { name: new RegExp(aft) }).tap();
  await heading(aft);
  await ada.page.goBack();
  await heading(bow);
  await ada.page.goBack();
  await heading(aft);
  await ada.page.goBack();
  await heading("You and the bot");
  await until("the address is the room's", SEEN_MS, async () => ada.page.url().endsWith(`/rooms/${ada.name}`));
  ada.hadNoTrouble();
});
