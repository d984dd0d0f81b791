// The page begins: who is here, and from the door into the rooms and back.

import { takeDoorKey } from "./door_key.ts";
import { wasSomebodyHere } from "./memory.ts";
import { openStores } from "./storage.ts";
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
/** What the address had in it when it was opened. */
let key = takeDoorKey();

async function begin(): Promise<void> {
  // Whoever was never here stands at the door in a moment: what is known of it comes at the same time.
  const info = wasSomebodyHere(openStores().shared) ? undefined : server.doorInfo();
  try {
    const me = await server.me();
    if (key?.kind === "reset") return void showDoor(null);
    enter(me);
    if (key) app!.tell("You are in already. That invitation is for somebody who has no account here.");
    key = null;
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) return void showDoor(null, info);
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
    enter(await server.me());
    key = null;
    return null;
  } catch (error) {
    return error instanceof Refusal && error.status === 401 ? NO_SESSION : server.wordsOf(error);
  }
}

function enter(me: server.Me): void {
  app?.stop();
  app = new App(me, (notice) => void showDoor(notice));
  app.start();
}

/** Where `notice` says why, if it was not the user's wish. */
async function showDoor(notice: string | null, info = server.doorInfo()): Promise<void> {
  app?.stop();
  app = null;
  document.title = "Chinwag";
  for (const dialog of document.querySelectorAll("dialog")) dialog.remove();
  forgetLayers();
  const shown = door(notice, { ...(await info), key }, beginWithSession);
  document.body.replaceChildren(shown.element);
  if (mayFocusField()) shown.focus();
}

// A link that is opened in a page that is there already.
addEventListener("hashchange", () => {
  const opened = takeDoorKey();
  if (!opened) return;
  key = opened;
  void begin();
});

watchTheme();
watchMeans();
void begin();
