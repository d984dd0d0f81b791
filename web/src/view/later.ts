// Dialogs and other parts of the page that nobody sees at first: files of their own, loaded when they are wanted, or when the page
// has nothing else to do, so that they are there without a line as well.

/** So long after the rooms are there nothing else is to be loaded any more. */
const QUIET_MS = 2_500;

/** A file beside this one, wherever that lies, with its style sheet. It is loaded once; one that failed is tried again. */
function later<Module>(name: string): () => Promise<Module> {
  let loaded: Promise<Module> | null = null;
  let tries = 0;
  return () => {
    // A browser may remember that an address failed, so each try has one of its own.
    const address = new URL(tries > 0 ? `${name}?${tries}` : name, import.meta.url).href;
    loaded ??= Promise.all([import(address) as Promise<Module>, style()]).then(
      ([module]) => module,
      (error) => {
        console.warn(error);
        loaded = null;
        tries += 1;
        throw new Error("This part of the page could not be loaded. Try again, or load the page anew.");
      },
    );
    return loaded;
  };
}

let styled: Promise<void> | null = null;

/** How all of them look, and code in colours. */
export function style(): Promise<void> {
  styled ??= new Promise((resolve, reject) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL("later.css", import.meta.url).href;
    link.onload = () => resolve();
    link.onerror = () => {
      link.remove();
      styled = null;
      reject(new Error("no style sheet"));
    };
    document.head.append(link);
  });
  return styled;
}

export const dialogs = later<typeof import("./dialogs.ts")>("dialogs.js");

export const admin = later<typeof import("./admin.ts")>("admin.js");

export function loadAhead(): ReturnType<typeof setTimeout> {
  return setTimeout(() => void dialogs().catch(() => undefined), QUIET_MS);
}

/** Where something is told while a dialog is open: what is behind one is neither seen nor read out. */
export function noticeInDialog(): HTMLElement | null {
  return [...document.querySelectorAll<HTMLElement>("dialog[open] > .dialog-notice")].at(-1) ?? null;
}
