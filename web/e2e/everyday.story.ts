// The small things of every day: what a key does, what a tab keeps, what stands on paper.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

test("a whole command goes at the first Enter; one that nobody knows is not posted", async () => {
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await ada.makes(room);
  const types = async (text: string) => {
    await ada.composer.pressSequentially(text);
    await ada.composer.press("Enter");
  };
  await types("/room");
  await ada.page.getByRole("dialog", { name: room }).waitFor();
  await ada.page.keyboard.press("Escape");
  await types("/inivte bob");
  await ada.page.getByText("There is no command /inivte.").waitFor();
  assert.equal(await ada.composer.inputValue(), "/inivte bob");
  await ada.composer.fill("");
  await types("//shrug");
  await ada.seesSent("/shrug");
  await types("/help");
  await ada.seesSent("@bot /help");
  await ada.page.locator(".row-bot:not(.row-waiting)").waitFor();
  assert.deepEqual((await ada.history(room)).filter(({ kind }) => kind === "user").map(({ message }) => message), ["/shrug", "@bot /help"]);
  ada.hadNoTrouble();
});

test("two tabs keep what is half typed in each", async () => {
  const ada = await stage.person("ada");
  const second = await ada.tab(`/rooms/${ada.name}`);
  await ada.composer.fill("in the first");
  await second.composer.fill("in the second");
  for (const tab of [ada, second]) await tab.page.reload();
  assert.equal(await ada.composer.inputValue(), "in the first");
  assert.equal(await second.composer.inputValue(), "in the second");
  // Sent by one of them, the other's is as it was; and the last of it is there for a third.
  await ada.composer.press("Enter");
  await ada.seesSent("in the first");
  await ada.page.reload();
  await second.page.reload();
  assert.equal(await ada.composer.inputValue(), "");
  assert.equal(await second.composer.inputValue(), "in the second");
  const third = await ada.tab(`/rooms/${ada.name}`);
  assert.equal(await third.composer.inputValue(), "in the second");
});

test("what is picked, and the room that is looked at, can be told apart in every theme and in forced colours", async () => {
  const ada = await stage.person("ada");
  await ada.makes(fresh("lobby"));
  const looks = (selector: string) =>
    ada.page.locator(selector).evaluate((element) => {
      const { boxShadow, outlineStyle, outlineWidth } = getComputedStyle(element);
      return { boxShadow, outline: `${outlineStyle} ${outlineWidth}` };
    });
  await ada.composer.pressSequentially("/");
  for (const colorScheme of ["light", "dark"] as const) {
    await ada.page.emulateMedia({ colorScheme });
    for (const [picked, other] of [
      ['.choice[aria-selected="true"]', '.choice[aria-selected="false"] >> nth=0'],
      [".room-link[aria-current]", ".room-link:not([aria-current]) >> nth=0"],
    ] as const) {
      await ada.page.emulateMedia({ forcedColors: "none" });
      assert.notEqual((await looks(picked)).boxShadow, (await looks(other)).boxShadow, `${picked} ${colorScheme}`);
      await ada.page.emulateMedia({ forcedColors: "active" });
      assert.notEqual((await looks(picked)).outline, (await looks(other)).outline, `${picked} ${colorScheme}, forced`);
    }
  }
});

test("who wants it dark gets a dark page before the script runs, and who chose otherwise does not", async () => {
  const ada = await stage.person("ada", { dark: true });
  const ground = () => ada.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await ada.page.route("**/web/app.js", (route) => route.abort());
  await ada.page.reload();
  assert.equal(await ground(), dark);
  assert.equal(await ada.page.evaluate(() => document.documentElement.dataset.theme), undefined);
  await ada.page.evaluate(() => (document.documentElement.dataset.theme = "light"));
  assert.notEqual(await ground(), dark);
});

test("a newcomer is asked to register first, who was here before to log in", async () => {
  const ada = await stage.somebody();
  const first = (person: Person) => person.page.getByRole("form").first().getAttribute("aria-label");
  await ada.page.getByRole("form").first().waitFor();
  assert.equal(await first(ada), "Register");
  assert.equal(await ada.page.evaluate(() => document.activeElement?.id), "register-name");
  await ada.registers(fresh("ada"));
  await ada.page.getByRole("button", { name: /devices and settings/ }).click();
  await ada.page.getByRole("button", { name: "Log out", exact: true }).click();
  await ada.page.getByRole("form", { name: "Write" }).waitFor({ state: "detached" });
  assert.equal(await first(ada), "Log in");
  ada.hadNoTrouble();
});

test("a message that never went out is taken back into the field", async () => {
  const ada = await stage.person("ada");
  await ada.says("before");
  await ada.seesSent("before");
  await stage.servers.killEdge();
  await ada.page.locator(".status.shown").waitFor();
  await ada.says("on second thought");
  await ada.row("on second thought").getByRole("button", { name: "Take back" }).click();
  assert.equal(await ada.composer.inputValue(), "on second thought");
  await ada.says("better so");
  await stage.servers.startEdge();
  await ada.seesSent("better so");
  assert.equal(await ada.row("on second thought").count(), 0);
  assert.equal(await ada.row("better so").getByRole("button", { name: "Take back" }).count(), 0);
});

test("a conversation is copied with each line once, and printed from its beginning to its end", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room);
  await bob.opens(room);
  await bob.says("a line of bob's");
  await bob.says("and another one");
  await ada.sees("and another one");
  await ada.says("a line of ada's");
  await ada.says('@bot [[practice: say="x = `1`\\n\\n```python\\nprint(1)\\n```"]] code');
  await ada.page.locator(".row-bot:not(.row-draft, .row-waiting) .code").waitFor();
  const copied = await ada.page.evaluate(async () => {
    const range = document.createRange();
    range.selectNodeContents(document.querySelector(".rows")!);
    getSelection()!.removeAllRanges();
    getSelection()!.addRange(range);
    document.execCommand("copy");
    return navigator.clipboard.readText();
  });
  const lines = copied.split("\n").map((line) => line.trim()).filter((line) => line && !/^(\d\d:\d\d|Today|This is where it begins\.)$/.test(line));
  // The name and the time of its first message stand over each group.
  const times = lines.map((line) => line.replace(/\s*\d\d:\d\d$/, "")).filter(Boolean);
  assert.deepEqual(
    times.filter((line) => !line.includes("[[practice")),
    [bob.name, "a line of bob's", "and another one", "a line of ada's", "bot", "x = 1", "python", "print(1)"],
  );
  await ada.floods(room, 1, 120);
  await ada.sees("message 120 ");
  await ada.page.emulateMedia({ media: "print" });
  await ada.page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  const printed = ada.page.locator(".print");
  await printed.getByText("a line of bob's").waitFor();
  await printed.getByText("message 120 ", { exact: false }).last().waitFor();
  assert.equal(await printed.locator(".row").filter({ hasText: /message \d+/ }).count(), 120);
  assert.equal(await ada.composer.count(), 0);
  await ada.page.evaluate(() => dispatchEvent(new Event("afterprint")));
  await ada.page.emulateMedia({ media: "screen" });
  await ada.composer.waitFor();
  ada.hadNoTrouble();
});

test("printing fetches what is not there yet, and the paper has all of it", async () => {
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await ada.floods(room, 1, 450);
  await ada.page.reload();
  await ada.sees("message 450 ");
  await ada.page.evaluate(() => {
    window.print = () => {
      dispatchEvent(new Event("beforeprint"));
      document.body.dataset.printed = String(document.querySelectorAll(".print .row-own").length);
      dispatchEvent(new Event("afterprint"));
    };
  });
  await ada.page.keyboard.press("Control+p");
  await ada.page.locator("body[data-printed]").waitFor();
  assert.equal(await ada.page.evaluate(() => document.body.dataset.printed), "450");
  // And on real paper.
  const paper = await ada.page.pdf();
  assert.ok((paper.toString("latin1").match(/\/Type *\/Page\b/g) ?? []).length > 5);
  ada.hadNoTrouble();
});

test("grouped messages are as high as their words, whatever the clock, and nothing lies over the words of the one under the mouse", async () => {
  for (const locale of ["en-US", "en-GB", "ko-KR"]) {
    const ada = await stage.person("ada", { locale });
    const bob = await stage.person("bob", { locale });
    const room = fresh("lobby");
    await ada.makes(room, { bot: "Not at all" });
    await bob.opens(room);
    const long = "words that go on and on ".repeat(20).trim();
    for (const text of ["the first", "short one", "short two", `${long} end`]) {
      await bob.says(text);
      await bob.seesSent(text);
    }
    await ada.sees(`${long} end`);
    await until("rows are as high as their words", SEEN_MS, async () => {
      const heights = await ada.page.locator(".row-person.together").evaluateAll((rows) => rows.slice(0, 2).map((row) => [row.getBoundingClientRect().height, row.querySelector(".text")!.getBoundingClientRect().height]));
      return heights.length === 2 && heights.every(([row, text]) => row! - text! < 4);
    });
    for (const row of await ada.page.locator(".row-person").all()) {
      await row.hover();
      const over = await row.evaluate((element) => {
        const tools = element.querySelector(".tools")!.getBoundingClientRect();
        const words = document.createRange();
        words.selectNodeContents(element.querySelector(".text")!);
        return [...words.getClientRects()].filter(({ left, right, top, bottom }) => right > left && left < tools.right && right > tools.left && top < tools.bottom && bottom > tools.top).length;
      });
      assert.equal(over, 0, `${locale}: ${await row.innerText()}`);
    }
    for (const person of [ada, bob]) person.hadNoTrouble();
  }
});

test("an address at which there is nothing is a page that says so", async () => {
  const ada = await stage.person("ada");
  const answer = await ada.page.goto(`${ada.address}/nonsense`);
  assert.equal(answer!.status(), 404);
  await ada.page.getByText("There is nothing at /nonsense. This is your own room.").waitFor();
  await ada.composer.waitFor();
  assert.match(await ada.page.evaluate(async () => (await (await fetch("/nonsense")).json()).detail), /nothing at this address/);
  await until("the address is the room's", SEEN_MS, async () => ada.page.url().endsWith(`/rooms/${ada.name}`));
});

test("the focus is lost neither with a button that goes, nor by a copy where the page may not use the clipboard", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("secret");
  await ada.makes(room, { private: true });
  await ada.invites(bob.name);
  const decline = bob.page.locator(".invitation").getByRole("button", { name: "Decline" });
  await decline.press("Enter");
  await decline.waitFor({ state: "detached" });
  assert.equal(await bob.page.evaluate(() => document.activeElement?.id), "composer-input");
  // As over plain HTTP.
  await ada.page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined, configurable: true }));
  await ada.page.getByRole("button", { name: "This room" }).click();
  const dialog = ada.page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Copy the link" }).press("Enter");
  await dialog.getByText("The link is copied.").waitFor();
  assert.equal(await ada.page.evaluate(() => document.activeElement?.textContent), "Copy the link");
  const copied = await ada.page.evaluate(() => {
    delete (navigator as { clipboard?: unknown }).clipboard;
    return navigator.clipboard.readText();
  });
  assert.equal(copied, ada.page.url());
  for (const person of [ada, bob]) person.hadNoTrouble();
});
