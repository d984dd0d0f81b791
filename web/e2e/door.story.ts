// The door, one's own account, and those who administer.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hasNoViolations } from "./axe.ts";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
let admin: Person;
before(async () => {
  stage = await Stage.set({ REGISTRATION: "invite" });
  admin = await stage.somebody({}, await stage.servers.firstLink());
  await admin.registers(fresh("root"));
});
after(() => stage.clear());

async function opensSettings(person: Person, part?: string): Promise<void> {
  if ((await person.page.locator("dialog[open]").count()) === 0) await person.page.getByRole("button", { name: /devices and settings/ }).click();
  await person.page.getByText("This browser").first().waitFor();
  if (part) await person.page.locator("summary").filter({ hasText: part }).click();
}

/** A link that somebody makes in a dialog, or administrators on their page. */
async function shownLink(person: Person, label: RegExp): Promise<string> {
  return person.page.getByLabel(label).inputValue();
}

async function invitesByLink(person: Person): Promise<string> {
  await opensSettings(person, "Invite by link");
  const form = person.page.getByRole("form", { name: "Invite by link" });
  await form.getByRole("button", { name: "Make a link" }).click();
  await form.getByLabel("The link").waitFor();
  const link = await shownLink(person, /^The link/);
  await person.page.keyboard.press("Escape");
  return link;
}

/** Somebody new, who was let in. */
async function newcomer(name: string): Promise<Person> {
  const person = await stage.somebody({}, await invitesByLink(admin));
  await person.registers(fresh(name));
  return person;
}

async function administers(person: Person): Promise<void> {
  await opensSettings(person);
  await person.page.getByRole("button", { name: "Administration" }).click();
  await person.page.getByRole("heading", { name: "Administration" }).waitFor();
}

async function finds(person: Person, name: string): Promise<void> {
  await person.page.getByLabel("Find a name").fill(name);
  await until(`${name} is found alone`, SEEN_MS, async () => (await person.page.locator(".admin-list > li").count()) === 1);
  await person.page.locator(".admin-list summary").filter({ hasText: name }).click();
}

test("without an invitation the door says what to do, and with one somebody comes in, once", async () => {
  const stranger = await stage.somebody();
  await stranger.page.getByText("One comes in here by invitation.").waitFor();
  assert.equal(await stranger.page.getByRole("form", { name: "Register" }).count(), 0);
  await hasNoViolations(stranger, "a shut door");
  const link = await invitesByLink(admin);
  const ada = await stage.somebody({}, link);
  await ada.page.getByText("You are invited").waitFor();
  // What lets somebody in stands in no address, and in no storage.
  assert.equal(new URL(ada.page.url()).hash, "");
  const token = link.split("=")[1]!;
  assert.equal(await ada.page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage })).then((kept) => kept.includes(token)), false);
  await ada.registers(fresh("ada"));
  // A second one finds it used up, in words.
  await stranger.page.goto(link);
  await stranger.page.reload();
  await stranger.page.goto(link);
  const form = stranger.page.getByRole("form", { name: "Register" });
  await form.getByLabel("Username").fill(fresh("eve"));
  await form.getByLabel("Password").fill("correct horse battery");
  await form.getByRole("button", { name: "Register" }).click();
  await form.getByRole("alert").filter({ hasText: /invitation/i }).waitFor();
  // Who is in already does not need it.
  await ada.page.goto(await invitesByLink(admin));
  await ada.page.getByText("You are in already.").waitFor();
  for (const person of [ada, stranger]) person.hadNoTrouble();
});

test("a password is changed, which ends all other sessions, and a link sets a new one, once", async () => {
  const ada = await newcomer("ada");
  const phone = await stage.somebody({ width: 390, height: 800 });
  await phone.logsIn(ada.name);
  await opensSettings(ada, "Change the password");
  const form = ada.page.getByRole("form", { name: "Change the password" });
  await form.getByLabel("Your password now").fill("wrong horse battery");
  await form.getByLabel("The new one").fill("another horse battery");
  await form.getByRole("button", { name: "Change it" }).click();
  await form.getByRole("alert").filter({ hasText: "The password is wrong." }).waitFor();
  await form.getByLabel("Your password now").fill("correct horse battery");
  await hasNoViolations(ada, "changing a password");
  await form.getByRole("button", { name: "Change it" }).click();
  await ada.page.getByText("Your password is changed, and all other devices are logged out.").waitFor();
  await phone.page.getByRole("form", { name: "Log in" }).waitFor();
  // An administrator's link, for whoever has forgotten it.
  await administers(admin);
  await finds(admin, ada.name);
  await admin.page.getByRole("button", { name: "Link to a new password" }).click();
  await admin.page.getByLabel(`For ${ada.name}`).waitFor();
  const link = await shownLink(admin, new RegExp(`For ${ada.name}`));
  await admin.page.getByRole("link", { name: "Rooms" }).click();
  await admin.composer.waitFor();
  await phone.page.goto(link);
  const reset = phone.page.getByRole("form", { name: "Set the password" });
  assert.equal(new URL(phone.page.url()).hash, "");
  await reset.getByLabel("Password").fill("short");
  await reset.getByRole("button", { name: "Set the password" }).click();
  await reset.getByText("A password has at least 8 characters.").waitFor();
  await hasNoViolations(phone, "a new password");
  await reset.getByLabel("Password").fill("third horse battery");
  await reset.getByRole("button", { name: "Set the password" }).click();
  await phone.composer.waitFor();
  await ada.page.getByRole("form", { name: "Log in" }).waitFor();
  await ada.page.goto(link);
  await ada.page.getByRole("form", { name: "Set the password" }).getByLabel("Password").fill("fourth horse battery");
  await ada.page.getByRole("button", { name: "Set the password" }).click();
  await ada.page.getByRole("alert").filter({ hasText: /link/ }).waitFor();
  for (const person of [ada, phone, admin]) person.hadNoTrouble();
});

test("a token is shown once, posts as whoever made it, and is worth nothing when it is revoked", async () => {
  const ada = await newcomer("ada");
  await opensSettings(ada, "Tokens for programs");
  const form = ada.page.getByRole("form", { name: "Make a token" });
  await form.getByLabel("What for").fill("build server");
  await form.getByRole("button", { name: "Make a token" }).click();
  await form.getByLabel("The token").waitFor();
  const token = await shownLink(ada, /^The token/);
  await hasNoViolations(ada, "tokens");
  const posts = async () =>
    (await fetch(`${ada.address}/api/rooms/${ada.name}/messages`, { method: "POST", headers: { authorization: `Bearer ${token}`, "content-type": "application/json" }, body: JSON.stringify({ message: "the build is red" }) })).status;
  assert.equal(await posts(), 200);
  await ada.page.getByRole("listitem").filter({ hasText: "build server" }).getByRole("button", { name: "Revoke" }).click();
  await ada.page.getByRole("button", { name: "Revoke" }).click();
  await ada.page.getByText("There is none.").waitFor();
  assert.equal(await posts(), 401);
  await ada.page.keyboard.press("Escape");
  await ada.sees("the build is red");
  ada.hadNoTrouble();
});

test("an account goes, with what was written or without, and says so", async () => {
  const ada = await newcomer("ada");
  const room = fresh("lobby");
  await admin.opens(admin.name);
  await admin.makes(room, { bot: "Not at all" });
  await ada.opens(room);
  await ada.says("what I leave behind");
  await admin.sees("what I leave behind");
  await opensSettings(ada, "What you wrote");
  const [download] = await Promise.all([ada.page.waitForEvent("download"), ada.page.getByRole("link", { name: "Download it" }).click()]);
  const archive = JSON.parse(await (await import("node:fs/promises")).readFile((await download.path())!, "utf8"));
  assert.ok(JSON.stringify(archive).includes("what I leave behind"));
  await opensSettings(ada, "Delete the account");
  const form = ada.page.getByRole("form", { name: "Delete my account" });
  await form.getByLabel("Goes with it").check();
  await form.getByRole("button", { name: "Delete my account" }).click();
  await form.getByText("Your password, please.").waitFor();
  await form.getByLabel("Your password").fill("correct horse battery");
  await hasNoViolations(ada, "deleting an account");
  await form.getByRole("button", { name: "Delete my account" }).click();
  await ada.page.getByText("Your account is deleted.").waitFor();
  assert.equal(await ada.page.evaluate((name) => Object.keys(localStorage).some((key) => key.split(":")[2] === name), ada.name), false);
  await admin.row("Deleted").first().waitFor();
  for (const person of [ada, admin]) person.hadNoTrouble();
});

test("administrators find people, shut them out at once, and see who did what", async () => {
  const ada = await newcomer("ada");
  const phone = await stage.somebody({ width: 360, height: 700 });
  await phone.logsIn(admin.name);
  // At the width of a small telephone as well.
  await phone.page.goto(`${phone.address}/admin`);
  await phone.page.getByRole("heading", { name: "Administration" }).waitFor();
  await finds(phone, ada.name);
  await hasNoViolations(phone, "people");
  assert.equal(await phone.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
  await phone.page.getByRole("button", { name: "Disable" }).click();
  await phone.page.getByRole("button", { name: "Disable" }).click();
  await phone.page.getByText(`${ada.name} is out, and does not come in.`).waitFor();
  await ada.page.getByRole("form", { name: "Log in" }).waitFor();
  await phone.page.getByRole("button", { name: "Let in again" }).click();
  await phone.page.getByRole("button", { name: "Let in", exact: true }).click();
  await phone.page.getByText(`${ada.name} may come in again.`).waitFor();
  await ada.logsIn(ada.name);
  await ada.page.goto(`${ada.address}/admin`);
  await ada.page.getByText("Only administrators see that page.").waitFor();
  for (const [tab, seen] of [["Rooms", "Find a name"], ["Usage", "Questions"], ["Log", "disabled"]] as const) {
    await phone.page.getByRole("button", { name: tab, exact: true }).click();
    await phone.page.getByText(seen).first().waitFor();
    await hasNoViolations(phone, tab);
    assert.equal(await phone.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, tab);
  }
  await phone.page.goBack();
  await ada.page.getByRole("button", { name: "New room" }).waitFor();
  const room = fresh("orphan");
  await ada.makes(room, { bot: "Not at all" });
  await phone.page.goto(`${phone.address}/admin#rooms`);
  await finds(phone, room);
  await phone.page.getByLabel(`Whose ${room} is to be`).fill(admin.name);
  await phone.page.getByRole("button", { name: "Hand it over" }).click();
  await phone.page.getByRole("button", { name: "Hand over", exact: true }).click();
  await phone.page.getByText(`${room} is ${admin.name}’s now.`).waitFor();
  await phone.page.getByText(`Public, of ${admin.name}`).waitFor();
  for (const person of [ada, phone]) person.hadNoTrouble();
});
