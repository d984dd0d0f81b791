// Pictures of the page, to be looked at: narrow and wide, light and dark; the log-in, a busy room, a streaming answer, the
// reconnecting line, a failed message. Written to web/out/screenshots/; the best of them to web/screenshots/, which is
// committed, since the README shows them.

import { after, before, test } from "node:test";
import { Stage, type Person } from "./people.ts";
import { picture, SIZES } from "./picture.ts";

const ANSWER = [
  "Happy to. For **six people** and a Saturday in May:",
  "",
  "| what | who | when |",
  "|---|---|---|",
  "| boat | bob | 9:30 |",
  "| picnic | cleo | 12:00 |",
  "| swimming | all | after that |",
  "",
  "1. Book the boat by Thursday, they are gone after that.",
  "2. Bring something warm: the wind turns at five.",
  "",
  "The tide, if you want it in the script:",
  "",
  "```python",
  "def high_tide(day):",
  "    return table[day] + timedelta(minutes=50)",
  "```",
].join("\\n");

const TIDES = [
  "Imagine the sea as a **big, lazy blanket** that lies around the whole Earth.",
  "",
  "The Moon pulls on it, just a little, from far away:",
  "",
  "- where the Moon pulls, the water heaps up, and that is **high tide**",
  "- in between the blanket is thin, and that is **low tide**",
  "",
  "As the Earth turns, every beach comes past both heaps each day, so the water comes up twice and goes down twice.",
].join("\\n");

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

test("pictures", async () => {
  const people: Record<string, Person> = {};
  for (const name of ["ada", "bob", "cleo"]) {
    people[name] = await stage.somebody();
    await people[name]!.registers(name);
  }
  const { ada, bob, cleo } = people as { ada: Person; bob: Person; cleo: Person };
  await ada.makes("day-at-the-sea");
  await cleo.makes("if-it-rains");
  await cleo.makes("book-club");
  await cleo.says("Chapter four by Monday?");
  await cleo.seesSent("Chapter four by Monday?");
  for (const person of [bob, cleo]) await person.opens("day-at-the-sea");
  const say = async (person: Person, text: string) => {
    await person.says(text);
    await person.sees(text.slice(0, 30));
    await person.page.locator(".row-own.waiting").waitFor({ state: "detached" });
  };
  await say(bob, "Who is in for the sea on Saturday? The forecast looks good");
  await say(bob, "https://example.org/forecast");
  await say(cleo, "Me! And I bring the picnic, as long as nobody wants to cook 🧺");
  await stage.servers.practise(['say="With pleasure: how many are you, and when do you want to be there?"']);
  await say(ada, "In. Shall we let @bot make the plan?");
  await ada.page.locator(".row-bot:not(.row-draft) .prose").first().waitFor();
  await stage.servers.practise([`say="${ANSWER}"`]);
  await say(cleo, "@bot a plan for six, please");
  await cleo.page.locator(".row-bot .code").waitFor();
  await ada.page.locator(".row-bot .code").waitFor();
  await say(bob, "9:30 is brave, but fine");
  await say(ada, "I will bring the coffee then ☕️");
  for (const { size, width, height } of SIZES) {
    for (const colours of ["light", "dark"]) {
      const dark = colours === "dark";
      const visitor = await stage.somebody({ width, height, dark });
      await visitor.page.getByRole("form", { name: "Log in" }).waitFor();
      await picture(visitor, `door-${size}-${colours}`);
      await visitor.logsIn("ada");
      await picture(visitor, `own-room-${size}-${colours}`);
      await visitor.opens("day-at-the-sea");
      await visitor.sees("I will bring the coffee");
      await visitor.page.getByText(/bob.* here/).waitFor();
      await bob.composer.fill("and");
      await bob.composer.pressSequentially(" I");
      await picture(visitor, `room-${size}-${colours}`);
      if (width < 700) {
        await visitor.page.getByRole("button", { name: "Rooms" }).click();
        await picture(visitor, `rooms-${size}-${colours}`);
        await visitor.page.keyboard.press("Escape");
      }
      await visitor.page.getByRole("button", { name: "This room" }).click();
      await picture(visitor, `details-${size}-${colours}`);
      await visitor.page.keyboard.press("Escape");
      if (width < 700) await visitor.page.getByRole("button", { name: "Rooms" }).click();
      await visitor.page.getByRole("button", { name: /devices and settings/ }).click();
      await visitor.page.getByText("This browser").waitFor();
      await picture(visitor, `settings-${size}-${colours}`);
      await visitor.page.keyboard.press("Escape");
      await visitor.opens("ada");
      await stage.servers.practise([`pace=250ms say="${TIDES}"`]);
      await visitor.says("Explain tides to a child");
      await visitor.page.locator(".row-draft").waitFor();
      await visitor.page.waitForTimeout(1_500);
      await picture(visitor, `streaming-${size}-${colours}`);
      await visitor.page.getByRole("button", { name: "Stop the answer" }).click();
      await visitor.page.locator(".row-draft").waitFor({ state: "detached" });
      await stage.servers.practise(["delay=60s"]);
      for (const person of [bob, visitor]) await person.opens("if-it-rains");
      await visitor.says("@bot and if it rains?");
      await visitor.row(/Thinking, [23] s/).waitFor();
      await bob.says("@bot when is high tide?");
      await visitor.row(/1 before yours|2nd in line/).waitFor();
      await picture(visitor, `waiting-${size}-${colours}`);
      for (const person of [bob, visitor]) await person.page.getByRole("button", { name: "Cancel the question" }).last().click();
      await visitor.page.locator(".row-waiting").waitFor({ state: "detached" });
      if (width < 700) await visitor.page.getByRole("button", { name: "Rooms" }).click();
      await visitor.makes(`quiet-corner-${size}-${colours}`);
      await picture(visitor, `new-room-${size}-${colours}`);
      await bob.opens(`quiet-corner-${size}-${colours}`);
      await visitor.page.getByText(/bob.* here/).waitFor();
      await visitor.page.getByRole("button", { name: "This room" }).click();
      await visitor.page.getByLabel("Private").check();
      await visitor.page.getByText("bob would be put out").waitFor();
      await picture(visitor, `put-out-${size}-${colours}`);
      await visitor.page.getByRole("button", { name: "Save" }).click();
      await visitor.page.getByText("Saved. bob was invited.").waitFor();
      await picture(visitor, `saved-${size}-${colours}`);
      await bob.opens("day-at-the-sea");
      await visitor.context.close();
    }
  }
  // What goes wrong. The room is taken away from somebody who writes, and then the edge dies.
  await ada.makes("secret-garden", { private: true });
  await ada.invites("bob");
  for (const { size, width, height } of SIZES.slice(0, 2)) {
    for (const colours of ["light", "dark"]) {
      const visitor = await stage.somebody({ width, height, dark: colours === "dark" });
      await visitor.logsIn("bob");
      await visitor.opens("secret-garden");
      await visitor.says("The roses are out");
      await visitor.sees("The roses are out");
      await visitor.page.locator(".row-own.waiting").waitFor({ state: "detached" });
      await visitor.context.setOffline(true);
      await visitor.page.getByText(/offline/).first().waitFor();
      await visitor.says("Who has the key to the gate?");
      await ada.says("/remove bob");
      await ada.page.getByText("bob was removed.").first().waitFor();
      await visitor.context.setOffline(false);
      await visitor.page.getByText("Not sent:").waitFor();
      await picture(visitor, `shut-${size}-${colours}`);
      await ada.invites("bob");
      await visitor.page.reload();
      await visitor.comesIn();
      await visitor.page.locator(".row-own.failed").waitFor();
      await picture(visitor, `failed-${size}-${colours}`);
      await visitor.page.getByRole("button", { name: "Discard" }).click();
      await visitor.opens("day-at-the-sea");
      await visitor.sees("I will bring the coffee");
      await stage.servers.killEdge();
      await visitor.says("See you at the harbour");
      await visitor.page.getByText(/Reconnecting in/).first().waitFor();
      await picture(visitor, `reconnecting-${size}-${colours}`);
      await stage.servers.startEdge();
      await visitor.page.locator(".row-own.waiting").waitFor({ state: "detached" });
      await visitor.context.close();
    }
  }
});
