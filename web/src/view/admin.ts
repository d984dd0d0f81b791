// What administrators see: who is here, which rooms there are, who used how much of the models, and who did what to whom. In pages
// of a few lines each, however many there are.

import { counted, money } from "../budgets.ts";
import { PAGE, type Account, type AuditEntry, type KeptRoom, type UsageSum } from "../admin_calls.ts";
import * as server from "../admin_calls.ts";
import { justBefore } from "../prefix.ts";
import { avatar, base, clockTime, dayName, h, icon, wordsOf } from "../shared.ts";
import { attempt, errorLine, labelled, shownOnce, sure, type Tell } from "./dialog.ts";
import { budgetList } from "./usage.ts";

const DAY_MS = 86_400_000;
const TYPED_MS = 250;
const NOTICE_MS = 6_000;
const USER_MAX_CHARS = 32;
const ROOM_MAX_CHARS = 64;

export interface Administration {
  element: HTMLElement;
  focus(): void;
}

const when = (time: string | number) => {
  const at = typeof time === "number" ? time : Date.parse(time);
  return `${dayName(at)}, ${clockTime(at)}`;
};

/** `left` is called where one goes back to the rooms. */
export function administration(user: string, left: () => void): Administration {
  const notice = h("p", { class: "admin-notice", role: "status" });
  let hiding: ReturnType<typeof setTimeout> | undefined;
  const tell = (text: string) => {
    clearTimeout(hiding);
    notice.textContent = text;
    hiding = setTimeout(() => (notice.textContent = ""), NOTICE_MS);
  };
  const parts: [string, () => HTMLElement][] = [
    ["People", () => people(user, tell)],
    ["Rooms", () => rooms(tell)],
    ["Usage", usage],
    ["Log", log],
  ];
  const place = h("div", { class: "admin-part" });
  const tabs = parts.map(([title, make]) => {
    const tab = h("button", { type: "button", class: "admin-tab" }, title);
    tab.addEventListener("click", () => show(tab, title, make));
    return tab;
  });
  const show = (shown: HTMLElement, title: string, make: () => HTMLElement) => {
    for (const tab of tabs) {
      if (tab === shown) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    history.replaceState(history.state, "", `#${title.toLowerCase()}`);
    place.replaceChildren(make());
  };
  const back = h("a", { class: "button", href: `${base}/` }, icon("back"), "Rooms");
  back.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    left();
  });
  const heading = h("h1", { class: "room-heading", tabindex: "-1" }, "Administration");
  const element = h("main", { class: "admin" }, h("header", { class: "admin-head" }, back, heading), h("nav", { class: "admin-tabs", "aria-label": "Administration" }, ...tabs), place, notice);
  const first = Math.max(0, parts.findIndex(([title]) => location.hash === `#${title.toLowerCase()}`));
  show(tabs[first]!, ...parts[first]!);
  return { element, focus: () => heading.focus() };
}

interface Paged<T, Mark> {
  label: string;
  load(after: Mark | null): Promise<{ lines: T[]; next: Mark | null }>;
  line(one: T): HTMLElement;
  none: string;
}

/** A list of which the next page is loaded when it is asked for. */
function paged<T, Mark>({ label, load, line, none }: Paged<T, Mark>): { elements: HTMLElement[]; begin(after: Mark | null): Promise<void> } {
  const list = h("ul", { class: "admin-list", "aria-label": label });
  const error = errorLine();
  const more = h("button", { type: "button", class: "button", hidden: true }, "More");
  let next: Mark | null = null;
  let round = 0;
  const add = async (after: Mark | null, isFirst: boolean) => {
    round += 1;
    const mine = round;
    const page = await load(after);
    // Something else was asked for meanwhile.
    if (mine !== round) return;
    const made = page.lines.map(line);
    if (isFirst) list.replaceChildren(...made);
    else list.append(...made);
    if (list.childElementCount === 0) list.replaceChildren(h("li", { class: "hint" }, none));
    // The button that was pressed goes on, or its focus does to what it brought.
    if (!isFirst && page.next === null) made[0]?.querySelector<HTMLElement>("summary")?.focus();
    next = page.next;
    more.hidden = next === null;
  };
  more.addEventListener("click", () => void attempt(error, more, () => add(next, false)));
  return { elements: [list, error, more], begin: (after) => add(after, true).catch((refusal) => void (error.textContent = wordsOf(refusal))) };
}

/** A list that is in order of names, with a field to look for one. */
function byName<T extends { name: string }>(label: string, mostChars: number, load: (after: string | null) => Promise<{ lines: T[]; next: string | null }>, line: (one: T) => HTMLElement): HTMLElement {
  const field = h("input", { class: "input", type: "search", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const wanted = () => field.value.trim().toLowerCase().replace(/^@/, "");
  const list = paged<T, string>({
    label,
    none: "Nothing is found.",
    load: async (after) => {
      const prefix = wanted();
      const page = await load(after);
      const lines = page.lines.filter(({ name }) => name.startsWith(prefix));
      return { lines, next: lines.length < page.lines.length ? null : page.next };
    },
    line,
  });
  let typed: ReturnType<typeof setTimeout> | undefined;
  field.addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => void list.begin(justBefore(wanted(), mostChars)), TYPED_MS);
  });
  void list.begin(null);
  return h("section", { "aria-label": label }, labelled("admin-find", "Find a name that begins with", field), ...list.elements);
}

/** A line that opens: what it is at a glance, and what can be done with it. */
function opening(summary: (Node | string | null | false)[], body: () => (Node | string | null | false)[]): HTMLDetailsElement {
  const inside = h("div", { class: "folded-body" });
  const element = h("details", { class: "folded" }, h("summary", null, ...summary), inside);
  element.addEventListener("toggle", () => element.open && inside.childElementCount === 0 && inside.append(h("div", null, ...body())));
  return element;
}

function people(user: string, tell: Tell): HTMLElement {
  const line = (account: Account): HTMLElement => {
    const item = h("li", null);
    const draw = (isOpen: boolean) => {
      const marks = [account.name === user && "you", account.admin && "administrator", account.program && "program", account.disabled && "disabled", account.deleted && "deleted"].filter(Boolean).join(", ");
      const seen = account.last_seen_at ? `Last seen: ${when(account.last_seen_at)}` : "Not seen lately";
      const element = opening([avatar(account.name), h("span", { class: "admin-name" }, h("strong", null, account.name), h("span", { class: "hint" }, marks || seen))], () => account.deleted ? [h("p", { class: "hint" }, "The account is deleted. The name stays taken.")] : [
        h("p", { class: "hint" }, `Here since ${dayName(Date.parse(account.created_at))}. ${seen}. ${counted(account.sessions, "device")}, owner of ${counted(account.rooms, "room")}.`),
        ...deeds(account, (change) => {
          Object.assign(account, change);
          draw(true);
          item.querySelector("summary")!.focus();
        }, tell),
      ]);
      item.replaceChildren(element);
      element.open = isOpen;
    };
    draw(false);
    return item;
  };
  return byName("People", USER_MAX_CHARS, async (after) => {
    const { users, next } = await server.users(after);
    return { lines: users, next: next ?? null };
  }, line);
}

function deeds(account: Account, changed: (change: Partial<Account>) => void, tell: Tell): HTMLElement[] {
  const { name, admin, disabled, program } = account;
  const change = (wish: { admin?: boolean; disabled?: boolean; program?: boolean }, said: string) => (error: HTMLElement, button: HTMLButtonElement) =>
    attempt(error, button, async () => {
      const now = await server.changeUser(name, wish);
      changed(now);
      tell(said);
    });
  const error = errorLine();
  const place = h("div", null);
  const reset = h("button", { type: "button", class: "chip-button" }, "Link to a new password");
  reset.addEventListener("click", () =>
    attempt(error, reset, async () => {
      place.replaceChildren(shownOnce(`For ${name}, once, within a day`, await server.resetUser(name), tell));
      place.querySelector("input")!.focus();
    }),
  );
  const goesToo = h("input", { type: "checkbox" });
  const remove = sure("Delete", "There is no way back.", "Delete", (error, button) =>
    attempt(error, button, async () => {
      await server.deleteUser(name, goesToo.checked ? "delete" : "keep");
      changed({ deleted: true, disabled: false, admin: false });
      tell(`${name} is deleted.`);
    }),
  );
  return [
    h(
      "div",
      { class: "admin-deeds" },
      admin ? sure("No administrator any more", "They lose this page.", "Take it away", change({ admin: false }, `${name} administers no more.`)) : sure("Make an administrator", "They may do all that is done here.", "Make one", change({ admin: true }, `${name} is an administrator.`)),
      disabled ? sure("Let in again", "With the password they had.", "Let in", change({ disabled: false }, `${name} may come in again.`)) : sure("Disable", "They are out at once, on all devices.", "Disable", change({ disabled: true }, `${name} is out, and does not come in.`)),
      // Older servers know of no programs.
      program !== undefined && (program ? sure("No program", "The bot answers it like anybody.", "It is none", change({ program: false }, `${name} counts as a person.`)) : sure("It is a program", "The bot does not answer it, unless a room says so.", "It is one", change({ program: true }, `${name} is marked as a program.`))),
      !disabled && reset,
    ),
    place,
    error,
    h("div", { class: "admin-deeds" }, h("label", { class: "option" }, goesToo, h("span", null, "All they wrote goes too")), remove),
  ];
}

function rooms(tell: Tell): HTMLElement {
  const line = (room: KeptRoom): HTMLElement => {
    const said = room.latest > 0 ? `Last said: ${when(room.latest / 1_000)}` : "Nothing was said";
    const item = h("li", null);
    const about = h("span", { class: "hint" });
    const draw = () => (about.textContent = `${room.private ? "Private" : "Public"}, of ${room.owner}`);
    draw();
    item.append(
      opening([avatar(room.name), h("span", { class: "admin-name" }, h("strong", null, room.name), about)], () => [
        h("p", { class: "hint" }, `Made ${dayName(Date.parse(room.created_at))}. ${counted(room.members, "member")} beside the owner. ${said}.`),
        handingOver(room, draw, tell),
        h(
          "div",
          { class: "admin-deeds" },
          sure("Delete this room", "All that was said in it goes, for everybody.", "Delete", (error, button) =>
            attempt(error, button, async () => {
              await server.deleteRoom(room.name);
              tell(`${room.name} is deleted.`);
              const next = item.nextElementSibling ?? item.previousElementSibling;
              item.remove();
              next?.querySelector<HTMLElement>("summary")?.focus();
            }),
          ),
        ),
      ]),
    );
    return item;
  };
  return byName("Rooms", ROOM_MAX_CHARS, async (after) => {
    const { rooms, next } = await server.rooms(after);
    return { lines: rooms, next: next ?? null };
  }, line);
}

/** To anybody whose account is not disabled, also where its owner is gone. */
function handingOver(room: KeptRoom, changed: () => void, tell: Tell): HTMLElement {
  const input = h("input", { class: "input", "aria-label": `Whose ${room.name} is to be`, placeholder: "Whose it is to be", autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: USER_MAX_CHARS });
  const act = sure("Hand it over", "It is theirs from then on.", "Hand over", (error, button) =>
    attempt(error, button, async () => {
      const owner = input.value.trim().toLowerCase().replace(/^@/, "");
      if (!owner) return input.focus();
      await server.handOver(room.name, owner);
      room.owner = owner;
      input.value = "";
      changed();
      tell(`${room.name} is ${owner}’s now.`);
      input.focus();
    }),
  );
  return h("div", { class: "invite-line hint-after" }, input, act);
}

const BY: ["user" | "room" | "model", string, string][] = [
  ["user", "each person", "Who"],
  ["room", "each room", "Room"],
  ["model", "each model", "Model"],
];

function usage(): HTMLElement {
  const error = errorLine();
  const by = h("select", { class: "input" }, ...BY.map(([value, words]) => h("option", { value }, words)));
  const kind = () => BY.find(([value]) => value === by.value)!;
  const first = h("th", { scope: "col" });
  const budgets = h("div", null);
  const days = h("select", { class: "input" }, ...[[7, "the last week"], [30, "the last 30 days"], [90, "the last 90 days"]].map(([count, words]) => h("option", { value: count, selected: count === 30 }, String(words))));
  const rows = h("tbody", null);
  const more = h("button", { type: "button", class: "button", hidden: true }, "More");
  let sums: UsageSum[] = [];
  const number = (value: number) => h("td", null, value.toLocaleString());
  const add = () => {
    const shown = sums.splice(0, PAGE);
    rows.append(...shown.map((sum) => h("tr", null, h("th", { scope: "row" }, sum[kind()[0]] || (kind()[0] === "model" ? "none" : "nobody")), number(sum.requests), number(sum.tokens_in + sum.tokens_out), h("td", null, money(sum.cost_micros)))));
    more.hidden = sums.length === 0;
    if (rows.childElementCount === 0) rows.append(h("tr", null, h("td", { colspan: "4", class: "hint" }, "Nobody asked anything.")));
  };
  more.addEventListener("click", add);
  const load = async () => {
    error.textContent = "";
    try {
      const since = new Date(Date.now() - Number(days.value) * DAY_MS).toISOString().slice(0, 10);
      const used = await server.usage(kind()[0], since);
      budgets.replaceChildren(...(used.budgets?.length ? [budgetList(used.budgets)] : []));
      first.textContent = kind()[2];
      sums = used.sums.sort((one, other) => other.cost_micros - one.cost_micros || other.tokens_out + other.tokens_in - one.tokens_out - one.tokens_in);
      rows.replaceChildren();
      add();
    } catch (refusal) {
      error.textContent = wordsOf(refusal);
    }
  };
  for (const choice of [days, by]) choice.addEventListener("change", () => void load());
  void load();
  const head = [first, ...["Questions", "Tokens", "Cost"].map((title) => h("th", { scope: "col" }, title))];
  return h("section", { "aria-label": "Usage" }, h("div", { class: "pair" }, labelled("usage-days", "Of the models, in", days), labelled("usage-by", "By", by)), h("div", { class: "table-frame", tabindex: "0", role: "group", "aria-label": "Usage" }, h("table", { class: "admin-table" }, h("thead", null, h("tr", null, ...head)), rows)), error, more, budgets);
}

function log(): HTMLElement {
  const line = ({ at, actor, deed, subject, detail }: AuditEntry) =>
    // Whom or what it was done to, where that has a name that tells somebody something.
    h("li", { class: "admin-line" }, h("p", null, h("strong", null, actor ?? "The operator"), ` ${deed} `, subject !== actor && !/^[\da-f-]{36}$/.test(subject) && h("strong", null, subject)), h("p", { class: "hint" }, [when(at), detail].filter(Boolean).join(" · ")));
  const list = paged<AuditEntry, number>({
    label: "Log",
    none: "Nothing was done yet.",
    load: async (before) => {
      const { entries, next } = await server.audit(before);
      return { lines: entries, next: next ?? null };
    },
    line,
  });
  void list.begin(null);
  return h("section", { "aria-label": "Log" }, ...list.elements);
}
