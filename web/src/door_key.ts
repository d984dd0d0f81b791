// What a link brings along behind its `#`: an invitation, or the right to set a new password. It is taken out of the address at once,
// so that it stands in no history, and is kept nowhere but in this page.

export interface DoorKey {
  kind: "invite" | "reset";
  token: string;
}

/** Null where the address has none. */
export function readDoorKey(hash: string): DoorKey | null {
  const found = /^#(invite|reset)=([\w-]{8,200})$/.exec(hash);
  return found ? { kind: found[1] as DoorKey["kind"], token: found[2]! } : null;
}

export function takeDoorKey(): DoorKey | null {
  const key = readDoorKey(location.hash);
  if (key) history.replaceState(history.state, "", location.pathname + location.search);
  return key;
}
