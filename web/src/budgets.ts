// What was used of the models, and what is left of each budget, in words. Pure.

export interface Budget {
  scope: "person" | "room" | "server";
  room?: string;
  period: "day" | "month";
  unit: "tokens" | "cost_micros";
  limit: number;
  used: number;
  left: number;
  /** When all of it is there again. */
  opens_at: string;
}

export interface Spent {
  calls: number;
  tokens_in: number;
  tokens_out: number;
  cost_micros: number;
}

export interface Usage {
  today: Spent;
  month: Spent;
  budgets: Budget[];
}

/** Less than this part of a budget is worth a word. */
const LITTLE_PART = 0.1;

export const money = (micros: number) => (micros / 1_000_000).toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const counted = (count: number, one: string, more = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : more}`;

export const amount = (value: number, unit: Budget["unit"]) => (unit === "tokens" ? counted(value, "token") : money(value));

export function spentWords({ calls, tokens_in, tokens_out, cost_micros }: Spent): string {
  if (calls === 0) return "nothing yet";
  return `${counted(calls, "call")}, ${counted(tokens_in + tokens_out, "token")}${cost_micros > 0 ? `, ${money(cost_micros)}` : ""}`;
}

const WHEN = { day: "today", month: "this month" };

/** Whose it is, and for how long. */
export function budgetTitle({ scope, room, period }: Budget): string {
  const whose = scope === "person" ? "You" : scope === "room" ? `In ${room ?? "this room"}` : "Everybody on this server";
  return `${whose}, ${WHEN[period]}`;
}

/** The part that is left, never more than all and never less than nothing. */
export const partLeft = ({ left, limit }: Budget): number => (limit > 0 ? Math.min(1, Math.max(0, left / limit)) : 0);

export const leftWords = (budget: Budget): string => `${amount(Math.max(0, budget.left), budget.unit)} of ${amount(budget.limit, budget.unit)} left`;

/** The budget that runs out first, if little of it is left. */
export function nearlyOut(budgets: Budget[]): Budget | null {
  const [least] = [...budgets].sort((one, other) => partLeft(one) - partLeft(other));
  return least && partLeft(least) < LITTLE_PART ? least : null;
}

/** What somebody is told of it; `when` is when all of it is there again. */
export function warning(budget: Budget, when: string): string {
  const whose = budget.scope === "person" ? "your budget" : budget.scope === "room" ? "this room’s budget" : "this server’s budget";
  const period = budget.period === "day" ? "today" : "this month";
  if (budget.left <= 0) return `For ${period}, ${whose} for the bot is used up. It is there again: ${when}.`;
  return `Of ${whose} for the bot, ${Math.max(1, Math.round(partLeft(budget) * 100))} % is left for ${period}.`;
}
