// SPDX-License-Identifier: LGPL-2.1-or-later
// Services that do what a test tells them: sockets with SP's bytes, and a publisher with its rpc.

import crypto from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";

import { decode, encode } from "../lib/codec.js";
import { FrameReader, SP_PUB, SP_REP, SP_REQ, SP_SUB, frameHeader, handshake }
  from "../lib/frames.js";
import { findMethod, messageType } from "../lib/messages.js";

const LIMIT = 8 << 20;
const CallType = messageType("Call");
const ReplyType = messageType("Reply");
const EventType = messageType("Event");

/** A directory that is gone with the test. */
export function directoryOf(t) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "xenmesh-node-"));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Calls `condition` until it is true; an error says what did not come. */
export async function until(condition, what, timeoutMs = 20000) {
  const endsAt = Date.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) {
      return value;
    }
    if (Date.now() > endsAt) {
      throw new Error(`not within ${timeoutMs} ms: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A listening socket with SP's handshake and frames, unix or TCP, or what createServer makes. */
export class Peer {
  connections = new Set();
  nAccepted = 0;

  constructor({ own, peer, isIpc = true, createServer = net.createServer, greeting, onFrame }) {
    this.isIpc = isIpc;
    this.server = createServer((socket) => {
      const reader = new FrameReader({ peer, isIpc, maxBody: LIMIT });
      this.nAccepted++;
      this.connections.add(socket);
      socket.on("close", () => this.connections.delete(socket));
      socket.on("error", () => socket.destroy());
      socket.write(greeting ?? handshake(own));
      socket.on("data", (chunk) => {
        for (const body of reader.push(chunk)) {
          onFrame?.(socket, body);
        }
      });
    });
  }

  /** Where it listens now. */
  async listen(t, place = { host: "127.0.0.1", port: 0 }) {
    this.server.listen(place);
    await once(this.server, "listening");
    t.after(() => this.close());
    return this.server.address();
  }

  send(socket, body) {
    socket.write(Buffer.concat([frameHeader(body.length, this.isIpc), body]));
  }

  dropAll() {
    for (const socket of this.connections) {
      socket.destroy();
    }
  }

  async close() {
    this.dropAll();
    if (this.server.listening) {
      this.server.close();
      await once(this.server, "close");
    }
  }
}

/**
 * A service that takes calls.  answer(call, respond, socket): `call` is the decoded Call with its
 * number; respond({code, message, output}) answers it.
 */
export class RpcPeer extends Peer {
  calls = [];

  constructor(answer, options = {}) {
    super({
      own: SP_REP,
      peer: SP_REQ,
      ...options,
      onFrame: (socket, body) => {
        const call = { ...decode(CallType, body.subarray(4)), number: body.readUInt32BE(0) };
        this.calls.push(call);
        answer(call, (reply) => this.respond(socket, call, reply), socket);
      },
    });
  }

  respond(socket, call, { output, code = 0, message = "", requestId = call.requestId } = {}) {
    const payload = output === undefined ? undefined
      : encode(findMethod(call.method).output, output);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(call.number);
    this.send(socket, Buffer.concat([head,
      encode(ReplyType, { requestId, code, message, payload })]));
  }
}

/** The request of a Call. */
export function requestOf(call) {
  return decode(findMethod(call.method).input, call.payload);
}

/** A publisher of vmState events as the protocol says, which can be told to lose some. */
export class Publisher {
  instance = crypto.randomBytes(16);
  seq = 0n;
  segments = new Map();
  newest = new Map(); // topic -> Event
  pageEvents = 1000;
  questions = []; // what its rpc was asked, as "Snapshot 0" or "Changes 5"
  onQuestion = null; // (question) => a code to fail with, or undefined
  beforeAnswer = null; // (question) => called, and waited for, after the page was made

  constructor() {
    this.pub = new Peer({ own: SP_PUB, peer: SP_SUB });
    this.rpc = new RpcPeer((call, respond) => this.#answer(call, respond));
  }

  async listen(t) {
    const directory = directoryOf(t);
    await this.pub.listen(t, path.join(directory, "pub"));
    await this.rpc.listen(t, path.join(directory, "rpc"));
    return { pub: `ipc://${directory}/pub`, rpc: `ipc://${directory}/rpc` };
  }

  /** A new instance with the same topics, but for those named. */
  restart(without = []) {
    const topics = [...this.newest].filter(([topic, event]) => !without.includes(topic) &&
      !event.removed);
    this.instance = crypto.randomBytes(16);
    this.seq = 0n;
    this.segments.clear();
    this.newest.clear();
    for (const [topic, event] of topics) {
      this.publish(topic, event.vmState, { isLost: true });
    }
    this.pub.dropAll();
  }

  /** state null is a removal.  isLost: it counts, but nobody hears it. */
  publish(topic, state, { isLost = false } = {}) {
    const segment = topic.split("/")[0];
    const event = {
      instance: this.instance,
      seq: ++this.seq,
      prevSeq: this.segments.get(segment) ?? 0n,
      topic,
      timeNs: 1n,
      ...(state === null ? { removed: { reason: "test" } } : { vmState: state }),
    };
    this.segments.set(segment, event.seq);
    this.newest.set(topic, event);
    if (!isLost) {
      this.sendEvent(event);
    }
    return event.seq;
  }

  heartbeat() {
    const segments = [...this.segments].map(([segment, seq]) => ({ segment, seq }));
    this.sendEvent({ instance: this.instance, topic: "bus/heartbeat",
      heartbeat: { segments, seq: this.seq } });
  }

  sendEvent(event, topic = event.topic) {
    this.sendRaw(Buffer.concat([Buffer.from(`${topic}\0`), encode(EventType, event)]));
  }

  sendRaw(body) {
    for (const socket of this.pub.connections) {
      this.pub.send(socket, body);
    }
  }

  async #answer(call, respond) {
    const request = requestOf(call);
    const isChanges = call.method.endsWith("/Changes");
    const from = isChanges ? request.sinceSeq : request.afterSeq;
    const question = `${isChanges ? "Changes" : "Snapshot"} ${from}`;
    this.questions.push(question);
    const code = this.onQuestion?.(question);
    if (code) {
      respond({ code, message: "as the test wants it" });
      return;
    }
    const full = !isChanges || !request.instance.equals(this.instance);
    const since = isChanges && full ? 0n : from;
    const events = [...this.newest.values()]
      .filter((event) => event.seq > since && !(full && event.removed) &&
        (request.prefixes.length === 0 || request.prefixes.some((p) => event.topic.startsWith(p))))
      .sort((a, b) => Number(a.seq - b.seq));
    const page = events.slice(0, this.pageEvents);
    const output = { instance: this.instance, full, events: page, seq: this.seq,
      more: events.length > page.length, resumeSeq: page.at(-1)?.seq ?? since };
    await this.beforeAnswer?.(question);
    respond({ output });
  }
}
