// The HTTP calls (docs/http.md). The session is a cookie that this code never sees.

import { base } from "./base.ts";
import { heardDate } from "./clock.ts";
import type { Message, RoomInfo } from "./protocol.ts";

/** Longer than the server's own limit for a call, so that its words are heard where it has any. */
const CALL_MS = 35_000;
/** For asking whether the server is there at all. */
const CHECK_MS = 5_000;

/** A call that was refused: `message` is for people. Status 0: the server was not reached. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export async function call<T>(method: string, path: string, body?: unknown, timeMs = CALL_MS): Promise<T> {
  const options: RequestInit = { method, signal: AbortSignal.timeout(timeMs) };
  if (body !== undefined) {
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let response: Response;
  const from = Date.now();
  try {
    response = await fetch(base + path, options);
    heardDate(response.headers.get("date"), from, Date.now());
  } catch {
    throw new Refusal(0, "unavailable", "The server cannot be reached right now.");
  }
  if (response.status === 204) return undefined as T;
  let answer: { code?: string; detail?: string } | null = null;
  try {
    if (/\bjson\b/.test(response.headers.get("content-type") ?? "")) answer = await response.json();
  } catch {
    // Cut off, or no JSON after all.
  }
  if (response.ok && !answer) throw new Refusal(0, "unavailable", "Something else answers in the server's place: perhaps this network wants you to log in to it first.");
  if (!response.ok) throw new Refusal(response.status, answer?.code ?? "unavailable", refusalWords(response, answer?.detail));
  return answer as T;
}

/** The server's own words, and what it leaves for the page to add. */
function refusalWords(response: Response, detail: string | undefined): string {
  const words = sentence(detail ?? `Something answers ${response.status} in the server's place or on the way to it`);
  if (response.status === 403 && /origin/.test(words)) return `${words} This page is from ${location.origin}.`;
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  if (!(seconds > 0) || /again/.test(words)) return words;
  return `${words} Try again in ${seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} minutes`}.`;
}

/** What to tell people of an error: a refusal's words, never a script's. */
export function wordsOf(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  console.error(error);
  return "This page made a mistake. Load it again, and if that does not help, tell whoever runs this server.";
}

/** The server's words begin small and end without a full stop. */
export function sentence(words: string): string {
  const trimmed = words.trim();
  const begun = /^[a-z]/.test(trimmed) ? trimmed[0]!.toUpperCase() + trimmed.slice(1) : trimmed;
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

export const seg = encodeURIComponent;

export interface Me {
  user: string;
  session: string;
  admin?: boolean;
  may_invite?: boolean;
  /** Whether they have a password; older servers let nobody in without one. */
  password?: boolean;
}

/** Who may come in, and how: by a password, by a provider of single sign-on, or both. */
export interface DoorInfo {
  registration: "open" | "invite" | "closed";
  passwords?: boolean;
  oidc?: { name: string };
}

/** Where that is not told, the server says no when somebody tries. */
export const doorInfo = () => call<DoorInfo>("GET", "/api/door", undefined, CHECK_MS).catch(() => ({ registration: "open" }) as DoorInfo);
/** Where the provider lets somebody in, or vouches for who is in already. */
export const signOn = async (invite?: string) => (await call<{ location: string }>("POST", "/api/oidc/login", { return: location.pathname, invite })).location;
export const register = (username: string, password: string, invite?: string) =>
  call<{ user: string }>("POST", "/api/register", { username, password, invite });
/** Sets a new password by a link, and logs in with it. */
export const reset = (token: string, password: string) => call<{ user: string }>("POST", "/api/reset", { token, password });
export const logIn = (username: string, password: string) => call<{ user: string }>("POST", "/api/login", { username, password });
export const logOut = () => call<void>("POST", "/api/logout");
export const me = (quick = false) => call<Me>("GET", "/api/me", undefined, quick ? CHECK_MS : CALL_MS);
/** Why there is no WebSocket though calls are answered. */
export async function whyNoSocket(): Promise<string> {
  const options = { signal: AbortSignal.timeout(CHECK_MS) };
  const socket = await fetch(`${base}/ws`, options);
  // A call that would be let in but for being none: the way that a WebSocket takes is at fault, or the page's origin.
  if (socket.status >= 500) return refusalWords(socket, (await socket.json().catch(() => null))?.detail);
  const origin = await fetch(`${base}/api/me`, { method: "POST", ...options });
  if (origin.status === 403) return refusalWords(origin, (await origin.json().catch(() => null))?.detail);
  return "The server answers, but something on the way to it, or in this browser, blocks WebSockets, and Chinwag needs them. Another network may help.";
}

/** A page of the list; `next`: the name after which it goes on. */
export const rooms = (after: string | null) => call<{ rooms: RoomInfo[]; next?: string }>("GET", after === null ? "/api/rooms" : `/api/rooms?after=${seg(after)}`);
export const room = (name: string) => call<RoomInfo>("GET", `/api/rooms/${seg(name)}`);
export const createRoom = (room: Pick<RoomInfo, "name" | "private" | "bot"> & { persona?: string }) =>
  call<RoomInfo>("POST", "/api/rooms", room);
export type RoomChange = Partial<Pick<RoomInfo, "private" | "bot" | "title" | "topic" | "owner" | "model" | "thinking" | "search" | "bot_answers_programs" | "retention_days"> & { persona: string }>;
export const changeRoom = (name: string, change: RoomChange) =>
  call<RoomInfo>("PATCH", `/api/rooms/${seg(name)}`, change);
/** Who of a room's members, and its owner, is a program. */
export const programs = async (room: string) => (await call<{ programs?: string[] }>("GET", `/api/rooms/${seg(room)}/members`)).programs ?? [];
export const deleteRoom = (name: string) => call<void>("DELETE", `/api/rooms/${seg(name)}`);
export const addMember = (room: string, user: string) => call<void>("PUT", `/api/rooms/${seg(room)}/members/${seg(user)}`);
export const removeMember = (room: string, user: string) =>
  call<void>("DELETE", `/api/rooms/${seg(room)}/members/${seg(user)}`);

/** A page of a room's past, ascending: the latest, or what is before or after a place. */
export async function history(room: string, where: { before?: number; after?: number }, limit: number): Promise<Message[]> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (where.before !== undefined) query.set("before", String(where.before));
  if (where.after !== undefined) query.set("after", String(where.after));
  return (await call<{ messages: Message[] }>("GET", `/api/rooms/${seg(room)}/messages?${query}`)).messages;
}
