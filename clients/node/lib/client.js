// SPDX-License-Identifier: LGPL-2.1-or-later
// Calls, docs/protocol.md section 4.  One connection carries all calls of a client.  A call whose
// connection broke goes back to the head of the queue and is repeated with its request id, so the
// service executes it once; `#sent` has what the current connection owes an answer for, also the
// calls that were given up: those keep their place until the service answers.

import crypto from "node:crypto";

import { decode, encode } from "./codec.js";
import { Connection, endpointOf } from "./connection.js";
import { CallError, Code } from "./errors.js";
import { SP_REP, SP_REQ } from "./frames.js";
import { findMethod, messageType } from "./messages.js";
import { Redial } from "./redial.js";
import { SignalWatch } from "./signals.js";

const CALL_BYTES_MAX = 1 << 20;
const REPLY_BYTES_MAX = 4 << 20;
const NUMBER_BYTES = 4;
const NUMBER_BIT = 0x80000000;
const OUTSTANDING_MAX = 64;
const GIVEN_UP_MAX = OUTSTANDING_MAX / 2;
const TIMEOUT_MS = 30000;
const TIMEOUT_MAX_MS = 3600000;
const GRACE_MS = 5000; // for the answer DEADLINE_EXCEEDED of a service that is alive
const CLIENT_BYTES_MAX = 128;
const ENVELOPE_BYTES_MAX = 1024; // of a Call without its payload
const REQUEST_ID_BYTES = 16;
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

const CallType = messageType("Call");
const ReplyType = messageType("Reply");

function checkTimeout(timeoutMs) {
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > TIMEOUT_MAX_MS) {
    throw new RangeError(`timeoutMs is ${timeoutMs}, not 1 to ${TIMEOUT_MAX_MS}`);
  }
  return timeoutMs;
}

function checkTraceparent(text) {
  if (text !== undefined && !TRACEPARENT.test(text)) {
    throw new TypeError(`traceparent ${JSON.stringify(text)} is not that of W3C, version 00`);
  }
  return text;
}

function checkRequestId(id) {
  if (!(id instanceof Uint8Array) || id.length !== REQUEST_ID_BYTES) {
    throw new TypeError(`requestId must be ${REQUEST_ID_BYTES} bytes`);
  }
  return Buffer.from(id);
}

export class Client {
  #endpoint;
  #name;
  #timeoutMs;
  #traceparent;
  #connection = null;
  #redial = new Redial(() => this.#connect());
  #queue = []; // calls to be sent, in this order
  #sent = new Map(); // number -> call
  #signals = new SignalWatch();
  #nUnfinished = 0;
  #number = crypto.randomInt(NUMBER_BIT);
  #lastError = null;
  #isClosed = false;

  constructor(where, { client = "xenmesh-node", timeoutMs = TIMEOUT_MS, traceparent } = {}) {
    this.#endpoint = endpointOf(where);
    if (Buffer.byteLength(client) > CLIENT_BYTES_MAX) {
      throw new RangeError(`client has at most ${CLIENT_BYTES_MAX} bytes`);
    }
    this.#name = client;
    this.#timeoutMs = checkTimeout(timeoutMs);
    this.#traceparent = traceparent;
  }

  get url() {
    return this.#endpoint.url;
  }

  async call(method, request = {}, options = {}) {
    const { name, input, output } = findMethod(method);
    const { payload, requestId } = await this.#start(name, encode(input, request), options);
    try {
      return decode(output, payload);
    } catch (error) {
      throw new CallError(Code.INTERNAL, "the answer cannot be read",
        { method: name, requestId, cause: error });
    }
  }

  async callRaw(method, payload, options = {}) {
    return (await this.#start(method, payload, options)).payload;
  }

  close() {
    this.#isClosed = true;
    this.#redial.stop();
    for (const call of [...this.#sent.values(), ...this.#queue]) {
      this.#fail(call, Code.CANCELLED, "the client was closed");
    }
    this.#sent.clear();
    this.#queue = [];
    this.#connection?.destroy();
  }

  // ---- the life of a call ----

  #start(method, payload, { timeoutMs = this.#timeoutMs, signal, requestId, traceparent }) {
    const parent = traceparent ??
      (typeof this.#traceparent === "function" ? this.#traceparent() : this.#traceparent);
    const call = {
      method,
      payload,
      requestId: requestId === undefined ? crypto.randomBytes(REQUEST_ID_BYTES)
        : checkRequestId(requestId),
      traceparent: checkTraceparent(parent),
      timeoutMs: checkTimeout(timeoutMs),
      endsAt: performance.now() + timeoutMs,
      signal,
      wasSent: false,
      isFinished: false,
    };
    if (payload.length > CALL_BYTES_MAX - ENVELOPE_BYTES_MAX &&
        this.#encode(call).length > CALL_BYTES_MAX) {
      return Promise.reject(new CallError(Code.INVALID_ARGUMENT,
        `the request has ${payload.length} bytes, a call may have ${CALL_BYTES_MAX}`,
        { method, requestId: call.requestId }));
    }
    return new Promise((resolve, reject) => {
      Object.assign(call, { resolve, reject });
      this.#nUnfinished++;
      if (this.#isClosed) {
        this.#fail(call, Code.CANCELLED, "the client was closed");
        return;
      }
      if (signal?.aborted) {
        this.#abort(call);
        return;
      }
      call.timer = setTimeout(() => this.#expire(call), timeoutMs);
      if (signal) {
        call.onAbort = () => this.#abort(call);
        this.#signals.add(signal, call.onAbort);
      }
      this.#queue.push(call);
      this.#pump();
    });
  }

  #finish(call) {
    if (call.isFinished) {
      return false;
    }
    call.isFinished = true;
    clearTimeout(call.timer);
    if (call.onAbort) {
      this.#signals.remove(call.signal, call.onAbort);
    }
    this.#nUnfinished--;
    return true;
  }

  #fail(call, code, message, more) {
    if (this.#finish(call)) {
      call.reject(new CallError(code, message,
        { method: call.method, requestId: call.requestId, ...more }));
    }
  }

  #abort(call) {
    this.#giveUp(call, Code.CANCELLED, call.wasSent
      ? "given up by its caller; it may have been executed"
      : "given up by its caller before it was sent", { cause: call.signal.reason });
  }

  #expire(call) {
    const waited = `${call.timeoutMs} ms`;
    const maybe = call.wasSent ? "; it may still be executed" : "";
    if (!this.#connection?.isOpen) {
      this.#giveUp(call, Code.UNAVAILABLE, `${this.url} was not reached within ${waited}: ` +
        (this.#lastError?.message ?? "no answer yet") + maybe,
      { cause: this.#lastError ?? undefined });
    } else if (call.wasSent) {
      this.#giveUp(call, Code.DEADLINE_EXCEEDED, `no answer within ${waited}${maybe}`);
    } else {
      this.#giveUp(call, Code.DEADLINE_EXCEEDED,
        `not sent within ${waited}: ${OUTSTANDING_MAX} calls before it have no answer yet`);
    }
  }

  #giveUp(call, code, message, more) {
    this.#fail(call, code, message, more);
    this.#queue = this.#queue.filter((other) => other !== call);
    if (this.#sent.get(call.number) === call) {
      this.#expectAnswerOf(call);
    }
    this.#pump();
  }

  /** A service that does not answer in time that the time is over is not there any more. */
  #expectAnswerOf(call) {
    const connection = this.#connection;
    const left = Math.max(call.endsAt - performance.now(), 0);
    call.timer = setTimeout(() => {
      if (this.#sent.get(call.number) === call) {
        connection.destroy(new Error("the service does not answer"));
      }
    }, left + GRACE_MS);
    call.timer.unref();
  }

  // ---- the connection ----

  #connect() {
    const connection = new Connection(this.#endpoint,
      { own: SP_REQ, peer: SP_REP, maxBody: NUMBER_BYTES + REPLY_BYTES_MAX });
    this.#connection = connection;
    connection.on("open", () => {
      this.#redial.opened();
      this.#pump();
    });
    connection.on("message", (body) => this.#answer(body));
    connection.on("close", (error) => this.#lost(error));
  }

  #lost(error) {
    this.#connection = null;
    this.#redial.lost();
    this.#lastError = error;
    const again = [...this.#sent.values()].filter((call) => !call.isFinished);
    for (const call of this.#sent.values()) {
      if (call.isFinished) {
        clearTimeout(call.timer);
      }
    }
    this.#sent.clear();
    this.#queue.unshift(...again);
    this.#pump();
  }

  /** Send what can be sent, see that there is a connection if one is needed. */
  #pump() {
    if (this.#isClosed) {
      return;
    }
    if (!this.#connection) {
      this.#redial.want(this.#queue.length > 0);
      return;
    }
    this.#connection.setRef(this.#nUnfinished > 0);
    if (!this.#connection.isOpen) {
      return;
    }
    while (this.#queue.length > 0 && this.#sent.size < OUTSTANDING_MAX) {
      this.#send(this.#queue.shift());
    }
    if (this.#queue.length > 0) {
      this.#makeRoom();
    }
  }

  /** Calls that were given up leave their places only with their connection. */
  #makeRoom() {
    let nGivenUp = 0;
    for (const call of this.#sent.values()) {
      nGivenUp += call.isFinished;
    }
    if (nGivenUp >= GIVEN_UP_MAX) {
      this.#connection.destroy(new Error("too many calls were given up"));
    }
  }

  #encode(call) {
    return encode(CallType, {
      requestId: call.requestId,
      method: call.method,
      timeoutMs: Math.max(1, Math.min(call.timeoutMs, Math.ceil(call.endsAt - performance.now()))),
      client: this.#name,
      traceparent: call.traceparent,
      payload: call.payload,
    });
  }

  #send(call) {
    do {
      this.#number = (this.#number + 1) % NUMBER_BIT;
      call.number = this.#number + NUMBER_BIT;
    } while (this.#sent.has(call.number));
    call.wasSent = true;
    this.#sent.set(call.number, call);
    const head = Buffer.alloc(NUMBER_BYTES);
    head.writeUInt32BE(call.number);
    this.#connection.send(head, this.#encode(call));
  }

  #answer(body) {
    const call = body.length < NUMBER_BYTES ? undefined : this.#sent.get(body.readUInt32BE(0));
    if (!call) {
      return; // to nothing that was asked on this connection
    }
    this.#sent.delete(call.number);
    if (call.isFinished) {
      clearTimeout(call.timer);
    } else {
      this.#conclude(call, body.subarray(NUMBER_BYTES));
    }
    this.#pump();
  }

  #conclude(call, bytes) {
    let reply;
    try {
      reply = decode(ReplyType, bytes);
    } catch (error) {
      this.#fail(call, Code.INTERNAL, "the answer cannot be read", { cause: error });
      return;
    }
    if (reply.requestId.length > 0 && !reply.requestId.equals(call.requestId)) {
      this.#fail(call, Code.INTERNAL, "the answer is that of another request");
    } else if (reply.code !== Code.OK) {
      this.#fail(call, reply.code, reply.message, { details: reply.details, remote: true });
    } else if (this.#finish(call)) {
      call.resolve({ payload: reply.payload, requestId: call.requestId });
    }
  }
}
