// Code in colours. Loaded with the first block of code that is shown: it is a third as heavy as all the rest of the page.

import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import cpp from "highlight.js/lib/languages/cpp";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

const LANGUAGES = { bash, cpp, diff, go, ini, java, javascript, json, python, rust, sql, typescript, xml, yaml };
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#x27": "'" };

/** A text cut into pieces, each with the names of what it is; null if the language is not known here. They make up the text again. */
export function pieces(text: string, language: string): { text: string; kinds: string[] }[] | null {
  if (!hljs.getLanguage(language)) return null;
  const made: { text: string; kinds: string[] }[] = [];
  const kinds: string[] = [];
  // What comes back is HTML of two kinds of tags and five entities. It is taken apart here, so that the page only ever sets text.
  for (const [tag, name] of hljs.highlight(text, { language, ignoreIllegals: true }).value.matchAll(/<span class="([^"]*)">|<\/span>|[^<]+/g)) {
    if (name !== undefined) kinds.push(name);
    else if (tag === "</span>") kinds.pop();
    else made.push({ text: tag.replace(/&(amp|lt|gt|quot|#x27);/g, (_, entity: string) => ENTITIES[entity]!), kinds: kinds.flatMap((kind) => kind.split(" ")) });
  }
  return made;
}
