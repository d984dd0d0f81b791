// People with browsers: what they do and what they see, in their own words.

import assert from "node:assert/strict";
import { chromium, type Browser, type BrowserContext, type Locator, type Page } from "playwright-core";
import { fresh } from "./names.ts";
import { Servers, until } from "./servers.ts";

export { fresh };

const PASSWORD = "correct horse battery";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
/** How long anything may take to be seen: no story is about speed, and a machine may be doing much else. With less of it a story fails sooner. */
export const SEEN_MS = Number(process.env.SEEN_MS ?? 90_000);

export interface Looks {
  width?: number;
  height?: number;
  dark?: boolean;
  locale?: string;
  touch?: boolean;
}

/** A Chinwag that runs, and a browser for everybody who comes. */
export class Stage {
  #contexts: BrowserContext[] = [];

  private constructor(
    readonly servers: Servers,
    readonly browser: Browser,
  ) {}

  static async set(settings: Record<string, string> = {}): Promise<Stage> {
    const servers = await Servers.start(settings);
    return new Stage(servers, await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: FLAGS }));
  }

  /** Somebody at the door, who may have come by a link. */
  async somebody(looks: Looks = {}, link?: string): Promise<Person> {
    const context = await this.browser.newContext({
      viewport: { width: looks.width ?? 1_200, height: looks.height ?? 800 },
      colorScheme: looks.dark ? "dark" : "light",
      hasTouch: looks.touch ?? false,
      locale: looks.locale ?? "en-GB",
      permissions: ["clipboard-read", "clipboard-write"],
    });
    context.setDefaultTimeout(SEEN_MS);
    this.#contexts.push(context);
    const person = new Person(this.servers.address, context, await context.newPage());
    person.touch = looks.touch ?? false;
    person.watch();
    await person.page.goto(link ?? this.servers.address);
    return person;
  }

  /** Somebody who has just registered. Names are made different in every story, since the engines may be shared. */
  async person(name: string, looks: Looks = {}): Promise<Person> {
    const person = await this.somebody(looks);
    await person.registers(fresh(name));
    return person;
  }

  async clear(): Promise<void> {
    for (const context of this.#contexts) await context.close();
    await this.browser.close();
    await this.servers.stop();
  }
}

export class Person {
  name = "";
  touch = false;
  /** Whatever went wrong on the page: errors, and requests that left for another site. */
  readonly troubles: string[] = [];

  constructor(
    readonly address: string,
    readonly context: BrowserContext,
    public page: Page,
  ) {}

  watch(): void {
    const { page } = this;
    page.on("pageerror", (error) => this.troubles.push(error.stack ?? error.message));
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(this.address) && !url.startsWith("data:")) this.troubles.push(`a request to ${url}`);
    });
    page.on("dialog", (dialog) => {
      this.troubles.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("console", (message) => {
      if (/Content Security Policy/i.test(message.text())) this.troubles.push(message.text());
    });
  }

  hadNoTrouble(): void {
    assert.deepEqual(this.troubles, []);
  }

  async registers(name: string): Promise<void> {
    await this.enters("Register", name);
    this.name = name;
  }

  async logsIn(name: string): Promise<void> {
    await this.enters("Log in", name);
    this.name = name;
  }

  async enters(form: "Log in" | "Register", name: string, password = PASSWORD): Promise<void> {
    const fields = this.page.getByRole("form", { name: form });
    await fields.getByLabel("Username").fill(name);
    await fields.getByLabel("Password").fill(password);
    await fields.getByRole("button", { name: form }).click();
    await this.composer.waitFor();
  }

  get composer(): Locator {
    return this.page.getByRole("textbox", { name: "Message" });
  }

  get send(): Locator {
    return this.page.getByRole("button", { name: "Send", exact: true });
  }

  get conversation(): Locator {
    return this.page.getByRole("region", { name: "Conversation" });
  }

  /** Rows with a text in them. */
  row(text: string | RegExp): Locator {
    return this.conversation.getByRole("listitem").filter({ hasText: text });
  }

  async says(text: string): Promise<void> {
    await this.composer.fill(text);
    // A telephone's Enter makes a new line.
    if (this.touch) await this.send.tap();
    else await this.composer.press("Enter");
  }

  /** Sees it once, and not on its way any more. */
  async sees(text: string | RegExp): Promise<void> {
    await this.row(text).first().waitFor();
  }

  /** The bot's whole answer: a draft that says it already is not one. */
  async seesAnswer(text: string | RegExp): Promise<void> {
    await this.page.locator(".row-bot:not(.row-draft)").filter({ hasText: text }).first().waitFor();
  }

  async seesSent(text: string): Promise<void> {
    await until(`"${text}" is sent`, SEEN_MS, async () => (await this.page.locator(".row-own:not(.waiting):not(.failed)").filter({ hasText: text }).count()) === 1);
  }

  async opens(room: string): Promise<void> {
    await this.page.goto(`${this.address}/rooms/${room}`);
    await this.comesIn();
  }

  /** Into the room that is looked at, also where one is asked first whether one wants to join it. */
  async comesIn(): Promise<void> {
    const join = this.page.locator(".blank").getByRole("button", { name: "Join" });
    await this.page.locator(".room-link").first().waitFor({ state: "attached" });
    await this.composer.or(join).first().waitFor();
    if (await join.isVisible()) await join.click();
    await this.composer.waitFor();
  }

  async makes(room: string, more: { private?: boolean; bot?: "When it is called" | "To everything" | "Not at all" } = {}): Promise<void> {
    await this.page.getByRole("button", { name: "New room" }).click();
    const form = this.page.getByRole("form", { name: "New room" });
    await form.getByLabel("Name", { exact: true }).fill(room);
    if (more.private) await form.getByLabel("Private").check();
    if (more.bot) await form.getByLabel(more.bot).check();
    await form.getByRole("button", { name: "Make the room" }).click();
    await this.page.getByRole("heading", { level: 1, name: room }).waitFor();
  }

  /** Says a lot, on a socket of its own, so many on their way at once. */
  async floods(room: string, from: number, to: number): Promise<void> {
    await this.page.evaluate(
      ({ room, from, to }) =>
        new Promise<void>((resolve, reject) => {
          const socket = new WebSocket(`ws://${location.host}/ws/chat/${room}`);
          const sent = new Map<string, string>();
          let next = from;
          let acked = 0;
          const say = () => {
            if (next > to) return;
            const id = crypto.randomUUID();
            sent.set(id, JSON.stringify({ message: `message ${next} ${"and some more words ".repeat(next % 7)}`, id }));
            socket.send(sent.get(id)!);
            next += 1;
          };
          socket.onopen = () => {
            for (let index = 0; index < 50; index += 1) say();
          };
          socket.onmessage = ({ data }) => {
            const frame = JSON.parse(data);
            // As a client should: the same id again, after the time that the server asks for.
            if (frame.type === "error" && frame.retry_after_ms !== undefined) setTimeout(() => socket.send(sent.get(frame.id)!), frame.retry_after_ms);
            else if (frame.type === "error") reject(new Error(data));
            if (frame.type !== "ack") return;
            acked += 1;
            if (acked === to - from + 1) {
              socket.close();
              resolve();
            } else {
              say();
            }
          };
          socket.onclose = () => reject(new Error("closed"));
        }),
      { room, from, to },
    );
  }

  async invites(name: string): Promise<void> {
    await this.says(`/invite ${name}`);
    await this.page.getByText(`${name} was invited.`).first().waitFor();
  }

  /** What the server has of a room: the truth. */
  async history(room: string): Promise<{ id: string; sender: string; kind: string; message: string; reply_to?: string }[]> {
    return this.page.evaluate(async (name) => (await (await fetch(`/api/rooms/${name}/messages?limit=200`)).json()).messages, room);
  }

  async reconnects(): Promise<void> {
    await this.page.locator(".status.shown").waitFor({ state: "hidden" });
  }

  /** Another tab of the same browser. */
  async tab(path = "/"): Promise<Person> {
    const tab = new Person(this.address, this.context, await this.context.newPage());
    tab.name = this.name;
    tab.watch();
    await tab.page.goto(this.address + path);
    await tab.composer.waitFor();
    return tab;
  }
}
