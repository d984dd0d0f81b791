// How names that begin with something are found in lists that are in order and read in pages.

/** What names are made of, in their order. */
const LETTERS = "-0123456789_abcdefghijklmnopqrstuvwxyz";

/**
 * The name after which a list that is in order goes on with those that begin with `prefix`: the last that stands before them all.
 * Null where that is the beginning of the list, or where no name begins like that.
 */
export function justBefore(prefix: string, mostChars: number): string | null {
  const last = LETTERS.indexOf(prefix.at(-1) ?? "");
  const before = prefix.slice(0, -1);
  if (last < 0) return null;
  // Nothing but its own beginning stands before what ends in the first letter.
  if (last === 0) return before.length >= 3 ? before : null;
  return (before + LETTERS[last - 1]).padEnd(mostChars, LETTERS.at(-1));
}
