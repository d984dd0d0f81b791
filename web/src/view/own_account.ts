// One's own account: its password, who else is in by it, what programs use it, and its end.

import * as server from "../calls.ts";
import { base, clockTime, dayName, h, openStores } from "../shared.ts";
import { attempt, errorLine, folded, labelled, passwordField, shownOnce, sure, type Tell } from "./dialog.ts";

const DAY_S = 86_400;
/** Lines of a list that are shown at a time. */
const LINES = 10;
const PASSWORD_MIN_CHARS = 8;

const when = (time: string) => `${dayName(Date.parse(time))}, ${clockTime(Date.parse(time))}`;

/** A choice of how long something is to hold. */
function howLong(id: string, days: [number, string][]): { element: HTMLElement; seconds(): number | undefined } {
  const select = h("select", { class: "input" }, ...days.map(([count, words]) => h("option", { value: count }, words)));
  return { element: labelled(id, "It holds", select), seconds: () => Number(select.value) * DAY_S || undefined };
}

/** A list that is asked for when its heading is opened, each line with a button that takes it away. */
function listed<T>(title: string, body: (Node | null)[], load: () => Promise<T[]>, line: (one: T) => (Node | string)[], none: string): { element: HTMLDetailsElement; list: HTMLElement; error: HTMLElement; load(): Promise<void> } {
  const error = errorLine();
  const list = h("ul", { class: "devices", "aria-label": title }, h("li", { class: "hint" }, "Loading…"));
  const fill = async () => {
    const all = await load();
    list.replaceChildren();
    const add = () => {
      const shown = all.splice(0, LINES).map((one) => h("li", null, ...line(one)));
      list.append(...shown);
      more.hidden = all.length === 0;
      return shown[0];
    };
    if (!add()) list.append(h("li", { class: "hint" }, none));
    more.onclick = () => add()?.querySelector("button")?.focus();
  };
  const more = h("button", { type: "button", class: "chip-button", hidden: true }, "More");
  const element = folded(title, list, more, error, ...body);
  element.addEventListener("toggle", () => element.open && fill().catch((refusal) => (error.textContent = server.wordsOf(refusal))));
  return { element, list, error, load: fill };
}

export function passwordPart(tell: Tell, changed: () => void): HTMLElement {
  const error = errorLine();
  const current = passwordField("password-now", "Your password now", "current-password");
  const next = passwordField("password-new", "The new one", "new-password", `At least ${PASSWORD_MIN_CHARS} characters`);
  const button = h("button", { type: "submit", class: "button button-main" }, "Change it");
  const form = h("form", { "aria-label": "Change the password", novalidate: true }, current.element, next.element, h("p", { class: "hint" }, "All other devices are logged out by that."), error, h("div", { class: "dialog-foot" }, button));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (current.input.value === "") return current.input.focus();
    if ([...next.input.value].length < PASSWORD_MIN_CHARS) {
      error.textContent = `A password has at least ${PASSWORD_MIN_CHARS} characters.`;
      return next.input.focus();
    }
    void attempt(error, button, async () => {
      await server.changePassword(current.input.value, next.input.value);
      form.reset();
      tell("Your password is changed, and all other devices are logged out.");
      changed();
    });
  });
  return folded("Change the password", form);
}

export const elsewhere = (done: () => void) =>
  sure("Log out everywhere else", "All but this browser.", "Log out", (error, button) =>
    attempt(error, button, async () => {
      await server.logOutEverywhere();
      done();
    }),
  );

/** Links by which people come in who have no account yet. */
export function invitesPart(user: string, tell: Tell): HTMLElement {
  const error = errorLine();
  const place = h("div", null);
  const uses = h("input", { class: "input", type: "number", min: "1", max: "1000", value: "1", required: true });
  const holds = howLong("invite-holds", [[7, "a week"], [1, "a day"], [30, "a month"]]);
  const button = h("button", { type: "submit", class: "button" }, "Make a link");
  const form = h("form", { "aria-label": "Invite by link" }, h("div", { class: "pair" }, labelled("invite-uses", "For how many", uses), holds.element), place, error, h("div", { class: "dialog-foot" }, button));
  const part = listed("Invite by link", [form], server.invites, (invite) => {
    const many = invite.uses === 1 ? "for one person" : `${invite.used} of ${invite.uses} came by it`;
    const by = invite.made_by === user ? "" : invite.made_by ? `, by ${invite.made_by}` : ", by whoever runs this server";
    const about = `${invite.room ? `Into ${invite.room}, ` : ""}${many}${invite.admin ? ", who administers" : ""}${by}`;
    const withdraw = sure("Withdraw", "The link ends.", "Withdraw", (error, button) =>
      attempt(error, button, async () => {
        await server.withdrawInvite(invite.id);
        await part.load();
        button.closest("details")?.querySelector("summary")?.focus();
      }),
    );
    return [h("div", null, h("strong", null, about[0]!.toUpperCase() + about.slice(1)), h("p", { class: "hint" }, `Until ${when(invite.expires_at)}`)), withdraw];
  }, "No link is out.");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void attempt(error, button, async () => {
      const { link } = await server.makeInvite({ uses: Number(uses.value) || 1, expires_in: holds.seconds() });
      place.replaceChildren(shownOnce("The link", link, tell));
      place.querySelector("input")!.focus();
      await part.load();
    });
  });
  return part.element;
}

/** Tokens by which programs act as this account. */
export function tokensPart(tell: Tell): HTMLElement {
  const error = errorLine();
  const place = h("div", null);
  const name = h("input", { class: "input", autocomplete: "off", maxlength: "64", placeholder: "build server", required: true });
  const holds = howLong("token-holds", [[90, "three months"], [365, "a year"], [0, "until it is revoked"]]);
  const button = h("button", { type: "submit", class: "button" }, "Make a token");
  const form = h("form", { "aria-label": "Make a token", novalidate: true }, h("div", { class: "pair" }, labelled("token-name", "What for", name), holds.element), place, error, h("div", { class: "dialog-foot" }, button));
  const part = listed("Tokens for programs", [form], server.tokens, (token) => {
    const used = token.last_used_at ? `Last used: ${when(token.last_used_at)}` : "Not used yet";
    const until = token.expires_at ? `, until ${dayName(Date.parse(token.expires_at))}` : "";
    const revoke = sure("Revoke", "Programs that use it are shut out.", "Revoke", (error, button) =>
      attempt(error, button, async () => {
        await server.revokeToken(token.id);
        await part.load();
        name.focus();
      }),
    );
    return [h("div", null, h("strong", { dir: "auto" }, token.name), h("p", { class: "hint" }, used, until)), revoke];
  }, "There is none. With one, a program posts as you: a build server, a calendar.");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!name.value.trim()) return name.focus();
    void attempt(error, button, async () => {
      const { token } = await server.makeToken({ name: name.value.trim(), expires_in: holds.seconds() });
      name.value = "";
      place.replaceChildren(shownOnce("The token", token, tell));
      place.querySelector("input")!.focus();
      await part.load();
    });
  });
  return part.element;
}

/** A provider of single sign-on leads into the account, or is to. */
export function signOnPart(provider: string, tell: Tell): HTMLElement {
  const error = errorLine();
  const button = h("button", { type: "button", class: "button" }, `Log in with ${provider}, too`);
  button.addEventListener("click", () => attempt(error, button, async () => location.assign(await server.signOn())));
  const part = listed(`Logging in with ${provider}`, [h("div", { class: "dialog-foot" }, button), error], server.identities, (identity) => {
    const unlink = sure("Take away", "It lets nobody in here any more.", "Take away", (error, pressed) =>
      attempt(error, pressed, async () => {
        await server.unlink(identity.id);
        tell(`${hostOf(identity.issuer)} leads into your account no more.`);
        await part.load();
        button.focus();
      }),
    );
    return [h("div", null, h("strong", null, hostOf(identity.issuer)), h("p", { class: "hint" }, `Since ${dayName(Date.parse(identity.linked_at))}`)), unlink];
  }, `${provider} does not lead into your account yet.`);
  return part.element;
}

function hostOf(issuer: string): string {
  try {
    return new URL(issuer).host;
  } catch {
    return issuer;
  }
}

export function dataPart(): HTMLElement {
  return folded(
    "What you wrote",
    h("p", { class: "hint" }, "All your messages in all rooms, and what is kept about you, as one file."),
    h("p", { class: "hint-after" }, h("a", { class: "button", href: `${base}/api/me/export`, download: "" }, "Download it")),
  );
}

/** What this browser remembered for somebody who is gone. */
function forget(user: string): void {
  for (const store of Object.values(openStores())) {
    const keys = Array.from({ length: store.length }, (_, index) => store.key(index) ?? "");
    for (const key of keys) if (key.startsWith("chinwag:") && key.split(":")[2] === user) store.removeItem(key);
  }
}

/** Where there is no password, the server wants a log-in of the last few minutes in its place, and says so. */
export function leavingPart(user: string, hasPassword: boolean, departed: () => void): HTMLElement {
  const error = errorLine();
  const password = passwordField("leave-password", "Your password", "current-password");
  const button = h("button", { type: "submit", class: "button button-bad" }, "Delete my account");
  const choice = (value: string, words: string, hint: string, checked: boolean) =>
    h("label", { class: "option" }, h("input", { type: "radio", name: "messages", value, checked }), h("span", null, h("strong", null, words), h("span", { class: "hint" }, hint)));
  const form = h(
    "form",
    { "aria-label": "Delete my account", novalidate: true },
    h("p", { class: "hint" }, `Nobody gets in as ${user} any more, and nobody else gets the name. There is no way back.`),
    h("fieldset", { class: "fieldset" }, h("legend", { class: "label" }, "What you wrote"), choice("keep", "Stays", "Where others can read it now", true), choice("delete", "Goes with it", "Each message is deleted, for everybody", false)),
    hasPassword && password.element,
    error,
    h("div", { class: "dialog-foot" }, button),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (hasPassword && password.input.value === "") {
      error.textContent = "Your password, please.";
      return password.input.focus();
    }
    void attempt(error, button, async () => {
      await server.deleteAccount(hasPassword ? password.input.value : undefined, new FormData(form).get("messages") as "keep" | "delete");
      forget(user);
      departed();
    });
  });
  return folded("Delete the account", form);
}
