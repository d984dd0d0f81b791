// Ten thousand messages: only what is in view is in the page, and the place is kept.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

const rows = (person: Person) => person.page.locator(".rows > li");

test("ten thousand messages scroll smoothly, from the newest to the first", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("busy");
  await bob.makes(room, { bot: "Not at all" });
  await bob.floods(room, 1, 10_000);
  await ada.opens(room);
  await ada.sees("message 10000 ");
  // As somebody does who wants to see the beginning: up, and up again.
  const jumps = await ada.page.evaluate(async () => {
    const scroller = document.querySelector(".scroller")!;
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    let worst = 0;
    const end = Date.now() + 300_000;
    while (!document.querySelector(".row-begin")) {
      if (Date.now() > end) throw new Error("the beginning did not come");
      await frame();
      const top = [...document.querySelectorAll<HTMLElement>(".rows > li")].find((row) => row.getBoundingClientRect().top > 100);
      if (!top) continue;
      const before = top.getBoundingClientRect().top;
      scroller.scrollTop -= 1_500;
      await frame();
      await frame();
      // A row that is still there moved by what was scrolled, or less at the top; never against it.
      if (top.isConnected) worst = Math.max(worst, before - top.getBoundingClientRect().top);
    }
    return worst;
  });
  assert.ok(jumps < 5, `a row moved ${jumps} px against the scrolling`);
  await ada.sees(/message 1 /);
  assert.ok((await rows(ada).count()) < 120, `${await rows(ada).count()} rows are in the page`);
  // All of it is held now, and a step still makes only the rows that come into view. Counted, not timed: how long a frame
  // takes says more about who else is at work on this machine.
  const made = await ada.page.evaluate(async () => {
    const scroller = document.querySelector(".scroller")!;
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    let rows = 0;
    let most = 0;
    const counter = new MutationObserver((changes) => (rows += changes.reduce((sum, { addedNodes }) => sum + addedNodes.length, 0)));
    counter.observe(document.querySelector(".rows")!, { childList: true });
    for (let step = 0; step < 60; step += 1) {
      scroller.scrollTop += 700;
      await frame();
      await frame();
      most = Math.max(most, rows);
      rows = 0;
    }
    return most;
  });
  assert.ok(made > 0 && made < 120, `a step of 700 pixels made ${made} rows`);
  // Somebody who reads further up is told, and not moved.
  // What is seen counts: how it is put there, by scrolling or by shifting the rows, may change when all is at rest.
  const seen = () =>
    ada.page.evaluate(() => {
      const row = [...document.querySelectorAll(".rows > li")].find((row) => row.getBoundingClientRect().top > 100)!;
      return { text: row.textContent, top: row.getBoundingClientRect().top };
    });
  const before = await seen();
  await bob.says("news at the end");
  await ada.page.getByRole("button", { name: "1 new message" }).waitFor();
  const after = await seen();
  assert.equal(after.text, before.text);
  assert.ok(Math.abs(after.top - before.top) < 2, `${before.top} became ${after.top}`);
  await ada.page.getByRole("button", { name: "1 new message" }).click();
  await ada.sees("news at the end");
  ada.hadNoTrouble();
});

test("so much was missed that the server sends none of it: the reader keeps the place, and reads on from there", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("busy");
  await bob.makes(room, { bot: "Not at all" });
  await bob.floods(room, 1, 300);
  await ada.opens(room);
  await ada.sees("message 300 ");
  await ada.page.evaluate(() => (document.querySelector(".scroller")!.scrollTop -= 2_500));
  const seen = (await ada.page.locator(".scroller").evaluate((scroller) => {
    const top = scroller.getBoundingClientRect().top;
    return [...scroller.querySelectorAll("li")].find((row) => row.getBoundingClientRect().top > top + 50)!.textContent;
  }))!;
  await ada.context.setOffline(true);
  await ada.page.getByText(/offline/).first().waitFor();
  await bob.floods(room, 301, 1_800);
  await ada.context.setOffline(false);
  await ada.reconnects();
  await ada.page.getByRole("button", { name: "Newest" }).waitFor();
  assert.ok(await ada.page.getByText(seen.trim().slice(0, 30)).first().isVisible());
  // Reading on, down from there, nothing is missing.
  const texts = new Set<number>();
  await until("the end is reached", SEEN_MS, async () => {
    for (const text of await ada.page.locator(".rows .text").allInnerTexts()) texts.add(Number(/message (\d+)/.exec(text)?.[1]));
    await ada.page.evaluate(() => (document.querySelector(".scroller")!.scrollTop += 900));
    return texts.has(1_800);
  });
  const from = Math.min(...texts);
  for (let number = from; number <= 1_800; number += 1) assert.ok(texts.has(number), `message ${number} was shown`);
});
