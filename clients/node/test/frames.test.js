// SPDX-License-Identifier: LGPL-2.1-or-later
import assert from "node:assert/strict";
import test from "node:test";

import { decode, encode } from "../lib/codec.js";
import { ProtocolError } from "../lib/errors.js";
import { FrameReader, SP_PUB, SP_REP, SP_REQ, SP_SUB, frameHeader, handshake }
  from "../lib/frames.js";
import { messageType } from "../lib/messages.js";

const hex = (text) => Buffer.from(text.replace(/\s/g, ""), "hex");

// The examples of docs/protocol.md, section 8.
const ID = hex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
const INSTANCE = hex("0e07c9e529ad48dea3ff0c19ddb04dec");
const CALL = hex(`0053500000300000 01 000000000000003e 80000001
  0a10a0a1a2a3a4a5a6a7a8a9aaabacadaeaf121378656e6d6573682e76312e4275732f50696e67188827
  2205646f632f3132070a0568656c6c6f`);
const REPLY = hex(`0053500000310000 01 0000000000000037 80000001
  0a10a0a1a2a3a4a5a6a7a8a9aaabacadaeaf2a1f0a0568656c6c6f1204746573741a10
  0e07c9e529ad48dea3ff0c19ddb04dec`);
const EVENTS = hex(`0053500000200000 01 0000000000000045 6275732f68656172746265617400
  0a100e07c9e529ad48dea3ff0c19ddb04dec220d6275732f686561727462656174295e5c085f875cea18
  82010a0a060a02766d10011001
  01 0000000000000040 766d2f3531342f737461746500
  0a100e07c9e529ad48dea3ff0c19ddb04dec10021801220c766d2f3531342f737461746529f3d0095f875cea18
  aa01033a0132`);

const REP = { peer: SP_REP, isIpc: true, maxBody: 1000 };

test("frames: the call of the document", () => {
  const payload = encode(messageType("PingRequest"), { echo: Buffer.from("hello") });
  const call = encode(messageType("Call"), { requestId: ID, method: "xenmesh.v1.Bus/Ping",
    timeoutMs: 5000, client: "doc/1", payload });
  const number = hex("80000001");
  assert.deepEqual(Buffer.concat([handshake(SP_REQ), frameHeader(4 + call.length, true), number,
    call]), CALL);
});

test("frames: the answer of the document", () => {
  const [body, ...more] = new FrameReader(REP).push(REPLY);
  assert.equal(more.length, 0);
  const reply = decode(messageType("Reply"), body.subarray(4));
  assert.deepEqual(reply.requestId, ID);
  assert.equal(reply.code, 0);
  assert.deepEqual(decode(messageType("PingReply"), reply.payload),
    { echo: Buffer.from("hello"), service: "test", instance: INSTANCE });
});

test("frames: the events of the document, a byte at a time", () => {
  const reader = new FrameReader({ ...REP, peer: SP_PUB });
  const bodies = [...EVENTS].flatMap((byte) => reader.push(Buffer.from([byte])));
  assert.equal(bodies.length, 2);
  assert.equal(reader.isPartial, false);
  const [heartbeat, state] = bodies.map((body) =>
    decode(messageType("Event"), body.subarray(body.indexOf(0) + 1)));
  assert.deepEqual(heartbeat.heartbeat, { segments: [{ segment: "vm", seq: 1n }], seq: 1n });
  assert.deepEqual([state.seq, state.prevSeq, state.topic], [2n, 1n, "vm/514/state"]);
  assert.equal(state.task.step, "2");
});

test("frames: cut anywhere, bodies are the same", () => {
  const bodies = [0, 1, 9, 300, 40000].map((length) => Buffer.alloc(length, length & 0xff));
  for (const isIpc of [true, false]) {
    const stream = Buffer.concat([handshake(SP_SUB),
      ...bodies.flatMap((body) => [frameHeader(body.length, isIpc), body])]);
    for (const step of [1, 2, 7, 8, 9, 17, 1000, 16384, stream.length]) {
      const reader = new FrameReader({ peer: SP_SUB, isIpc, maxBody: 40000 });
      const got = [];
      for (let i = 0; i < stream.length; i += step) {
        got.push(...reader.push(Buffer.from(stream.subarray(i, i + step))));
      }
      assert.equal(got.length, bodies.length);
      got.forEach((body, i) => assert.ok(body.equals(bodies[i]), `step ${step}, body ${i}`));
    }
  }
});

test("frames: half a frame is partial", () => {
  const reader = new FrameReader(REP);
  assert.deepEqual(reader.push(REPLY.subarray(0, REPLY.length - 1)), []);
  assert.equal(reader.isPartial, true);
  assert.equal(reader.push(REPLY.subarray(-1)).length, 1);
  assert.equal(reader.isPartial, false);
});

test("frames: a longer one than allowed is refused by its header", () => {
  for (const length of [1001n, 1n << 32n, (1n << 64n) - 1n]) {
    const header = Buffer.alloc(9);
    header[0] = 1;
    header.writeBigUInt64BE(length, 1);
    const reader = new FrameReader(REP);
    reader.push(handshake(SP_REP));
    assert.throws(() => reader.push(header), ProtocolError);
  }
  const reader = new FrameReader(REP);
  const body = Buffer.alloc(1000);
  assert.equal(reader.push(Buffer.concat([handshake(SP_REP), frameHeader(1000, true), body]))
    .length, 1);
});

test("frames: a false length costs no memory", () => {
  const readers = [];
  const before = process.memoryUsage();
  for (let i = 0; i < 1000; i++) {
    const reader = new FrameReader({ ...REP, maxBody: 4 << 20 });
    reader.push(Buffer.concat([handshake(SP_REP), frameHeader(4 << 20, true), Buffer.alloc(10)]));
    readers.push(reader);
  }
  const after = process.memoryUsage();
  assert.equal(readers.length, 1000);
  assert.ok(after.arrayBuffers - before.arrayBuffers < 64 << 20);
});

test("frames: another type and another protocol are refused", () => {
  const reader = new FrameReader(REP);
  reader.push(handshake(SP_REP));
  assert.throws(() => reader.push(hex("02 0000000000000001 00")), ProtocolError);
  for (const first of [handshake(SP_PUB), Buffer.from("HTTP/1.1 400"), Buffer.alloc(8)]) {
    assert.throws(() => new FrameReader(REP).push(first), ProtocolError);
  }
});
