// The first minute: register, land in one's own room, ask the bot; and what goes wrong stands beside the field.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, Stage } from "./people.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

test("somebody registers and talks with the bot", async () => {
  const ada = await stage.somebody();
  assert.equal(await ada.page.title(), "Chinwag");
  await ada.registers(fresh("ada"));
  await ada.page.getByRole("heading", { level: 1, name: "You and the bot" }).waitFor();
  await ada.page.getByText("I answer everything you write").waitFor();
  assert.ok(ada.page.url().endsWith(`/rooms/${ada.name}`));
  await ada.composer.fill("What is two plus two?");
  await ada.send.click();
  await ada.sees("four");
  await ada.seesSent("What is two plus two?");
  const stored = await ada.page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie);
  assert.doesNotMatch(stored, /token|password|[0-9a-f]{64}/i);
  ada.hadNoTrouble();
});

test("what is wrong stands beside the field, in words, and nothing that was typed is lost", async () => {
  const bob = await stage.person("bob");
  const eve = await stage.somebody();
  const register = eve.page.getByRole("form", { name: "Register" });
  await register.getByRole("button", { name: "Register" }).click();
  await register.getByText("A name, please.").waitFor();
  await register.getByLabel("Username").fill("e v e");
  await register.getByLabel("Password").fill("short");
  await register.getByLabel("Password").press("Enter");
  await register.getByText("A name has 3 to 32").waitFor();
  await register.getByText("A password has at least 8 characters.").waitFor();
  await register.getByLabel("Username").fill(bob.name);
  await register.getByLabel("Password").fill("long enough for this");
  await register.getByLabel("Password").press("Enter");
  await eve.page.locator("#register-name-error:not(:empty)").waitFor();
  assert.equal(await register.getByLabel("Username").getAttribute("aria-invalid"), "true");
  assert.equal(await register.getByLabel("Username").inputValue(), bob.name);
  const logIn = eve.page.getByRole("form", { name: "Log in" });
  await logIn.getByLabel("Username").fill(bob.name);
  await logIn.getByLabel("Password").fill("not the right one");
  await logIn.getByLabel("Password").press("Enter");
  await logIn.getByText("Name and password do not match.").waitFor();
  eve.hadNoTrouble();
});

test("rooms have addresses; back and forward go between them; a room that is not there says so", async () => {
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await ada.makes(room);
  assert.ok(ada.page.url().endsWith(`/rooms/${room}`));
  await ada.page.goBack();
  await ada.page.getByRole("heading", { level: 1, name: "You and the bot" }).waitFor();
  await ada.page.goForward();
  await ada.page.getByRole("heading", { level: 1, name: room }).waitFor();
  await ada.page.goto(`${ada.address}/rooms/no-such-${room}`);
  await ada.page.getByRole("heading", { name: "No such room" }).waitFor();
  ada.hadNoTrouble();
});

test("a session that was revoked ends at the door, and what was half typed is there afterwards", async () => {
  const ada = await stage.person("ada");
  await ada.composer.fill("half a thou");
  const other = await stage.somebody();
  await other.logsIn(ada.name);
  await other.page.getByRole("button", { name: /devices and settings/ }).click();
  await other.page.getByRole("button", { name: /^Log out Chrome/ }).click();
  await ada.page.getByText("Your session has ended").waitFor();
  await ada.logsIn(ada.name);
  assert.equal(await ada.composer.inputValue(), "half a thou");
  ada.hadNoTrouble();
});
