// Writing systems by the places where words stand, and formulas, as a reader sees them. README.md has the table; what is cut, counted,
// linked and named is held without a browser by test/writing.test.ts.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Locator } from "playwright-core";
import { fresh, SEEN_MS, Stage } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

const RIGHT_TO_LEFT = { Arabic: "مرحبا بكم جميعاً في الغرفة", Hebrew: "שלום לכולם בחדר הזה" };
const LEFT_TO_RIGHT = { Japanese: "皆さんこんにちは", Hindi: "आप सभी का स्वागत है" };

async function runs(place: Locator, direction: "ltr" | "rtl", what: string): Promise<void> {
  await until(`${what} runs ${direction}`, SEEN_MS, async () => (await place.evaluate((element) => getComputedStyle(element).direction)) === direction);
}

for (const [script, words] of Object.entries({ ...RIGHT_TO_LEFT, ...LEFT_TO_RIGHT })) {
  const direction = script in RIGHT_TO_LEFT ? "rtl" : "ltr";
  test(`${script} runs ${direction} wherever words stand, also behind a name`, async () => {
    const ada = await stage.person("ada");
    const bob = await stage.person("bob");
    const room = fresh("lobby");
    await ada.makes(room, { bot: "Not at all" });
    await bob.opens(room);
    await ada.page.evaluate(() => {
      // Seen from a tab that nobody looks at.
      Object.defineProperty(document, "hidden", { get: () => (window as never as { away: boolean }).away, configurable: true });
      localStorage.setItem("chinwag:notify", "1");
      class Shown {
        static permission = "granted";
        constructor(title: string, options: NotificationOptions) {
          (window as never as { shown: unknown }).shown = { title, body: options.body, dir: options.dir };
        }
      }
      Object.defineProperty(window, "Notification", { value: Shown });
      (window as never as { away: boolean }).away = true;
    });
    await bob.composer.fill(`@${ada.name} ${words}`);
    await runs(bob.composer, direction, "the field");
    await bob.composer.press("Enter");
    const row = ada.row(words).first();
    await runs(row.locator(".text p"), direction, "a message");
    await until("a notification is shown", SEEN_MS, () => ada.page.evaluate(() => "shown" in window));
    assert.deepEqual(await ada.page.evaluate(() => (window as never as { shown: unknown }).shown), { title: `${bob.name} in ${room}`, body: `@${ada.name} ${words}`, dir: "auto" });
    await ada.page.evaluate(() => ((window as never as { away: boolean }).away = false));
    // A line in the list of rooms: who said it comes first, and the words run their own way behind that.
    const line = ada.page.locator(`.room-link[data-room="${room}"] .room-last .cut`);
    await runs(line, direction, "the line in the list");
    assert.equal(await ada.page.locator(`.room-link[data-room="${room}"] .room-last`).evaluate((element) => getComputedStyle(element).direction), "ltr");
    await row.hover();
    await row.getByRole("button", { name: /^Reply to/ }).click();
    await runs(ada.page.locator(".composer-reply .cut"), direction, "what is replied to");
    await ada.says("in between");
    await row.hover();
    await row.getByRole("button", { name: /^Reply to/ }).click();
    await ada.says("an answer");
    await runs(ada.row("an answer").locator(".quote .cut"), direction, "a quote");
    for (const person of [ada, bob]) person.hadNoTrouble();
  });

  test(`${script} in what the bot says runs ${direction} with the frames around it, also while it grows`, async () => {
    const ada = await stage.person("ada");
    const table = `| ${words} | a |\\n|---|---|\\n| ${words} | b |`;
    const lists = `- ${words}\\n- \`code\` ${words}\\n\\n1. ${words}\\n\\n2. ${words}\\n\\n> ${words}`;
    await ada.says(`[[practice: pace=60ms say="${words}\\n\\n${lists}\\n\\n${table}\\n\\n${words} ${words} ${words} ${words} ${words}"]] go`);
    await runs(ada.page.locator(".row-draft .growing > ul"), direction, "a list that grows");
    const answer = ada.page.locator(".row-bot:not(.row-draft, .row-waiting) .prose");
    await answer.locator("table").waitFor();
    for (const place of ["p >> nth=0", "ul", "ul li >> nth=1", "ol", "ol li >> nth=0", "blockquote", "table", "td >> nth=0"]) await runs(answer.locator(place), direction, place);
    // The signs of a list stand on the side from which it is read, within the answer.
    const edge = await answer.locator("ul").evaluate((list) => {
      const [outer, inner] = [list, list.firstElementChild!].map((element) => element.getBoundingClientRect());
      return { left: inner!.left - outer!.left, right: outer!.right - inner!.right };
    });
    assert.ok(direction === "rtl" ? edge.right > edge.left : edge.left > edge.right, JSON.stringify(edge));
    const sides = await answer.locator("table").evaluate((table) => {
      const [outer, inner] = [table.parentElement!, table].map((element) => element.getBoundingClientRect());
      return { left: inner!.left - outer!.left, right: outer!.right - inner!.right };
    });
    assert.ok(direction === "rtl" ? sides.right <= sides.left : sides.left <= sides.right, JSON.stringify(sides));
    assert.equal(await answer.locator("code").first().evaluate((element) => getComputedStyle(element).direction), "ltr");
    ada.hadNoTrouble();
  });
}

test("a field for a room finds it whatever an input method made of its name", async () => {
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await ada.makes(room);
  await ada.page.keyboard.press("Control+k");
  await ada.page.getByRole("searchbox", { name: "Find a room" }).fill([...room].map((char) => String.fromCodePoint(char.codePointAt(0)! + 0xfee0)).join(""));
  await ada.page.locator(`.room-link[data-room="${room}"]`).waitFor();
  assert.equal(await ada.page.locator(".room-link").count(), 1);
});

test("formulas are shown as formulas, loaded with the first, and what is none stays as it was written", async () => {
  const ada = await stage.person("ada");
  const asked: string[] = [];
  ada.page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await ada.page.reload();
  await ada.says("It costs $5 and $6, and C:\\temp\\(old) too");
  await ada.seesSent("It costs $5 and $6, and C:\\temp\\(old) too");
  assert.ok(!asked.some((path) => path.includes("formulas")), asked.join());
  await ada.says("\\(a^2 + b^2 = c^2\\) and \\(\\nonsense{x}\\) and \\[\\sum_{i=1}^n \\pmb{i}\\]");
  const own = ada.page.locator(".row-own").filter({ hasText: "nonsense" });
  await own.locator("math").nth(1).waitFor();
  assert.equal(await own.locator("math").count(), 2);
  assert.equal(await own.locator("math msup").count(), 3);
  await own.getByText("\\(\\nonsense{x}\\)").waitFor();
  assert.deepEqual(asked.filter((path) => path.includes("formulas")).sort(), ["/web/formulas.css", "/web/formulas.js"]);
  // Nothing of what a formula can say leads anywhere, or takes the page over.
  await ada.says("\\(\\href{javascript:alert(1)}{x}\\) \\(\\includegraphics{https://example.com/x.png}\\) \\(\\rule{900em}{900em}\\) \\(\\style{color:red}{y}\\) last");
  const bad = ada.page.locator(".row-own.kept").filter({ hasText: "last" });
  await bad.waitFor();
  assert.equal(await bad.locator("a, img").count(), 0);
  assert.ok((await bad.boundingBox())!.height < 900);
  assert.equal(await bad.locator(".formula").first().evaluate((place) => getComputedStyle(place).contain), "paint");
  ada.hadNoTrouble();
});

test("a formula in an answer that grows is not shown before it is ended, and then stays; a cell's lines break", async () => {
  const ada = await stage.person("ada");
  await ada.says("\\(x\\)");
  await ada.seesAnswer("You said");
  const flickers = ada.page.evaluate(
    () =>
      new Promise<string[]>((resolve) => {
        const seen: string[] = [];
        let most = 0;
        const look = () => {
          const answer = document.querySelectorAll(".row-bot .prose")[1];
          const count = answer?.querySelectorAll("math").length ?? 0;
          if (count < most) seen.push(`${count} formulas after ${most}`);
          most = Math.max(most, count);
          if (answer?.querySelector("li")) seen.push(answer.innerHTML);
          if (answer?.textContent?.includes("The end")) return resolve(seen);
          requestAnimationFrame(look);
        };
        look();
      }),
  );
  await ada.says('[[practice: pace=50ms say="So \\\\(a * b * c\\\\) it is, and\\n\\\\[\\nx\\n- y\\n= z\\n\\\\]\\nthen $$e = mc^2$$ for all.\\n\\n| a | b |\\n|---|---|\\n| one<br>two **three<br/>four** | <b>five</b> |\\n\\nOutside<br>stays. The end"]] go');
  assert.deepEqual(await flickers, []);
  const answer = ada.page.locator(".row-bot:not(.row-draft, .row-waiting) .prose").last();
  await answer.getByText("The end").waitFor();
  assert.equal(await answer.locator("math").count(), 3);
  assert.equal(await answer.locator("td br").count(), 2);
  await answer.getByText("<b>five</b>").waitFor();
  await answer.getByText("Outside<br>stays.").waitFor();
  ada.hadNoTrouble();
});
