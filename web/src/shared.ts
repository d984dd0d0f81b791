// What the files that are loaded later need of the first one. The build makes this `app.js` itself for them, so that nothing is in
// the page twice: neither the bytes, nor what is remembered in a module.

export { addressOf, base } from "./base.ts";
export { titleOf } from "./room.ts";
export { addMember, call, doorInfo, Refusal, removeMember, seg, signOn, wordsOf } from "./server.ts";
export type { RoomChange } from "./server.ts";
export { openStores } from "./storage.ts";
export { avatar, copyText, h, icon, iconButton, setText } from "./view/dom.ts";
export { opened, whenSettled } from "./view/layers.ts";
export { canNotify, notifyState, setTheme, themeChoice, wantNotifications, type Theme } from "./view/surroundings.ts";
export { clockTime, dayName, fullTime } from "./view/times.ts";
export { isMoreThanNamed } from "./words.ts";
