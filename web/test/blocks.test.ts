// A text that grows: what was read once and can change no more is not read again.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Lexer } from "marked";
import { Blocks, isInCode } from "../src/blocks.ts";

const words = (count: number) => Array.from({ length: count }, (_, index) => `word${index % 97}`);
const lines = (count: number, each: number, begin: string) => {
  const all = words(count);
  return Array.from({ length: count / each }, (_, line) => begin + all.slice(line * each, line * each + each).join(" "));
};
/** As drafts come: three words at a time. */
const steps = (text: string) => [...text.matchAll(/(?:\S+\s*){1,3}/g)].map(({ index, 0: piece }) => text.slice(0, index + piece.length));

const TEXTS = {
  paragraphs: lines(3_000, 60, "").join("\n\n"),
  "one paragraph": words(3_000).join(" "),
  "one list": lines(3_000, 12, "- ").join("\n"),
  "one block of code": `\`\`\`python\n${lines(3_000, 6, "").join("\n")}\n\`\`\``,
  "one table": `| a | b |\n|---|---|\n${lines(3_000, 6, "| x | ").join(" |\n")} |`,
  "all of it": `# Title\n\nA *few* words\nand more.\n\n1. one\n2. two\n\n   still two\n\n> quoted\ngoes on\n\n\`\`\`js\nlet x = "\`\`";\n\n\n\`\`\`\n\nHeading\n===\n\n| a |\n|---|\n| 1 |\n\n- [ ] task\n\n---\nend [x](https://x.org)`,
};

for (const [what, text] of Object.entries(TEXTS)) {
  test(`${what}: nothing is lost, what is settled stays, and little is read twice`, () => {
    const blocks = new Blocks();
    const settled: string[] = [];
    let shown = "";
    for (const step of steps(text)) {
      const growth = blocks.grow(step);
      assert.equal(growth.anew, false);
      settled.push(...growth.settled);
      shown = settled.join("").replace(/\s/g, "") + (growth.open + growth.unread).replace(/\s/g, "");
      assert.equal(shown, step.replace(/\s/g, ""));
    }
    // The same blocks as those of the whole text.
    const types = (raw: string) => Lexer.lex(raw, { gfm: true, breaks: true }).flatMap(({ type }) => (type === "space" ? [] : [type]));
    const growth = blocks.grow(`${text}\n`);
    assert.deepEqual([...settled, ...growth.settled, growth.open + growth.unread].flatMap(types), types(`${text}\n`));
    // All of it for each step would be hundreds of times its length.
    assert.ok(blocks.charsRead < 30 * text.length, `${Math.round(blocks.charsRead / text.length)} times`);
  });
}

test("a text that is another one begins anew", () => {
  const blocks = new Blocks();
  assert.deepEqual(blocks.grow("one\n\ntwo"), { anew: false, settled: ["one"], open: "two", unread: "" });
  assert.deepEqual(blocks.grow("other"), { anew: true, settled: [], open: "other", unread: "" });
});

test("words that come after a block of code do not stand in it, and those that go on with one do", () => {
  for (const text of ["- a\n\n  ```js\n  let x", "1. ```\n   x", "> ~~~\n> ```", "````\n```\nx", "```\nx\n``` js"]) assert.ok(isInCode(text), text);
  for (const text of ["", "a `b`", "```\nx\n```", "- ```\n  x\n  ```\n", "~~~\nx\n~~~~\nwords"]) assert.ok(!isInCode(text), text);
});
