// SPDX-License-Identifier: LGPL-2.1-or-later
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { getEventListeners, once } from "node:events";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import { encode } from "../lib/codec.js";
import { handshake } from "../lib/frames.js";
import { Bus, CallError, Client, Code, Ops } from "../lib/index.js";
import { messageType } from "../lib/messages.js";
import { RpcPeer, directoryOf, requestOf, until } from "./peers.js";

const LONG = { timeoutMs: 60000 };
const ECHO = (call, respond) => respond({ output: { echo: requestOf(call).echo } });
const echo = (number) => ({ echo: Buffer.from(String(number)) });

async function serve(t, answer, { client, ...options } = {}) {
  const socket = path.join(directoryOf(t), "rpc");
  const service = new RpcPeer(answer, options);
  await service.listen(t, socket);
  const made = new Client(`ipc://${socket}`, client);
  t.after(() => made.close());
  return { service, socket, client: made, bus: new Bus(made), ops: new Ops(made) };
}

const rejects = (promise, code, says = /./) => assert.rejects(promise, (error) => {
  assert.ok(error instanceof CallError, error.stack);
  assert.equal(error.codeName, code);
  assert.match(error.message, says);
  return true;
});

test("client: a call says what it should", async (t) => {
  const { service, client } = await serve(t, ECHO, { client: { client: "test/1" } });
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const { echo: came } = await client.call("Bus/Ping", echo(1), { timeoutMs: 7000, traceparent });
  assert.equal(came.toString(), "1");
  const [call] = service.calls;
  assert.deepEqual([call.method, call.client, call.traceparent, call.requestId.length],
    ["xenmesh.v1.Bus/Ping", "test/1", traceparent, 16]);
  assert.ok(call.timeoutMs > 2000 && call.timeoutMs <= 7000);
  assert.ok(call.number >= 0x80000000);
  await client.call("xenmesh.v1.Bus/Ping", echo(2));
  assert.notDeepEqual(service.calls[1].requestId, call.requestId);
  assert.notEqual(service.calls[1].number, call.number);
  assert.equal(service.nAccepted, 1);
});

test("client: over TCP there is no type byte", async (t) => {
  const service = new RpcPeer(ECHO, { isIpc: false });
  const { port } = await service.listen(t);
  const client = new Client(`tcp://127.0.0.1:${port}`);
  t.after(() => client.close());
  assert.equal((await client.call("Bus/Ping", echo("tcp"))).echo.toString(), "tcp");
});

test("client: answers in any order on one connection", async (t) => {
  const waiting = [];
  const { service, bus } = await serve(t, (call, respond) => {
    waiting.push(() => ECHO(call, respond));
    if (waiting.length === 40) {
      waiting.reverse().forEach((answer) => answer());
    }
  });
  const replies = await Promise.all(Array.from({ length: 40 }, (_, i) => bus.ping(echo(i), LONG)));
  replies.forEach((reply, i) => assert.equal(reply.echo.toString(), String(i)));
  assert.equal(service.nAccepted, 1);
});

test("client: no more than 64 without an answer, all are served", async (t) => {
  const waiting = [];
  let most = 0;
  const { bus } = await serve(t, (call, respond) => {
    waiting.push(() => ECHO(call, respond));
    most = Math.max(most, waiting.length);
    setImmediate(() => waiting.length >= 64 || waiting.length > 0 && waiting.shift()());
  });
  const calls = Promise.all(Array.from({ length: 500 }, (_, i) => bus.ping(echo(i), LONG)));
  await until(() => waiting.length === 64, "64 calls wait");
  const pump = setInterval(() => waiting.splice(0).forEach((answer) => answer()), 5);
  t.after(() => clearInterval(pump));
  assert.equal((await calls).length, 500);
  assert.equal(most, 64);
});

test("client: an error has its code, details and whether to repeat", async (t) => {
  const codes = [Code.NOT_FOUND, Code.UNAVAILABLE, 99];
  const { ops } = await serve(t, (call, respond) =>
    respond({ code: codes.shift(), message: "why it failed" }));
  const error = await ops.startVm({ vm: "web" }).catch((caught) => caught);
  assert.ok(error instanceof CallError);
  assert.deepEqual([error.code, error.codeName, error.reason, error.method, error.remote,
    error.retriable], [5, "NOT_FOUND", "why it failed", "xenmesh.v1.Ops/StartVm", true, false]);
  assert.equal(error.requestId.length, 16);
  const again = await ops.startVm({ vm: "web" }).catch((caught) => caught);
  assert.deepEqual([again.codeName, again.retriable], ["UNAVAILABLE", true]);
  const unknown = await ops.startVm({ vm: "web" }).catch((caught) => caught);
  assert.deepEqual([unknown.code, unknown.codeName, unknown.retriable], [99, "UNKNOWN", false]);
});

test("client: connections break, each call is executed exactly once", async (t) => {
  const executed = new Map(); // request id -> times
  const answers = new Map();
  let nBroken = 0;
  const { service, ops } = await serve(t, (call, respond, socket) => {
    const id = call.requestId.toString("hex");
    if (!answers.has(id)) {
      executed.set(id, (executed.get(id) ?? 0) + 1);
      answers.set(id, { method: call.method, payload: call.payload,
        output: { id: requestOf(call).vm } });
    }
    const known = answers.get(id);
    assert.equal(call.method, known.method);
    assert.deepEqual(call.payload, known.payload);
    // Before the answer, in the middle of it, or after it.
    if (nBroken < 6 && service.calls.length % 5 === 3) {
      nBroken++;
      if (nBroken % 3 === 1) {
        socket.end(Buffer.from([1, 0, 0, 0, 0]));
      } else if (nBroken % 3 === 2) {
        socket.destroy();
      } else {
        respond({ output: known.output });
        socket.end();
      }
      return;
    }
    respond({ output: known.output });
  });
  const replies = await Promise.all(Array.from({ length: 30 }, (_, i) =>
    ops.startVm({ vm: `vm${i}` }, LONG)));
  assert.deepEqual(replies.map((task) => task.id), Array.from({ length: 30 }, (_, i) => `vm${i}`));
  assert.equal(executed.size, 30);
  assert.ok([...executed.values()].every((times) => times === 1));
  assert.equal(nBroken, 6);
});

test("client: waits for a service that is not there yet", async (t) => {
  const socket = path.join(directoryOf(t), "rpc");
  const client = new Client(`ipc://${socket}`);
  t.after(() => client.close());
  const reply = client.call("Bus/Ping", echo("late"), LONG);
  await new Promise((resolve) => setTimeout(resolve, 300));
  await new RpcPeer(ECHO).listen(t, socket);
  assert.equal((await reply).echo.toString(), "late");
});

test("client: nobody there until the deadline is UNAVAILABLE", async (t) => {
  const client = new Client(`ipc://${directoryOf(t)}/rpc`);
  t.after(() => client.close());
  await rejects(client.call("Bus/Ping", {}, { timeoutMs: 5000 }), "UNAVAILABLE", /ENOENT/);
});

test("client: no answer until the deadline is DEADLINE_EXCEEDED, a late one is ignored",
  async (t) => {
    const late = [];
    const { service, bus, client } = await serve(t, (call, respond) => {
      late.push(() => ECHO(call, respond));
      if (service.calls.length !== 2) {
        late.splice(0).forEach((answer) => answer());
      }
    });
    await bus.ping(echo("connected"), LONG);
    const error = await bus.ping(echo("a"), { timeoutMs: 200 }).catch((caught) => caught);
    assert.deepEqual([error.codeName, error.remote, error.retriable],
      ["DEADLINE_EXCEEDED", false, true]);
    assert.equal((await bus.ping(echo("b"), LONG)).echo.toString(), "b");
    assert.equal(service.nAccepted, 1);
    await client.call("Bus/Ping", echo("a"), { requestId: error.requestId });
    assert.deepEqual(service.calls[3].requestId, service.calls[1].requestId);
  });

test("client: a service that stays silent after a deadline is dialled again", async (t) => {
  const { service, bus } = await serve(t, (call, respond) => {
    if (service.nAccepted > 1) {
      ECHO(call, respond);
    }
  });
  const long = bus.ping(echo("long"), LONG);
  await until(() => service.calls.length === 1, "the first call is sent");
  await rejects(bus.ping(echo("short"), { timeoutMs: 100 }), "DEADLINE_EXCEEDED");
  assert.equal((await long).echo.toString(), "long");
  assert.equal(service.nAccepted, 2);
});

test("client: AbortSignal gives a call up, whenever", async (t) => {
  const { service, bus } = await serve(t, (call, respond) =>
    requestOf(call).echo.toString() === "hang" || ECHO(call, respond));
  const before = AbortSignal.abort("too late");
  const error = await bus.ping(echo(1), { signal: before }).catch((caught) => caught);
  assert.deepEqual([error.codeName, error.cause, service.calls.length],
    ["CANCELLED", "too late", 0]);
  const controller = new AbortController();
  const hanging = bus.ping(echo("hang"), { signal: controller.signal });
  await until(() => service.calls.length === 1, "the call is sent");
  controller.abort();
  await rejects(hanging, "CANCELLED", /may have been executed/);
  assert.equal((await bus.ping(echo("on"), LONG)).echo.toString(), "on");
  const late = new AbortController();
  assert.equal((await bus.ping(echo(2), { signal: late.signal })).echo.toString(), "2");
  assert.equal(getEventListeners(late.signal, "abort").length, 0);
  late.abort();
});

test("client: calls given up do not block it for ever", async (t) => {
  const { service, bus } = await serve(t, (call, respond) =>
    requestOf(call).echo.toString() === "hang" || ECHO(call, respond));
  const controller = new AbortController();
  const hanging = Array.from({ length: 64 }, () =>
    bus.ping(echo("hang"), { signal: controller.signal, ...LONG }));
  await until(() => service.calls.length === 64, "all places are taken");
  const next = bus.ping(echo("next"), LONG);
  controller.abort();
  await Promise.all(hanging.map((call) => rejects(call, "CANCELLED")));
  assert.equal((await next).echo.toString(), "next");
  assert.equal(service.nAccepted, 2);
});

test("client: what comes from a broken service fails the call or the connection", async (t) => {
  const oversize = Buffer.concat([handshake(0x31), Buffer.from([1, 0, 0, 0, 0, 0, 0x40, 0, 5])]);
  const wrong = [
    (call, respond) => respond({ output: {}, requestId: Buffer.alloc(16) }),
    (call, respond, socket) => service.send(socket, Buffer.concat([numberOf(call),
      Buffer.from("ff", "hex")])),
    (call, respond, socket) => service.send(socket, Buffer.concat([numberOf(call),
      encode(messageType("Reply"), { requestId: call.requestId, payload: Buffer.from([255]) })])),
    (call, respond, socket) => socket.write(oversize.subarray(8)),
    (call, respond, socket) => socket.write(Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0])),
    (call, respond, socket) => {
      service.send(socket, Buffer.alloc(0));
      service.send(socket, Buffer.from("8000", "hex"));
      service.send(socket, Buffer.from("8000000000", "hex"));
      ECHO(call, respond);
    },
  ];
  const { service, bus } = await serve(t, (call, respond, socket) =>
    (wrong.shift() ?? ECHO)(call, respond, socket));
  await rejects(bus.ping(echo(1), LONG), "INTERNAL", /another request/);
  await rejects(bus.ping(echo(2), LONG), "INTERNAL", /cannot be read/);
  await rejects(bus.ping(echo(3), LONG), "INTERNAL", /cannot be read/);
  assert.equal(service.nAccepted, 1);
  assert.equal((await bus.ping(echo(4), LONG)).echo.toString(), "4");
  assert.equal(service.nAccepted, 3);
  assert.equal((await bus.ping(echo(5), LONG)).echo.toString(), "5");
  assert.equal(wrong.length, 0);
});

function numberOf(call) {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(call.number);
  return head;
}

test("client: a socket that speaks something else is told", async (t) => {
  const { bus } = await serve(t, ECHO, { greeting: Buffer.from("220 mail ready\r\n") });
  await rejects(bus.ping({}, { timeoutMs: 5000 }), "UNAVAILABLE", /right socket/);
});

test("client: a call above the limit is not sent", async (t) => {
  const { service, bus, ops } = await serve(t, ECHO);
  await rejects(ops.defineVm({ vmFile: Buffer.alloc(1 << 20) }), "INVALID_ARGUMENT", /1048576/);
  await rejects(ops.defineVm({ vmFile: Buffer.alloc((1 << 20) - 64) }), "INVALID_ARGUMENT");
  assert.equal((await bus.ping({ echo: Buffer.alloc((1 << 20) - 500) })).echo.length,
    (1 << 20) - 500);
  assert.equal(service.calls.length, 1);
});

test("client: wrong arguments are told before anything is sent", async (t) => {
  const { service, client } = await serve(t, ECHO);
  await assert.rejects(client.call("Ops/Nothing", {}), TypeError);
  await assert.rejects(client.call("Bus/Ping", { ehco: 1 }), TypeError);
  await assert.rejects(client.call("Bus/Ping", {}, { timeoutMs: 0 }), RangeError);
  await assert.rejects(client.call("Bus/Ping", {}, { timeoutMs: 3600001 }), RangeError);
  await assert.rejects(client.call("Bus/Ping", {}, { traceparent: "00-1-2-3" }), TypeError);
  await assert.rejects(client.call("Bus/Ping", {}, { requestId: Buffer.alloc(15) }), TypeError);
  for (const url of ["", "ops", "ipc://relative", "tcp://host", "tcp://host:0", "tcp://h:65536",
    "http://h:1", "tls+tcp://h:1", `ipc:///${"x".repeat(107)}`, "ipc:///a\0b"]) {
    assert.throws(() => new Client(url), TypeError, url);
  }
  assert.throws(() => new Client("tcp://h:1", { client: "x".repeat(129) }), RangeError);
  assert.equal(service.calls.length, 0);
});

test("client: close() ends all calls, none is taken after it", async (t) => {
  const { client, service } = await serve(t, () => {});
  const calls = [1, 2, 3].map((i) => client.call("Bus/Ping", echo(i)));
  await until(() => service.calls.length === 3, "the calls are sent");
  client.close();
  await Promise.all(calls.map((call) => rejects(call, "CANCELLED", /closed/)));
  await rejects(client.call("Bus/Ping"), "CANCELLED", /closed/);
});

test("client: a raw call needs no descriptor", async (t) => {
  const { client, service } = await serve(t, (call, respond, socket) =>
    service.send(socket, Buffer.concat([numberOf(call),
      encode(messageType("Reply"), { requestId: call.requestId, payload: call.payload })])));
  assert.equal((await client.callRaw("xenmesh.v1.New/Method", Buffer.from("abc"))).toString(),
    "abc");
  assert.equal(service.calls[0].method, "xenmesh.v1.New/Method");
});

test("client: an idle one does not keep the process", async (t) => {
  const { socket } = await serve(t, ECHO);
  const index = path.join(path.dirname(fileURLToPath(import.meta.url)), "../lib/index.js");
  const child = spawn(process.execPath, ["--input-type=module", "-e", `
    import { Client } from ${JSON.stringify(index)};
    const client = new Client("ipc://${socket}");
    const { echo } = await client.call("Bus/Ping", { echo: Buffer.from("bye") });
    const nobody = new Client("ipc://${socket}.missing").call("Bus/Ping", {}, { timeoutMs: 100 });
    process.stdout.write(echo + " " + await nobody.catch((error) => error.codeName));
  `], { stdio: ["ignore", "pipe", "inherit"] });
  const kill = setTimeout(() => child.kill(), 30000);
  let out = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  const [code] = await once(child, "exit");
  clearTimeout(kill);
  assert.deepEqual([out, code], ["bye UNAVAILABLE", 0]);
});
