// Formulas, from what TeX writes to MathML. Loaded with the first formula that is shown.

/*! Temml | Copyright (c) 2020 Ron Kok; (c) 2013-2020 Khan Academy and other contributors | MIT License */

import temml from "temml";

/** Wider or higher is nothing that anybody means; and a formula may define itself only so often. */
const LIMITS = { maxSize: [40, 40] as [number, number], maxExpand: 500 };

/** What defines: a few characters that stand for a thousand, and are written a thousand times. Nobody needs it in a message. */
const DEFINES = /\\(?:[gex]?def|let|(?:re)?newcommand|providecommand)(?![a-zA-Z])/;
/** More than this is nothing to be read, and takes the browser long to lay out. */
const NODES_MAX = 5_000;

interface MathNode {
  attributes?: Record<string, string>;
  style?: Record<string, string>;
  children?: MathNode[];
  toNode(): Node;
}

/** What was read of each, since an answer that grows is made anew with every few words. */
const read = new Map<string, MathNode | null>();
const READ_MAX = 500;

/** Null where it is not understood, or is too much: it is shown as it was written. */
export function formula(tex: string, isDisplay: boolean): Node | null {
  const key = `${isDisplay} ${tex}`;
  if (read.size > READ_MAX) read.clear();
  if (!read.has(key)) read.set(key, treeOf(tex, isDisplay));
  return read.get(key)?.toNode() ?? null;
}

/** Exported for its test. */
export function treeOf(tex: string, isDisplay: boolean): MathNode | null {
  if (DEFINES.test(tex)) return null;
  try {
    // Its own macros each: no formula changes another.
    const tree: MathNode = temml.__renderToMathMLTree(tex, { displayMode: isDisplay, throwOnError: true, macros: {}, ...LIMITS });
    withoutStyleAttributes(tree);
    return count(tree) > NODES_MAX ? null : tree;
  } catch {
    return null;
  }
}

const count = ({ children = [] }: MathNode): number => children.reduce((sum, child) => sum + count(child), 1);

/** The page's policy lets styles be set one by one, but none be written into an attribute. */
function withoutStyleAttributes({ attributes, style, children }: MathNode): void {
  for (const [, name, value] of attributes?.style?.matchAll(/([a-z-]+): *([^;]+)/g) ?? []) style![name!] = value!;
  delete attributes?.style;
  children?.forEach(withoutStyleAttributes);
}
