// The id that the reply to a request will have, by the server's own rule (`reply_id` in `common/src/envelope.rs`): so a
// reply can be stopped before anything of it was heard. The browser's own SHA-256 is there over HTTPS only, and late.

/** `after` is the request's id or, where another answer was asked for, that of the reply it is to follow. */
export function replyId(room: string, after: string): string {
  const hex = after.replaceAll("-", "");
  const id = Uint8Array.from({ length: 16 }, (_, index) => Number.parseInt(hex.slice(index * 2, index * 2 + 2), 16));
  const bytes = sha256([...new TextEncoder().encode(`chinwag reply\0${room}`), ...id]).slice(0, 16);
  bytes[6] = 0x80 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  const made = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${made.slice(0, 8)}-${made.slice(8, 12)}-${made.slice(12, 16)}-${made.slice(16, 20)}-${made.slice(20)}`;
}

/** The first 32 bits of the fractional part of a root, as FIPS 180-4 takes its constants from the first primes. */
const fraction = (root: number) => ((root % 1) * 2 ** 32) | 0;
const primes: number[] = [];
for (let number = 2; primes.length < 64; number += 1) if (primes.every((prime) => number % prime !== 0)) primes.push(number);
const BEGIN = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
const ROUNDS = primes.map((prime) => fraction(Math.cbrt(prime)));

function sha256(message: number[]): number[] {
  const padded = [...message, 0x80];
  while (padded.length % 64 !== 56) padded.push(0);
  const bits = message.length * 8;
  padded.push(0, 0, 0, 0, bits >>> 24, (bits >>> 16) & 255, (bits >>> 8) & 255, bits & 255);
  const hash = [...BEGIN];
  const turn = (word: number, by: number) => (word >>> by) | (word << (32 - by));
  for (let at = 0; at < padded.length; at += 64) {
    const words: number[] = [];
    let [a, b, c, d, e, f, g, h] = hash as [number, number, number, number, number, number, number, number];
    for (let round = 0; round < 64; round += 1) {
      if (round < 16) {
        const from = at + round * 4;
        words.push((padded[from]! << 24) | (padded[from + 1]! << 16) | (padded[from + 2]! << 8) | padded[from + 3]!);
      } else {
        const [two, fifteen] = [words[round - 2]!, words[round - 15]!];
        const low = turn(fifteen, 7) ^ turn(fifteen, 18) ^ (fifteen >>> 3);
        const high = turn(two, 17) ^ turn(two, 19) ^ (two >>> 10);
        words.push((words[round - 16]! + low + words[round - 7]! + high) | 0);
      }
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[round]! + words[round]!) | 0;
      const other = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + other) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, index) => (hash[index] = (hash[index]! + word) | 0));
  }
  return hash.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
}
