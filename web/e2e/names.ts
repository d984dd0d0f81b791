// Names made different in every story, since the engines may be shared.

let made = 0;
const run = Math.floor(Math.random() * 36 ** 4).toString(36);

export function fresh(name: string): string {
  made += 1;
  return `${name}-${run}${made}`;
}
