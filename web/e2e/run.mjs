// Runs the stories in a real browser against real servers.
//
//   npm run e2e                    against the all-in-one
//   npm run e2e -- --services      against edge, worker and persister; needs REDIS_URL, AMQP_URL and DATABASE_URL, so
//                                  run it as `../engines/private/engines.sh up -- npm run e2e -- --services`
//   npm run e2e -- two-tabs xss    those whose file name has one of these in it
//   npm run e2e -- --others        the main stories in Firefox and in WebKit
//   npm run screenshots            writes web/out/screenshots/ and web/screenshots/
//
// It starts what `cargo build --workspace --bins` made, from CARGO_TARGET_DIR (else `target` at the root), and the
// browser named by CHROMIUM (else /usr/bin/chromium).

import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** For a whole file of stories, on a machine that does much else. */
const FILE_MS = 900_000;

const here = dirname(fileURLToPath(import.meta.url));
// One for each run, so that several may go on at once.
const out = join(here, "..", "out", `run-${process.pid}`);
const args = process.argv.slice(2);
const wanted = args.filter((arg) => !arg.startsWith("--"));
const isScreenshots = args.includes("--screenshots");
const end = isScreenshots ? ".shots.ts" : args.includes("--others") ? ".others.ts" : ".story.ts";
const names = readdirSync(here)
  .filter((name) => name.endsWith(end))
  .filter((name) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
  .sort();

mkdirSync(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: names,
  outdir: out,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  packages: "external",
  platform: "node",
  format: "esm",
  target: "node20",
  sourcemap: "inline",
  logLevel: "warning",
});
// One after the other: each starts servers and browsers of its own, and a machine has few cores.
const files = names.map((name) => join(out, name.replace(/\.ts$/, ".mjs")));
const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", "--test-reporter=spec", "--test-concurrency=1", `--test-timeout=${FILE_MS}`, ...files], {
  stdio: "inherit",
  env: { ...process.env, CHINWAG_WEB: join(here, ".."), CHINWAG_SERVICES: args.includes("--services") ? "1" : "" },
});
rmSync(out, { recursive: true, force: true });
process.exit(status ?? 1);
