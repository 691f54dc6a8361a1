// SPDX-License-Identifier: LGPL-2.1-or-later
// The client against real services on a simulated host.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Bus, CallError, Client, Guest, Ops, PowerState, Role, Subscriber, TaskState }
  from "../lib/index.js";
import { NO_PROGRAMS, System, freePort } from "./system.js";
import { until } from "./peers.js";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const options = { skip: NO_PROGRAMS };
const CONFIG = { type: "VM_TYPE_PVH", vcpus: 1, memoryKib: 131072n, kernel: "/boot/vmlinuz" };
const WAIT = { timeoutMs: 60000 };

function clientOf(t, where, name = "ops") {
  const client = new Client(where.rpc(name), { client: "node-test/1", timeoutMs: 60000 });
  t.after(() => client.close());
  return client;
}

function follow(t, where, prefixes, name = "ops") {
  const subscriber = new Subscriber(where.pub(name), where.rpc(name), prefixes);
  t.after(() => subscriber.close());
  const states = new Map();
  const story = [];
  subscriber.on("change", (change) => {
    story.push(change.what);
    if (change.what === "state") {
      states.set(change.topic, change.event);
    } else if (change.what === "removed") {
      states.delete(change.topic);
    }
  });
  subscriber.start();
  return { subscriber, states, story };
}

async function finished(ops, task) {
  const done = await ops.waitTask({ id: task.id });
  assert.equal(done.state, TaskState.TASK_STATE_DONE, done.error?.message);
  return done;
}

test("services: the life of a VM, and its events", options, async (t) => {
  const system = await new System(t).start();
  const ops = new Ops(clientOf(t, system.where));
  const { states } = follow(t, system.where, ["vm/"]);
  const { vm, warnings } = await ops.defineVm({ config: { ...CONFIG, name: "web" } });
  assert.deepEqual([vm.name, vm.powerState, vm.domid, vm.config.memoryKib, warnings],
    ["web", PowerState.POWER_STATE_HALTED, -1, 131072n, []]);
  const topic = `vm/${vm.uuid}/state`;
  await finished(ops, await ops.startVm({ vm: "web" }));
  await until(() => states.get(topic)?.vmState.powerState === PowerState.POWER_STATE_RUNNING,
    "its event says that it runs");
  const running = await ops.getVm({ vm: "web" });
  assert.ok(running.startedNs > 1600000000000000000n);
  await finished(ops, await ops.destroyVm({ vm: vm.uuid }));
  assert.equal((await ops.undefineVm({ vm: vm.uuid })).uuid, vm.uuid);
  await until(() => !states.has(topic), "its event says that it is no more");
});

test("services: errors come with their code", options, async (t) => {
  const system = await new System(t).start();
  const ops = new Ops(clientOf(t, system.where));
  const codeOf = async (promise) => promise.then(() => assert.fail("no error"), (error) => {
    assert.ok(error instanceof CallError, error.stack);
    assert.equal(error.remote, true);
    return error.codeName;
  });
  assert.equal(await codeOf(ops.getVm({ vm: "nobody" })), "NOT_FOUND");
  assert.equal(await codeOf(ops.getVm({})), "INVALID_ARGUMENT");
  assert.equal(await codeOf(ops.startVm({ vm: "sim0001" })), "FAILED_PRECONDITION");
  assert.equal(await codeOf(ops.client.call("Metrics/Query", { owner: "host" })), "UNIMPLEMENTED");
  assert.equal(await codeOf(ops.client.callRaw("xenmesh.v1.Ops/GetVm", Buffer.from([255]))),
    "INVALID_ARGUMENT");
  const requestId = Buffer.alloc(16, 9);
  const dryRun = { config: { ...CONFIG, name: "dry" }, dryRun: true };
  await ops.defineVm(dryRun, { requestId });
  assert.equal(await codeOf(ops.defineVm({ ...dryRun, replace: true }, { requestId })),
    "INVALID_ARGUMENT");
});

test("services: what Describe tells is what this package knows", options, async (t) => {
  const system = await new System(t).start();
  const client = clientOf(t, system.where);
  const told = await new Bus(client).describe({ withDescriptors: true });
  assert.equal(told.service, "ops");
  assert.ok(told.descriptors.length > 1000);
  assert.ok(told.methods.some(({ name, role, mutating }) => name === "xenmesh.v1.Ops/StartVm" &&
    role === Role.ROLE_OPERATOR && mutating));
  for (const { name } of told.methods) {
    const [, service, method] = /^xenmesh\.v1\.(\w+)\/(\w+)$/.exec(name);
    const classes = { Bus, Ops };
    assert.equal(typeof classes[service].prototype[method[0].toLowerCase() + method.slice(1)],
      "function", name);
  }
});

test("services: ops is killed again and again, every VM is defined exactly once", options,
  async (t) => {
    const system = await new System(t, { vms: 0 }).start();
    const ops = new Ops(clientOf(t, system.where));
    const { subscriber, states, story } = follow(t, system.where, ["vm/"]);
    const names = Array.from({ length: 40 }, (_, i) => `vm${i}`);
    const defined = Promise.all(names.map((name) =>
      ops.defineVm({ config: { ...CONFIG, name } }, { timeoutMs: 120000 })));
    for (let round = 0; round < 4; round++) {
      await until(() => story.includes("state"), "an event");
      story.length = 0;
      await system.services.get("ops").kill("SIGKILL");
      system.services.get("ops").start();
      await until(() => story.includes("resynced"), "a new snapshot");
    }
    const replies = await defined;
    assert.deepEqual(replies.map(({ vm }) => vm.name), names);
    const { vms } = await ops.listVms();
    const managed = vms.filter((vm) => vm.managed);
    assert.equal(managed.length, 40);
    await until(() => subscriber.isSynced && managed.every((vm) =>
      states.get(`vm/${vm.uuid}/state`)?.vmState.name === vm.name), "the events say the same");
  });

test("services: a subscriber that sleeps has the same states in the end", options, async (t) => {
  const system = await new System(t, { vms: 3 }).start();
  const ops = new Ops(clientOf(t, system.where));
  const subscriber = new Subscriber(system.where.pub("ops"), system.where.rpc("ops"), ["vm/"]);
  t.after(() => subscriber.close());
  const states = new Map();
  let hasWork = true;
  const loop = (async () => {
    for await (const change of subscriber) {
      if (change.what === "state") {
        states.set(change.topic, change.event.vmState.powerState);
      } else if (change.what === "removed") {
        states.delete(change.topic);
      }
      if (hasWork) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  })();
  for (let i = 0; i < 20; i++) {
    const { vm } = await ops.defineVm({ config: { ...CONFIG, name: `busy${i}` } });
    await finished(ops, await ops.startVm({ vm: vm.uuid }));
    if (i % 2) {
      await finished(ops, await ops.destroyVm({ vm: vm.uuid }));
    }
  }
  hasWork = false;
  const { vms } = await ops.listVms();
  assert.equal(vms.length, 24);
  await until(() => vms.every((vm) => states.get(`vm/${vm.uuid}/state`) === vm.powerState),
    "the same power states");
  subscriber.close();
  await loop;
});

test("services: over plain TCP one reads and cannot change", options, async (t) => {
  const [pub, rpc] = [await freePort(), await freePort()];
  const urls = `pub = ipc://@run@/ops/pub tcp://127.0.0.1:${pub}\n` +
    `rpc = ipc://@run@/ops/rpc tcp://127.0.0.1:${rpc}\n`;
  const far = `[host far]\nops.pub = tcp://127.0.0.1:${pub}\nops.rpc = tcp://127.0.0.1:${rpc}\n`;
  const system = await new System(t, { more: `[service ops]\n${urls}${far}` }).start();
  const { where } = system;
  const ops = new Ops(clientOf(t, where, "far/ops"));
  assert.equal((await ops.listVms()).vms.length, 3);
  const refused = await ops.destroyVm({ vm: "sim0001" }).catch((error) => error);
  assert.equal(refused.codeName, "PERMISSION_DENIED");
  const { states, subscriber } = follow(t, where, ["vm/"], "far/ops");
  await until(() => subscriber.isSynced, "synced over TCP");
  assert.equal(states.size, 3);
});

test("services: a call leaves its trace, with its traceparent", options, async (t) => {
  const system = await new System(t).start();
  const client = clientOf(t, system.where);
  const { states, subscriber, story } = follow(t, system.where, ["trace/"]);
  await until(() => subscriber.isSynced, "synced");
  const { topic } = await new Bus(client).setTrace({ seconds: 600 });
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  await client.call("Ops/ListVms", {}, { traceparent });
  await until(() => states.get(topic)?.rpcTrace.method === "xenmesh.v1.Ops/ListVms", "its trace");
  assert.equal(states.get(topic).rpcTrace.traceparent, traceparent);
  assert.equal(states.get(topic).rpcTrace.caller, undefined);
  assert.equal(story.includes("gap"), false);
});

test("services: guests, whose words are bytes", options, async (t) => {
  const system = await new System(t, { services: ["simhost", "ops", "agent-bridge"] }).start();
  const guests = new Guest(clientOf(t, system.where, "agent-bridge"));
  const ops = new Ops(clientOf(t, system.where));
  const { vm } = await ops.defineVm({ config: { ...CONFIG, name: "talks", vifs: [{ devid: 0 }] } });
  await finished(ops, await ops.startVm({ vm: vm.uuid }));
  const guest = await until(async () => {
    const found = await guests.getGuest({ vm: vm.uuid }, WAIT).catch((error) => {
      assert.equal(error.codeName, "NOT_FOUND");
    });
    return found?.hostname.length > 0 && found;
  }, "its agent has reported");
  assert.ok(Buffer.isBuffer(guest.hostname));
  assert.equal(guest.hostname.toString(), "talks");
});

test("services: the example runs", options, async (t) => {
  const system = await new System(t).start();
  const { stdout } = await promisify(execFile)(process.execPath,
    [path.join(HERE, "../example.js"), "sim0001"],
    { env: { ...process.env, XENMESH_TOPOLOGY: system.file }, timeout: 60000 });
  assert.match(stdout, /sim0001 +running/);
  assert.match(stdout, /PauseVm sim0001: done/);
  assert.match(stdout, /sim0001 is paused/);
});
