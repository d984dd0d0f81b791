// Where rows of different heights lie in a list of which only a part is in the page. Pure: no page in here.

export class Heights {
  #measured = new Map<string, number>();
  #keys: readonly string[] = [];
  /** `#tops[i]` is where row i begins; one more than rows, the last is the whole height. */
  #tops = new Float64Array(1);

  /** The rows, in order, each with a guess for where it was never measured. */
  set(keys: readonly string[], guess: (index: number) => number): void {
    this.#keys = keys;
    if (this.#tops.length !== keys.length + 1) this.#tops = new Float64Array(keys.length + 1);
    let top = 0;
    for (let index = 0; index < keys.length; index += 1) {
      this.#tops[index] = top;
      top += this.#measured.get(keys[index]!) ?? guess(index);
    }
    this.#tops[keys.length] = top;
  }

  isNews(key: string, height: number): boolean {
    const known = this.#measured.get(key);
    return known === undefined || Math.abs(known - height) >= 0.5;
  }

  /** A row's real height. True if that is news. */
  measure(key: string, height: number): boolean {
    const isNews = this.isNews(key, height);
    if (isNews) this.#measured.set(key, height);
    return isNews;
  }

  /** The width changed: what was measured holds no longer. */
  forget(): void {
    this.#measured.clear();
  }

  get total(): number {
    return this.#tops[this.#keys.length] ?? 0;
  }

  top(index: number): number {
    return this.#tops[Math.max(0, Math.min(index, this.#keys.length))] ?? 0;
  }

  /** The row at a height, counted from the top. */
  at(offset: number): number {
    let low = 0;
    let high = Math.max(0, this.#keys.length - 1);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#tops[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
