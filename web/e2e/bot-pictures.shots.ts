// Pictures of what the bot does beside answering: it thinks, looks things up, is cut off, and keeps to a budget.

import { after, before, test } from "node:test";
import { Stage } from "./people.ts";
import { picture } from "./picture.ts";

let stage: Stage;
before(async () => void (stage = await Stage.set({ GEMINI_MODELS: "gemini-quick=Quick one,gemini-deep=Deep one", BOT_SEARCH: "on" })));
after(() => stage.clear());

const LOOKS = [
  { name: "wide-light", width: 1_280, height: 820 },
  { name: "narrow-dark", width: 390, height: 844, dark: true },
  { name: "tiny-light", width: 320, height: 568 },
];

test("pictures of the bot's own affairs", async () => {
  const admin = await stage.somebody({}, await stage.servers.firstLink());
  await admin.registers("rhea");
  await admin.makes("study");
  await admin.page.evaluate(() => fetch("/api/rooms/study", { method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify({ search: true, model: "gemini-deep", thinking: "high" }) }));
  await stage.servers.practise(['search=2 say="The tide is **high at noon**, and again a little after midnight."']);
  await admin.says("@bot when is the tide high?");
  await admin.seesAnswer("high at noon");
  const day = { period: "day", unit: "tokens", limit: 200_000, opens_at: "2036-11-29T00:00:00Z" };
  const budgets = [
    { ...day, scope: "person", used: 190_000, left: 10_000 },
    { ...day, scope: "server", period: "month", unit: "cost_micros", limit: 25_000_000, used: 9_000_000, left: 16_000_000 },
  ];
  const spent = { calls: 31, tokens_in: 150_000, tokens_out: 40_000, cost_micros: 1_230_000 };
  for (const look of LOOKS) {
    const visitor = await stage.somebody(look);
    const { page } = visitor;
    await page.route(`${visitor.address}/api/door`, (route) => route.fulfill({ json: { registration: "open", passwords: true, oidc: { name: "Harbour" } } }));
    await page.route(/\/api\/usage/, (route) => route.fulfill({ json: { today: spent, month: spent, budgets } }));
    await page.route(/\/api\/admin\/usage/, async (route) => route.fulfill({ json: { ...(await (await route.fetch()).json()), budgets } }));
    await page.reload();
    await page.getByRole("button", { name: "Log in with Harbour" }).waitFor();
    await picture(visitor, `door-provider-${look.name}`);
    await visitor.logsIn("rhea");
    await visitor.opens("study");
    await stage.servers.practise(["max-tokens words=60 pace=0ms"]);
    await visitor.says("@bot and tell me a long story of it");
    await page.getByRole("button", { name: "Go on", exact: true }).waitFor();
    await picture(visitor, `cut-off-${look.name}`);
    await page.evaluate(() => (document.querySelector(".scroller")!.scrollTop = 0));
    await page.getByRole("group", { name: "Sources" }).scrollIntoViewIfNeeded();
    await page.frameLocator(".sources iframe").locator("a").first().waitFor();
    await picture(visitor, `sources-${look.name}`);
    await page.getByRole("button", { name: "This room" }).click();
    await page.getByLabel("Model").scrollIntoViewIfNeeded();
    await picture(visitor, `choices-${look.name}`);
    await page.getByLabel("What is said is kept").scrollIntoViewIfNeeded();
    await picture(visitor, `choices-more-${look.name}`);
    await page.keyboard.press("Escape");
    await stage.servers.practise(["thoughts think=60s"]);
    await visitor.says("@bot think about it");
    await visitor.says("@bot and about this");
    await page.getByText(/before yours/).waitFor();
    await picture(visitor, `thinking-${look.name}`);
    for (let count = 2; count > 0; count -= 1) await page.getByRole("button", { name: "Cancel the question" }).last().click();
    await page.locator(".row-waiting").waitFor({ state: "detached" });
    await page.goto(`${visitor.address}/admin#usage`);
    await page.getByText("Everybody on this server").waitFor();
    await picture(visitor, `usage-${look.name}`);
    await page.getByRole("button", { name: "Rooms", exact: true }).click();
    await page.locator(".admin-list summary").first().click();
    await picture(visitor, `admin-room-${look.name}`);
    await page.goto(visitor.address);
    await visitor.composer.waitFor();
    if (look.width < 700) await page.getByRole("button", { name: /^Rooms/ }).click();
    await page.getByRole("button", { name: /devices and settings/ }).click();
    await page.getByText("10,000 tokens of 200,000").waitFor();
    await picture(visitor, `budgets-${look.name}`);
    await visitor.context.close();
  }
});
