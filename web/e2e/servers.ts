// Chinwag as it is run, for a story: all in one, or edge, worker and persister on the engines that the environment names.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const web = process.env.CHINWAG_WEB!;
const programs = join(process.env.CARGO_TARGET_DIR ?? join(web, "..", "target"), "debug");
const hasServices = process.env.CHINWAG_SERVICES === "1";

const READY_MS = 120_000;
/** Generous, so that stories can say, ask and make a lot quickly, and all come from one address. */
const LIMITS = {
  USER_MESSAGES_PER_SECOND: "100000",
  USER_MESSAGES_BURST: "100000",
  USER_ROOMS_PER_HOUR: "0",
  ADDRESS_REGISTRATIONS_PER_HOUR: "0",
  BOT_USER_RPM: "0",
};

export class Servers {
  readonly #folder = mkdtempSync(join(tmpdir(), "chinwag-e2e-"));
  readonly #others: ChildProcess[] = [];
  #edge: ChildProcess | null = null;
  #words = "";
  #practice: string | null = null;

  private constructor(
    readonly port: number,
    private readonly settings: Record<string, string>,
  ) {}

  static async start(settings: Record<string, string> = {}): Promise<Servers> {
    const servers = new Servers(await freePort(), settings);
    try {
      if (hasServices) await servers.#startOthers();
      await servers.startEdge();
    } catch (error) {
      await servers.stop();
      throw error;
    }
    return servers;
  }

  get address(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Tells the practice model how to answer the next questions, one order each. */
  async practise(orders: string[]): Promise<void> {
    const address = this.#practice ?? /listens.*?(127\.0\.0\.1:\d+)/s.exec(this.#words.replace(/\u001b\[\d*m/g, ""))?.[1];
    const answer = await fetch(`http://${address}/practice/behaviour`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ next: orders }),
    });
    if (!answer.ok) throw new Error(`the practice model refuses: ${await answer.text()}`);
  }

  /** The link that makes whoever opens it an administrator: the all-in-one prints it at its first start, an operator asks for it. */
  async firstLink(): Promise<string> {
    if (!hasServices) return /opens this link[^\n]*?(http\S+#invite=\w+)/.exec(this.#words)![1]!;
    const before = this.#words.length;
    const making = this.#spawn("persister", {}, ["accounts", "invite", "--admin", "--url", this.address]);
    await until("the operator has a link", READY_MS, async () => making.exitCode !== null);
    return /http\S+#invite=\w+/.exec(this.#words.slice(before))![0];
  }

  /** What the page talks to: the edge, or the all-in-one with everything in it. */
  async startEdge(): Promise<void> {
    const program = hasServices ? "ws-edge" : "chinwag";
    this.#edge = this.#spawn(program, { LISTEN: `127.0.0.1:${this.port}`, DATA_DIR: join(this.#folder, "data") });
    await until(`${program} answers`, READY_MS, async () => {
      if (this.#edge!.exitCode !== null) throw new Error(`${program} ended: ${this.#words.slice(-2_000)}`);
      return fetch(`${this.address}/readyz`).then(({ ok }) => ok, () => false);
    });
  }

  /** `kill -9`: nothing is said, nothing is drained. */
  async killEdge(): Promise<void> {
    await this.#end(this.#edge!, "SIGKILL");
  }

  freezeEdge(): void {
    process.kill(this.#edge!.pid!, "SIGSTOP");
  }

  thawEdge(): void {
    process.kill(this.#edge!.pid!, "SIGCONT");
  }

  async stop(): Promise<void> {
    for (const child of [this.#edge, ...this.#others]) if (child) await this.#end(child, "SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #startOthers(): Promise<void> {
    const practicePort = await freePort();
    this.#practice = `127.0.0.1:${practicePort}`;
    this.#others.push(this.#spawn("practice-model", {}, ["--listen", `127.0.0.1:${practicePort}`]));
    await until("the practice model answers", READY_MS, () => fetch(`http://127.0.0.1:${practicePort}/healthz`).then(() => true, () => false));
    const gemini = { GEMINI_BASE_URL: `http://127.0.0.1:${practicePort}`, GEMINI_API_KEY: "practice" };
    const migrate = this.#spawn("persister", {}, ["migrate"]);
    await until("the schema is there", READY_MS, async () => migrate.exitCode !== null);
    if (migrate.exitCode !== 0) throw new Error(`persister migrate: ${this.#words.slice(-2_000)}`);
    this.#others.push(this.#spawn("persister", {}), this.#spawn("bot-worker", gemini));
  }

  #spawn(program: string, more: Record<string, string>, args: string[] = []): ChildProcess {
    const env = { ...process.env, RUST_LOG: "warn,practice_model=info", ...LIMITS, ...this.settings, ...more };
    const child = spawn(join(programs, program), args, { env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on("data", (words: Buffer) => (this.#words = (this.#words + words.toString()).slice(-20_000)));
    }
    child.on("error", (error) => (this.#words += `${program}: ${error.message} (run \`cargo build --workspace --bins\` first)`));
    return child;
  }

  async #end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGCONT");
    child.kill(signal);
    await ended;
  }
}

/** Below 32768: a client that keeps connecting to a closed port beyond it can end up connected to itself. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const isFree = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}

export async function until(what: string, limitMs: number, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`within ${limitMs} ms it did not come true that ${what}`);
    await pause(50);
  }
}
