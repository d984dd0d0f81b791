// What belongs to the browser around the page: colours, notifications, the tab's title.

import { base } from "../base.ts";

export type Theme = "auto" | "light" | "dark";

const THEME = "chinwag:theme";
const NOTIFY = "chinwag:notify";

function remembered(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // It holds until the tab is closed.
  }
}

export function themeChoice(): Theme {
  const chosen = remembered(THEME);
  return chosen === "light" || chosen === "dark" ? chosen : "auto";
}

export function setTheme(theme: Theme): void {
  remember(THEME, theme);
  applyTheme(theme);
}

/** The style sheet has both sets of colours; the choice only says which. */
export function applyTheme(theme: Theme = themeChoice()): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.documentElement.dataset.theme = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
}

export function watchTheme(): void {
  applyTheme();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => applyTheme());
}

/** What is held in a hand and touched: a finger is large, and has a keyboard that comes and goes. */
export const isTelephone = () => matchMedia("(pointer: coarse)").matches;
/** What the page was last used with: `mouse`, `touch`, `pen`, or the keyboard of something that is no telephone. */
let means = isTelephone() ? "touch" : "mouse";

export function watchMeans(): void {
  const passive = { capture: true, passive: true };
  const root = document.documentElement;
  document.addEventListener("pointerdown", ({ pointerType }) => {
    means = pointerType;
    root.dataset.pointed = "";
  }, passive);
  document.addEventListener("keydown", () => {
    means = isTelephone() ? means : "keyboard";
    delete root.dataset.pointed;
  }, passive);
}

/** Whether a field may have the focus unasked: with a finger, that would bring a keyboard up over half of the page. */
export const mayFocusField = () => means !== "touch";

export const canNotify = () => "Notification" in window && isSecureContext;

export function notifyState(): "on" | "off" | "denied" {
  if (!canNotify() || Notification.permission === "denied") return "denied";
  return Notification.permission === "granted" && remembered(NOTIFY) === "1" ? "on" : "off";
}

export async function wantNotifications(on: boolean): Promise<void> {
  if (!canNotify()) return;
  if (on && Notification.permission === "default") await Notification.requestPermission();
  remember(NOTIFY, on ? "1" : "0");
}

export function notify(title: string, body: string, tag: string, clicked: () => void): void {
  if (notifyState() !== "on" || !document.hidden) return;
  try {
    const shown = new Notification(title, { body, tag, dir: "auto", icon: `${base}/web/icon.svg` });
    shown.onclick = () => {
      window.focus();
      shown.close();
      clicked();
    };
  } catch {
    // Some browsers on telephones let only a service worker do this.
  }
}
