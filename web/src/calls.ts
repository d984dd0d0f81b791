// The calls that only what is loaded later makes: people's and rooms' affairs.

import type { Usage } from "./budgets.ts";
import type { SessionInfo, Thinking } from "./protocol.ts";
import { call, seg } from "./shared.ts";

export { addMember, doorInfo, removeMember, signOn, wordsOf } from "./shared.ts";

export const sessions = async () => (await call<{ sessions: SessionInfo[] }>("GET", "/api/sessions")).sessions;
export const endSession = (id: string) => call<void>("DELETE", `/api/sessions/${seg(id)}`);
/** Who is in a room beside its owner; and who of them all is a program. */
export const roomMembers = (room: string) => call<{ members: string[]; programs?: string[] }>("GET", `/api/rooms/${seg(room)}/members`);
export const members = async (room: string) => (await roomMembers(room)).members;

export interface Offers {
  models: { id: string; name: string }[];
  thinking?: Thinking;
  search?: boolean;
}

/** What the owner of a room may choose. */
export const offers = () => call<Offers>("GET", "/api/bot");

export interface LinkedIdentity {
  id: string;
  issuer: string;
  linked_at: string;
}

export const identities = async () => (await call<{ identities: LinkedIdentity[] }>("GET", "/api/identities")).identities;
export const unlink = (id: string) => call<void>("DELETE", `/api/identities/${seg(id)}`);

export const bans = async (room: string) => (await call<{ bans: string[] }>("GET", `/api/rooms/${seg(room)}/bans`)).bans;
export const ban = (room: string, user: string) => call<void>("PUT", `/api/rooms/${seg(room)}/bans/${seg(user)}`);
export const liftBan = (room: string, user: string) => call<void>("DELETE", `/api/rooms/${seg(room)}/bans/${seg(user)}`);

export interface Invite {
  id: string;
  /** None if no account did. */
  made_by?: string | null;
  admin?: boolean;
  room?: string | null;
  uses: number;
  used: number;
  expires_at: string;
}

export const invites = async () => (await call<{ invites: Invite[] }>("GET", "/api/invites")).invites;
/** What the server calls a link lies below its own address. */
const whole = <T extends { link: string }>(made: T): T => ({ ...made, link: new URL(made.link, location.href).href });
export const makeInvite = async (wanted: { room?: string; uses?: number; expires_in?: number; admin?: boolean }) => whole(await call<Invite & { link: string }>("POST", "/api/invites", wanted));
export const withdrawInvite = (id: string) => call<void>("DELETE", `/api/invites/${seg(id)}`);

export const usage = (room?: string) => call<Usage>("GET", room === undefined ? "/api/usage" : `/api/usage?room=${seg(room)}`);

export const changePassword = (current: string, password: string) => call<void>("POST", "/api/password", { current, password });
export const logOutEverywhere = () => call<void>("POST", "/api/logout-everywhere");
export const deleteAccount = (password: string | undefined, messages: "keep" | "delete") => call<void>("DELETE", "/api/me", { password, messages });

export interface ProgramToken {
  id: string;
  name: string;
  created_at: string;
  last_used_at?: string | null;
  expires_at?: string | null;
}

export const tokens = async () => (await call<{ tokens: ProgramToken[] }>("GET", "/api/tokens")).tokens;
export const makeToken = (wanted: { name: string; expires_in?: number }) => call<ProgramToken & { token: string }>("POST", "/api/tokens", wanted);
export const revokeToken = (id: string) => call<void>("DELETE", `/api/tokens/${seg(id)}`);
