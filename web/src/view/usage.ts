// What one used of the models, and what is left: in the settings, and in a line when little is.

import { budgetTitle, leftWords, nearlyOut, partLeft, spentWords, warning, type Budget } from "../budgets.ts";
import * as server from "../calls.ts";
import { clockTime, dayName, h } from "../shared.ts";

/** Nothing is asked again sooner; where no budget is set, not for a while. */
const AGAIN_MS = 20_000;
const NONE_MS = 600_000;

const when = (time: string) => `${dayName(Date.parse(time))}, ${clockTime(Date.parse(time))}`;

/** How much of each budget is left. */
export function budgetList(budgets: Budget[]): HTMLElement {
  const line = (budget: Budget) =>
    h(
      "li",
      null,
      h("p", null, h("strong", null, budgetTitle(budget))),
      h("progress", { class: "budget", max: "1", value: String(partLeft(budget)), "aria-label": `${budgetTitle(budget)}: left` }),
      h("p", { class: "hint" }, `${leftWords(budget)}; all of it again: ${when(budget.opens_at)}`),
    );
  return h("ul", { class: "budgets", "aria-label": "Budgets" }, ...budgets.map(line));
}

/** Not there before it is known: older servers tell nothing of it. */
export function usagePart(room: string | undefined): HTMLElement {
  const part = h("section", { class: "setting", hidden: true });
  const show = async () => {
    const { today, month, budgets } = await server.usage(room);
    part.append(
      h("h3", { class: "setting-title" }, "What you asked of the bot"),
      h("p", { class: "hint" }, `Today: ${spentWords(today)}.`),
      h("p", { class: "hint" }, `This month: ${spentWords(month)}.`),
      ...(budgets.length > 0 ? [budgetList(budgets)] : []),
    );
    part.hidden = false;
  };
  show().catch(() => undefined);
  return part;
}

let notBefore = 0;
const told = new Set<string>();

/** After an answer: each budget is told of once when little is left of it, and once when nothing is. */
export async function watchBudgets(room: string, tell: (text: string) => void, now = performance.now()): Promise<void> {
  if (now < notBefore) return;
  notBefore = now + AGAIN_MS;
  const { budgets } = await server.usage(room);
  if (budgets.length === 0) notBefore = now + NONE_MS;
  const budget = nearlyOut(budgets);
  if (!budget) return;
  const key = `${budgetTitle(budget)} ${budget.opens_at} ${budget.left <= 0}`;
  if (told.has(key)) return;
  told.add(key);
  tell(warning(budget, when(budget.opens_at)));
}
