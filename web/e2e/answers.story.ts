// What an answer looks like from its first sign to its last, and what stands under it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hasNoViolations } from "./axe.ts";
import { fresh, Stage, type Person } from "./people.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

/** Whenever an answer that grows says less than it did, until it is whole: what it said before, and then. */
async function shrinks(person: Person, end: string): Promise<string[]> {
  return person.page.evaluate(
    (end) =>
      new Promise<string[]>((resolve) => {
        const seen: string[] = [];
        let before = "";
        const look = () => {
          const now = [...document.querySelectorAll(".row-bot .prose")].at(-1)?.textContent?.replace(/\s/g, "") ?? "";
          if (!now.startsWith(before)) seen.push(`${before} / ${now}`);
          before = now;
          if (now.includes(end)) {
            observer.disconnect();
            resolve(seen);
          }
        };
        const observer = new MutationObserver(look);
        observer.observe(document.body, { subtree: true, childList: true, characterData: true });
        look();
      }),
    end,
  );
}

test("Markdown that comes in pieces never says less than it did", async () => {
  const ada = await stage.person("ada");
  const seen = shrinks(ada, "Theend");
  const answer = "# A *title*\\n\\nWith **bold words in it**, a [link to **there**](https://example.org/a_b), `code`, and:\\n- one **thing\\n  that goes on**\\n- two\\n\\n```js\\nlet x = `y`;\\n```\\n\\n| a | b |\\n|---|:--|\\n| **1** | two |\\n\\nText ~~first~~\\n- then a list\\n\\n> quoted *words*\\n\\n2024 is said. The end";
  await ada.says(`[[practice: split=3 pace=15ms say="${answer}"]] go`);
  assert.deepEqual(await seen, []);
  await ada.seesAnswer("The end");
  const last = ada.page.locator(".row-bot").last();
  for (const [kind, words] of [["h3 em", "title"], ["p > strong", "bold words in it"], ["a strong", "there"], ["li strong", "thing"], ["pre code", "let x = `y`;"], ["td strong", "1"], ["del", "first"], ["blockquote em", "words"]]) {
    await last.locator(kind!).filter({ hasText: words! }).waitFor();
  }
  ada.hadNoTrouble();
});

test("an answer that does not fit says so, and goes on when it is asked to, as long as it is the last", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room);
  await bob.opens(room);
  await stage.servers.practise(["max-tokens words=40 pace=0ms", 'say="and this is the rest of it"']);
  await ada.says("@bot tell me a long story");
  const goOn = (person: Person) => person.page.getByRole("button", { name: "Go on", exact: true });
  await bob.row("It does not fit into one message.").waitFor();
  await goOn(bob).waitFor();
  await goOn(ada).click();
  await ada.seesSent("@bot go on");
  for (const person of [ada, bob]) {
    await person.seesAnswer("and this is the rest of it");
    assert.equal(await goOn(person).count(), 0);
    person.hadNoTrouble();
  }
});

test("another attempt takes over without what was read going away first", async () => {
  const ada = await stage.person("ada");
  const seen = ada.page.evaluate(
    () =>
      new Promise<number[]>((resolve) => {
        const lengths: number[] = [];
        const observer = new MutationObserver(() => {
          const words = document.querySelector(".row-bot .prose")?.textContent ?? "";
          if (words.length !== lengths.at(-1)) lengths.push(words.length);
          if (document.querySelector(".row-bot:not(.row-draft, .row-waiting) .prose")) {
            observer.disconnect();
            resolve(lengths);
          }
        });
        observer.observe(document.body, { subtree: true, childList: true, characterData: true });
      }),
  );
  await stage.servers.practise(["cut after=12 pace=60ms words=60", "thoughts think=2s pace=40ms words=40"]);
  await ada.says("tell me something");
  await ada.page.locator(".row-draft .note").getByText("begins again").waitFor();
  const lengths = await seen;
  // Nothing, and then the words of one attempt or the other: never nothing again.
  const begun = lengths.findIndex((length) => length > 0);
  assert.ok(lengths.slice(begun).every((length) => length > 0), lengths.join());
  ada.hadNoTrouble();
});

test("a model that thinks says so at once, and can be stopped before its first word", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room);
  await bob.opens(room);
  await stage.servers.practise(["thoughts think=60s"]);
  await ada.says("@bot think about it");
  const thinking = bob.page.locator(".row-waiting");
  await thinking.getByText(/Thinking/).waitFor();
  await hasNoViolations(bob, "a bot that thinks");
  await ada.page.locator(".row-waiting").getByRole("button", { name: "Cancel the question" }).click();
  await ada.row("stopped by you").waitFor();
  await thinking.waitFor({ state: "detached" });
  for (const person of [ada, bob]) person.hadNoTrouble();
});
