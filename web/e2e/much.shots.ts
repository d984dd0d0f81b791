// Pictures of much: hundreds of rooms and people, ten thousand messages, and scripts of all directions.

import { after, before, test } from "node:test";
import { Stage } from "./people.ts";
import { picture, SIZES } from "./picture.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

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
  for (const [index, text] of SCRIPTS.entries()) {
    await dora.says(text);
    await dora.page.locator(".row-own.kept").nth(index).waitFor();
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
