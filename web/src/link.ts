// The one WebSocket: feeds the state machine of connection.ts and does what it says.

import { base } from "./base.ts";
import { steadyNow } from "./clock.ts";
import { CLOSE_SESSION_GONE, readFrame, type ClientFrame, type ServerFrame } from "./protocol.ts";
import { step, type Input, type Phase } from "./connection.ts";
import * as server from "./server.ts";

export interface LinkEvents {
  frame(frame: ServerFrame): void;
  /** The line is gone; everything on its way may be lost. */
  lost(): void;
  /** The phase changed. */
  phase(phase: Phase): void;
  /** The session was revoked or has expired. */
  sessionGone(): void;
}

export class Link {
  phase: Phase = { name: "off" };
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setInterval> | null = null;
  #checking = false;
  /** Sockets that did not open though the server answered a call right after. */
  #blocked = 0;
  /** Why there is no line, in words; null while it stands, or where that is not known. */
  trouble: string | null = null;

  constructor(private readonly events: LinkEvents) {}

  start(): void {
    this.#timer ??= setInterval(() => this.#feed({ name: "tick" }), 250);
    addEventListener("online", this.#hurry);
    addEventListener("offline", this.#doubt);
    document.addEventListener("visibilitychange", this.#seen);
    this.#feed({ name: "start" });
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
    removeEventListener("online", this.#hurry);
    removeEventListener("offline", this.#doubt);
    document.removeEventListener("visibilitychange", this.#seen);
    this.#feed({ name: "stop" });
  }

  /** False if there is no line. */
  send(frame: ClientFrame): boolean {
    if (this.phase.name !== "open" || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  hurry(): void {
    this.#feed({ name: "hurry" });
  }

  #hurry = () => this.hurry();
  /** `offline` is no proof (the server may be on this machine), but a reason to ask. */
  #doubt = () => void this.#check();
  #seen = () => {
    if (!document.hidden) this.hurry();
  };

  #feed(input: Input): void {
    const before = this.phase;
    const { phase, outputs } = step(before, input, steadyNow(), Math.random());
    this.phase = phase;
    for (const output of outputs) {
      if (output === "open") this.#open();
      else if (output === "close") this.#close();
      else void this.#check();
    }
    if (before.name === "open" && this.phase.name !== "open") this.events.lost();
    if (before.name !== this.phase.name || this.phase.name === "waiting") this.events.phase(this.phase);
  }

  #open(): void {
    this.#close();
    const address = new URL(`${base}/ws`, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    this.#socket = socket;
    socket.onopen = () => this.#socket === socket && this.#feed({ name: "opened" });
    socket.onmessage = (event) => {
      if (this.#socket !== socket) return;
      const frame = typeof event.data === "string" ? readFrame(event.data) : null;
      this.#feed(frame?.type === "welcome" ? { name: "heard", pingMs: frame.ping_ms } : { name: "heard" });
      this.#blocked = 0;
      this.trouble = null;
      if (frame?.type === "ping") this.send({ type: "pong" });
      else if (frame) this.events.frame(frame);
    };
    socket.onclose = (event) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      if (event.code === CLOSE_SESSION_GONE) this.events.sessionGone();
      else this.#feed({ name: "closed" });
    };
  }

  #close(): void {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  /** Asks whether the server is there, and whether the session is. */
  async #check(): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    const asked = this.#socket;
    try {
      await server.me(true);
      if (this.phase.name !== "waiting") return;
      this.#blocked += 1;
      // Once may be an accident.
      if (this.#blocked >= 2) this.trouble = await server.whyNoSocket();
    } catch (error) {
      if (this.phase.name === "off") return;
      const status = error instanceof server.Refusal ? error.status : -1;
      if (this.phase.name !== "open" && status >= 0) this.trouble = server.wordsOf(error);
      if (status === 401) this.events.sessionGone();
      else if (status === 0 && asked === this.#socket) this.#feed({ name: "unreachable" });
    } finally {
      this.#checking = false;
    }
  }
}
