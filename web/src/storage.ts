// The browser's storages, where it lets the page have them: some refuse them together with cookies. Then what is kept lasts as
// long as the tab.

/** The part of a storage that is needed, so that tests bring their own. */
export interface Store {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export class PassingStore implements Store {
  readonly #items = new Map<string, string>();

  get length(): number {
    return this.#items.size;
  }

  key(index: number): string | null {
    return [...this.#items.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#items.set(key, value);
  }

  removeItem(key: string): void {
    this.#items.delete(key);
  }
}

function open(name: "localStorage" | "sessionStorage"): Store {
  try {
    // The mere word throws where it is refused; elsewhere it is null.
    const store: Store | null = window[name];
    if (store && store.length >= 0) return store;
  } catch {
    // Refused.
  }
  return new PassingStore();
}

export interface Stores {
  /** Shared by all tabs, and there the next time. */
  shared: Store;
  /** This tab's own, and there after it is loaded again. */
  own: Store;
}

export const openStores = (): Stores => ({ shared: open("localStorage"), own: open("sessionStorage") });
