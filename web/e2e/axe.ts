// What a program can tell of whether everybody can use the page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Person } from "./people.ts";

const axe = readFileSync(join(process.env.CHINWAG_WEB!, "node_modules", "axe-core", "axe.min.js"), "utf8");

export async function hasNoViolations(person: Person, where: string): Promise<void> {
  // Colours are looked at when they have come to rest.
  await person.page.evaluate(async () => {
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    // Brought to their ends, not waited for: what belongs to a row that goes away never gets there.
    for (const animation of document.getAnimations()) if (animation.effect?.getComputedTiming().iterations !== Infinity) animation.finish();
  });
  const cdp = await person.context.newCDPSession(person.page);
  // Past the page's own policy, which would rightly not let it in.
  await cdp.send("Runtime.evaluate", { expression: axe });
  const found = await person.page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: { run(): Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> } }).axe.run();
    return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary.slice(0, 300)}`).join(" | ")}`);
  });
  assert.deepEqual(found, [], where);
}
