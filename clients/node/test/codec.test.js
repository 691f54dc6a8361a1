// SPDX-License-Identifier: LGPL-2.1-or-later
import assert from "node:assert/strict";
import test from "node:test";

import { decode, encode } from "../lib/codec.js";
import { ProtocolError } from "../lib/errors.js";
import { messageType } from "../lib/messages.js";

const type = messageType;
const roundTrip = (name, object) => decode(type(name), encode(type(name), object));

test("codec: what is not given has its default", () => {
  const vm = roundTrip("VmState", {});
  assert.deepEqual([vm.uuid, vm.managed, vm.domid, vm.memoryKib, vm.vifs, vm.config],
    ["", false, 0, 0n, [], undefined]);
  assert.equal(encode(type("VmState"), { uuid: "", domid: 0, memoryKib: 0n, managed: false,
    vifs: [], config: undefined, lastError: null }).length, 0);
  assert.deepEqual(roundTrip("PingRequest", {}), { echo: Buffer.alloc(0) });
});

test("codec: 64 bits, signs and floats are exact", () => {
  const max = (1n << 64n) - 1n;
  const sample = roundTrip("HostSample", { monotonicNs: max, freeMemoryKib: max, loadAverage: -0 });
  assert.equal(sample.monotonicNs, max);
  assert.equal(sample.freeMemoryKib, max);
  assert.ok(Object.is(sample.loadAverage, -0));
  const limit = 1n << 63n;
  assert.deepEqual(roundTrip("QueryRequest", { startS: -limit, endS: limit - 1n }),
    { ...roundTrip("QueryRequest", {}), startS: -limit, endS: limit - 1n });
  assert.equal(roundTrip("QueryRequest", { startS: -600 }).startS, -600n);
  assert.equal(roundTrip("VmState", { domid: -1 }).domid, -1);
  const values = [NaN, Infinity, -Infinity, 0.1, 0];
  assert.deepEqual(roundTrip("Series", { values }).values, values);
});

test("codec: the bytes are those that protobufjs makes", () => {
  const objects = {
    Event: { instance: Buffer.alloc(16, 7), seq: 9n, prevSeq: 8n, topic: "vm/x/state", timeNs: 77n,
      vmState: { uuid: "x", domid: -1, type: 2, vifs: [{ devid: 1, mac: "m" }, {}],
        config: { vcpus: 4, memoryKib: 1n << 40n } } },
    QueryReply: { startS: -5n, stepS: 5, rows: 2, series: [{ name: "a", values: [1, 2.5] }] },
    Call: { requestId: Buffer.alloc(16, 1), method: "a/b", timeoutMs: 4000000000 },
  };
  for (const [name, object] of Object.entries(objects)) {
    const theirs = type(name).encode(type(name).fromObject(object)).finish();
    assert.deepEqual(encode(type(name), object), Buffer.from(theirs));
    assert.deepEqual(encode(type(name), decode(type(name), theirs)), Buffer.from(theirs));
  }
});

test("codec: a member of a oneof counts though it is empty", () => {
  const sent = roundTrip("DefineVmRequest", { vmFile: Buffer.alloc(0) });
  assert.deepEqual(sent.vmFile, Buffer.alloc(0));
  assert.equal("config" in sent, false);
  assert.throws(() => encode(type("DefineVmRequest"), { vmFile: Buffer.from("a"), config: {} }),
    /vmFile is given already/);
});

test("codec: enums by name or number", () => {
  assert.equal(roundTrip("VmConfig", { type: "VM_TYPE_PVH" }).type, 2);
  assert.equal(roundTrip("VmConfig", { type: 77 }).type, 77);
  assert.throws(() => encode(type("VmConfig"), { type: "PVH" }), /VM_TYPE_PVH/);
});

test("codec: what is wrong in a request is named", () => {
  const wrong = [
    [{ nmae: "x" }, /VmConfig\.nmae.* no such field/],
    [{ name: 7 }, /VmConfig\.name is 7, not a string/],
    [{ vcpus: -1 }, /VmConfig\.vcpus/],
    [{ vcpus: 1.5 }, /VmConfig\.vcpus/],
    [{ vcpus: 4294967296 }, /VmConfig\.vcpus/],
    [{ memoryKib: -1n }, /VmConfig\.memoryKib/],
    [{ memoryKib: 1n << 64n }, /VmConfig\.memoryKib/],
    [{ memoryKib: 2 ** 60 }, /VmConfig\.memoryKib/],
    [{ vifs: {} }, /VmConfig\.vifs .*an array/],
    [{ vifs: [{}, { devid: "1" }] }, /VmConfig\.vifs\[1\]\.devid/],
    [{ __proto__: null, constructor: 1 }, /no such field/],
    [null, /VmConfig is null/],
  ];
  for (const [object, says] of wrong) {
    assert.throws(() => encode(type("VmConfig"), object),
      (error) => error instanceof TypeError && says.test(error.message));
  }
  assert.throws(() => encode(type("PingRequest"), { echo: "text" }), /Buffer or Uint8Array/);
});

test("codec: unknown fields and wire types are skipped", () => {
  const bytes = Buffer.from("f23f03616263" + "0a02" + "6869" + "18a001" + "0801", "hex");
  assert.deepEqual(decode(type("PingRequest"), bytes), { echo: Buffer.from("hi") });
});

test("codec: numbers are read packed and one by one", () => {
  const one = Buffer.alloc(8);
  one.writeDoubleLE(1.5);
  const tagged = Buffer.concat([Buffer.from([0x19]), one]);
  const packed = Buffer.concat([Buffer.from([0x1a, 8]), one]);
  assert.deepEqual(decode(type("Series"), Buffer.concat([tagged, packed])).values, [1.5, 1.5]);
});

test("codec: damaged bytes are a ProtocolError", () => {
  const good = encode(type("Event"), { instance: Buffer.alloc(16), topic: "vm/a", seq: 300n,
    vmState: { uuid: "u", vifs: [{ mac: "m" }] } });
  for (let length = 1; length < good.length; length++) {
    try {
      decode(type("Event"), good.subarray(0, length));
    } catch (error) {
      assert.ok(error instanceof ProtocolError, error.stack);
    }
  }
  // A message that reaches beyond the one it is in; a group; field 0.
  for (const text of ["aa01050a0475757575" + "ff", "92010462040a01", "0b", "00",
    "ffffffffffffffff"]) {
    assert.throws(() => decode(type("Event"), Buffer.from(text, "hex")), ProtocolError);
  }
});

test("codec: random bytes are read or refused, nothing else", () => {
  let state = 12345;
  const random = () => (state = Math.imul(state, 1103515245) + 12345 >>> 0) >>> 16 & 0xff;
  let nRead = 0;
  for (let i = 0; i < 20000; i++) {
    const bytes = Buffer.from({ length: 1 + i % 40 }, random);
    try {
      decode(type("Event"), bytes);
      nRead++;
    } catch (error) {
      assert.ok(error instanceof ProtocolError, error.stack);
    }
  }
  assert.ok(nRead > 0 && nRead < 20000);
});

test("codec: a body that unfolds to very many messages is refused", () => {
  const bomb = Buffer.alloc(4 << 20);
  for (let i = 0; i < bomb.length; i += 2) {
    bomb[i] = 0x1a; // ChangesReply.events, empty
  }
  assert.throws(() => decode(type("ChangesReply"), bomb), ProtocolError);
});
