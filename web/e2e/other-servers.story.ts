// Servers that are set up otherwise than the one of these stories: what those answer is told to the page as docs/http.md has it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hasNoViolations } from "./axe.ts";
import { fresh, Stage, type Person } from "./people.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

/** From now on a call is answered by this; what was sent with it is kept. */
async function answers(person: Person, path: string | RegExp, status: number, body: object): Promise<unknown[]> {
  const heard: unknown[] = [];
  await person.page.route(typeof path === "string" ? person.address + path : path, (route) => {
    heard.push(route.request().postDataJSON());
    return route.fulfill({ status, json: body, headers: status >= 400 ? { "content-type": "application/problem+json" } : {} });
  });
  return heard;
}

test("where a provider lets people in there is a button with its name, beside the forms or in their place", async () => {
  const ada = await stage.somebody();
  await answers(ada, "/api/door", 200, { registration: "open", passwords: true, oidc: { name: "Harbour" } });
  await ada.page.reload();
  await ada.page.getByRole("button", { name: "Log in with Harbour" }).waitFor();
  await ada.page.getByRole("form", { name: "Register" }).waitFor();
  await hasNoViolations(ada, "a door with a provider");
  await answers(ada, "/api/door", 200, { registration: "invite", passwords: false, oidc: { name: "Harbour" } });
  const asked = await answers(ada, "/api/oidc/login", 503, { code: "unavailable", detail: "Harbour does not answer" });
  await ada.page.goto(`${ada.address}/#invite=abcdef123456`);
  await ada.page.getByText("You are invited").waitFor();
  assert.equal(await ada.page.getByRole("form").count(), 0);
  const button = ada.page.getByRole("button", { name: "Log in with Harbour" });
  await button.click();
  await ada.page.getByText("Harbour does not answer.").waitFor();
  assert.deepEqual(asked, [{ return: "/", invite: "abcdef123456" }]);
  await answers(ada, "/api/oidc/login", 200, { location: `${ada.address}/nowhere?state=x` });
  await button.click();
  await ada.page.waitForURL(/nowhere\?state=x/);
  ada.hadNoTrouble();
});

test("whoever has no password is asked for none, and links the provider in the settings", async () => {
  const ada = await stage.person("ada");
  const me = await ada.page.evaluate(async () => (await fetch("/api/me")).json());
  await answers(ada, "/api/me", 200, { ...me, password: false });
  await answers(ada, "/api/door", 200, { registration: "open", passwords: true, oidc: { name: "Harbour" } });
  await answers(ada, "/api/identities", 200, { identities: [{ id: "00000000-0000-4000-8000-000000000001", issuer: "https://login.harbour.example/realms/a", linked_at: "2026-11-20T10:00:00Z" }] });
  await ada.page.reload();
  await ada.composer.waitFor();
  await ada.page.getByRole("button", { name: /devices and settings/ }).click();
  await ada.page.locator("summary").filter({ hasText: "Logging in with Harbour" }).click();
  await ada.page.getByText("login.harbour.example").waitFor();
  assert.equal(await ada.page.locator("summary").filter({ hasText: "Change the password" }).count(), 0);
  await ada.page.locator("summary").filter({ hasText: "Delete the account" }).click();
  const leaving = ada.page.getByRole("form", { name: "Delete my account" });
  assert.equal(await leaving.getByLabel("Your password").count(), 0);
  await hasNoViolations(ada, "linked identities");
  await answers(ada, "/api/oidc/login", 403, { code: "forbidden", detail: "log in anew first: this session is older than ten minutes" });
  await ada.page.getByRole("button", { name: "Log in with Harbour, too" }).click();
  await ada.page.getByText("Log in anew first: this session is older than ten minutes.").waitFor();
  ada.hadNoTrouble();
});

test("what is left of a budget stands in the settings, and is said when it is little", async () => {
  const ada = await stage.person("ada");
  const day = { scope: "person", period: "day", unit: "tokens", limit: 200_000, opens_at: "2036-11-29T00:00:00Z" };
  const spent = { calls: 3, tokens_in: 150_000, tokens_out: 12_345, cost_micros: 1_230_000 };
  await answers(ada, /\/api\/usage/, 200, { today: { day: "2036-11-28", ...spent }, month: { month: "2036-11", ...spent }, budgets: [{ ...day, used: 190_000, left: 10_000 }] });
  await ada.says("what is left?");
  await ada.seesAnswer("You said");
  await ada.page.getByText("Of your budget for the bot, 5 % is left for today.").first().waitFor();
  await ada.page.getByRole("button", { name: /devices and settings/ }).click();
  await ada.page.getByText("Today: 3 calls, 162,345 tokens, 1.23.").waitFor();
  await ada.page.getByText("10,000 tokens of 200,000 tokens left").waitFor();
  await hasNoViolations(ada, "budgets");
  ada.hadNoTrouble();
});

test("what an answer stands on is under it, and what the search engine asks to be shown in a frame that can do nothing", async () => {
  const ada = await stage.person("ada");
  await ada.says("look it up");
  await ada.seesAnswer("You said");
  const reply = (await ada.history(ada.name)).find(({ kind }) => kind === "bot")!;
  const sources = [
    { title: "The tides of the sea", uri: "https://example.org/tides?of=sea" },
    { title: "", uri: "https://example.com/b" },
    { title: "bad", uri: "javascript:alert(1)" },
  ];
  await ada.page.route(new RegExp(`/api/rooms/${ada.name}/messages\\?`), async (route) => {
    const response = await route.fetch();
    const { messages } = await response.json();
    return route.fulfill({ json: { messages: messages.map((message: { id: string }) => (message.id === reply.id ? { ...message, sources, suggestions: "<b>tides</b>" } : message)) } });
  });
  await ada.page.route(/\/suggestions$/, (route) =>
    route.fulfill({ contentType: "text/html", headers: { "content-security-policy": "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'" }, body: "<!doctype html><title>Searches</title><base target=_blank><p>tides today<script>parent.document.title = 'caught'</script>" }),
  );
  await ada.page.reload();
  const under = ada.page.getByRole("group", { name: "Sources" });
  await under.waitFor();
  const links = await under.getByRole("link").evaluateAll((all) => all.map((one) => [one.textContent, (one as HTMLAnchorElement).href, (one as HTMLAnchorElement).rel]));
  const rel = "noopener noreferrer nofollow";
  assert.deepEqual(links, [["The tides of the sea", sources[0]!.uri, rel], ["example.com", sources[1]!.uri, rel]]);
  await under.scrollIntoViewIfNeeded();
  await ada.page.frameLocator(".sources iframe").getByText("tides today").waitFor();
  assert.notEqual(await ada.page.title(), "caught");
  await hasNoViolations(ada, "an answer with sources");
  ada.hadNoTrouble();
});

test("programs are marked as such, beside what they say and where people are listed", async () => {
  const ada = await stage.person("ada");
  const robot = await stage.person("robot");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await robot.opens(room);
  await robot.says("the build is red");
  await answers(ada, `/api/rooms/${room}/members`, 200, { members: [robot.name], programs: [robot.name] });
  await ada.page.reload();
  await ada.row("the build is red").getByText("program", { exact: true }).waitFor();
  await ada.page.getByRole("button", { name: "This room" }).click();
  await ada.page.getByRole("list", { name: "Members" }).getByRole("listitem").filter({ hasText: robot.name }).getByText("program", { exact: true }).waitFor();
  await hasNoViolations(ada, "a room with a program");
  for (const person of [ada, robot]) person.hadNoTrouble();
});

test("an answer that somebody stopped says who, to everybody and later too", async () => {
  const ada = await stage.person("ada");
  await ada.says("tell me");
  await ada.seesAnswer("You said");
  const reply = (await ada.history(ada.name)).find(({ kind }) => kind === "bot")!;
  await ada.page.route(new RegExp(`/api/rooms/${ada.name}/messages\\?`), async (route) => {
    const { messages } = await (await route.fetch()).json();
    return route.fulfill({ json: { messages: messages.map((message: { id: string }) => (message.id === reply.id ? { ...message, stopped_by: "kim" } : message)) } });
  });
  await ada.page.reload();
  await ada.row("You said").getByText("stopped by kim").waitFor();
  ada.hadNoTrouble();
});
