// What is read on one device is read on all, and what is not is counted in a browser that was never used before, too.

import { after, before, test } from "node:test";
import { fresh, SEEN_MS, Stage, type Person } from "./people.ts";
import { until } from "./servers.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

async function counts(person: Person, room: string, count: string): Promise<void> {
  const badge = person.page.locator(`.room-link[data-room="${room}"] .badge`);
  await until(`${room} counts ${count || "nothing"}`, SEEN_MS, async () => ((await badge.count()) === 0 ? "" : (await badge.innerText()).split(/\s/)[0]) === count);
}

test("unread counts survive a new browser, and fall on all devices when the room is read on one", async () => {
  const ada = await stage.person("ada");
  const bob = await stage.person("bob");
  const room = fresh("den");
  await bob.makes(room, { private: true, bot: "Not at all" });
  await bob.invites(ada.name);
  await ada.opens(room);
  await bob.says("seen by all");
  await ada.sees("seen by all");
  await ada.opens(ada.name);
  for (const text of ["one", "two", "three"]) {
    await bob.says(text);
    await bob.seesSent(text);
  }
  await counts(ada, room, "3");
  const tablet = await stage.somebody();
  await tablet.logsIn(ada.name);
  await counts(tablet, room, "3");
  await tablet.page.locator(`.room-link[data-room="${room}"]`).click();
  await tablet.sees("three");
  await counts(tablet, room, "");
  await counts(ada, room, "");
  // And a browser that comes later still counts what is new alone.
  await tablet.opens(ada.name);
  await bob.says("four");
  await bob.seesSent("four");
  const telephone = await stage.somebody();
  await telephone.logsIn(ada.name);
  await counts(telephone, room, "1");
  for (const person of [ada, bob, tablet, telephone]) person.hadNoTrouble();
});
