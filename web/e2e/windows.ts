// Windows of the browsers that are not Chromium: Debian's Firefox by WebDriver BiDi, and Debian's WebKit, which is
// Safari's, by WebDriver. Each speaks less than Playwright does with Chromium, so both are asked for the little that the
// stories about them need.

import { spawn } from "node:child_process";
import { constants, inflateSync } from "node:zlib";
import puppeteer, { type KeyInput } from "puppeteer-core";
import { Builder, By, Capabilities, Key, type WebElement } from "selenium-webdriver";
import { freePort, until } from "./servers.ts";

export const SEEN_MS = 90_000;
const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";
const MINIBROWSER = process.env.MINIBROWSER ?? "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser";

export type Press = "Enter" | "Shift+Enter" | "PageUp" | "End" | "Tab";

export interface Window {
  goes(address: string): Promise<void>;
  reloads(): Promise<void>;
  /** Whether there is something like this, and it has a size. */
  shows(xpath: string): Promise<boolean>;
  clicks(xpath: string): Promise<void>;
  types(xpath: string, text: string): Promise<void>;
  presses(xpath: string, key: Press): Promise<void>;
  /** How far depends on the driver: WebKit's swallows some of what it is told, on any page. */
  wheels(xpath: string, px: number): Promise<void>;
  /** What a function's body gives back. */
  asks<T>(body: string): Promise<T>;
  /** The pages of what it prints; null where the driver cannot. */
  prints(): Promise<number | null>;
  ends(): Promise<void>;
}

export async function firefox(width: number, height: number): Promise<Window> {
  const browser = await puppeteer.launch({ browser: "firefox", executablePath: FIREFOX, headless: true, defaultViewport: { width, height } });
  const page = (await browser.pages())[0] ?? (await browser.newPage());
  const first = async (xpath: string) => {
    for (const element of await page.$$(`::-p-xpath(${xpath})`)) if (await element.isVisible()) return element;
    return null;
  };
  const focus = async (xpath: string) => (await first(xpath))!.focus();
  return {
    goes: async (address) => void (await page.goto(address)),
    reloads: async () => void (await page.reload()),
    // What was there may be gone before it is looked at.
    shows: async (xpath) => (await first(xpath).catch(() => null)) !== null,
    clicks: async (xpath) => (await first(xpath))!.click(),
    types: async (xpath, text) => {
      await focus(xpath);
      await page.keyboard.type(text);
    },
    presses: async (xpath, key) => {
      await focus(xpath);
      const [last, modifier] = key.split("+").reverse() as [KeyInput, KeyInput?];
      if (modifier) await page.keyboard.down(modifier);
      await page.keyboard.press(last);
      if (modifier) await page.keyboard.up(modifier);
    },
    wheels: async (xpath, px) => {
      await (await first(xpath))!.hover();
      await page.mouse.wheel({ deltaY: px });
    },
    asks: <T>(body: string) => page.evaluate(`(() => { ${body} })()`) as Promise<T>,
    prints: async () => {
      const paper = Buffer.from(await page.pdf());
      for (const { index, 0: begin } of paper.toString("latin1").matchAll(/(?<!end)stream\r?\n/g)) {
        // How many pages there are stands in one of its streams, and those are compressed.
        const bytes = paper.subarray(index + begin.length);
        const text = bytes[0] === 0x78 ? inflateSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }).toString("latin1") : "";
        const [, pages] = /\/Count (\d+)/.exec(text) ?? [];
        if (pages) return Number(pages);
      }
      return 0;
    },
    ends: () => browser.close(),
  };
}

/** The screen on which WebKit's browser has its windows. */
export async function xvfb(): Promise<{ display: string; end(): void }> {
  const screen = spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1400x1000x24", "-nolisten", "tcp"], { stdio: ["ignore", "ignore", "ignore", "pipe"] });
  const display = await new Promise<string>((resolve, reject) => {
    screen.once("error", reject);
    screen.stdio[3]!.once("data", (number: Buffer) => resolve(`:${number.toString().trim()}`));
  });
  return { display, end: () => void screen.kill("SIGKILL") };
}

const KEYS: Record<Press, string> = { Enter: Key.ENTER, "Shift+Enter": Key.chord(Key.SHIFT, Key.ENTER), PageUp: Key.PAGE_UP, End: Key.END, Tab: Key.TAB };

export async function webkit(display: string, width: number, height: number): Promise<Window> {
  const port = await freePort();
  const env = { ...process.env, DISPLAY: display, GDK_BACKEND: "x11", LIBGL_ALWAYS_SOFTWARE: "1", WEBKIT_DISABLE_DMABUF_RENDERER: "1" };
  // A driver drives one browser.
  const driver = spawn("WebKitWebDriver", [`--port=${port}`], { env, stdio: "ignore" });
  await until("WebKit's driver answers", SEEN_MS, () => fetch(`http://127.0.0.1:${port}/status`).then(({ ok }) => ok, () => false));
  const capabilities = new Capabilities({ browserName: "MiniBrowser", "webkitgtk:browserOptions": { binary: MINIBROWSER, args: ["--automation"] } });
  const window = await new Builder().usingServer(`http://127.0.0.1:${port}`).withCapabilities(capabilities).build();
  await window.manage().window().setRect({ x: 0, y: 0, width, height });
  const first = async (xpath: string): Promise<WebElement | null> => {
    for (const element of await window.findElements(By.xpath(xpath))) if (await element.isDisplayed().catch(() => false)) return element;
    return null;
  };
  return {
    goes: (address) => window.get(address),
    reloads: () => window.navigate().refresh(),
    shows: async (xpath) => (await first(xpath)) !== null,
    clicks: async (xpath) => (await first(xpath))!.click(),
    types: async (xpath, text) => (await first(xpath))!.sendKeys(text),
    presses: async (xpath, key) => (await first(xpath))!.sendKeys(KEYS[key]),
    wheels: async (xpath, px) => {
      // Its types do not know this one yet.
      const actions = window.actions() as unknown as { scroll(x: number, y: number, right: number, down: number, origin: WebElement): { perform(): Promise<void> } };
      await actions.scroll(0, 0, 0, px, (await first(xpath))!).perform();
    },
    asks: <T>(body: string) => window.executeScript<T>(body),
    prints: async () => null,
    ends: async () => {
      await window.quit().catch(() => {});
      driver.kill("SIGKILL");
    },
  };
}
