// The smallest of view layers: making elements. Text is only ever set as text.

type Props = Record<string, unknown>;
type Child = Node | string | null | undefined | false;

/** `class`, `on…` listeners, `data-…`, `aria-…`; `false` and `null` leave an attribute out. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props | null, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Strokes on a 24 by 24 field. */
const ICONS = {
  send: "M5 12h13M12 5l7 7-7 7",
  back: "M15 5l-7 7 7 7",
  plus: "M12 5v14M5 12h14",
  people: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 20c.6-3.6 3.1-5.5 6.5-5.5s5.9 1.9 6.5 5.5M16 4.3a3.5 3.5 0 0 1 0 6.4M18 15c2 .8 3.2 2.5 3.5 5",
  lock: "M7 11V8a5 5 0 0 1 10 0v3M5.5 11h13v9h-13z",
  reply: "M10 6 4 12l6 6M4.5 12H14c3.5 0 6 2.3 6 6",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  link: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7L12 7M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7L12 17",
  down: "M12 5v14M6 13l6 6 6-6",
  close: "M6 6l12 12M18 6 6 18",
  stop: "M7 7h10v10H7z",
  again: "M20 11a8 8 0 1 0-2.3 6M20 4v7h-7",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 7v5l3 2",
  alert: "M12 8v5M12 16.5v.1M12 3 2.5 20h19z",
  edit: "M4 20l1-4L16 5l3 3L8 19z",
  bin: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  menu: "M4 7h16M4 12h16M4 17h16",
  gear: "M12 15.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM12 2.5v3M12 18.5v3M2.5 12h3M18.5 12h3M5.3 5.3l2.1 2.1M16.6 16.6l2.1 2.1M5.3 18.7l2.1-2.1M16.6 7.4l2.1-2.1",
  check: "M5 12.5 10 17.5 19 7",
} as const;

export type IconName = keyof typeof ICONS;

/** A picture beside words, or inside something that has a name: never read out. */
export function icon(name: IconName, className = "icon"): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** The mark of the house: a bubble with a smile. Its colours are in the style sheet. */
export function mark(className: string): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 32 32");
  svg.setAttribute("class", `mark ${className}`);
  svg.setAttribute("aria-hidden", "true");
  const bubble = document.createElementNS(SVG, "path");
  bubble.setAttribute("class", "mark-bubble");
  bubble.setAttribute("d", "M16 3C8.3 3 2.5 8.2 2.5 14.9c0 3.9 2 7.3 5.1 9.4L6.7 29l5.2-2.7c1.3.3 2.7.5 4.1.5 7.7 0 13.5-5.2 13.5-11.9S23.7 3 16 3Z");
  const smile = document.createElementNS(SVG, "path");
  smile.setAttribute("class", "mark-smile");
  smile.setAttribute("d", "M9.8 15.2c1.3 3.3 3.6 5 6.2 5s4.9-1.7 6.2-5");
  svg.append(bubble, smile);
  return svg;
}

/** One of twelve colours of one's own, the same everywhere. */
export function hueOf(name: string): string {
  let hash = 7;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)!) % 9_973;
  return `hue-${hash % 12}`;
}

/** A round picture for somebody: the first letter, or the bot's mark. */
export function avatar(name: string, isBot = false): HTMLElement {
  if (isBot) return h("span", { class: "avatar avatar-bot", "aria-hidden": "true" }, mark("mark-bot"));
  return h("span", { class: `avatar ${hueOf(name)}`, "aria-hidden": "true" }, [...name][0]!.toUpperCase());
}

/** Puts a text where it is shown, but only if it is another. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function iconButton(name: IconName, label: string, onclick: (event: MouseEvent) => void, className = "icon-button"): HTMLButtonElement {
  return h("button", { type: "button", class: className, "aria-label": label, title: label, onclick }, icon(name));
}

/**
 * The key belongs to an input method, by which a word is put together: it is no command, least of all the Enter that takes the
 * word. Safari tells that Enter after the word was ended, and by this number alone.
 */
export const isComposing = (event: KeyboardEvent) => event.isComposing || event.keyCode === 229;

/** Onto the clipboard, also where the page did not come over HTTPS. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "off-page", "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    // What had the focus has it again after it. Behind a dialog nothing can have it.
    const focused = document.activeElement;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
    return done;
  }
}
