// SPDX-License-Identifier: LGPL-2.1-or-later
// The declarations are TypeScript, and say what the code does.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import * as client from "../lib/index.js";

const HERE = path.dirname(fileURLToPath(import.meta.url));

test("types: a program that uses everything is checked by tsc", () => {
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  const result = spawnSync(process.execPath, [tsc, "-p", path.join(HERE, "types")],
    { encoding: "utf8", timeout: 120000 });
  assert.equal(result.stdout + result.stderr, "");
  assert.equal(result.status, 0);
});

test("types: every declared class and constant is there", () => {
  assert.deepEqual(Object.keys(client).sort(), ["Action", "Bus", "CallError", "Client", "Code",
    "ConsolidationFunction", "Guest", "Metrics", "Ops", "PowerState", "ProtocolError", "Role",
    "ShutdownReason", "Subscriber", "TaskState", "Topology", "TopologyError", "VmType",
    "codeName"]);
  assert.equal(client.PowerState.POWER_STATE_RUNNING, 2);
  assert.equal(client.PowerState[2], "POWER_STATE_RUNNING");
  assert.equal(client.codeName(14), "UNAVAILABLE");
});
