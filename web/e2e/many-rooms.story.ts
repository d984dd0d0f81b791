// A few rooms or hundreds, in windows of all kinds: what one needs is in the window, and a load asks for little.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

const SIZES = [
  { name: "wide", width: 1_280, height: 720 },
  { name: "narrow", width: 390, height: 844 },
  { name: "low", width: 1_024, height: 500 },
];
/** Lines of the list that find room in the lowest and highest of these windows, generously. */
const LINES_MAX = 16;

/**
 * Makes so many rooms past the page, private, so that nobody else has them in the list; says a lot in the first, and
 * something in all others after that.
 */
async function makesMany(person: Person, prefix: string, count: number): Promise<void> {
  const rooms = Array.from({ length: count }, (_, index) => `${prefix}-${index}`);
  await person.page.evaluate(
    async (rooms) => {
      const headers = { "content-type": "application/json" };
      for (const name of rooms) {
        const made = await fetch("/api/rooms", { method: "POST", headers, body: JSON.stringify({ name, private: true, bot: "off" }) });
        if (!made.ok) throw new Error(`${name}: ${made.status}`);
      }
    },
    rooms,
  );
  await person.floods(rooms[0]!, 1, 60);
  await person.page.evaluate(
    (rooms) =>
      new Promise<void>((resolve, reject) => {
        const socket = new WebSocket(`ws://${location.host}/ws`);
        let acked = 0;
        socket.onopen = () => rooms.forEach((room) => socket.send(JSON.stringify({ type: "send", room, message: `hello from ${room}` })));
        socket.onmessage = ({ data }) => {
          const { type } = JSON.parse(data);
          if (type === "error") reject(new Error(data));
          if (type === "ack" && (acked += 1) === rooms.length) resolve();
        };
      }),
    rooms.slice(1),
  );
}

async function isInWindow(person: Person, what: string, selector: string): Promise<void> {
  await until(`${what} is in the window`, SEEN_MS, () =>
    person.page.locator(selector).last().evaluate((element) => {
      const { top, bottom, left, right, height } = element.getBoundingClientRect();
      return height > 0 && top >= 0 && left >= 0 && bottom <= innerHeight + 0.5 && right <= innerWidth + 0.5;
    }),
  );
}

for (const count of [30, 300]) {
  for (const { name, width, height } of SIZES) {
    test(`${count} rooms in a ${name} window: the field, the newest message and the list are in it`, async () => {
      const ada = await stage.person("ada", { width, height });
      const prefix = fresh("room");
      await makesMany(ada, prefix, count);
      await ada.opens(`${prefix}-0`);
      await ada.sees("message 60 ");
      // Other stories on the same engines may have left public rooms.
      await until("the list is there", SEEN_MS, async () => (await ada.page.locator(".room-link", { hasText: `${prefix}-` }).count()) === count);
      await isInWindow(ada, "the field", ".composer-line");
      await isInWindow(ada, "the newest message", ".row");
      if (width < 700) await ada.page.getByRole("button", { name: /^Rooms/ }).click();
      await isInWindow(ada, "the list", ".side-rooms");
      // It is the last in the list, since something was said later in all others.
      await isInWindow(ada, "the room that is looked at", ".room-link[aria-current]");
      await isInWindow(ada, "the account", ".me");
      const over = await ada.page.evaluate(() => {
        const { scrollHeight, scrollWidth } = document.documentElement;
        return [scrollHeight - innerHeight, scrollWidth - innerWidth];
      });
      assert.deepEqual(over, [0, 0], "the page itself is no larger than the window");
      ada.hadNoTrouble();
      // A page with so many rooms is not left to go on beside the next one.
      await ada.context.close();
    });
  }
}

test("a load asks once for the list, and for no more of the rooms than is to be seen", async () => {
  const ada = await stage.person("ada", { width: 1_280, height: 720 });
  const bob = await stage.person("bob");
  const prefix = fresh("room");
  await makesMany(ada, prefix, 120);
  for (const room of [`${prefix}-7`, `${prefix}-90`]) {
    await ada.page.evaluate(({ room, name }) => fetch(`/api/rooms/${room}/members/${name}`, { method: "PUT" }), { room, name: bob.name });
  }
  await ada.page.reload();
  const links = ada.page.locator(".room-link", { hasText: `${prefix}-` });
  await until("the list is there", SEEN_MS, async () => (await links.count()) === 120);
  // Somebody else writes while she is away.
  await ada.page.goto("about:blank");
  await bob.opens(`${prefix}-7`);
  for (const words of ["first", "second", "third"]) await bob.says(words);
  await bob.seesSent("third");
  const asked: string[] = [];
  ada.page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (pathname.startsWith("/api/rooms")) asked.push(pathname);
  });
  await ada.page.goto(ada.address);
  const unread = ada.page.getByRole("link", { name: new RegExp(`${prefix}-7 `) });
  await unread.getByText("3 unread").waitFor();
  await unread.getByText("third").waitFor();
  // All of what is in view has its words; then nothing more is asked for.
  await until("the lines that are in view have words", SEEN_MS, () =>
    ada.page.locator(".side-rooms").evaluate((list) => {
      const { bottom } = list.getBoundingClientRect();
      return [...list.querySelectorAll(".room-link")].every((link) => link.getBoundingClientRect().top > bottom || link.querySelector(".room-last")!.textContent !== "");
    }),
  );
  assert.equal(asked.filter((path) => path === "/api/rooms").length, 1, "one call for the list");
  const pages = asked.filter((path) => path.endsWith("/messages"));
  assert.ok(pages.length <= LINES_MAX, `${pages.length} calls for messages`);
  assert.equal(new Set(pages).size, pages.length, "none of them twice");
  // What is not loaded is heard all the same, and loaded when it is opened.
  await bob.opens(`${prefix}-90`);
  await bob.says("news from afar");
  const far = ada.page.getByRole("link", { name: new RegExp(`${prefix}-90 `) });
  await far.getByText("1 unread").waitFor();
  await far.click();
  await ada.sees("news from afar");
  await ada.sees(`hello from ${prefix}-90`);
  await far.getByText("unread").waitFor({ state: "detached" });
  ada.hadNoTrouble();
});
