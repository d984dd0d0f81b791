// Where pictures of the page are put, and in which sizes they are taken.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Person } from "./people.ts";

const web = process.env.CHINWAG_WEB!;
const folder = join(web, "out", "screenshots");
/** These are committed. */
const BEST = ["room-wide-light", "streaming-wide-dark", "room-narrow-dark", "reconnecting-narrow-light", "failed-wide-light"];
for (const made of [folder, join(web, "screenshots")]) mkdirSync(made, { recursive: true });

export async function picture(person: Person, name: string): Promise<void> {
  await person.page.evaluate(() => document.fonts.ready);
  await person.page.mouse.move(0, 0);
  // Moving parts have come to rest.
  await person.page.waitForTimeout(450);
  await person.page.screenshot({ path: join(BEST.includes(name) ? join(web, "screenshots") : folder, `${name}.png`) });
}

export const SIZES = [
  { size: "wide", width: 1_280, height: 820 },
  { size: "narrow", width: 390, height: 844 },
  { size: "tiny", width: 320, height: 568 },
];
