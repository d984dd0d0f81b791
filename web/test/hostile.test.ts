// What somebody may write to make everybody's page stand still, or unreadable.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Lexer } from "marked";
import { isInCode, openCode, plain, steady } from "../src/blocks.ts";
import { addressAt, read } from "../src/dialect.ts";

const MOST_CHARS = 4_000;
/** A text that has something over and over, with something in front and behind. */
const long = ([before, over, behind]: readonly [string, string, string], chars: number) => before + over.repeat(Math.ceil(chars / over.length)).slice(0, chars) + behind;

function work(text: string): number {
  const before = process.cpuUsage();
  read(text);
  read(text, true);
  addressAt(text);
  steady(text);
  isInCode(text);
  openCode(text);
  plain(text, text);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

/** No pattern may take more than some power of the length: what it takes for twice as much is held against what it took before, however fast this machine is. */
const GROWTH_MAX = 10;
/** Less than this is too little to be measured. */
const LEAST_MS = 50;

for (const text of [
  ["[x](", "(aaa", "\nword"],
  ["[x](", "(aaa)", "\nword"],
  ["", "*a](", ""],
  ["", "*a](b)", "c"],
  ["", "[a](b", ""],
  ["", "[", "a"],
  ["", "]((b)", "*a"],
  ["``a", "`", "b"],
  ["", "`a``b", ""],
  ["https://a/", ".", `x${")".repeat(1_500)}`],
  ["https://a", ".-", "é"],
  ["https://a/", "/あa", "。b"],
  ["", "https://a.", ""],
  ["", "$", "a"],
  ["", "$$a", ""],
  ["", "\\(a\n", ""],
  ["", "\\[a", "\\](b"],
  ["", "\\(*a", ""],
  ["", " ", "x"],
  ["> ", "> \t", "x"],
  ["- ", " ", "x"],
  ["|", " ", "x\ny"],
  ["|", " |", "x\n"],
  ["a", "\n", "x"],
  ["", "1", "x"],
  ["", "&a", ";"],
  ["", "<br ", "x"],
  ["", "。**あ", ""],
  ["", "*a_", ""],
  ["", "~~a*", ""],
  ["```", "`", "\n``` x"],
] as const) {
  test(`${JSON.stringify(text).slice(0, 40)} takes no longer than its length allows`, () => {
    let before = 0;
    for (let chars = MOST_CHARS / 128; chars <= MOST_CHARS; chars *= 2) {
      const took = work(long(text, chars));
      assert.ok(took <= GROWTH_MAX * Math.max(LEAST_MS, before), `${Math.round(took)} ms for ${Math.round(chars)} characters, ${Math.round(before)} ms for half of them`);
      before = took;
    }
  });
}

interface Piece {
  type: string;
  tokens?: Piece[];
  items?: Piece[];
}
const depth = (pieces: Piece[]): number => Math.max(0, ...pieces.map(({ tokens = [], items = [] }) => 1 + depth([...tokens, ...items])));

for (const sign of [">", "> ", "- ", "* ", "+ ", "1. ", "*", "*a ", "_a ", "~~a ", "[", "![", "`", "> - ", "- > ", "1. > * ", "*[`~~_>"]) {
  for (const behind of ["", "a", "\nword"]) {
    test(`4,000 of ${JSON.stringify(sign + behind)} are read, and nothing stands deeper than a page can show`, () => {
      const text = sign.repeat(MOST_CHARS) + behind;
      for (const grows of [false, true]) {
        const pieces = read(text.slice(0, grows ? MOST_CHARS : undefined), grows);
        assert.ok(pieces.length > 0 && depth(pieces as Piece[]) < 80);
      }
    });
  }
}

test("what closes as often as it opens is cut too", () => {
  for (const [open, close] of [["*a ", " a*"], ["**a ", " a**"], ["~~a ", " a~~"], ["[a ", " a](b)"], ["![a ", " a](b)"]] as const) assert.ok(depth(read(open.repeat(400) + close.repeat(400)) as Piece[]) < 80, open);
});

test("a text that the reader gives up on stands there as it was written, in one paragraph", () => {
  // As marked does where its own calls go too deep.
  const from = Lexer.prototype.blockTokens;
  Lexer.prototype.blockTokens = () => {
    throw new RangeError("Maximum call stack size exceeded");
  };
  try {
    const pieces = read("> *a*\n&amp; b") as unknown as { type: string; tokens: { type: string; text?: string }[] }[];
    assert.deepEqual(pieces.map(({ type, tokens }) => [type, tokens.map(({ text }) => text ?? "\n").join("")]), [["paragraph", "> *a*\n&amp; b"]]);
  } finally {
    Lexer.prototype.blockTokens = from;
  }
});
