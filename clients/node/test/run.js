#!/usr/bin/env node
// SPDX-License-Identifier: LGPL-2.1-or-later
// All tests, in the form that tests/run reads: node test/run.js [--bin DIRECTORY] [--only WORD]
// DIRECTORY has the programs of `make`; without it the tests against real services are skipped.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const HERE = path.dirname(fileURLToPath(import.meta.url));

function option(name) {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

// Left by the Makefile.
const skip = path.join(HERE, "../skip");
if (fs.existsSync(skip)) {
  console.log(`skip all: ${fs.readFileSync(skip, "utf8").trim()}\n0 passed, 0 failed`);
  process.exit(0);
}
const only = option("--only");
const bin = option("--bin");
const files = fs.readdirSync(HERE).filter((name) => name.endsWith(".test.js")).sort();
const result = spawnSync(process.execPath, [
  "--test", "--test-reporter", path.join(HERE, "reporter.js"), "--test-reporter-destination",
  "stdout", ...(only ? ["--test-name-pattern", only] : []),
  ...files.map((name) => path.join(HERE, name)),
], {
  stdio: ["ignore", "inherit", "inherit"],
  env: { ...process.env, ...(bin ? { XENMESH_BIN: path.resolve(bin) } : {}) },
});
process.exit(result.status ?? 1);
