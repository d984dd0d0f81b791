// The calls that only what is loaded later makes: people's and rooms' affairs.

import type { SessionInfo } from "./protocol.ts";
import { call, seg } from "./shared.ts";

export { addMember, removeMember, wordsOf } from "./shared.ts";

export const sessions = async () => (await call<{ sessions: SessionInfo[] }>("GET", "/api/sessions")).sessions;
export const endSession = (id: string) => call<void>("DELETE", `/api/sessions/${seg(id)}`);
export const members = async (room: string) => (await call<{ members: string[] }>("GET", `/api/rooms/${seg(room)}/members`)).members;
