// Pictures of the page, to be looked at: narrow and wide, light and dark; the log-in, a busy room, a streaming answer, the
// reconnecting line, a failed message. Written to web/out/screenshots/; the best of them to web/screenshots/, which is
// committed, since the README shows them.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Stage, type Person } from "./people.ts";

const web = process.env.CHINWAG_WEB!;
const folder = join(web, "out", "screenshots");
const BEST = ["room-wide-light", "streaming-wide-dark", "room-narrow-dark", "reconnecting-narrow-light", "failed-wide-light"];
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
before(async () => {
  for (const made of [folder, join(web, "screenshots")]) mkdirSync(made, { recursive: true });
  stage = await Stage.set();
});
after(() => stage.clear());

async function picture(person: Person, name: string): Promise<void> {
  await person.page.evaluate(() => document.fonts.ready);
  await person.page.mouse.move(0, 0);
  // Moving parts have come to rest.
  await person.page.waitForTimeout(450);
  await person.page.screenshot({ path: join(BEST.includes(name) ? join(web, "screenshots") : folder, `${name}.png`) });
}

const SIZES = [
  { size: "wide", width: 1_280, height: 820 },
  { size: "narrow", width: 390, height: 844 },
  { size: "tiny", width: 320, height: 568 },
];

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
      await visitor.row("2nd in line").waitFor();
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

const SCRIPTS = ["مرحبا بكم جميعاً، من يأتي معنا يوم السبت؟ @bot", "שלום! אני בא. `npm start` עובד?", "**「海」**がいいですね。https://example.org/海 を見て", "สวัสดี **“ทะเล”**ดีมาก", "반갑습니다, @bot에게 물어봐요"];
const FORMULAS = [
  "The mean is \\\\(\\\\bar x = \\\\frac{1}{n} \\\\sum_{i=1}^{n} x_i\\\\), and",
  "",
  "\\\\[\\\\begin{aligned} \\\\int_0^\\\\infty e^{-x^2} \\\\, dx &= \\\\frac{\\\\sqrt{\\\\pi}}{2} \\\\\\\\ A &= \\\\begin{pmatrix} 1 & 2 \\\\\\\\ 3 & 4 \\\\end{pmatrix} \\\\end{aligned}\\\\]",
  "",
  "| مدينة | كم |",
  "|---|---|",
  "| القاهرة<br>الجيزة | 12 |",
  "",
  "- قائمة أولى",
  "- قائمة ثانية",
].join("\\n");

test("pictures of much: hundreds of rooms and people, thousands of messages, and many scripts", async () => {
  const dora = await stage.somebody();
  await dora.registers("dora");
  const rooms = Array.from({ length: 300 }, (_, index) => `${["garden", "kitchen", "harbour", "library-of-the-long-names"][index % 4]}-${index}`);
  await dora.page.evaluate(async (rooms) => {
    const headers = { "content-type": "application/json" };
    for (const name of rooms) await fetch("/api/rooms", { method: "POST", headers, body: JSON.stringify({ name, private: true, bot: "off" }) });
  }, rooms);
  await dora.floods("garden-0", 1, 10_000);
  await dora.opens("harbour-2");
  for (const text of SCRIPTS) {
    await dora.says(text);
    await dora.seesSent(text.slice(0, 6));
  }
  await dora.opens("dora");
  await stage.servers.practise([`say="${FORMULAS}"`]);
  await dora.says("Show me \\(a^2\\) and more");
  await dora.page.locator(".row-bot:not(.row-draft) math").first().waitFor();
  for (const { size, width, height } of SIZES) {
    for (const colours of ["light", "dark"]) {
      const visitor = await stage.somebody({ width, height, dark: colours === "dark" });
      // As if two hundred people were there.
      await visitor.page.routeWebSocket(/\/ws/, (socket) => {
        const server = socket.connectToServer();
        server.onMessage((data) => {
          const frame = JSON.parse(String(data));
          if (frame.type === "presence" && frame.room === "garden-0") frame.users = ["dora", ...Array.from({ length: 199 }, (_, index) => `person-${index}`)];
          socket.send(JSON.stringify(frame));
        });
      });
      await visitor.logsIn("dora");
      await visitor.page.locator(".row-bot math").first().waitFor();
      await picture(visitor, `formulas-${size}-${colours}`);
      await visitor.opens("harbour-2");
      await visitor.sees("반갑습니다");
      await picture(visitor, `scripts-${size}-${colours}`);
      await visitor.opens("garden-0");
      await visitor.sees("message 10000 ");
      await visitor.page.getByText(/more are here/).waitFor();
      await visitor.page.evaluate(() => (document.querySelector(".scroller")!.scrollTop -= 3_000));
      await picture(visitor, `much-${size}-${colours}`);
      await visitor.page.getByRole("button", { name: "This room" }).click();
      await visitor.page.getByRole("dialog").waitFor();
      await picture(visitor, `people-${size}-${colours}`);
      await visitor.page.keyboard.press("Escape");
      await visitor.page.keyboard.press("Control+k");
      await visitor.page.getByRole("searchbox").fill("nothing-like-it");
      await picture(visitor, `found-nothing-${size}-${colours}`);
      await visitor.context.close();
    }
  }
});
