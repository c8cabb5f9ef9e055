// What both Node libraries are asked to do through codis-proxy; each brings its own way of saying it.

import assert from "node:assert/strict";

/** Runs the steps one after the other; ends the program with status 1 at the first that fails. */
export async function run(steps) {
  for (const [name, step] of Object.entries(steps)) {
    await step();
    console.log("ok", name);
  }
}

/** The numbers below `n`. */
export const upTo = (n) => [...Array(n).keys()];

/** Waits until `done()` holds. */
export async function until(done, what) {
  const end = Date.now() + 20_000;
  while (!done()) {
    assert.ok(Date.now() < end, what);
    await new Promise((next) => setTimeout(next, 2));
  }
}
