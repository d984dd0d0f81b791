// What was said, as it is shown: Markdown of people and of the bot, code in colours, languages of both directions, and quotes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

test("people's Markdown is shown like the bot's, with names in it, and their links end where a reader says", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await bob.opens(room);
  await bob.says(`**now**, @${ada.name}: see https://example.com/a?b=c, and (http://x.org/y_(z)).\nsecond   line\n\n- one\n- two\n\n\`\`\`rust\nfn main() { println!("@${ada.name}"); }\n\`\`\``);
  const row = ada.row("now");
  await row.locator("strong", { hasText: "now" }).waitFor();
  assert.deepEqual(await row.locator("a").evaluateAll((links) => links.map((link) => (link as HTMLAnchorElement).href)), ["https://example.com/a?b=c", "http://x.org/y_(z)"]);
  assert.deepEqual(await row.locator(".mention-me").allInnerTexts(), [`@${ada.name}`]);
  assert.equal(await row.locator("li").count(), 2);
  assert.match(await row.locator(".text").innerText(), /\nsecond   line/);
  // The same for the one who wrote it.
  await bob.row("now").locator("pre").waitFor();
  await ada.says("2 * 3 * 4 and snake_case_name <b>x</b>");
  await bob.row("2 * 3 * 4 and snake_case_name <b>x</b>").waitFor();
  for (const person of [ada, bob]) person.hadNoTrouble();
});

test("code has colours, which are loaded with the first of it", async () => {
  const ada = await stage.person("ada");
  const asked: string[] = [];
  ada.page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await ada.page.reload();
  await ada.says("no code");
  await ada.seesSent("no code");
  assert.ok(!asked.includes("/web/highlight.js"));
  await ada.says('[[practice: say="```python\\ndef tide(day): # moon\\n    return \\"<high>\\" + str(12)\\n```\\n\\n```brainfudge\\n++\\n```"]] code');
  const code = ada.page.locator(".row-bot:not(.row-draft) code").first();
  await code.locator(".hljs-keyword", { hasText: "def" }).waitFor();
  assert.equal((await code.innerText()).trim(), 'def tide(day): # moon\n    return "<high>" + str(12)');
  assert.equal(await code.locator(".hljs-comment").innerText(), "# moon");
  assert.equal(asked.filter((path) => path === "/web/highlight.js").length, 1);
  ada.hadNoTrouble();
});

test("each piece runs the way of its own language; tables keep their alignment, and headings differ", async () => {
  const ada = await stage.person("ada");
  await ada.says("שלום לכולם");
  await ada.seesSent("שלום לכולם");
  const direction = (text: string) => ada.row(text).locator(".text p").first().evaluate((element) => getComputedStyle(element).direction);
  assert.equal(await direction("שלום"), "rtl");
  await ada.composer.fill("مرحبا");
  assert.equal(await ada.composer.evaluate((element) => getComputedStyle(element).direction), "rtl");
  await ada.composer.fill("");
  await ada.says('[[practice: say="# One\\n\\n## Two\\n\\n### Three\\n\\n3. third\\n\\n| what | how many |\\n|:--|--:|\\n| boats | 12 |\\n\\nمرحبا بكم"]] go');
  const answer = ada.page.locator(".row-bot:not(.row-draft, .row-waiting)").filter({ hasText: "boats" });
  await answer.waitFor();
  const sizes = await answer.locator(":is(h3, h4, h5)").evaluateAll((headings) => headings.map((heading) => Number.parseFloat(getComputedStyle(heading).fontSize)));
  assert.equal(sizes.length, 3);
  assert.deepEqual([...new Set(sizes)].sort((a, b) => b - a), sizes);
  assert.equal(await answer.locator("td").last().evaluate((cell) => getComputedStyle(cell).textAlign), "right");
  assert.equal(await answer.locator("ol").getAttribute("start"), "3");
  assert.equal(await answer.locator("p").last().evaluate((element) => getComputedStyle(element).direction), "rtl");
  ada.hadNoTrouble();
});

/** How much of an answer's elements stays in the page from one look to the next, as it grows. */
async function staying(person: Person): Promise<{ kept: number; made: number }> {
  return person.page.evaluate(
    () =>
      new Promise((resolve) => {
        let made = 0;
        let kept = 0;
        const blocks = new Set<Element>();
        const look = () => {
          const draft = document.querySelector(".row-draft .growing");
          if (!draft && made > 0) return resolve({ kept, made });
          for (const block of draft?.children ?? []) {
            if (blocks.has(block)) kept += 1;
            else made += 1;
            blocks.add(block);
          }
          requestAnimationFrame(look);
        };
        look();
      }),
  );
}

test("an answer that grows leaves alone what can change no more, and what is selected there", async () => {
  const ada = await stage.person("ada");
  const paragraphs = Array.from({ length: 12 }, (_, index) => `Paragraph ${index} has a few words that come three at a time.`).join("\\n\\n");
  const stay = staying(ada);
  await ada.says(`[[practice: pace=40ms say="${paragraphs}"]] go`);
  await ada.page.locator(".row-draft .growing p", { hasText: "Paragraph 1 " }).waitFor();
  await ada.page.evaluate(() => getSelection()!.selectAllChildren(document.querySelector(".row-draft .growing p")!));
  await ada.page.locator(".row-draft .growing p", { hasText: "Paragraph 8 " }).waitFor();
  assert.equal(await ada.page.evaluate(() => getSelection()!.toString()), "Paragraph 0 has a few words that come three at a time.");
  await ada.seesAnswer("Paragraph 11");
  const { kept, made } = await stay;
  // Each block is made a few times, while it is the last one, and not with every word of those that come after it.
  assert.ok(made < 12 * 8, `${made} made, ${kept} kept`);
  assert.ok(kept > made, `${made} made, ${kept} kept`);
  await until("the answer is whole", SEEN_MS, async () => (await ada.page.locator(".row-bot .prose p").count()) === 12);
  ada.hadNoTrouble();
});
