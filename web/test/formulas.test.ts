// Formulas: what is one, what is none and stays as it was written, and what is made of them while an answer grows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Blocks } from "../src/blocks.ts";
import { treeOf } from "../src/formulas.ts";
import { FORMULA, reader, type Formula } from "../src/dialect.ts";

function found(text: string, grows = false): string[] {
  const all: string[] = [];
  const show = { extensions: [{ name: FORMULA, renderer: (token: unknown) => (all.push(`${(token as Formula).isOpen ? "open " : ""}${(token as Formula).raw.trim()}`), "") }] };
  reader(grows).use(show).parse(text);
  return all;
}
const html = (text: string) => (reader(false).parse(text) as string).trim();

test("formulas between all three pairs of signs, in a line and by themselves, in lists, tables and emphasis", () => {
  for (const [text, formulas] of [
    ["so \\(a_1 * b_2 * c\\) and *this*", ["\\(a_1 * b_2 * c\\)"]],
    ["\\[\nx = \\frac{1}{2}\n\\]", ["\\[\nx = \\frac{1}{2}\n\\]"]],
    ["Then:\n\\[\n a\n- b\n= c\n\\]\nand so on", ["\\[\n a\n- b\n= c\n\\]"]],
    ["$$x^2$$", ["$$x^2$$"]],
    ["$$\n\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned}\n$$\n\nmore", ["$$\n\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned}\n$$"]],
    ["it is $$ E = mc^2 $$ for all", ["$$ E = mc^2 $$"]],
    ["1. first \\(a\\)\n2. second\n   \\[ b \\]", ["\\(a\\)", "\\[ b \\]"]],
    ["| a |\n|---|\n| \\(x\\) |", ["\\(x\\)"]],
    ["**so \\(a\\) is**", ["\\(a\\)"]],
    ["\\(f(x) = (a \\\\) b)\\)", ["\\(f(x) = (a \\\\) b)\\)"]],
  ] as const) {
    assert.deepEqual(found(text), formulas, text);
  }
});

test("what is none stays as it was written, backslashes included", () => {
  for (const text of ["$5 and $6", "$$ and $$", "$$5 and $$6", "$$$ is much", "a $$ b", "\\( not ended", "not begun \\)", "\\[ neither", "\\[x\\](http://a.b)", "a \\(\n\nb\\)"]) {
    assert.deepEqual(found(text), [], text);
    assert.ok(html(text).replace(/<[^>]*>/g, "").replace(/\s+/g, "").includes(text.replace(/\s+/g, "").replace(/\(http.*/, "")), html(text));
  }
  assert.deepEqual(found("`\\(a\\)` and\n\n```\n$$x$$\n```"), []);
  assert.equal(html("\\* \\_ 1\\. \\`"), "<p>* _ 1. `</p>");
});

test("while an answer grows, a formula that is not ended is left open, and never read as emphasis or a list", () => {
  assert.deepEqual(found("so \\(a*b*", true), ["open \\(a*b*"]);
  assert.deepEqual(found("text\n\\[\na\n- b", true), ["open \\[\na\n- b"]);
  assert.deepEqual(found("\\[ a \\] and \\(b\\) then", true), ["\\[ a \\]", "\\(b\\)"]);
  assert.deepEqual(found("so \\(a*b*", false), []);
});

test("a formula by itself is one block, however it comes", () => {
  const text = "Words.\n\n\\[\na\n- b\n= c\n\\]\n\nMore.\n\n$$\nx\n$$\n\nEnd";
  const blocks = new Blocks();
  const settled: string[] = [];
  for (let end = 1; end <= text.length; end += 1) settled.push(...blocks.grow(text.slice(0, end)).settled);
  assert.deepEqual(settled.map((raw) => raw.trim()), ["Words.", "\\[\na\n- b\n= c\n\\]", "More.", "$$\nx\n$$"]);
});

// Anybody may write these, and everybody's page reads them: what a pattern goes through again and again took a quarter of a minute each.
test("what was written to be slow to read is not", { timeout: 60_000 }, () => {
  for (const piece of ["\\(\\\\)", "\\(*a*", "*a\\(b", "\\[*", "\n\\[", "$$ ", "\n$$", "\\( *a* \\) *", "https://a-", "https://a.b/)", "日**a", "**「a」"]) {
    for (const grows of [false, true]) found(piece.repeat(4_000).slice(0, 4_000), grows);
  }
});

test("a formula that defines something, or becomes more than a page can show, stays as it was written", () => {
  assert.ok(treeOf("\\frac{a}{b} \\left( x \\right) \\leftarrow \\text{default}", true));
  for (const name of ["def", "gdef", "edef", "xdef", "let", "newcommand", "renewcommand", "providecommand"]) assert.equal(treeOf(`\\${name}\\a{x}\\a`, false), null, name);
  assert.equal(treeOf(`\\def\\a{${"x".repeat(1_000)}}${"\\a".repeat(300)}`, true), null);
  assert.ok(treeOf("x+".repeat(1_000), true));
  assert.equal(treeOf("x+".repeat(3_000), true), null);
});
