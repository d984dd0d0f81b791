// Two people and the bot.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

test("they see each other, who types, and the bot's answer, all in one order", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room);
  await bob.opens(room);
  await ada.page.getByText(`${bob.name} is here`).waitFor();
  await bob.composer.pressSequentially("hello", { delay: 20 });
  await ada.page.getByText(`${bob.name} is typing…`).waitFor();
  await bob.composer.press("Enter");
  await ada.sees("hello");
  await ada.says(`hello @${bob.name}`);
  await bob.says("@bot what is two plus two?");
  for (const person of [ada, bob]) await person.seesAnswer("four");
  const shown = async (person: typeof ada) => {
    const texts = await person.page.locator(".row .text, .row-bot .prose").allInnerTexts();
    return texts.map((text) => text.slice(0, 40));
  };
  assert.deepEqual(await shown(ada), await shown(bob));
  assert.equal((await ada.history(room)).length, 4);
  ada.hadNoTrouble();
  bob.hadNoTrouble();
});

test("members are listed, invited and removed where the room is described", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("secret");
  await ada.makes(room, { private: true });
  await ada.page.getByRole("button", { name: "This room" }).click();
  const people = ada.page.getByRole("form", { name: "People" });
  const members = people.getByRole("list", { name: "Members" });
  await members.getByText(`${ada.name} (you)`).waitFor();
  await people.getByLabel("Name of the person").fill("nobody-of-that-name");
  await people.getByRole("button", { name: "Invite" }).click();
  await people.getByText("There is no such user.").waitFor();
  await people.getByLabel("Name of the person").fill(`@${bob.name}`);
  await people.getByRole("button", { name: "Invite" }).click();
  await members.getByText(bob.name).waitFor();
  // Who comes is seen without opening it anew.
  await bob.opens(room);
  await ada.page.getByRole("dialog").getByText(bob.name).nth(1).waitFor();
  await bob.page.getByRole("button", { name: "This room" }).click();
  await bob.page.getByRole("list", { name: "Members" }).getByText(`${bob.name} (you)`).waitFor();
  assert.equal(await bob.page.getByRole("button", { name: /^Remove/ }).count(), 0);
  await members.getByRole("button", { name: `Remove ${bob.name}` }).click();
  await members.getByText(bob.name).waitFor({ state: "detached" });
  await bob.page.keyboard.press("Escape");
  await bob.page.getByRole("link", { name: new RegExp(room) }).waitFor({ state: "detached" });
  ada.hadNoTrouble();
});

test("a private room is there for those invited, and gone for those removed", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("secret");
  await ada.makes(room, { private: true });
  await ada.says("between us");
  await ada.seesSent("between us");
  await ada.invites(bob.name);
  await bob.opens(room);
  await bob.sees("between us");
  // What he still writes while he has no line meets a door that was shut meanwhile.
  await bob.composer.fill("half a thought");
  await bob.page.goto(`${bob.address}/web/icon.svg`);
  await ada.says(`/remove ${bob.name}`);
  await ada.page.getByText(`${bob.name} was removed.`).first().waitFor();
  await bob.page.evaluate(
    ({ name, room }) => {
      const id = "01900000-0000-7000-8000-000000000001";
      localStorage.setItem(`chinwag:out:${name}:${id}`, JSON.stringify({ id, room, text: "am I still here?", at: Date.now() }));
    },
    { name: bob.name, room },
  );
  await bob.page.goto(`${bob.address}/rooms/${room}`);
  await bob.page.getByRole("heading", { name: "No such room" }).waitFor();
  await bob.page.getByText("Not sent: am I still here?").waitFor();
  assert.equal(await bob.composer.count(), 0);
  await bob.page.getByRole("button", { name: "Look again" }).click();
  await bob.page.getByRole("heading", { name: "No such room" }).waitFor();
  await ada.invites(bob.name);
  await bob.page.reload();
  await bob.comesIn();
  await bob.sees("between us");
  assert.equal(await bob.composer.inputValue(), "half a thought");
  const failed = bob.page.locator(".row-own.failed");
  await failed.getByText(/Not sent: /).waitFor();
  // Up takes what failed back into the field.
  await bob.composer.fill("");
  await bob.composer.press("ArrowUp");
  assert.equal(await bob.composer.inputValue(), "am I still here?");
  await failed.waitFor({ state: "detached" });
  await bob.composer.press("Enter");
  await ada.sees("am I still here?");
  await bob.seesSent("am I still here?");
  await ada.says("you are");
  await bob.sees("you are");
});

test("unread messages are counted, and a reply shows what it replies to", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room);
  await bob.opens(room);
  await bob.says("a question for later");
  await ada.sees("a question for later");
  await ada.page.getByRole("link", { name: /You and the bot/ }).click();
  await bob.says("first");
  await bob.says("second");
  const link = ada.page.getByRole("link", { name: new RegExp(room) });
  await link.getByText("2 unread").waitFor();
  await until("the title counts", SEEN_MS, async () => (await ada.page.title()).startsWith("(2)"));
  await link.click();
  await ada.row("New").waitFor();
  await link.getByText("unread").waitFor({ state: "detached" });
  await ada.row("a question for later").hover();
  await ada.row("a question for later").getByRole("button", { name: /^Reply/ }).click();
  await ada.page.getByText("Replying to").waitFor();
  await ada.says("my answer");
  await bob.row("my answer").getByRole("button", { name: /In reply to .*a question for later/ }).waitFor();
});

test("an answer that is being written can be stopped, and what is there becomes the answer", async () => {
  const ada = await stage.person("ada");
  await ada.says("[[practice: words=600 pace=100ms]] a long one");
  await ada.page.getByRole("button", { name: "Stop the answer" }).click();
  await ada.page.getByRole("button", { name: "Stop the answer" }).waitFor({ state: "detached" });
  const replies = (await ada.history(ada.name)).filter(({ kind }) => kind !== "user");
  assert.equal(replies.length, 1);
  assert.ok(replies[0]!.message.split(/\s+/).length < 600);
});

test("a page that is loaded again in the middle of an answer shows it once, and whole", async () => {
  const ada = await stage.person("ada");
  await ada.says("[[practice: words=60 pace=100ms]] tell me something long");
  await ada.page.locator(".row-draft").waitFor();
  await ada.page.reload();
  await ada.page.locator(".row-bot:not(.row-draft) .prose").waitFor();
  await ada.page.locator(".row-draft").waitFor({ state: "detached" });
  const shown = await ada.page.locator(".row-bot .prose").allInnerTexts();
  const [, reply] = await ada.history(ada.name);
  assert.equal(shown.length, 1);
  const words = (text: string) => text.replace(/[^\p{L}\p{N}]+/gu, " ").trim();
  assert.equal(words(shown[0]!), words(reply!.message));
});

test("a fallback looks like one and is tried again; an answer is answered again; each wish brings one", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("lobby");
  await ada.makes(room);
  await bob.opens(room);
  await stage.servers.practise(["400", 'pace=20ms say="this is the second answer, which takes its time to be written"', 'say="the third"']);
  await ada.says("@bot what is it?");
  for (const person of [ada, bob]) await person.page.locator(".row-fallback").getByText("automatic reply").waitFor();
  // Both, before either is heard: one more answer.
  stage.servers.freezeEdge();
  for (const person of [ada, bob]) await person.page.getByRole("button", { name: "Try again" }).click();
  stage.servers.thawEdge();
  for (const person of [ada, bob]) await person.seesAnswer("the second answer");
  assert.equal(await ada.page.getByRole("button", { name: "Try again" }).count(), 0);
  await bob.page.getByRole("button", { name: "Answer again", exact: true }).click();
  for (const person of [ada, bob]) await person.seesAnswer("the third");
  await bob.says("thanks");
  await ada.sees("thanks");
  const history = await ada.history(room);
  assert.deepEqual(history.map(({ kind }) => kind), ["user", "fallback", "bot", "bot", "user"]);
  for (const reply of history.slice(1, 4)) assert.equal(reply.reply_to, history[0]!.id);
  for (const person of [ada, bob]) assert.equal(await person.page.locator(".row-bot").count(), 3);
  ada.hadNoTrouble();
  bob.hadNoTrouble();
});
