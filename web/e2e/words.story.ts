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
  // The row may just be made anew, as one that is kept.
  await until("the row runs from right to left", SEEN_MS, async () => (await direction("שלום")) === "rtl");
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

test("what is selected in the words that still grow stays selected, and when they are all there", async () => {
  const ada = await stage.person("ada");
  await ada.says(`[[practice: pace=60ms say="${"Some **bold** words and `code` that come three at a time. ".repeat(20)}"]] go`);
  await ada.page.locator(".row-draft .growing p", { hasText: "three at a time" }).waitFor();
  await ada.page.evaluate(() => {
    const words = document.querySelector(".row-draft .growing p")!;
    getSelection()!.setBaseAndExtent(words.firstChild!, 2, words.querySelector("code")!.firstChild!, 2);
  });
  const selected = () => ada.page.evaluate(() => getSelection()!.toString());
  assert.equal(await selected(), "me bold words and co");
  const length = () => ada.page.evaluate(() => document.querySelector(".row-bot .prose")!.textContent.length);
  const before = await length();
  await until("it has grown", SEEN_MS, async () => (await length()) > before + 200);
  assert.equal(await selected(), "me bold words and co");
  await ada.page.getByRole("button", { name: "Answer again", exact: true }).waitFor();
  assert.equal(await selected(), "me bold words and co");
  assert.equal(await ada.page.locator(".row-bot .tools").count(), 1);
  assert.equal(await ada.page.locator(".row-bot .prose").getAttribute("aria-busy"), null);
  assert.equal(await ada.page.locator(".row-draft, .growing, .note").count(), 0);
  ada.hadNoTrouble();
});

test("a quote says what was said however far back that is, and leads there and on from there", async () => {
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await ada.says("the very first words");
  await ada.seesSent("the very first words");
  await ada.floods(room, 1, 450);
  const earliest: { id: string; message: string }[] = await ada.page.evaluate(async (name) => (await (await fetch(`/api/rooms/${name}/messages?after=1&limit=7`)).json()).messages, room);
  const [first, seventh] = [earliest[0]!, earliest.at(-1)!];
  await ada.page.evaluate(
    ({ room, replies }) =>
      new Promise<void>((resolve) => {
        const socket = new WebSocket(`ws://${location.host}/ws`);
        let acked = 0;
        socket.onopen = () => replies.forEach(([id, message]) => socket.send(JSON.stringify({ type: "send", room, message, reply_to: id })));
        socket.onmessage = ({ data }) => JSON.parse(data).type === "ack" && (acked += 1) === replies.length && resolve();
      }),
    { room, replies: [[first.id, "to the first"], [seventh.id, "to another"], ["01900000-0000-7000-8000-000000000001", "to nothing"]] },
  );
  await ada.page.reload();
  // Its id says when it was; the other's says nothing.
  const quote = (of: string) => ada.row(of).getByRole("button", { name: /^In reply to/ });
  await quote("to the first").getByText("the very first words").waitFor();
  await quote("to another").getByText("An earlier message").waitFor();
  await quote("to the first").click();
  const isInView = (text: string) => async () => {
    const row = ada.row(text).first();
    if ((await row.count()) === 0) return false;
    return row.evaluate((element) => {
      const { top, bottom } = element.getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    });
  };
  await until("the first is in view", SEEN_MS, isInView("the very first words"));
  // From there it goes on, without a hole, to the newest.
  const seen = new Set<number>();
  await until("the end is reached", SEEN_MS, async () => {
    for (const text of await ada.page.locator(".rows .text").allInnerTexts()) seen.add(Number(/message (\d+)/.exec(text)?.[1]));
    await ada.page.evaluate(() => (document.querySelector(".scroller")!.scrollTop += 1_200));
    return (await ada.row("to nothing").count()) === 1;
  });
  for (let number = 1; number <= 450; number += 1) assert.ok(seen.has(number), `message ${number} was shown`);
  await ada.page.reload();
  await quote("to another").click();
  await until("the seventh is in view", SEEN_MS, isInView(seventh.message.slice(0, 20)));
  await ada.page.getByRole("button", { name: "Newest" }).click();
  await quote("to nothing").click();
  await ada.page.getByText("That message was not found.").waitFor();
  ada.hadNoTrouble();
});
