// The page begins: who is here, and from the door into the rooms and back.

import { App } from "./view/app.ts";
import { door } from "./view/door.ts";
import { h } from "./view/dom.ts";
import { mayFocusField, watchMeans, watchTheme } from "./view/surroundings.ts";
import * as server from "./server.ts";
import { Refusal } from "./server.ts";

let app: App | null = null;
const ASK_AGAIN_MS = 3_000;

async function begin(): Promise<void> {
  try {
    const { user } = await server.me();
    enter(user);
  } catch (error) {
    if ((error as Refusal).status === 401) return showDoor(null);
    document.body.replaceChildren(
      h(
        "main",
        { class: "door" },
        h("p", { class: "door-notice", role: "status" }, `${(error as Error).message} Trying again…`),
        h("button", { type: "button", class: "button", onclick: () => void begin() }, "Try now"),
      ),
    );
    setTimeout(() => app === null && document.querySelector("form") === null && void begin(), ASK_AGAIN_MS);
  }
}

function enter(user: string): void {
  app?.stop();
  app = new App(user, (notice) => showDoor(notice));
  app.start();
}

/** Where `notice` says why, if it was not the user's wish. */
function showDoor(notice: string | null): void {
  app?.stop();
  app = null;
  document.title = "Chinwag";
  for (const dialog of document.querySelectorAll("dialog")) dialog.remove();
  const shown = door(notice, () => void begin());
  document.body.replaceChildren(shown.element);
  if (mayFocusField()) shown.focus();
}

watchTheme();
watchMeans();
void begin();
