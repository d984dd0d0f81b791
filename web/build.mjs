// Builds the page into ws-edge/web/, from where the server embeds it.
//
//   npm run build      writes it
//   npm run check      writes nothing, and fails if what is there is not what these sources make
//
// The same sources and the versions in package-lock.json always make the same bytes.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync } from "node:zlib";
import { build, transform } from "esbuild";
import { compile } from "tailwindcss";
import { minify } from "terser";

/** The whole page, compressed as the server does it, and what of it comes before anything is to be seen. */
const PAGE_MAX_BYTES = 160_000;
const FIRST_MAX_BYTES = 60_000;
/** What is loaded only where it is wanted. */
const LATER = ["dialogs.js", "admin.js", "later.css", "highlight.js", "formulas.js", "formulas.css"];
const TARGET = ["es2022", "safari16"];

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "ws-edge", "web");
const isCheck = process.argv.includes("--check");

execFileSync(join(here, "node_modules", ".bin", "tsc"), ["--project", here], { stdio: "inherit" });

const files = new Map();
for (const name of ["index.html", "icon.svg", "manifest.webmanifest"]) files.set(name, readFileSync(join(here, "src", name)));

/** Makes each entry one file, and says from which sources. */
async function bundle(entryPoints, plugins = []) {
  const { outputFiles, metafile } = await build({
    absWorkingDir: here,
    entryPoints,
    plugins,
    outdir: target,
    bundle: true,
    format: "esm",
    target: TARGET,
    minify: true,
    charset: "utf8",
    legalComments: "eof",
    metafile: true,
    write: false,
    logLevel: "warning",
  });
  // Once more by another hand: it names things by how often they stand there, which compresses better.
  for (const { path, text } of outputFiles) files.set(basename(path), Buffer.from((await minify(text, { module: true, ecma: 2020, compress: { passes: 3 }, format: { comments: /^!|@license|@preserve/ } })).code));
  return Object.keys(metafile.inputs);
}

/** What is loaded later has `shared.ts` from the file that is there already. */
const shared = {
  name: "shared",
  setup: (building) => building.onResolve({ filter: /\/shared\.ts$/ }, () => ({ path: "./app.js", external: true })),
};
const firstSources = await bundle({ app: "src/main.ts", highlight: "src/highlight.ts", formulas: "src/formulas.ts" });
const twice = (await bundle({ dialogs: "src/view/dialogs.ts", admin: "src/view/admin.ts" }, [shared])).filter((source) => firstSources.includes(source));
if (twice.length > 0) fail(`what is loaded later takes ${twice.join(", ")} along once more: it is to come by src/shared.ts`);

// Tailwind as a function: its command line needs native packages, of which a lock made on one machine names only some.
for (const name of ["app.css", "later.css"]) {
  const sheet = join(here, "src", name);
  const tailwind = await compile(readFileSync(sheet, "utf8"), {
    from: sheet,
    base: dirname(sheet),
    loadStylesheet: async (id, base) => {
      const path = id.startsWith(".") ? join(base, id) : fileURLToPath(import.meta.resolve(`${id}/index.css`));
      return { path, base: dirname(path), content: readFileSync(path, "utf8") };
    },
  });
  const { code } = await transform(tailwind.build([]), { loader: "css", minify: true, target: TARGET, legalComments: "inline" });
  files.set(name, Buffer.from(code));
}

// How formulas look, as their makers say, without the one script font of theirs.
const math = readFileSync(fileURLToPath(new URL("Temml-Local.css", import.meta.resolve("temml"))), "utf8").replace(/@font-face *{[^}]*}/, "");
files.set("formulas.css", Buffer.from((await transform(math, { loader: "css", minify: true, target: TARGET })).code));

let total = 0;
let first = 0;
for (const [name, bytes] of files) {
  const compressed = brotliCompressSync(bytes).length;
  total += compressed;
  if (!LATER.includes(name)) first += compressed;
  console.log(`${name.padEnd(22)} ${String(bytes.length).padStart(7)} bytes, ${String(compressed).padStart(6)} compressed`);
}
console.log(`${"at first".padEnd(22)} ${"".padStart(13)} ${String(first).padStart(7)} compressed`);
if (first > FIRST_MAX_BYTES) fail(`the page may have ${FIRST_MAX_BYTES} bytes compressed before anything is to be seen`);
console.log(`${"all".padEnd(22)} ${"".padStart(13)} ${String(total).padStart(7)} compressed`);
if (total > PAGE_MAX_BYTES) fail(`the page may have ${PAGE_MAX_BYTES} bytes compressed`);

const there = existsSync(target) ? readdirSync(target) : [];
const stray = there.filter((name) => !files.has(name));
if (isCheck) {
  const stale = [...files].filter(([name, bytes]) => !there.includes(name) || !readFileSync(join(target, name)).equals(bytes));
  const names = [...stale.map(([name]) => name), ...stray];
  if (names.length > 0) fail(`ws-edge/web is stale (${names.join(", ")}): run \`npm run build\` in web/ and commit what it writes`);
  console.log("ws-edge/web is what these sources make");
} else {
  mkdirSync(target, { recursive: true });
  for (const name of stray) rmSync(join(target, name));
  for (const [name, bytes] of files) writeFileSync(join(target, name), bytes);
}

function fail(why) {
  console.error(why);
  process.exit(1);
}
