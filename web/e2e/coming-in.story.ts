// How people come into rooms: by a link, by an invitation, out of a long list.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

test("a new room says how to bring people in, and who comes by its link is in it", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room, { bot: "Not at all" });
  await ada.page.getByText("Anybody can come in by its link.").waitFor();
  await ada.page.getByRole("button", { name: "Copy the link" }).click();
  const link = await ada.page.evaluate(() => navigator.clipboard.readText());
  assert.equal(link, `${ada.address}/rooms/${room}`);
  await bob.page.goto(link);
  await bob.composer.waitFor();
  // He looks elsewhere, and hears of it all the same.
  await bob.page.getByRole("link", { name: /You and the bot/ }).click();
  await bob.page.getByRole("heading", { level: 1, name: "You and the bot" }).waitFor();
  await ada.says("welcome");
  await bob.page.getByRole("link", { name: new RegExp(room) }).getByText("1 unread").waitFor();
  await until("the title counts", SEEN_MS, async () => (await bob.page.title()).startsWith("(1)"));
  // A private one suggests those who were heard of.
  const secret = fresh("secret");
  await ada.makes(secret, { private: true });
  await ada.page.getByText("Only those you invite can see it.").waitFor();
  const invite = ada.page.getByRole("form", { name: "Bring somebody in" });
  await until("he is suggested", SEEN_MS, async () => {
    await ada.page.getByRole("heading", { level: 1 }).click();
    await invite.getByLabel("Whom to invite").focus();
    return (await ada.page.locator(`#whom-to-invite option[value="${bob.name}"]`).count()) === 1;
  });
  await invite.getByLabel("Whom to invite").fill("nobody-of-that-name");
  await invite.getByRole("button", { name: "Invite" }).click();
  await invite.getByText("There is no such user.").waitFor();
  await invite.getByLabel("Whom to invite").fill(bob.name);
  await invite.getByRole("button", { name: "Invite" }).click();
  await ada.page.getByText(`${bob.name} was invited.`).waitFor();
  await bob.opens(secret);
  for (const person of [ada, bob]) person.hadNoTrouble();
});

/** A server that tells of invitations: this one's answers, with what newer ones say put in. */
async function isInvited(person: Person, room: string, by: string): Promise<{ calls: string[]; tell(): void }> {
  const calls: string[] = [];
  const told: (() => void)[] = [];
  let open = false;
  await person.page.routeWebSocket(/\/ws$/, (socket) => {
    const server = socket.connectToServer();
    told.push(() => socket.send(JSON.stringify({ type: "invited", room, by })));
    socket.onMessage((text) => {
      if (String(text).includes(`"${room}"`)) calls.push(`${JSON.parse(String(text)).type} frame`);
      server.send(text);
    });
  });
  await person.page.route("**/api/rooms", async (route) => {
    const answer = await route.fetch();
    const { rooms } = (await answer.json()) as { rooms: { name: string; persona?: string }[] };
    const listed = rooms.filter(({ name }) => name !== room || open).map(({ persona: _, ...more }) => (more.name === room && !calls.includes("PUT") ? { ...more, invited_by: by } : more));
    await route.fulfill({ json: { rooms: listed } });
  });
  await person.page.route(`**/api/rooms/${room}/members/${person.name}`, (route) => {
    calls.push(route.request().method());
    if (calls.includes("DELETE")) open = false;
    return route.fulfill({ status: 204 });
  });
  return {
    calls,
    tell: () => {
      open = true;
      told.forEach((tell) => tell());
    },
  };
}

test("an invitation is shown at once, and is taken or declined, never taken unasked", async () => {
  const ada = await stage.person("ada");
  for (const choice of ["Join", "Decline"]) {
    const bob = await stage.person("bob");
    const room = fresh("secret");
    await ada.makes(room, { private: true });
    await ada.says("between us");
    await ada.invites(bob.name);
    const { calls, tell } = await isInvited(bob, room, ada.name);
    await bob.page.reload();
    await bob.composer.waitFor();
    await bob.reconnects();
    await bob.page.getByRole("navigation", { name: "Rooms" }).getByRole("link").first().waitFor();
    tell();
    const told = bob.page.locator(".invitation");
    await told.getByText(`${ada.name} invites you into ${room}`).waitFor();
    await bob.page.getByRole("link", { name: new RegExp(room) }).click();
    await bob.page.getByText(`${ada.name} invites you into this private room.`).waitFor();
    assert.equal(await bob.composer.count(), 0);
    assert.deepEqual(calls, []);
    await bob.page.getByRole("button", { name: choice }).click();
    if (choice === "Join") {
      await bob.sees("between us");
      await bob.composer.waitFor();
    } else {
      await bob.page.getByRole("heading", { level: 1, name: "You and the bot" }).waitFor();
      await bob.page.getByRole("link", { name: new RegExp(room) }).waitFor({ state: "detached" });
    }
    assert.equal(await told.getByRole("button").count(), 0);
    assert.equal(calls[0], choice === "Join" ? "PUT" : "DELETE");
    bob.hadNoTrouble();
  }
});

test("of a list in pages, one page is asked for, and more when somebody wants more", async () => {
  const ada = await stage.person("ada");
  const rooms = [fresh("aft"), fresh("bow"), fresh("cox")] as const;
  for (const room of rooms) await ada.makes(room, { bot: "Not at all" });
  const bob = await stage.person("bob");
  // As newer servers do it: rooms one is in first, two a page.
  const asked: string[] = [];
  await bob.page.route(/\/api\/rooms(\?.*)?$/, async (route) => {
    const { search, searchParams } = new URL(route.request().url());
    asked.push(search);
    const own = { name: bob.name, private: true, bot: "always", owner: bob.name, latest: 0 };
    const others = rooms.map((name) => ({ name, private: false, bot: "off", owner: ada.name, latest: 0 }));
    const all = [own, ...others];
    const from = all.findIndex(({ name }) => name === searchParams.get("after")) + 1;
    const page = all.slice(from, from + 2);
    await route.fulfill({ json: from + 2 < all.length ? { rooms: page, next: page.at(-1)!.name } : { rooms: page } });
  });
  await bob.page.goto(`${bob.address}/rooms/${rooms[2]}`);
  await bob.composer.waitFor();
  const links = bob.page.getByRole("navigation", { name: "Rooms" }).getByRole("link");
  // The one that is looked at is further down in the list, and there all the same.
  await links.filter({ hasText: rooms[2] }).waitFor();
  assert.deepEqual(asked, [""]);
  assert.equal(await links.filter({ hasText: rooms[1] }).count(), 0);
  await bob.says("hello");
  await ada.page.getByRole("link", { name: new RegExp(rooms[2]) }).click();
  await ada.sees("hello");
  await bob.page.getByRole("button", { name: "More rooms" }).click();
  await links.filter({ hasText: rooms[1] }).waitFor();
  assert.deepEqual(asked, ["", `?after=${rooms[0]}`]);
  assert.equal(await bob.page.getByRole("button", { name: "More rooms" }).count(), 0);
  // What the list leaves out is asked for when the room is described.
  await bob.page.getByRole("button", { name: "This room" }).click();
  await bob.page.getByRole("dialog").getByText(`owned by ${ada.name}`).waitFor();
  bob.hadNoTrouble();
});
