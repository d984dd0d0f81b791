// What is left of a budget, in words.

import assert from "node:assert/strict";
import { test } from "node:test";
import { budgetTitle, leftWords, nearlyOut, partLeft, spentWords, warning, type Budget } from "../src/budgets.ts";

const budget = (more: Partial<Budget> = {}): Budget => ({ scope: "person", period: "day", unit: "tokens", limit: 1_000, used: 400, left: 600, opens_at: "2026-11-29T00:00:00Z", ...more });

test("what was used and what is left is told in words, tokens and money", () => {
  assert.equal(spentWords({ calls: 0, tokens_in: 0, tokens_out: 0, cost_micros: 0 }), "nothing yet");
  assert.equal(spentWords({ calls: 1, tokens_in: 10, tokens_out: 2, cost_micros: 0 }), "1 call, 12 tokens");
  assert.equal(spentWords({ calls: 2, tokens_in: 10, tokens_out: 2, cost_micros: 1_230_000 }), `2 calls, 12 tokens, ${(1.23).toLocaleString()}`);
  assert.equal(leftWords(budget()), `600 tokens of ${(1_000).toLocaleString()} tokens left`);
  assert.equal(leftWords(budget({ unit: "cost_micros", limit: 2_500_000, left: 500_000 })), `${(0.5).toLocaleString(undefined, { minimumFractionDigits: 2 })} of ${(2.5).toLocaleString(undefined, { minimumFractionDigits: 2 })} left`);
  assert.deepEqual([budgetTitle(budget()), budgetTitle(budget({ scope: "room", room: "lobby", period: "month" })), budgetTitle(budget({ scope: "server" }))], ["You, today", "In lobby, this month", "Everybody on this server, today"]);
});

test("the one that runs out first is told of when little is left, and when nothing is", () => {
  assert.equal(nearlyOut([]), null);
  assert.equal(nearlyOut([budget(), budget({ left: 100 })]), null);
  const little = budget({ scope: "room", left: 40 });
  assert.equal(nearlyOut([budget({ left: 90 }), little]), little);
  assert.equal(warning(little, "Sunday"), "Of this room’s budget for the bot, 4 % is left for today.");
  assert.equal(warning(budget({ left: 0, period: "month" }), "Sunday"), "For this month, your budget for the bot is used up. It is there again: Sunday.");
  // One call may go beyond it, and one of nothing is nothing.
  assert.deepEqual([partLeft(budget({ left: -5 })), partLeft(budget({ limit: 0, left: 0 })), partLeft(budget({ left: 2_000 }))], [0, 0, 1]);
});
