// Reading up from the end, by every means; what comes in meanwhile moves nobody who left the end, and takes along
// everybody who is there.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Looks, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

/** Two people in a room in which 60 things were said. */
async function readers(looks: Looks = {}): Promise<{ ada: Person; bob: Person; room: string }> {
  const ada = await stage.person("ada", looks);
  const bob = await stage.person("bob");
  const room = fresh("long");
  await bob.makes(room, { bot: "Not at all" });
  await bob.floods(room, 1, 60);
  await ada.opens(room);
  await isAtEnd(ada, "message 60 ");
  return { ada, bob, room };
}

/** How much there is below what is in view. */
const below = (person: Person) =>
  person.page.locator(".scroller").evaluate(({ scrollTop, scrollHeight, clientHeight }) => scrollHeight - scrollTop - clientHeight);

/** The last row is in view, whole, and stays there for some frames. */
async function isAtEnd(person: Person, text: string): Promise<void> {
  await person.sees(text);
  await until(`"${text}" stands at the end`, SEEN_MS, async () => {
    await frames(person, 3);
    return person.row(text).last().evaluate((row) => {
      const over = row.getBoundingClientRect().bottom - row.closest(".scroller")!.getBoundingClientRect().bottom;
      return Math.abs(over) < 2 && row.parentElement!.lastElementChild === row;
    });
  });
}

async function frames(person: Person, count: number): Promise<void> {
  await person.page.evaluate(async (count) => {
    for (let frame = 0; frame < count; frame += 1) await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  }, count);
}

async function wheels(person: Person, times: number, px: number): Promise<void> {
  await person.page.locator(".scroller").hover();
  for (let time = 0; time < times; time += 1) {
    await person.page.mouse.wheel(0, px);
    await frames(person, 2);
  }
}

/** A finger that goes so far down with every frame: what is above comes into view. */
async function drags(person: Person, times: number, px: number): Promise<void> {
  const cdp = await person.context.newCDPSession(person.page);
  const touch = (type: "touchStart" | "touchMove" | "touchEnd", y: number) => cdp.send("Input.dispatchTouchEvent", { type, touchPoints: type === "touchEnd" ? [] : [{ x: 200, y }] });
  await touch("touchStart", 200);
  for (let time = 1; time <= times; time += 1) {
    await touch("touchMove", 200 + time * px);
    await frames(person, 1);
  }
  // At rest before it goes up: nothing is flung.
  await frames(person, 10);
  await touch("touchEnd", 0);
}

async function presses(person: Person, times: number, key: string): Promise<void> {
  await person.conversation.focus();
  for (let time = 0; time < times; time += 1) {
    await person.page.keyboard.press(key);
    await frames(person, 8);
  }
}

const TELEPHONE = { width: 390, height: 844, touch: true };
const MEANS: { name: string; looks?: Looks; least: number; up(person: Person): Promise<void> }[] = [
  { name: "a wheel in steps of 20", least: 190, up: (person) => wheels(person, 10, -20) },
  { name: "a wheel in steps of 40", least: 190, up: (person) => wheels(person, 5, -40) },
  { name: "a wheel in steps of 100", least: 190, up: (person) => wheels(person, 2, -100) },
  { name: "one step of 8", least: 7, up: (person) => wheels(person, 1, -8) },
  { name: "the arrow", least: 100, up: (person) => presses(person, 5, "ArrowUp") },
  { name: "Page Up", least: 200, up: (person) => presses(person, 1, "PageUp") },
  { name: "a finger, 3 pixels a frame", looks: TELEPHONE, least: 150, up: (person) => drags(person, 70, 3) },
  { name: "a finger, 10 pixels a frame", looks: TELEPHONE, least: 150, up: (person) => drags(person, 21, 10) },
  { name: "a finger, 30 pixels a frame", looks: TELEPHONE, least: 150, up: (person) => drags(person, 7, 30) },
  {
    name: "the scroll bar, 5 pixels a frame",
    least: 95,
    // To the page, a scroll bar that is dragged is a place that somebody else has set.
    up: async (person) => {
      for (let time = 0; time < 20; time += 1) {
        await person.page.locator(".scroller").evaluate((scroller) => (scroller.scrollTop -= 5));
        await frames(person, 1);
      }
    },
  },
];

for (const { name, looks, least, up } of MEANS) {
  test(`up from the end with ${name}, and back to it`, async () => {
    const { ada, bob } = await readers(looks);
    await up(ada);
    await until("it moved up and stays there", SEEN_MS, async () => {
      await frames(ada, 20);
      return (await below(ada)) >= least;
    });
    await frames(ada, 20);
    const top = () => ada.row("message 55 ").evaluate((row) => row.getBoundingClientRect().top);
    const before = await top();
    await bob.says("meanwhile");
    await ada.page.getByRole("button", { name: "1 new message" }).waitFor();
    await frames(ada, 20);
    assert.ok(Math.abs((await top()) - before) < 2, `${(await top()) - before} px away from where it was`);
    await wheels(ada, 5, 400);
    await isAtEnd(ada, "meanwhile");
    await bob.says("and then");
    await isAtEnd(ada, "and then");
    ada.hadNoTrouble();
  });
}

test("an answer that grows is followed at the end, and lets go of whoever moves up", async () => {
  const ada = await stage.person("ada", { height: 440 });
  await ada.says("[[practice: words=600 pace=150ms]] at length");
  await until("the answer is longer than the window", SEEN_MS, async () => (await ada.page.locator(".row-draft").evaluateAll(([draft]) => draft?.getBoundingClientRect().height ?? 0)) > 320);
  const over = () => ada.page.locator(".row-draft").evaluate((draft) => draft.getBoundingClientRect().bottom - draft.closest(".scroller")!.getBoundingClientRect().bottom);
  assert.ok(Math.abs(await over()) < 2, "the end of the answer is in view");
  await wheels(ada, 8, -20);
  const text = () => ada.page.locator(".row-draft").evaluate((draft) => ({ top: draft.getBoundingClientRect().top, height: draft.getBoundingClientRect().height }));
  await frames(ada, 20);
  const before = await text();
  await until("it has grown by some lines", SEEN_MS, async () => (await text()).height > before.height + 60);
  assert.ok(Math.abs((await text()).top - before.top) < 2, "what is read has not moved");
  await ada.conversation.press("End");
  await until("it is followed again", SEEN_MS, async () => Math.abs(await over()) < 2);
  const { height } = await text();
  await until("it has grown on", SEEN_MS, async () => (await text()).height > height + 60);
  assert.ok(Math.abs(await over()) < 2);
  ada.hadNoTrouble();
});

test("another size, a long text in the field and rows that grow late take nobody from the end", async () => {
  const { ada, bob } = await readers();
  for (const [width, height] of [[1_200, 500], [1_200, 800], [700, 420], [1_200, 800]] as const) {
    await ada.page.setViewportSize({ width, height });
    await isAtEnd(ada, "message 60 ");
  }
  for (const lines of [8, 1]) {
    await ada.composer.fill(Array.from({ length: lines }, (_, line) => `line ${line}`).join("\n"));
    await isAtEnd(ada, "message 60 ");
  }
  // As a picture does, or letters that come late.
  await ada.row("message 57 ").evaluate((row) => row.querySelector<HTMLElement>(".text")!.style.setProperty("padding-bottom", "300px"));
  await isAtEnd(ada, "message 60 ");
  await bob.says("and then");
  await isAtEnd(ada, "and then");
  // Nor do they move whoever has left it.
  await wheels(ada, 3, -40);
  await frames(ada, 20);
  const top = () => ada.row("message 60 ").evaluate((row) => row.getBoundingClientRect().top);
  const before = await top();
  await ada.row("message 57 ").evaluate((row) => row.querySelector<HTMLElement>(".text")!.style.setProperty("padding-bottom", "0"));
  await frames(ada, 20);
  assert.ok(Math.abs((await top()) - before) < 2 || (await below(ada)) < 2, `${(await top()) - before} px away from where it was`);
  ada.hadNoTrouble();
});

test("an earlier page that comes in while somebody moves makes no leap", async () => {
  const ada = await stage.person("ada");
  const room = fresh("long");
  await ada.makes(room, { bot: "Not at all" });
  await ada.floods(room, 1, 350);
  await ada.opens(room);
  await isAtEnd(ada, "message 350 ");
  // Some pixels with every frame, as a finger does. What stands at the top may only ever be a little earlier.
  const leaps = await ada.page.evaluate(async () => {
    const scroller = document.querySelector(".scroller")!;
    const { top } = scroller.getBoundingClientRect();
    const found: string[] = [];
    let last = 351;
    const end = Date.now() + 80_000;
    while (last > 40 && Date.now() < end) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      const row = [...scroller.querySelectorAll("li")].find((row) => /message/.test(row.textContent!) && row.getBoundingClientRect().bottom > top + 1);
      const now = Number(/message (\d+)/.exec(row?.textContent ?? "")?.[1]);
      if (now > last || now < last - 25) found.push(`from ${last} to ${now}`);
      last = now;
      scroller.scrollTop -= 40;
    }
    return last > 40 ? [...found, `stuck at ${last}`] : found;
  });
  assert.deepEqual(leaps, []);
  ada.hadNoTrouble();
});
