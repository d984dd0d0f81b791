// Formulas stand as they were written until what makes them is there, which comes with the first of them.

import { h } from "./dom.ts";

type Maker = typeof import("../formulas.ts");
let maker: Maker | null = null;
let loading: Promise<Maker> | null = null;

export function withFormulas(fragment: DocumentFragment): DocumentFragment {
  for (const place of fragment.querySelectorAll<HTMLElement>(".formula")) void show(place);
  return fragment;
}

async function show(place: HTMLElement): Promise<void> {
  try {
    // At once where it is there already, so that nothing flickers.
    maker ??= await (loading ??= load());
  } catch {
    // The next formula tries again.
    loading = null;
    return;
  }
  const written = place.textContent;
  const formula = maker.formula(written.slice(2, -2), place.matches(".display"));
  if (formula) place.replaceChildren(formula);
  else place.className = "";
}

async function load(): Promise<Maker> {
  // Beside this file, wherever that lies.
  const beside = (name: string) => new URL(name, import.meta.url).href;
  document.head.append(h("link", { rel: "stylesheet", href: beside("formulas.css") }));
  return (await import(beside("formulas.js"))) as Maker;
}
