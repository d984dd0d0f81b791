// What stands before every address, where Chinwag is served below a path of a host: this script knows where it came from.

const script = new URL(import.meta.url);

/** Without a slash at its end; empty where there is none. */
export const base = script.protocol.startsWith("http") ? new URL("..", script).pathname.replace(/\/$/, "") : "";

export const addressOf = (room: string) => `${base}/rooms/${encodeURIComponent(room)}`;
