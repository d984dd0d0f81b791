// The HTTP calls (docs/http.md). The session is a cookie that this code never sees.

import { heardDate } from "./clock.ts";
import type { Message, RoomInfo, SessionInfo } from "./protocol.ts";

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

async function call<T>(method: string, path: string, body?: unknown, timeMs = CALL_MS): Promise<T> {
  const options: RequestInit = { method, signal: AbortSignal.timeout(timeMs) };
  if (body !== undefined) {
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let response: Response;
  const from = Date.now();
  try {
    response = await fetch(path, options);
    heardDate(response.headers.get("date"), from, Date.now());
  } catch {
    throw new Refusal(0, "unavailable", "The server cannot be reached right now.");
  }
  if (response.status === 204) return undefined as T;
  let answer: { code?: string; detail?: string } = {};
  try {
    answer = await response.json();
  } catch {
    // A proxy's own page, perhaps; the status says enough.
  }
  if (!response.ok) {
    throw new Refusal(response.status, answer.code ?? "unavailable", sentence(answer.detail ?? `The server says ${response.status}.`));
  }
  return answer as T;
}

/** The server's words begin small and end without a full stop. */
export function sentence(words: string): string {
  const trimmed = words.trim();
  const begun = /^[a-z]/.test(trimmed) ? trimmed[0]!.toUpperCase() + trimmed.slice(1) : trimmed;
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

const seg = encodeURIComponent;

export interface Me {
  user: string;
  session: string;
}

export const register = (username: string, password: string) =>
  call<{ user: string }>("POST", "/api/register", { username, password });
export const logIn = (username: string, password: string) => call<{ user: string }>("POST", "/api/login", { username, password });
export const logOut = () => call<void>("POST", "/api/logout");
export const me = (quick = false) => call<Me>("GET", "/api/me", undefined, quick ? CHECK_MS : CALL_MS);
export const sessions = async () => (await call<{ sessions: SessionInfo[] }>("GET", "/api/sessions")).sessions;
export const endSession = (id: string) => call<void>("DELETE", `/api/sessions/${seg(id)}`);
export const rooms = async () => (await call<{ rooms: RoomInfo[] }>("GET", "/api/rooms")).rooms;
export const members = async (room: string) => (await call<{ members: string[] }>("GET", `/api/rooms/${seg(room)}/members`)).members;
export const createRoom = (room: Pick<RoomInfo, "name" | "private" | "bot"> & { persona?: string }) =>
  call<RoomInfo>("POST", "/api/rooms", room);
export const changeRoom = (name: string, change: Partial<Pick<RoomInfo, "private" | "bot"> & { persona: string }>) =>
  call<RoomInfo>("PATCH", `/api/rooms/${seg(name)}`, change);
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
