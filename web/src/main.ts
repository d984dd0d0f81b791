// The page begins: who is here, and from the door into the rooms and back.

import { App } from "./view/app.ts";
import { door, NO_SESSION } from "./view/door.ts";
import { h } from "./view/dom.ts";
import { forgetLayers } from "./view/layers.ts";
import { mayFocusField, watchMeans, watchTheme } from "./view/surroundings.ts";
import * as server from "./server.ts";
import { Refusal } from "./server.ts";

export * from "./shared.ts";

let app: App | null = null;
const ASK_AGAIN_MS = 3_000;

async function begin(): Promise<void> {
  try {
    enter((await server.me()).user);
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) return showDoor(null);
    const isPassing = error instanceof Refusal;
    document.body.replaceChildren(
      h(
        "main",
        { class: "door" },
        h("p", { class: "door-notice", role: "status" }, `${server.wordsOf(error)}${isPassing ? " Trying again…" : ""}`),
        h("button", { type: "button", class: "button", onclick: () => void begin() }, "Try now"),
      ),
    );
    if (isPassing) setTimeout(() => app === null && document.querySelector("form") === null && void begin(), ASK_AGAIN_MS);
  }
}

/** From the door in, with a session that the server just gave. Why that did not help, if it did not. */
async function beginWithSession(): Promise<string | null> {
  try {
    enter((await server.me()).user);
    return null;
  } catch (error) {
    return error instanceof Refusal && error.status === 401 ? NO_SESSION : server.wordsOf(error);
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
  forgetLayers();
  const shown = door(notice, beginWithSession);
  document.body.replaceChildren(shown.element);
  if (mayFocusField()) shown.focus();
}

watchTheme();
watchMeans();
void begin();
