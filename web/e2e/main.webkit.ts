// The main stories in WebKit as Safari has it: Debian's, in its small browser, by WebDriver. That speaks less than the
// other browsers do, so these stories are told in fewer words.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { after, afterEach, before, test } from "node:test";
import { Builder, By, Capabilities, Key, type WebDriver, type WebElement } from "selenium-webdriver";
import { fresh } from "./names.ts";
import { freePort, Servers, until } from "./servers.ts";

const SEEN_MS = 90_000;
const PASSWORD = "correct horse battery";
const BROWSER = process.env.MINIBROWSER ?? "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser";

let servers: Servers;
let screen: ChildProcess;
let environment: NodeJS.ProcessEnv;
/** What is to be ended, the last one first. */
const ends: (() => unknown)[] = [];

before(async () => {
  servers = await Servers.start();
  screen = spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1400x1000x24", "-nolisten", "tcp"], { stdio: ["ignore", "ignore", "ignore", "pipe"] });
  const display = await new Promise<string>((resolve, reject) => {
    screen.once("error", reject);
    screen.stdio[3]!.once("data", (number: Buffer) => resolve(`:${number.toString().trim()}`));
  });
  environment = { ...process.env, DISPLAY: display, GDK_BACKEND: "x11", LIBGL_ALWAYS_SOFTWARE: "1", WEBKIT_DISABLE_DMABUF_RENDERER: "1" };
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
after(async () => {
  screen?.kill("SIGKILL");
  await servers?.stop();
});

/** Somebody with a browser of their own. */
class Reader {
  name = "";

  private constructor(readonly window: WebDriver) {}

  static async opens(width = 1_200, height = 900): Promise<Reader> {
    // A driver drives one browser.
    const port = await freePort();
    const driver = spawn("WebKitWebDriver", [`--port=${port}`], { env: environment, stdio: "ignore" });
    ends.push(() => driver.kill("SIGKILL"));
    await until("WebKit's driver answers", SEEN_MS, () => fetch(`http://127.0.0.1:${port}/status`).then(({ ok }) => ok, () => false));
    const capabilities = new Capabilities({ browserName: "MiniBrowser", "webkitgtk:browserOptions": { binary: BROWSER, args: ["--automation"] } });
    const window = await new Builder().usingServer(`http://127.0.0.1:${port}`).withCapabilities(capabilities).build();
    ends.push(() => window.quit().catch(() => {}));
    await window.manage().window().setRect({ x: 0, y: 0, width, height });
    await window.get(servers.address);
    return new Reader(window);
  }

  static async registers(name: string, width?: number, height?: number): Promise<Reader> {
    const reader = await Reader.opens(width, height);
    reader.name = fresh(name);
    await reader.enters("Register");
    return reader;
  }

  async enters(form: "Register" | "Log in"): Promise<void> {
    const within = `//form[@aria-label='${form}']`;
    await (await this.sees(`${within}//input[@autocomplete='username']`)).sendKeys(this.name);
    await (await this.sees(`${within}//input[@type='password']`)).sendKeys(PASSWORD);
    await (await this.sees(`${within}//button[@type='submit']`)).click();
    await this.sees(FIELD);
  }

  /** The first of what is like this and can be seen. */
  async sees(xpath: string): Promise<WebElement> {
    let seen: WebElement | undefined;
    await until(`${this.name} sees ${xpath}`, SEEN_MS, async () => {
      for (const element of await this.window.findElements(By.xpath(xpath))) {
        // It may have gone meanwhile.
        if (await element.isDisplayed().catch(() => false)) seen ??= element;
      }
      return seen !== undefined;
    });
    return seen!;
  }

  async seesRow(text: string): Promise<void> {
    await this.sees(row("row", text));
  }

  async says(text: string): Promise<void> {
    await (await this.sees(FIELD)).sendKeys(text, Key.ENTER);
  }

  async presses(name: string): Promise<void> {
    await (await this.sees(`//button[@aria-label='${name}' or normalize-space()='${name}']`)).click();
  }

  async asks<T>(script: string, ...words: unknown[]): Promise<T> {
    return this.window.executeScript<T>(script, ...words);
  }

  async wheels(times: number, px: number): Promise<void> {
    const scroller = await this.sees("//section[@aria-label='Conversation']");
    for (let time = 0; time < times; time += 1) {
      // Its types do not know this one yet.
      const actions = this.window.actions() as unknown as { scroll(x: number, y: number, right: number, down: number, origin: WebElement): { perform(): Promise<void> } };
      await actions.scroll(0, 0, 0, px, scroller).perform();
      await this.frames(2);
    }
  }

  async frames(count: number): Promise<void> {
    await this.window.executeAsyncScript("const done = arguments[1]; let left = arguments[0]; const next = () => (left-- > 0 ? requestAnimationFrame(next) : done()); next();", count);
  }

  /** How much there is below what is in view. */
  async below(): Promise<number> {
    return this.asks<number>("const s = document.querySelector('.scroller'); return s.scrollHeight - s.scrollTop - s.clientHeight;");
  }
}

const FIELD = "//textarea[@aria-label='Message']";
const row = (kind: string, text: string) => `//*[contains(concat(' ', @class, ' '), ' ${kind} ')][contains(., '${text}')]`;

test("register, ask, and read the answer", async () => {
  const ada = await Reader.registers("ada");
  await ada.says("What is two plus two?");
  await ada.sees(row("row-bot", "four"));
});

test("an answer goes on after a reload in its middle, and is stopped", async () => {
  const ada = await Reader.registers("ada");
  await ada.says("[[practice: words=400 pace=100ms]] a long one");
  await ada.sees(row("row-draft", ""));
  await ada.window.navigate().refresh();
  await ada.sees(row("row-draft", ""));
  await ada.presses("Stop the answer");
  await ada.sees("//button[normalize-space()='Answer again']");
});

test("whoever turns the wheel up, however little, leaves the end, and comes back to it", async () => {
  const ada = await Reader.registers("ada");
  for (let line = 1; line <= 40; line += 1) await (await ada.sees(FIELD)).sendKeys(`line ${line}`, Key.chord(Key.SHIFT, Key.ENTER));
  await ada.says("a last line");
  await ada.seesRow("a last line");
  await until("the end is in view", SEEN_MS, async () => (await ada.below()) < 2);
  await ada.wheels(10, -20);
  assert.ok((await ada.below()) > 150, `${await ada.below()} px are below`);
  await ada.wheels(20, 40);
  await until("the end is in view again", SEEN_MS, async () => (await ada.below()) < 2);
});

test("another browser of the same person has the same; the server is killed and what was typed goes out when it is back", async () => {
  const ada = await Reader.registers("ada");
  await ada.says("from the first");
  await ada.seesRow("from the first");
  const again = await Reader.opens();
  again.name = ada.name;
  await again.enters("Log in");
  await again.seesRow("from the first");
  await servers.killEdge();
  await ada.says("while it is away");
  await ada.sees(row("waiting", "while it is away"));
  await servers.startEdge();
  for (const reader of [ada, again]) await reader.sees(`${row("row", "while it is away")}[not(contains(@class, 'waiting'))]`);
});

test("narrow: nothing is wider than the window, and the field and the newest line are in it", async () => {
  const ada = await Reader.registers("ada", 400, 800);
  await ada.says(`a long word: ${"abcdefghij".repeat(30)}`);
  await ada.seesRow("a long word");
  const [wide, bottom] = await ada.asks<[number, number]>(
    "return [document.documentElement.scrollWidth - innerWidth, innerHeight - document.querySelector('textarea').getBoundingClientRect().bottom];",
  );
  assert.ok(wide <= 0 && bottom >= 0, `${wide} px too wide, ${bottom} px below the field`);
});
