// The calls that administrators make.

import type { Budget } from "./budgets.ts";
import { call, seg } from "./shared.ts";

export interface Account {
  name: string;
  admin: boolean;
  disabled: boolean;
  deleted: boolean;
  program?: boolean;
  created_at: string;
  last_seen_at?: string;
  sessions: number;
  rooms: number;
}

export interface KeptRoom {
  name: string;
  owner: string;
  private: boolean;
  members: number;
  latest: number;
  created_at: string;
}

export interface UsageSum {
  user?: string;
  room?: string;
  model?: string;
  requests: number;
  answered: number;
  tokens_in: number;
  tokens_out: number;
  cost_micros: number;
}

export interface AuditEntry {
  id: number;
  at: string;
  /** None is the operator, at the command line. */
  actor: string | null;
  deed: string;
  subject: string;
  detail: string;
}

/** Lines that are shown at a time. */
export const PAGE = 50;

const page = (after: string | null) => `limit=${PAGE}${after === null ? "" : `&after=${seg(after)}`}`;

export const users = (after: string | null) => call<{ users: Account[]; next?: string }>("GET", `/api/admin/users?${page(after)}`);
export const changeUser = (name: string, change: { admin?: boolean; disabled?: boolean; program?: boolean }) => call<Pick<Account, "admin" | "disabled" | "deleted" | "program">>("PATCH", `/api/admin/users/${seg(name)}`, change);
export const resetUser = async (name: string) => new URL((await call<{ link: string }>("POST", `/api/admin/users/${seg(name)}/reset`)).link, location.href).href;
export const deleteUser = (name: string, messages: "keep" | "delete") => call<void>("DELETE", `/api/admin/users/${seg(name)}?messages=${messages}`);
export const rooms = (after: string | null) => call<{ rooms: KeptRoom[]; next?: string }>("GET", `/api/admin/rooms?${page(after)}`);
export const deleteRoom = (name: string) => call<void>("DELETE", `/api/rooms/${seg(name)}`);
export const usage = (by: "user" | "room" | "model", since: string) => call<{ sums: UsageSum[]; budgets?: Budget[] }>("GET", `/api/admin/usage?by=${by}&since=${since}`);
export const handOver = (room: string, owner: string) => call<void>("PATCH", `/api/rooms/${seg(room)}`, { owner });
export const audit = (before: number | null) => call<{ entries: AuditEntry[]; next?: number }>("GET", `/api/admin/audit?limit=${PAGE}${before === null ? "" : `&before=${before}`}`);
