// What was done, and what cannot be done, is said where it is seen.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

/** Nothing lies over it, and it is inside the window. */
async function seesUncovered(person: Person, words: string): Promise<void> {
  const found = person.page.getByText(words, { exact: true });
  await until(`"${words}" is to be seen`, SEEN_MS, async () => {
    for (const one of await found.all()) {
      const isUncovered = await one.evaluate((element) => {
        const { left, top, width, height } = element.getBoundingClientRect();
        const at = document.elementFromPoint(left + Math.min(width, 40) / 2, top + height / 2);
        return width > 1 && (at === element || element.contains(at));
      });
      if (isUncovered) return true;
    }
    return false;
  });
}

test("what is done in a dialog is told in it", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  await ada.makes(fresh("lobby"));
  await ada.page.getByRole("button", { name: "This room" }).click();
  await ada.page.getByLabel("To everything").check();
  await ada.page.getByRole("button", { name: "Save" }).click();
  await seesUncovered(ada, "Saved.");
  await ada.page.getByLabel("Name of the person").fill(bob.name);
  await ada.page.getByRole("dialog").getByRole("button", { name: "Invite" }).click();
  await seesUncovered(ada, `${bob.name} was invited.`);
  await ada.page.getByRole("button", { name: `Remove ${bob.name}` }).click();
  await seesUncovered(ada, `${bob.name} was removed.`);
  ada.hadNoTrouble();
});

test("a room that becomes private names those it puts out first, and keeps those who are invited", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const cleo = await stage.person("cleo");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  for (const person of [bob, cleo]) {
    await person.opens(room);
    await person.says(`${person.name} was here`);
    await ada.sees(`${person.name} was here`);
  }
  await ada.page.getByRole("button", { name: "This room" }).click();
  await ada.page.getByLabel("Private").check();
  await ada.page.getByText(`${bob.name} and ${cleo.name} would be put out`).waitFor();
  await ada.page.getByLabel(`Invite ${cleo.name}`).uncheck();
  await ada.page.getByRole("button", { name: "Save" }).click();
  await seesUncovered(ada, `Saved. ${bob.name} was invited.`);
  // Who was put out has a door before her, and no field.
  await cleo.page.getByRole("heading", { name: "You are no longer in this room" }).waitFor();
  await cleo.page.getByText(`${ada.name} can let you in again.`).waitFor();
  assert.equal(await cleo.composer.count(), 0);
  assert.equal(await cleo.row("was here").count(), 0);
  await bob.says("I stay");
  await bob.seesSent("I stay");
  await ada.page.keyboard.press("Escape");
  await ada.invites(cleo.name);
  await cleo.page.reload();
  await cleo.comesIn();
  await cleo.sees("I stay");
  await cleo.says("and so do I");
  await ada.sees("and so do I");
  for (const person of [ada, bob, cleo]) person.hadNoTrouble();
});

test("a browser that keeps no cookie is told so, and the form keeps its words", async () => {
  const ada = await stage.somebody();
  // As a server's answer looks to a browser that drops its cookie.
  await ada.page.route("**/api/register", (route) => route.fulfill({ status: 201, json: { user: "ada", token: "" } }));
  const form = ada.page.getByRole("form", { name: "Register" });
  await form.getByLabel("Username").fill("ada");
  await form.getByLabel("Password").fill("correct horse battery");
  await form.getByLabel("Password").press("Enter");
  await form.getByText(/your browser kept no cookie of it/).waitFor();
  assert.equal(await form.getByLabel("Username").inputValue(), "ada");
  ada.hadNoTrouble();
});

test("a browser that lets the page store nothing can talk all the same, and is told what is lost", async () => {
  const ada = await stage.somebody();
  await ada.page.addInitScript(() => {
    for (const name of ["localStorage", "sessionStorage"]) {
      Object.defineProperty(window, name, {
        get() {
          throw new DOMException("denied", "SecurityError");
        },
      });
    }
  });
  await ada.page.reload();
  await ada.registers(fresh("ada"));
  await seesUncovered(ada, "This browser lets the page store nothing: what is half typed or not sent is lost when it is loaded again.");
  await ada.says("two plus two?");
  await ada.seesAnswer("four");
  ada.hadNoTrouble();
});

test("a network that answers in the server's place is named, before and after one is in", async () => {
  const ada = await stage.person("ada");
  const portal = /Something else answers in the server's place: perhaps this network wants you to log in/;
  await ada.page.route("**/api/**", (route) => route.fulfill({ status: 200, contentType: "text/html", body: "<h1>Airport WLAN</h1>" }));
  await ada.page.evaluate(() => (document.querySelector<HTMLElement>('[aria-label^="New room"]')!.click(), undefined));
  const form = ada.page.getByRole("form", { name: "New room" });
  await form.getByLabel("Name", { exact: true }).fill(fresh("lobby"));
  await form.getByRole("button", { name: "Make the room" }).click();
  await form.getByText(portal).waitFor();
  await ada.page.reload();
  await ada.page.getByText(portal).waitFor();
  await ada.page.unroute("**/api/**");
  await ada.page.getByRole("button", { name: "Try now" }).click();
  await ada.composer.waitFor();
  ada.hadNoTrouble();
});

test("a page that gets no WebSocket though calls are answered says that, and talks once it gets one", async () => {
  const ada = await stage.person("ada");
  await ada.page.addInitScript(() => {
    const Real = window.WebSocket;
    const isBlocked = () => sessionStorage.getItem("blocked") !== "no";
    window.WebSocket = class extends Real {
      constructor(address: string | URL) {
        super(isBlocked() ? new URL("/web/icon.svg", address) : address);
      }
    };
  });
  await ada.page.reload();
  await ada.page.locator(".status").getByText(/something on the way to it, or in this browser, blocks WebSockets/).waitFor();
  await ada.says("is anybody there?");
  await ada.page.evaluate(() => sessionStorage.setItem("blocked", "no"));
  await ada.page.getByRole("button", { name: "Try now" }).click();
  await ada.seesSent("is anybody there?");
  await ada.reconnects();
});

test("a page from an origin that is not allowed is told which", async () => {
  const ada = await stage.somebody();
  const elsewhere = stage.servers.address.replace("127.0.0.1", "chat.localhost");
  await ada.page.goto(elsewhere);
  const form = ada.page.getByRole("form", { name: "Register" });
  await form.getByLabel("Username").fill("ada");
  await form.getByLabel("Password").fill("correct horse battery");
  await form.getByLabel("Password").press("Enter");
  await form.getByText(`This page is from ${elsewhere}.`).waitFor();
});

test("a limit says when to try again, in the server's words", async () => {
  const ada = await stage.person("ada");
  const problem = { code: "rate_limited", status: 429, detail: "you have made 20 rooms within an hour" };
  await ada.page.route("**/api/rooms", (route) =>
    route.request().method() === "POST" ? route.fulfill({ status: 429, headers: { "retry-after": "90" }, contentType: "application/problem+json", body: JSON.stringify(problem) }) : route.fallback(),
  );
  await ada.page.getByRole("button", { name: "New room" }).click();
  const form = ada.page.getByRole("form", { name: "New room" });
  await form.getByLabel("Name", { exact: true }).fill(fresh("lobby"));
  await form.getByRole("button", { name: "Make the room" }).click();
  await form.getByText("You have made 20 rooms within an hour. Try again in 90 s.").waitFor();
  ada.hadNoTrouble();
});

test("below a path of a host all is there", async () => {
  const below = await Stage.set({ BASE_PATH: "/chat" });
  try {
    const ada = await below.somebody();
    await ada.page.goto(`${ada.address}/chat`);
    await ada.registers(fresh("ada"));
    const room = fresh("lobby");
    await ada.makes(room);
    assert.equal(ada.page.url(), `${ada.address}/chat/rooms/${room}`);
    await ada.page.getByRole("button", { name: "Copy the link" }).click();
    assert.equal(await ada.page.evaluate(() => navigator.clipboard.readText()), ada.page.url());
    await ada.says('@bot [[practice: say="```rust\\nfn main() {}\\n```"]] code');
    await ada.page.locator(".row-bot:not(.row-draft) .hljs-keyword").waitFor();
    await ada.page.getByRole("link", { name: /You and the bot/ }).click();
    await ada.page.getByRole("heading", { level: 1, name: "You and the bot" }).waitFor();
    await ada.page.goBack();
    await ada.page.reload();
    await ada.page.locator(".row-bot .hljs-keyword").waitFor();
    assert.equal(ada.page.url(), `${ada.address}/chat/rooms/${room}`);
    ada.hadNoTrouble();
  } finally {
    await below.clear();
  }
});
