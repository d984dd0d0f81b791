// Keyboard alone, screen readers, small screens.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hasNoViolations } from "./axe.ts";
import { fresh, Stage } from "./people.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

for (const dark of [false, true]) {
  test(`axe finds nothing to object to, ${dark ? "dark" : "light"}`, async () => {
    const ada = await stage.somebody({ dark });
    await hasNoViolations(ada, "the door");
    await ada.registers(fresh("ada"));
    await hasNoViolations(ada, "an empty room");
    const bob = await stage.person("bob");
    const room = fresh("lobby");
    await ada.makes(room);
    await bob.opens(room);
    await bob.says("hello https://example.com and @bot `x`");
    await ada.sees("hello");
    await ada.says('@bot [[practice: say="# Title\\n\\n`code` and\\n\\n```rust\\nfn main() {}\\n```\\n\\n| a | b |\\n|---|---|\\n| 1 | 2 |\\n\\n> quote\\n\\n- [ ] task"]] go');
    await ada.page.locator(".row-bot .code").waitFor();
    await ada.says("@bot [[practice: 400]] no");
    await ada.page.locator(".row-fallback").waitFor();
    await hasNoViolations(ada, "a room");
    await ada.composer.pressSequentially("@");
    await ada.page.getByRole("listbox").waitFor();
    await hasNoViolations(ada, "completing");
    await ada.composer.press("Escape");
    await ada.composer.fill("");
    await ada.page.getByRole("button", { name: "This room" }).click();
    await ada.page.getByRole("dialog").waitFor();
    await hasNoViolations(ada, "a room's details");
    await ada.page.keyboard.press("Escape");
    await ada.page.getByRole("button", { name: /devices and settings/ }).click();
    await ada.page.getByText("This browser").waitFor();
    await hasNoViolations(ada, "settings");
    await ada.page.keyboard.press("Escape");
    await stage.servers.killEdge();
    await ada.says("not yet");
    await ada.page.getByText(/Reconnecting|Connecting/).first().waitFor();
    await hasNoViolations(ada, "reconnecting");
    await stage.servers.startEdge();
    await ada.seesSent("not yet");
  });
}

test("the keyboard alone: register, write, make a room, reply, go between rooms, log out", async () => {
  const ada = await stage.somebody();
  const { keyboard } = ada.page;
  const name = fresh("ada");
  const focused = () => ada.page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent?.trim() ?? "");
  const tabTo = async (wanted: RegExp, back = false) => {
    for (let presses = 0; presses < 60; presses += 1) {
      if (wanted.test(await focused())) return;
      await keyboard.press(back ? "Shift+Tab" : "Tab");
    }
    assert.fail(`Tab does not lead to ${wanted}`);
  };
  const register = ada.page.getByRole("form", { name: "Register" });
  await register.waitFor();
  // A newcomer is in the field for the name.
  await ada.page.waitForFunction(() => document.activeElement?.id === "register-name");
  await keyboard.type(name);
  await keyboard.press("Tab");
  await keyboard.type("correct horse battery");
  await keyboard.press("Enter");
  await ada.composer.waitFor();
  await ada.page.waitForFunction(() => document.activeElement?.tagName === "TEXTAREA");
  await keyboard.type("hello");
  await keyboard.press("Shift+Enter");
  await keyboard.type("second line");
  await keyboard.press("Enter");
  await ada.sees("second line");
  await ada.page.locator(".row-bot .prose").waitFor();
  await keyboard.type("/ne");
  await keyboard.press("Tab");
  await keyboard.press("Enter");
  const room = fresh("keys");
  await ada.page.getByRole("dialog", { name: "New room" }).waitFor();
  await ada.page.waitForFunction(() => document.activeElement?.id === "room-name");
  await keyboard.type(room);
  await keyboard.press("Enter");
  await ada.page.getByRole("heading", { level: 1, name: room }).waitFor();
  await ada.page.waitForFunction(() => document.activeElement?.tagName === "TEXTAREA");
  await keyboard.type("reply to this");
  await keyboard.press("Enter");
  await ada.seesSent("reply to this");
  await tabTo(/^Reply to yourself: reply to this/, true);
  await keyboard.press("Enter");
  await keyboard.type("done");
  await keyboard.press("Enter");
  await ada.seesSent("done");
  await keyboard.press("Alt+ArrowUp");
  await ada.page.getByRole("heading", { level: 1, name: "You and the bot" }).waitFor();
  await keyboard.press("Control+k");
  await keyboard.type(room);
  await keyboard.press("Enter");
  await ada.page.getByRole("heading", { level: 1, name: room }).waitFor();
  await tabTo(/devices and settings/, true);
  await keyboard.press("Enter");
  await ada.page.getByRole("dialog").waitFor();
  await tabTo(/^Log out$/);
  await keyboard.press("Enter");
  await ada.page.getByRole("form", { name: "Log in" }).waitFor();
  ada.hadNoTrouble();
});

test("new messages are said politely, once", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await bob.opens(room);
  await bob.says("can you hear me?");
  const said = ada.page.getByRole("log", { name: "New messages" });
  await said.getByText(`${bob.name}: can you hear me?`).waitFor({ state: "attached" });
  assert.equal(await said.getAttribute("aria-live"), "polite");
});

for (const width of [320, 390, 3_840]) {
  test(`nothing sticks out at ${width} pixels`, async () => {
    const ada = await stage.person("ada", { width, height: width > 1_000 ? 2_160 : 700, touch: width < 1_000 });
    await ada.says(`${"a-very-long-word-without-an-end".repeat(9)} [[practice: say="| a | b | c | d | e | f | g |\\n|---|---|---|---|---|---|---|\\n| ${"wide ".repeat(5)} | 2 | 3 | 4 | 5 | 6 | 7 |\\n\\n${"x".repeat(200)}"]]`);
    await ada.page.locator(".row-bot table").waitFor();
    const tooWide = await ada.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(tooWide <= 0, `${tooWide} px too wide`);
    const inside = await ada.page.evaluate(() => {
      const scroller = document.querySelector(".scroller")!;
      return scroller.scrollWidth - scroller.clientWidth;
    });
    assert.ok(inside <= 0, `the conversation is ${inside} px too wide`);
    if (width < 700) {
      await ada.page.getByRole("button", { name: "Rooms" }).click();
      await ada.page.getByRole("link", { name: /You and the bot/ }).click();
      await ada.composer.waitFor();
    }
    ada.hadNoTrouble();
  });
}

test("notifications, once allowed, call somebody whose tab is hidden, for what concerns them", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await bob.opens(room);
  await ada.context.grantPermissions(["notifications"]);
  // What the browser would show, and a tab that can be hidden at will.
  await ada.page.addInitScript(() => {
    const shown: string[] = [];
    class Shown {
      static permission = "granted";
      static requestPermission = async () => "granted";
      constructor(title: string, { body }: { body: string }) {
        shown.push(`${title}: ${body}`);
      }
      close() {}
    }
    Object.assign(window, { Notification: Shown, shown });
    Object.defineProperty(document, "hidden", { get: () => (window as unknown as { away?: boolean }).away ?? false });
  });
  await ada.page.reload();
  await ada.composer.waitFor();
  const shown = () => ada.page.evaluate(() => (window as unknown as { shown: string[] }).shown);
  const away = (is: boolean) => ada.page.evaluate((is) => void Object.assign(window, { away: is }), is);
  await away(true);
  await bob.says(`@${ada.name} before you wanted any`);
  await ada.sees("before you wanted any");
  await away(false);
  await ada.page.getByRole("button", { name: /devices and settings/ }).click();
  await ada.page.getByRole("button", { name: "Turn notifications on" }).click();
  await ada.page.getByRole("button", { name: "Turn notifications off" }).waitFor();
  await ada.page.keyboard.press("Escape");
  await bob.says(`@${ada.name} you are looking`);
  await ada.sees("you are looking");
  await away(true);
  await bob.says("nothing for anybody in particular");
  await bob.says(`@${ada.name} come back`);
  await ada.sees("come back");
  assert.deepEqual(await shown(), [`${bob.name} in ${room}: @${ada.name} come back`]);
  ada.hadNoTrouble();
});
