// Message ids: UUIDs of version 7, ordered by when they were made, also within one millisecond.

let lastTime = 0;
let counter = 0;

/**
 * A new id. Twelve bits behind the time count the ids of one millisecond; when they are used up, or the clock went
 * back, the time is taken a little ahead, so that a later id is always the greater one.
 */
export function newId(now: number = Date.now()): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  if (now > lastTime) {
    lastTime = now;
    counter = ((bytes[6]! & 0x03) << 8) | bytes[7]!;
  } else {
    counter += 1;
    if (counter > 0xfff) {
      lastTime += 1;
      counter = 0;
    }
  }
  let time = lastTime;
  for (let index = 5; index >= 0; index -= 1) {
    bytes[index] = time % 256;
    time = Math.floor(time / 256);
  }
  bytes[6] = 0x70 | (counter >> 8);
  bytes[7] = counter & 0xff;
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** When a message was made, in milliseconds since 1970, as its id says; null where it says nothing of that. */
export function timeOf(id: string): number | null {
  const found = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-/.exec(id);
  return found ? Number.parseInt(found[1]! + found[2]!, 16) : null;
}
