// The main stories in Firefox and in Safari's engine: in fewer words than those in Chromium, but of the same things.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { fresh } from "./names.ts";
import { Servers, until } from "./servers.ts";
import { firefox, SEEN_MS, webkit, xvfb, type Window } from "./windows.ts";

const PASSWORD = "correct horse battery";
const CONVERSATION = "//section[@aria-label='Conversation']";
const FIELD = "//textarea[@aria-label='Message']";
const row = (kind: string, text: string) => `//*[contains(concat(' ', @class, ' '), ' ${kind} ')][contains(., '${text}')]`;

let servers: Servers;
before(async () => void (servers = await Servers.start()));
after(() => servers.stop());

/** Somebody with a browser of their own. */
class Reader {
  constructor(
    readonly name: string,
    readonly window: Window,
  ) {}

  async enters(form: "Register" | "Log in"): Promise<void> {
    const within = `//form[@aria-label='${form}']`;
    await this.types(`${within}//input[@autocomplete='username']`, this.name);
    await this.types(`${within}//input[@type='password']`, PASSWORD);
    await this.clicks(`${within}//button[@type='submit']`);
    await this.sees(FIELD);
  }

  async sees(xpath: string): Promise<void> {
    await until(`${this.name} sees ${xpath}`, SEEN_MS, () => this.window.shows(xpath));
  }

  async types(xpath: string, text: string): Promise<void> {
    await this.sees(xpath);
    await this.window.types(xpath, text);
  }

  async clicks(xpath: string): Promise<void> {
    await this.sees(xpath);
    await this.window.clicks(xpath);
  }

  async says(text: string): Promise<void> {
    await this.types(FIELD, text);
    await this.window.presses(FIELD, "Enter");
  }

  /** How much there is below what is in view. */
  async below(): Promise<number> {
    return this.window.asks<number>("const s = document.querySelector('.scroller'); return s.scrollHeight - s.scrollTop - s.clientHeight;");
  }

  async isAtEnd(): Promise<void> {
    await until("the end is in view", SEEN_MS, async () => (await this.below()) < 2);
  }
}

for (const engine of ["Firefox", "WebKit"]) {
  describe(engine, () => {
    let screen: Awaited<ReturnType<typeof xvfb>> | undefined;
    const windows: Window[] = [];
    before(async () => void (engine === "WebKit" && (screen = await xvfb())));
    after(() => screen?.end());
    afterEach(async () => {
      for (const window of windows.splice(0)) await window.ends();
    });

    async function somebody(name: string, width = 1_200, height = 900): Promise<Reader> {
      const window = screen ? await webkit(screen.display, width, height) : await firefox(width, height);
      windows.push(window);
      await window.goes(servers.address);
      return new Reader(name, window);
    }

    async function registered(name: string, width?: number, height?: number): Promise<Reader> {
      const reader = await somebody(fresh(name), width, height);
      await reader.enters("Register");
      return reader;
    }

    test("register, ask, and read the answer", async () => {
      const ada = await registered("ada");
      await ada.says("What is two plus two?");
      await ada.sees(row("row-bot", "four"));
    });

    test("an answer goes on after a reload in its middle, and is stopped", async () => {
      const ada = await registered("ada");
      await ada.says("[[practice: words=400 pace=100ms]] a long one");
      await ada.sees(row("row-draft", ""));
      await ada.window.reloads();
      await ada.sees(row("row-draft", ""));
      await ada.clicks("//button[@aria-label='Stop the answer']");
      await ada.sees("//button[normalize-space()='Answer again']");
    });

    test("whoever turns the wheel up, however little, leaves the end, and comes back to it", async () => {
      const ada = await registered("ada");
      for (let line = 1; line <= 40; line += 1) {
        await ada.types(FIELD, `line ${line}`);
        await ada.window.presses(FIELD, "Shift+Enter");
      }
      await ada.says("a last line");
      await ada.sees(row("row", "a last line"));
      await ada.isAtEnd();
      for (let time = 0; time < 10; time += 1) await ada.window.wheels(CONVERSATION, -20);
      await until("the end is left", SEEN_MS, async () => (await ada.below()) > 20);
      const left = await ada.below();
      await ada.window.presses(CONVERSATION, "PageUp");
      await until("a page up is further up: nothing pulled back", SEEN_MS, async () => (await ada.below()) > left + 200);
      await ada.window.presses(CONVERSATION, "End");
      await ada.isAtEnd();
      await ada.says("and one more");
      await ada.sees(row("row", "and one more"));
      await ada.isAtEnd();
    });

    test("another browser of the same person has the same; the server is killed, and what was typed goes out when it is back", async () => {
      const ada = await registered("ada");
      await ada.says("from the first");
      await ada.sees(row("row", "from the first"));
      const again = await somebody(ada.name);
      await again.enters("Log in");
      await again.sees(row("row", "from the first"));
      await servers.killEdge();
      await ada.says("while it is away");
      await ada.sees(row("waiting", "while it is away"));
      await servers.startEdge();
      for (const reader of [ada, again]) await reader.sees(`${row("row", "while it is away")}[not(contains(@class, 'waiting'))]`);
    });

    test("a long conversation is printed from its beginning to its end", async () => {
      const ada = await registered("ada");
      for (let line = 1; line <= 3; line += 1) {
        await ada.types(FIELD, "a line of many");
        for (let more = 1; more <= 30; more += 1) await ada.window.presses(FIELD, "Shift+Enter");
        await ada.says(`the end of ${line}`);
        await ada.sees(row("row-own", `the end of ${line}`));
      }
      const pages = await ada.window.prints();
      if (pages !== null) assert.ok(pages >= 3, `${pages} pages`);
      // What goes on paper, in whatever browser.
      const rows = await ada.window.asks<number>("dispatchEvent(new Event('beforeprint')); const rows = document.querySelectorAll('.print .row-own').length; dispatchEvent(new Event('afterprint')); return rows;");
      assert.equal(rows, 3);
    });

    test("Arabic runs from right to left, a formula is one, and a mouse leaves no ring around what it pressed", async () => {
      const ada = await registered("ada");
      await ada.says("مرحبا بكم");
      await ada.says("\\(x^2\\) there");
      await ada.sees("//*[local-name()='math']");
      const runs = await ada.window.asks<string>("return getComputedStyle([...document.querySelectorAll('.row-own .text p')].find((p) => p.textContent.includes('مرحبا'))).direction;");
      assert.equal(runs, "rtl");
      // Without a screen Firefox never has the focus, and so never a ring.
      if (engine === "Firefox") return;
      const ring = () => ada.window.asks<string>("const { outlineStyle } = getComputedStyle(document.activeElement); return `${document.activeElement.className} ${outlineStyle}`;");
      await ada.clicks(row("row-own", "there"));
      await ada.clicks(CONVERSATION);
      assert.match(await ring(), / none$/);
      // What opens has the focus.
      await ada.clicks("//button[contains(@class, 'me')]");
      await ada.sees("//dialog");
      assert.match(await ring(), /[^ ] none$/);
      await ada.clicks("//dialog//button[@aria-label='Close']");
      await ada.window.presses("//button[@aria-label='New room']", "Tab");
      assert.doesNotMatch(await ring(), / none$/);
    });

    test("narrow: nothing is wider than the window, and the field is in it", async () => {
      const ada = await registered("ada", 400, 800);
      await ada.says(`a long word: ${"abcdefghij".repeat(30)}`);
      await ada.sees(row("row", "a long word"));
      const [wide, below] = await ada.window.asks<[number, number]>(
        "return [document.documentElement.scrollWidth - innerWidth, document.querySelector('textarea').getBoundingClientRect().bottom - innerHeight];",
      );
      assert.ok(wide <= 0 && below <= 0, `${wide} px too wide, the field ends ${below} px below the window`);
    });
  });
}
