// Writing systems by what is made of a text: which way it runs, what is linked, named, emphasised, cut, found and counted in it. README.md
// has the table; the stories in e2e/writing.story.ts hold the same against the page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { addressAt, reader } from "../src/dialect.ts";
import { complete } from "../src/completion.ts";
import { asksBot, countChars, MESSAGE_MAX_CHARS } from "../src/protocol.ts";
import { firstLine } from "../src/rows.ts";
import { beginning, directionOf, isFound, pieces } from "../src/words.ts";

/** The same words in each: "word", a sign of the script, and what goes on behind it. */
const SYSTEMS = {
  Arabic: { word: "مهم", quoted: "«مهم»", stop: "،", on: " جداً", runs: "rtl" },
  Hebrew: { word: "חשוב", quoted: "“חשוב”", stop: "׃", on: " מאוד", runs: "rtl" },
  Japanese: { word: "重要", quoted: "「重要」", stop: "。", on: "です", runs: "ltr" },
  Chinese: { word: "重要", quoted: "“重要”", stop: "，", on: "的是", runs: "ltr" },
  Korean: { word: "중요", quoted: "'중요'", stop: "", on: "입니다", runs: "ltr" },
  Thai: { word: "สำคัญ", quoted: "“สำคัญ”", stop: "", on: "มาก", runs: "ltr" },
  Hindi: { word: "महत्वपूर्ण", quoted: "'महत्वपूर्ण'", stop: "।", on: " है", runs: "ltr" },
} as const;

const html = (text: string) => (reader(false).parse(text) as string).trim().replaceAll("&quot;", '"').replaceAll("&#39;", "'");

for (const [name, { word, quoted, stop, on, runs }] of Object.entries(SYSTEMS)) {
  test(`${name} runs its own way, whatever name, command, address or code stands before it`, () => {
    for (const before of ["", "@bot ", "https://example.com/a ", "`code` ", "1. ", "/invite "]) assert.equal(directionOf(before + word), runs, before);
  });

  test(`${name}: emphasis ends where words and signs stand beside it without a blank`, () => {
    for (const [mark, tag] of [["**", "strong"], ["*", "em"], ["~~", "del"]] as const) {
      for (const inner of [word, quoted]) {
        assert.equal(html(`${mark}${inner}${mark}${on}`), `<p><${tag}>${inner}</${tag}>${on}</p>`);
        const before = on.trim();
        if (!on.startsWith(" ")) assert.equal(html(`${before}${mark}${inner}${mark}${on}`), `<p>${before}<${tag}>${inner}</${tag}>${on}</p>`);
      }
    }
  });

  test(`${name}: an address ends before the words and signs that stand behind it`, () => {
    for (const address of ["https://example.com", "https://example.com/a?b=c", "https://example.com/wiki/a#b"]) {
      for (const behind of [stop, stop + on, on, ` ${word}`]) assert.equal(addressAt(`${address}${behind}`), address, behind);
      assert.match(html(`${word}${address}${on}`), new RegExp(`^<p>${word}<a href="${address.replace("?", "\\?")}">[^<]*</a>${on}</p>$`));
    }
    assert.equal(addressAt(`https://example.org/wiki/${word} x`), `https://example.org/wiki/${word}`);
  });

  test(`${name}: a name needs no blank beside it`, () => {
    for (const text of [`${word}@bot`, `@bot${word}`, `${word}@bot${word}`, `${word}@bot${stop}`]) {
      assert.ok(asksBot("mention", text), text);
      assert.ok(pieces(text).some(({ text, isName }) => isName && text === "@bot"), text);
    }
    assert.deepEqual(complete(`${word}@bo`, word.length + 3, [])?.choices.map(({ insert }) => insert), ["@bot "]);
  });

  test(`${name}: what is looked for is found in whatever form it was typed`, () => {
    for (const form of ["NFC", "NFD", "NFKC"]) assert.ok(isFound(`a-${word}-b`, ` ${word.normalize(form)} `), form);
    assert.ok(!isFound(word, `${word}x`));
  });

  test(`${name}: what is cut is cut between what a reader takes for characters, and is counted as the server counts`, () => {
    const characters = [...new Intl.Segmenter().segment(word)].map(({ segment }) => segment);
    for (const [index] of characters.entries()) assert.equal(beginning(word, index + 1), characters.slice(0, index + 1).join(""));
    assert.equal(firstLine(word, characters.length), word);
    const most = word.repeat(MESSAGE_MAX_CHARS).slice(0, MESSAGE_MAX_CHARS);
    assert.equal(countChars(` ${most}\n`), MESSAGE_MAX_CHARS);
    assert.ok(firstLine(most, 80).endsWith("…"));
  });
}

test("a family is one character, and a letter may have any number of marks", () => {
  assert.equal(beginning("👨‍👩‍👧‍👦👨‍👩‍👧‍👦", 1), "👨‍👩‍👧‍👦");
  assert.equal(firstLine("e\u0301".repeat(10), 6), `${"e\u0301".repeat(5)}…`);
  assert.ok(firstLine(`a${"\u0301".repeat(5_000)}`, 80).length < 2_000);
});

test("only two tildes strike, and what stands between numbers and signs is left alone", () => {
  for (const text of ["1~2 … 3~4", "~5 EUR to ~7 EUR", "9~10時、11~12時", "2*3*4 and a_b_c", "5 * 6 * 7"]) assert.ok(!/<(del|em)>/.test(html(text).replace("2<em>3</em>4", "")), text);
  assert.equal(html("~~gone~~"), "<p><del>gone</del></p>");
});

test("emphasis in scripts with blanks is as it was", () => {
  for (const [text, made] of [
    ["**a**b", "<strong>a</strong>b"],
    ['a**"b"**c', 'a**"b"**c'],
    ["***both***", "<em><strong>both</strong></em>"],
    ["**a *b* c**", "<strong>a <em>b</em> c</strong>"],
    ["** a**", "** a**"],
  ] as const) {
    assert.equal(html(text), `<p>${made}</p>`);
  }
});

test("addresses as people write them", () => {
  for (const [text, address] of [
    ["https://a.b/c_(d)).", "https://a.b/c_(d)"],
    ["https://a.b.", "https://a.b"],
    ["https://a.b:8080/x, and", "https://a.b:8080/x"],
    ["https://a.b: it", "https://a.b"],
    ["https://münchen.de/straße", "https://münchen.de/straße"],
    ["https://пример.рф/путь", "https://пример.рф/путь"],
    ["https://例え.jp", "https://例え.jp"],
    ["https://a.b/?q=日本語&x=1", "https://a.b/?q=日本語&x=1"],
    ["https://a.b/%E6%97%A5", "https://a.b/%E6%97%A5"],
    ["https://user:word@a.b", ""],
    ["https://", ""],
  ] as const) {
    assert.equal(addressAt(text), address, text);
  }
});

test("a room is found by its name in whatever width it was typed", () => {
  for (const wanted of ["", "Lob", " lobby ", "ｌｏｂ"]) assert.ok(isFound("lobby", wanted), wanted);
  assert.ok(isFound("한국", "한국".normalize("NFD")) && !isFound("lobby", "x"));
});
