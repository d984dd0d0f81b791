// Pictures of people's and rooms' affairs, to be looked at: the door, messages that were changed and deleted, one's own account and
// rooms, and what administrators see. Written to web/out/screenshots/.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Stage, type Person } from "./people.ts";

const folder = join(process.env.CHINWAG_WEB!, "out", "screenshots");
const SIZES = [
  { size: "wide", width: 1_280, height: 820 },
  { size: "narrow", width: 360, height: 740 },
];

let stage: Stage;
before(async () => {
  mkdirSync(folder, { recursive: true });
  stage = await Stage.set({ REGISTRATION: "invite" });
});
after(() => stage.clear());

async function picture(person: Person, name: string): Promise<void> {
  await person.page.evaluate(() => document.fonts.ready);
  await person.page.mouse.move(0, 0);
  await person.page.waitForTimeout(450);
  await person.page.screenshot({ path: join(folder, `${name}.png`) });
}

test("pictures", async () => {
  const rita = await stage.somebody({}, await stage.servers.firstLink());
  await rita.registers("rita");
  const invite = (uses: number) => rita.page.evaluate(async (uses) => (await (await fetch("/api/invites", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ uses }) })).json()).link as string, uses);
  const link = new URL(await invite(20), rita.address).href;
  const people: Person[] = [];
  for (const name of ["ada", "bob", "cleo"]) {
    const person = await stage.somebody({}, link);
    await person.registers(name);
    people.push(person);
  }
  const [ada, bob] = people as [Person, Person];
  await ada.makes("day-at-the-sea", { bot: "Not at all" });
  await bob.opens("day-at-the-sea");
  for (const [person, text] of [[bob, "Who is in for the sea on Saturday?"], [ada, "In. I bring the cofee"], [bob, "my password is hunter2"], [bob, "sorry, wrong window"], [ada, "ten o'clock at the harbour"]] as const) {
    await person.says(text);
    await person.seesSent(text);
  }
  const does = async (person: Person, deed: RegExp, text: string) => {
    const row = person.row(text).first();
    await row.hover();
    await row.getByRole("button", { name: deed }).first().click();
  };
  await does(bob, /^Delete/, "hunter2");
  await bob.page.getByRole("group", { name: "Delete this message?" }).getByRole("button", { name: "Delete" }).click();
  await ada.row("Deleted").waitFor();
  await does(ada, /^Change/, "cofee");
  await ada.composer.fill("In. I bring the coffee");
  await ada.composer.press("Enter");
  await ada.row("coffee").getByText("edited").waitFor();
  await does(bob, /^Change/, "wrong window");
  await bob.composer.fill("sorry, that was the wrong window");
  await bob.composer.press("Enter");
  await bob.row("that was the wrong").getByText("edited").waitFor();
  for (const { size, width, height } of SIZES) {
    for (const colours of ["light", "dark"]) {
      const looks = { width, height, dark: colours === "dark" };
      const at = `${size}-${colours}`;
      const stranger = await stage.somebody(looks);
      await stranger.page.getByText("One comes in here by invitation.").waitFor();
      await picture(stranger, `door-shut-${at}`);
      await stranger.page.goto(link);
      await stranger.page.reload();
      await stranger.page.goto(link);
      await stranger.page.getByText("You are invited").waitFor();
      await picture(stranger, `door-invited-${at}`);
      await stranger.context.close();

      const visitor = await stage.somebody(looks);
      await visitor.logsIn("ada");
      await visitor.opens("day-at-the-sea");
      await visitor.row("Deleted").waitFor();
      await does(visitor, /^Change/, "ten o'clock");
      await picture(visitor, `changing-${at}`);
      await visitor.composer.press("Escape");
      await does(visitor, /^Delete/, "coffee");
      await picture(visitor, `asked-${at}`);
      await visitor.page.getByRole("button", { name: "Keep it" }).click();
      await visitor.page.getByRole("button", { name: "This room" }).click();
      await visitor.page.locator("summary").filter({ hasText: "Delete it" }).waitFor();
      for (const part of ["Ban people", "Delete it"]) await visitor.page.locator("summary").filter({ hasText: part }).click();
      await visitor.page.getByLabel("Type its name").scrollIntoViewIfNeeded();
      await picture(visitor, `own-room-parts-${at}`);
      await visitor.page.keyboard.press("Escape");
      if (width < 700) await visitor.page.getByRole("button", { name: "Rooms" }).click();
      await visitor.page.getByRole("button", { name: /devices and settings/ }).click();
      await visitor.page.getByText("This browser").first().waitFor();
      await picture(visitor, `account-${at}`);
      await visitor.page.locator("summary").filter({ hasText: "Change the password" }).click();
      await visitor.page.getByLabel("The new one").scrollIntoViewIfNeeded();
      await picture(visitor, `password-${at}`);
      await visitor.page.locator("summary").filter({ hasText: "Change the password" }).click();
      await visitor.page.locator("summary").filter({ hasText: "Invite by link" }).click();
      const form = visitor.page.getByRole("form", { name: "Invite by link" });
      await form.getByRole("button", { name: "Make a link" }).click();
      await form.getByLabel("The link").waitFor();
      await form.getByLabel("The link").scrollIntoViewIfNeeded();
      await picture(visitor, `invites-${at}`);
      await visitor.page.locator("summary").filter({ hasText: "Invite by link" }).click();
      await visitor.page.locator("summary").filter({ hasText: "Delete the account" }).click();
      await visitor.page.getByRole("button", { name: "Delete my account" }).scrollIntoViewIfNeeded();
      await picture(visitor, `leaving-${at}`);
      await visitor.context.close();

      const keeper = await stage.somebody(looks);
      await keeper.logsIn("rita");
      await keeper.page.goto(`${keeper.address}/admin`);
      await keeper.page.locator("summary").filter({ hasText: "bob" }).click();
      await picture(keeper, `admin-people-${at}`);
      for (const tab of ["Rooms", "Usage", "Log"]) {
        await keeper.page.getByRole("button", { name: tab, exact: true }).click();
        await keeper.page.locator(".admin-part section > *").first().waitFor();
        await picture(keeper, `admin-${tab.toLowerCase()}-${at}`);
      }
      await keeper.context.close();
    }
  }
});
