// Whatever somebody writes, or the model: it is text.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fresh, Stage } from "./people.ts";

const CORPUS = [
  "<script>window.__hit = 1</script>",
  "<img src=x onerror=window.__hit=1>",
  "<svg onload=window.__hit=1><a xlink:href='javascript:window.__hit=1'>x</a></svg>",
  "<iframe srcdoc='<script>parent.__hit=1</script>'></iframe>",
  "[x](javascript:window.__hit=1)",
  "[x](JaVaScRiPt&colon;window.__hit=1)",
  "[x](data:text/html,<script>opener.__hit=1</script>)",
  "![x](x\" onerror=\"window.__hit=1)",
  "![pixel](https://tracker.example/pixel.png)",
  "<a href='https://x.example' onmouseover='window.__hit=1'>hover</a>",
  "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=window.__hit=1&gt;'>",
  "<style>@import 'https://tracker.example/x.css'; body { display: none }</style>",
  "<form action='https://x.example'><button>Log in</button></form>",
  "<input autofocus onfocus=window.__hit=1>",
  "<base href='https://x.example/'><meta http-equiv=refresh content='0;url=https://x.example'>",
  "```html\n<script>window.__hit=1</script>\n```",
  "<!--><img src=x onerror=window.__hit=1>-->",
  "https://x.example/\"onmouseover=\"window.__hit=1",
  "<x id=body name=documentElement>clobbered</x>",
  "\u202Egnp.exe \u0000 \uFFFE <b>bold</b>",
];

let stage: Stage;
before(async () => void (stage = await Stage.set()));
after(() => stage.clear());

const bad = ".scroller :is(script, img, iframe, object, embed, form, style, link, base, meta, math, input, video, audio, [onerror], [onload], [style*=url]), .rows svg a, .scroller a:not([href^=http])";

test("what people write is text, in the room and in the list", async () => {
  const eve = await stage.person("eve");
  const ada = await stage.person("ada");
  const room = fresh("lobby");
  await eve.makes(room, { bot: "Not at all" });
  await ada.opens(room);
  for (const text of CORPUS) await eve.says(text);
  await eve.says("that was all");
  await ada.sees("that was all");
  for (const person of [eve, ada]) {
    assert.equal(await person.page.locator(bad).count(), 0);
    assert.equal(await person.page.evaluate(() => (window as { __hit?: number }).__hit), undefined);
    person.hadNoTrouble();
  }
  assert.ok(await ada.row("<script>window.__hit = 1</script>").first().isVisible());
});

test("what the model writes is Markdown at most", async () => {
  const ada = await stage.person("ada");
  for (const text of CORPUS) {
    const order = text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n").replace(/\u0000/g, "");
    await ada.says(`[[practice: say="${order}"]] say it`);
  }
  await ada.says('[[practice: say="that was all, **really**"]] and');
  await ada.page.locator(".row-bot strong", { hasText: "really" }).waitFor();
  // From the first to the last, all of them were in the page.
  await ada.page.evaluate(async () => {
    const scroller = document.querySelector(".scroller")!;
    for (scroller.scrollTop = 0; scroller.scrollTop + scroller.clientHeight + 5 < scroller.scrollHeight; scroller.scrollTop += 300) {
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    }
  });
  assert.equal(await ada.page.locator(bad).count(), 0);
  assert.equal(await ada.page.evaluate(() => (window as { __hit?: number }).__hit), undefined);
  ada.hadNoTrouble();
});

test("the page comes with a policy that lets nothing inline run, and asks no other site", async () => {
  const ada = await stage.somebody();
  const response = await ada.page.goto(ada.address);
  const policy = response!.headers()["content-security-policy"]!;
  assert.match(policy, /script-src 'self'/);
  assert.doesNotMatch(policy, /unsafe/);
  const html = await response!.text();
  assert.doesNotMatch(html, /<style|style=|onclick=|<script(?![^>]*src=)/);
  ada.hadNoTrouble();
});

test("what stands within itself thousands of times is laid out no deeper than anybody reads", async () => {
  const eve = await stage.person("eve");
  for (const text of [`${">".repeat(1_500)} deep down`, `${"- ".repeat(900)}deeper`, `${"**a *b ".repeat(400)}deepest`]) {
    await eve.says(text);
    await eve.seesSent(/deep(er|est)?( down)?$/.exec(text)![0]);
  }
  const depth = await eve.page.evaluate(() => {
    const below = (element: Element): number => 1 + Math.max(0, ...[...element.children].map(below));
    return Math.max(...[...document.querySelectorAll(".row .prose")].map(below));
  });
  assert.ok(depth < 200, String(depth));
  eve.hadNoTrouble();
});
