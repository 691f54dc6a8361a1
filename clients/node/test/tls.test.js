// SPDX-License-Identifier: LGPL-2.1-or-later
// tls+tcp:// against a real service, with certificates of `xenmesh bus pki`.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";

import { CallError, Client, Ops, Subscriber, Topology, TopologyError } from "../lib/index.js";
import { directoryOf, until } from "./peers.js";
import { BIN, NO_PROGRAMS, System, freePort } from "./system.js";

const NO_OPENSSL = spawnSync("openssl", ["version"]).status === 0 ? false
  : "openssl, which makes the certificates, is not installed";
const options = { skip: NO_PROGRAMS || NO_OPENSSL };
const WAIT = { timeoutMs: 60000 };

class Pki {
  constructor(t, name) {
    this.directory = path.join(directoryOf(t), "pki");
    this.run("init", "--name", name);
  }

  run(...args) {
    execFileSync(path.join(BIN, "xenmesh"), ["bus", "pki", ...args, "--dir", this.directory],
      { stdio: ["ignore", "pipe", "pipe"] });
  }

  issue(name, ...more) {
    this.run("issue", name, ...more);
    return this.section(name);
  }

  /** Text of [tls]. */
  section(name) {
    const inside = (file) => path.join(this.directory, name, file);
    return `[tls]\nca = ${inside("ca.crt")}\ncert = ${inside(`${name}.crt`)}\n` +
      `key = ${inside(`${name}.key`)}\ncrl = ${inside("crl.pem")}\n`;
  }
}

/** A system whose ops listens with TLS, and topologies that name it. */
async function scene(t) {
  const [pub, rpc] = [await freePort(), await freePort()];
  const pki = new Pki(t, "testing");
  const own = pki.issue("server", "--role", "operator", "--server", "--host", "127.0.0.1");
  const service = `[service ops]\npub = ipc://@run@/ops/pub tls+tcp://127.0.0.1:${pub}\n` +
    `rpc = ipc://@run@/ops/rpc tls+tcp://127.0.0.1:${rpc}\n`;
  const system = await new System(t, { more: service + own }).start();
  const directory = directoryOf(t);
  const where = (tls, host = "127.0.0.1") => {
    const file = path.join(directory, "client.conf");
    fs.writeFileSync(file, `[host far]\nops.pub = tls+tcp://${host}:${pub}\n` +
      `ops.rpc = tls+tcp://${host}:${rpc}\n${tls}`);
    return Topology.load(file);
  };
  const ops = (topology) => {
    const client = new Client(topology.rpc("far/ops"));
    t.after(() => client.close());
    return new Ops(client);
  };
  return { pki, system, where, ops };
}

test("tls: the role is that of the certificate", options, async (t) => {
  const { pki, where, ops } = await scene(t);
  const observer = ops(where(pki.issue("viewer", "--role", "observer")));
  assert.equal((await observer.listVms({}, WAIT)).vms.length, 3);
  const refused = await observer.pauseVm({ vm: "sim0001" }, WAIT).catch((error) => error);
  assert.equal(refused.codeName, "PERMISSION_DENIED");
  const operator = ops(where(pki.issue("worker", "--role", "operator")));
  const task = await operator.pauseVm({ vm: "sim0001" }, WAIT);
  assert.equal((await operator.waitTask({ id: task.id }, WAIT)).error, undefined);
});

test("tls: events come, also after the service was killed", options, async (t) => {
  const { pki, system, where, ops } = await scene(t);
  const topology = where(pki.issue("viewer", "--role", "operator"));
  const subscriber = new Subscriber(topology.pub("far/ops"), topology.rpc("far/ops"), ["vm/"]);
  t.after(() => subscriber.close());
  let nSynced = 0;
  const paused = new Set();
  subscriber.on("resynced", () => nSynced++);
  subscriber.on("state", ({ event }) => {
    if (event.vmState.powerState === 3) {
      paused.add(event.vmState.name);
    }
  });
  subscriber.start();
  await until(() => nSynced > 0, "a snapshot");
  await system.services.get("ops").kill("SIGKILL");
  const before = nSynced;
  system.services.get("ops").start();
  await until(() => nSynced > before, "another snapshot");
  await system.knowsHost();
  await ops(topology).pauseVm({ vm: "sim0002" }, WAIT);
  await until(() => paused.has("sim0002"), "the event of the change");
});

test("tls: strangers are refused, and it is said why", options, async (t) => {
  const { pki, where, ops } = await scene(t);
  const good = pki.issue("viewer", "--role", "observer");
  const stranger = new Pki(t, "another").issue("viewer", "--role", "admin");
  const refused = async (client, says) => {
    const error = await client.listVms({}, { timeoutMs: 5000 }).catch((caught) => caught);
    assert.ok(error instanceof CallError, String(error));
    assert.match(error.message, says);
    assert.equal(error.codeName, "UNAVAILABLE");
  };
  // It trusts our authority, we have none of its certificates.
  const mixed = stranger.replace(/ca = .*/, /ca = .*/.exec(good)[0]).replace(/crl = .*\n/, "");
  await Promise.all([
    refused(ops(where(stranger)), /self.signed certificate|unable to|CRL/i),
    refused(ops(where(good, "localhost")), /does not match|altnames/i),
    refused(ops(where(mixed)), /alert|closed|reset|EPIPE/i),
  ]);
  assert.equal((await ops(where(good)).listVms({}, WAIT)).vms.length, 3);
});

test("tls: a service's certificate that was taken back is refused", options, async (t) => {
  const { pki, where, ops } = await scene(t);
  const section = pki.issue("viewer", "--role", "observer");
  assert.equal((await ops(where(section)).listVms({}, WAIT)).vms.length, 3);
  pki.run("revoke", "server");
  fs.copyFileSync(path.join(pki.directory, "crl.pem"),
    path.join(pki.directory, "viewer", "crl.pem"));
  const error = await ops(where(section)).listVms({}, { timeoutMs: 5000 }).catch((e) => e);
  assert.match(error.message, /revoked/);
});

test("tls: a key that others may use is refused", options, async (t) => {
  const pki = new Pki(t, "testing");
  const file = path.join(directoryOf(t), "client.conf");
  fs.writeFileSync(file, "[host far]\nops.rpc = tls+tcp://127.0.0.1:1\n" +
    pki.issue("viewer", "--role", "observer"));
  const where = Topology.load(file);
  assert.equal(where.rpc("far/ops").url, "tls+tcp://127.0.0.1:1");
  fs.chmodSync(path.join(pki.directory, "viewer/viewer.key"), 0o640);
  assert.throws(() => where.rpc("far/ops"), (error) => error instanceof TopologyError &&
    /chmod 600/.test(error.message));
});
