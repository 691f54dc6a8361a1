// SPDX-License-Identifier: LGPL-2.1-or-later
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";

import { Topology, TopologyError } from "../lib/index.js";
import { directoryOf } from "./peers.js";

function write(t, text, dropIns = {}) {
  const directory = directoryOf(t);
  const file = path.join(directory, "mesh.conf");
  if (text !== null) {
    fs.writeFileSync(file, text);
  }
  fs.mkdirSync(path.join(directory, "mesh.d"));
  for (const [name, content] of Object.entries(dropIns)) {
    fs.writeFileSync(path.join(directory, "mesh.d", name), content);
  }
  return file;
}

test("topology: defaults", () => {
  const where = new Topology();
  assert.deepEqual(where.pub("ops"), { url: "ipc:///run/xenmesh/ops/pub" });
  assert.deepEqual(where.rpc("agent-bridge"), { url: "ipc:///run/xenmesh/agent-bridge/rpc" });
  assert.deepEqual(where.services, ["ops", "metrics", "agent-bridge"]);
  assert.equal(where.origin, "(defaults)");
});

test("topology: all that a file may say", (t) => {
  const file = write(t, `\ufeff# comment
; another
[bus]
  run_dir=/srv/@run ; where
engine = native
[service ops]
pub = ipc://@run@/o/pub\ttcp://127.0.0.1:7401
rpc = tcp://127.0.0.1:7402;not-a-comment
[service test-1]
pub = ipc:///a/pub
[host alpha]
ops.pub = tcp://alpha.example.net:7401
agent-bridge.rpc = tcp://[::1]:7402
[access]
observer = * ; everybody
[newer]
key = value
`);
  const where = Topology.load(file);
  assert.equal(where.runDir, "/srv/@run");
  assert.equal(where.origin, file);
  assert.equal(where.pub("ops").url, "ipc:///srv/@run/o/pub");
  assert.equal(where.rpc("ops").url, "tcp://127.0.0.1:7402;not-a-comment");
  assert.equal(where.pub("test-1").url, "ipc:///a/pub");
  assert.throws(() => where.rpc("test-1"), /no rpc of a service test-1/);
  assert.equal(where.pub("alpha/ops").url, "tcp://alpha.example.net:7401");
  assert.equal(where.rpc("alpha/agent-bridge").url, "tcp://[::1]:7402");
  assert.throws(() => where.rpc("alpha/ops"), TopologyError);
  assert.throws(() => where.pub("beta/ops"), /only of ops, /);
});

test("topology: drop-ins come in order, the last value counts", (t) => {
  const file = write(t, "[bus]\nrun_dir = /a\n[service ops]\npub = ipc://@run@/1\n", {
    "20.conf": "[service ops]\npub = ipc://@run@/3\n",
    "10.conf": "[service ops]\npub = ipc://@run@/2\nrpc = ipc://@run@/r\n",
    "30.conf": "[bus]\nrun_dir = /b\n",
    ".40.conf": "[service hidden]\npub = ipc:///hidden\n",
    "50.conf.bak": "[bus]\nrun_dir = /backup\n",
  });
  const where = Topology.load(file);
  assert.equal(where.pub("ops").url, "ipc:///b/3");
  assert.equal(where.rpc("ops").url, "ipc:///b/r");
  assert.equal(where.services.includes("hidden"), false);
});

test("topology: the environment names the file, which must be there", (t) => {
  const file = write(t, "[bus]\nrun_dir = /from-env\n");
  const before = process.env.XENMESH_TOPOLOGY;
  t.after(() => {
    delete process.env.XENMESH_TOPOLOGY;
    if (before !== undefined) {
      process.env.XENMESH_TOPOLOGY = before;
    }
  });
  process.env.XENMESH_TOPOLOGY = file;
  assert.equal(Topology.load().runDir, "/from-env");
  process.env.XENMESH_TOPOLOGY = `${file}.missing`;
  assert.throws(() => Topology.load(), /missing: cannot be read/);
});

test("topology: mistakes are told with file and line", (t) => {
  for (const [text, says] of [
    ["[bus]\nrun_dir\n", /mesh\.conf:2: neither/],
    ["[bus\n", /mesh\.conf:1: neither/],
    ["= x\n", /mesh\.conf:1: neither/],
    ["\n[bus]\nrun_dir = var/run\n", /mesh\.conf:3: .*absolute/],
    ["[service a b]\npub = ipc:///x\n", /mesh\.conf:2: a b is no name/],
    ["[service ../x]\npub = ipc:///x\n", /no name of a service/],
    ["x".repeat(1 << 21), /longer than/],
  ]) {
    assert.throws(() => Topology.load(write(t, text)), (error) =>
      error instanceof TopologyError && says.test(error.message));
  }
});

test("topology: TLS needs its files", (t) => {
  const directory = directoryOf(t);
  const remote = "[host b]\nops.rpc = tls+tcp://b.example.net:7402\n";
  const none = Topology.load(write(t, remote));
  assert.throws(() => none.rpc("b/ops"), /needs ca, cert and key in section \[tls\]/);
  const pem = path.join(directory, "x.pem");
  const tls = `[tls]\nca = ${pem}\ncert = ${pem}\nkey = ${pem}\n`;
  assert.throws(() => Topology.load(write(t, remote + tls)).rpc("b/ops"),
    /\[tls\] ca .*x\.pem: cannot be read/);
  fs.writeFileSync(pem, "no certificate");
  assert.throws(() => Topology.load(write(t, remote + tls)).rpc("b/ops"),
    /\[tls\] cert .*no certificate/);
});
