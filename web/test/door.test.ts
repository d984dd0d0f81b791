// What a link brings along, and what is made of names that are looked for.

import assert from "node:assert/strict";
import { test } from "node:test";
import { justBefore } from "../src/prefix.ts";
import { readDoorKey } from "../src/door_key.ts";

test("an invitation and a link to a new password are read from an address, and nothing else is", () => {
  const token = "0123456789abcdef";
  assert.deepEqual(readDoorKey(`#invite=${token}`), { kind: "invite", token });
  assert.deepEqual(readDoorKey(`#reset=${token}`), { kind: "reset", token });
  for (const hash of ["", "#", "#invite=", `#admin=${token}`, `#invite=${token}&more`, `#invite=<b>${token}`, `#x#invite=${token}`]) assert.equal(readDoorKey(hash), null, hash);
});

test("names that begin with something are found in an ordered list by the name that stands before them all", () => {
  const names = ["kim", "kil-", "kil9", "kilz", "kim-", "kim2", "kimberly", "kin", "ab-", "ab-c", "ab0", "zed", "abc"].sort();
  const firstAfter = (after: string | null) => names.find((name) => after === null || name > after);
  for (const prefix of ["kim", "kil", "ab-", "kin", "z", "kimb", "a"]) {
    assert.equal(firstAfter(justBefore(prefix, 32)), names.find((name) => name.startsWith(prefix)), prefix);
  }
  assert.deepEqual([justBefore("", 32), justBefore("é", 32)], [null, null]);
  assert.match(justBefore("kim", 32)!, /^[a-z0-9_-]{3,32}$/);
});
