// An answer that grows, character by character: what of it is shown only ever becomes more, and is at once what it is at the end.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Token } from "marked";
import { Blocks, isInCode, openCode, plain, steady } from "../src/blocks.ts";
import { BEGUN, FORMULA, isBegun, read } from "../src/dialect.ts";

/** A character that is shown, and as what: `strong`, `a`, `th`. */
interface Shown {
  char: string;
  kind: string;
}

const NEUTRAL = ["paragraph", "text", "escape", "html", "list_item", "checkbox", "br", "space"];

function walk(tokens: Token[], kinds: string[], out: Shown[]): void {
  for (const token of tokens) {
    const piece = token as Token & { tokens?: Token[]; items?: Token[]; header?: { tokens: Token[] }[]; rows?: { tokens: Token[] }[][]; text?: string; depth?: number; ordered?: boolean };
    const name = piece.type === "heading" ? `h${piece.depth}` : piece.type === BEGUN || piece.type === "image" ? "link" : piece.type === "list" ? (piece.ordered ? "ol" : "ul") : piece.type;
    const within = NEUTRAL.includes(piece.type) ? kinds : [...kinds, name];
    const say = (text: string) => {
      for (const char of text) if (/\S/.test(char)) out.push({ char, kind: within.join(" ") });
    };
    // Whatever it comes to look like, it takes the place of the dots.
    if (piece.type === FORMULA) say("…");
    else if (piece.type === "table") {
      for (const cell of piece.header!) walk(cell.tokens, [...kinds, "th"], out);
      for (const row of piece.rows!) for (const cell of row) walk(cell.tokens, [...kinds, "td"], out);
    } else if (piece.items) for (const item of piece.items) walk((item as { tokens: Token[] }).tokens, within, out);
    else if (piece.tokens) walk(piece.tokens, within, out);
    else if (piece.type === "def") continue;
    else say(piece.text ?? "");
  }
}

/** As the page does it. */
class Page {
  readonly #blocks = new Blocks();
  readonly #settled: Shown[] = [];
  #begun = false;

  shows(text: string): Shown[] {
    const { settled, open, unread } = this.#blocks.grow(steady(text));
    for (const raw of settled) walk(read(raw), [], this.#settled);
    const out = [...this.#settled];
    const code = openCode(open);
    walk(read(open, true), [], out);
    this.#begun = !code && isBegun();
    if (isInCode(open) || !this.#begun) {
      const kind = (out.at(-1)?.kind ?? "").replace(/ ?\b(?:strong|em|del|codespan|link)\b/g, "");
      for (const char of plain(open, unread)) if (/\S/.test(char)) out.push({ char, kind });
    }
    return out;
  }
}

const ANSWER = [
  "# A *short* title",
  "",
  "Some words, **bold ones**, *leaning ones*, ***both***, ~~struck~~ and `code with ** in it`; snake_case and 2 * 3 * 4 stay.",
  "See [the **docs** of it](https://example.org/a_b(c)?d=e) or https://example.org/x_y, and ![a picture](https://example.org/a.png)!",
  "",
  "A list follows:",
  "- one **bold item",
  "  that goes on** here",
  "- two",
  "  1. first `x`",
  "  2. second",
  "- [ ] to do",
  "- [x] done",
  "",
  "```python",
  "def a(b):",
  "    return `b` ** 2  # *not* bold",
  "```",
  "",
  "| Name | Value |",
  "|:-----|------:|",
  "| **a** | 1<br>2 |",
  "| `b` | - |",
  "",
  "Text right before a table:",
  "| x | y |",
  "|---|---|",
  "| 1 | 2 |",
  "",
  "> quoted *words*",
  "> and more",
  "",
  "It is \\(a_1 * b_2\\) and",
  "",
  "$$",
  "x = \\frac{1}{2}",
  "$$",
  "",
  "AT&T &amp; co. cost \\$5.",
  "",
  "10. ten",
  "11. eleven",
  "    ```js",
  "    let x = `y`;",
  "    ```",
  "",
  "***",
  "2024 was it. Wow!",
].join("\n");

function check(text: string, steps: string[]): void {
  const page = new Page();
  let before: Shown[] = [];
  /** The kinds that the character at a place had. */
  const kinds: string[][] = [];
  for (const step of steps) {
    const now = page.shows(step);
    const end = JSON.stringify(step.slice(-40));
    assert.ok(now.length >= before.length, `${end}: ${before.length} characters were shown, ${now.length} are: ${before.slice(-30).map(({ char }) => char).join("")} … ${now.slice(-30).map(({ char }) => char).join("")}`);
    for (const [index, { char, kind }] of before.entries()) {
      assert.equal(now[index]!.char, char, `${end}: another character where ${before.slice(Math.max(0, index - 20), index + 1).map(({ char }) => char).join("")} was`);
      const had = (kinds[index] ??= [kind]);
      if (had.at(-1) !== now[index]!.kind) had.push(now[index]!.kind);
      assert.equal(new Set(had).size, had.length, `${end}: ${char} was ${had.join(", then ")}`);
    }
    before = now;
  }
  const whole: Shown[] = [];
  walk(read(text), [], whole);
  assert.deepEqual(before.map(({ char }) => char).join(""), whole.map(({ char }) => char).join(""));
  // What differs in kind from the beginning is rare: a word of a link before its address is there.
  const turned = whole.filter((_, index) => (kinds[index]?.length ?? 0) > 1);
  assert.ok(turned.length <= whole.length / 40, `${turned.length} of ${whole.length} became something else: ${turned.map(({ char }) => char).join("")}`);
}

const steps = (text: string, size: number) => Array.from({ length: Math.ceil(text.length / size) }, (_, index) => text.slice(0, (index + 1) * size));

for (const size of [1, 2, 3, 7, 31]) {
  test(`an answer that comes ${size} characters at a time is never less, or other, than it was`, () => check(ANSWER, steps(ANSWER, size)));
}

test("what was begun and never ended stands there at the end as it was written", () => {
  for (const [text, shown] of [
    ["a **bold one", "a**boldone"],
    ["see [the docs](https://exa", "see[thedocs](https://exa"],
    ["`code", "`code"],
    ["| a | b", "|a|b"],
    ["5 *stars", "5*stars"],
    ["x ~~y", "x~~y"],
  ] as const) {
    const growing: Shown[] = [];
    walk(read(steady(text), true), [], growing);
    assert.ok(!/[*[`|~]/.test(growing.map(({ char }) => char).join("")), text);
    const whole: Shown[] = [];
    walk(read(text), [], whole);
    assert.equal(whole.map(({ char }) => char).join(""), shown);
  }
});

test("what is no sign is shown at once", () => {
  for (const text of ["a", "2 * 3", "3*4 is", "a_b", "x < y", "Hi!", "a & b", "C:\\dir x"]) assert.equal(steady(text), text);
  for (const [text, shown] of [["a\n-", "a\n"], ["a\n- ", "a\n"], ["a\n12", "a\n"], ["a\n12.", "a\n"], ["a\n```js", "a\n"], ["AT&T", "AT"], ["a\\", "a"], ["```\nx\n``", "```\nx\n"], ["a\n| b", "a\n"], ["- [ ", ""]]) assert.equal(steady(text!), shown);
});

// The bot may be led to write these: each of them begins something again and again, and ends nothing.
test("what begins without end is read in no time", { timeout: 60_000 }, () => {
  for (const piece of ["*a ", "**a ", "***a ", "_a ", "~~a ", "`a ", "``a`", "[a ", "[a](b", "![a ", "*a [b ", "**a `b ", "| a ", "> ", "- ", "\\(", "$$ ", "https://a.b/c(", "&a", "<b"]) {
    const text = `x ${piece.repeat(4_000).slice(0, 4_000)}`;
    read(steady(text), true);
    new Page().shows(text);
  }
});
