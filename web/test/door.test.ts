// What a link brings along, and what is made of names that are looked for.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readDoorKey } from "../src/door_key.ts";

test("an invitation and a link to a new password are read from an address, and nothing else is", () => {
  const token = "0123456789abcdef";
  assert.deepEqual(readDoorKey(`#invite=${token}`), { kind: "invite", token });
  assert.deepEqual(readDoorKey(`#reset=${token}`), { kind: "reset", token });
  for (const hash of ["", "#", "#invite=", `#admin=${token}`, `#invite=${token}&more`, `#invite=<b>${token}`, `#x#invite=${token}`]) assert.equal(readDoorKey(hash), null, hash);
});
