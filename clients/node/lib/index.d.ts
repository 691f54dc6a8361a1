// SPDX-License-Identifier: LGPL-2.1-or-later
/// <reference types="node" />
import { EventEmitter } from "node:events";

import type { Event, Label, Methods } from "../gen/messages.js";

export * from "../gen/messages.js";

// ---- where ----

/** PEM texts for tls+tcp://: the private CA, our certificate and its key. */
export interface TlsOptions {
  ca: string | Buffer;
  cert: string | Buffer;
  key: string | Buffer;
  crl?: string | Buffer;
}

/** A socket of a service: ipc:///PATH, tcp://HOST:PORT or tls+tcp://HOST:PORT. */
export interface Endpoint {
  url: string;
  /** Needed for tls+tcp:// only; a function is asked before each connection. */
  tls?: TlsOptions | (() => TlsOptions);
}

/** Where the services are, from topology.conf and its drop-ins. */
export class Topology {
  /** The defaults, as if there were no file. */
  constructor();
  /**
   * Read a file and its drop-ins: `file`, else $XENMESH_TOPOLOGY (these must exist), else
   * /etc/xenmesh/topology.conf if it is there. Blocks while reading.
   * @throws TopologyError with file and line
   */
  static load(file?: string): Topology;
  /** What `@run@` stands for. */
  readonly runDir: string;
  /** The file read, or "(defaults)". */
  readonly origin: string;
  /** Names of the services: "ops", and "HOST/ops" for those of other hosts. */
  readonly services: string[];
  /**
   * Where a service publishes. For tls+tcp:// the files of section [tls] are read, here and
   * before each connection.
   * @throws TopologyError for an unknown service or unusable certificates
   */
  pub(service: string): Endpoint;
  /** Where a service takes calls; otherwise as pub(). */
  rpc(service: string): Endpoint;
}

// ---- what goes wrong ----

/** Outcome of a call; numbers and meanings are gRPC's. */
export const Code: {
  readonly OK: 0;
  readonly CANCELLED: 1;
  readonly UNKNOWN: 2;
  readonly INVALID_ARGUMENT: 3;
  readonly DEADLINE_EXCEEDED: 4;
  readonly NOT_FOUND: 5;
  readonly ALREADY_EXISTS: 6;
  readonly PERMISSION_DENIED: 7;
  readonly RESOURCE_EXHAUSTED: 8;
  readonly FAILED_PRECONDITION: 9;
  readonly ABORTED: 10;
  readonly OUT_OF_RANGE: 11;
  readonly UNIMPLEMENTED: 12;
  readonly INTERNAL: 13;
  readonly UNAVAILABLE: 14;
  readonly DATA_LOSS: 15;
  readonly UNAUTHENTICATED: 16;
};
/** A number of the list above; treat another one as UNKNOWN. */
export type Code = number;

/** Name of a code, "UNKNOWN" for one that is not in the list. */
export function codeName(code: Code): keyof typeof Code;

/** A call that did not succeed. */
export class CallError extends Error {
  readonly name: "CallError";
  readonly code: Code;
  readonly codeName: keyof typeof Code;
  /** What happened, without the method and the name of the code that `message` begins with. */
  readonly reason: string;
  /** Full name of the method. */
  readonly method: string;
  /** Of the call; giving it to a repeat makes that the same request. */
  readonly requestId: Buffer;
  /** Names and values, for people. */
  readonly details: Label[];
  /** True when the service said so, false when this client did. */
  readonly remote: boolean;
  /**
   * Whether a repeat with the same requestId can succeed without anything having changed. It is
   * safe in any case: with the same id nothing is executed twice.
   */
  readonly retriable: boolean;
}

/** What came from a peer is not the protocol. */
export class ProtocolError extends Error {}

/** The topology, or a file it names, cannot be used. */
export class TopologyError extends Error {}

// ---- calls ----

export interface CallOptions {
  /** How long to wait, connecting and repeating included, 1 to 3600000 ms. */
  timeoutMs?: number;
  /** Gives the call up: CallError CANCELLED with signal.reason as its cause. */
  signal?: AbortSignal;
  /** 16 bytes; that of an earlier CallError makes this a repeat of the same request. */
  requestId?: Uint8Array;
  /** W3C trace context, version 00. */
  traceparent?: string;
}

export interface ClientOptions {
  /** Who calls, for the service's records: "my-tool/1.2", at most 128 bytes. */
  client?: string;
  /** For calls that do not say, 30000 ms by default. */
  timeoutMs?: number;
  /** For calls that do not say; a function is asked at each call. */
  traceparent?: string | (() => string | undefined);
}

/**
 * Calls the methods of one service, all over one connection, made at the first call. A call whose
 * connection broke is repeated with the same request id until its time is over; the service
 * executes it once. At most 64 calls are under way, more wait for their turn. A client without a
 * call under way does not keep the process from ending.
 */
export class Client {
  /** @throws TypeError for a wrong URL, and node:tls's errors for wrong certificates */
  constructor(where: string | Endpoint, options?: ClientOptions);
  readonly url: string;
  /**
   * Call a method: "Ops/StartVm". Rejects with CallError, and with TypeError or RangeError if
   * request or options are wrong.
   */
  call<M extends keyof Methods>(method: M, request?: Methods[M]["input"],
    options?: CallOptions): Promise<Methods[M]["output"]>;
  call(method: string, request?: object, options?: CallOptions): Promise<any>;
  /** Call a method that this package does not know, by its full name, with serialized messages. */
  callRaw(method: string, payload: Uint8Array, options?: CallOptions): Promise<Buffer>;
  /** Give up all calls and close the connection. */
  close(): void;
}

// ---- events ----

/** A topic's new state. */
export interface StateChange {
  what: "state";
  topic: string;
  seq: bigint;
  event: Event;
  /** Came with a snapshot or a repair rather than live. */
  replayed: boolean;
}

/** A topic is no more. `event` is absent when a snapshot showed that. */
export interface RemovedChange {
  what: "removed";
  topic: string;
  seq: bigint;
  event?: Event;
  replayed: boolean;
}

/** Events after `seq` were lost; what became of them is being asked for. */
export interface GapChange {
  what: "gap";
  seq: bigint;
}

/** Events below trace/ after `seq` were lost; nobody keeps them. */
export interface LostChange {
  what: "lost";
  seq: bigint;
}

/** All topics are now as the publisher had them at `seq`. */
export interface ResyncedChange {
  what: "resynced";
  seq: bigint;
}

/** The publisher is heard. */
export interface UpChange {
  what: "up";
}

/** The publisher is away, or does not answer: what is known may be old. */
export interface DownChange {
  what: "down";
  error: Error;
}

export type Change = StateChange | RemovedChange | GapChange | LostChange | ResyncedChange |
  UpChange | DownChange;

export interface Subscriber {
  on<W extends Change["what"]>(what: W, listener: (change: Extract<Change, { what: W }>) => void):
    this;
  on(what: "change", listener: (change: Change) => void): this;
  once<W extends Change["what"]>(what: W,
    listener: (change: Extract<Change, { what: W }>) => void): this;
  once(what: "change", listener: (change: Change) => void): this;
}

/**
 * Follows the topics of one publisher: for each of them an ordered stream of whole states, from a
 * snapshot on. Losses are noticed and repaired; nothing older comes after something newer.
 *
 * Use it as an async iterator, or as an EventEmitter with start(). It keeps the process from ending
 * until it is closed; leaving the loop closes it.
 */
export class Subscriber extends EventEmitter {
  /** prefixes: what the wanted topics start with, at most 64; none = all topics. */
  constructor(pub: string | Endpoint, rpc: string | Endpoint, prefixes?: string[],
    options?: { client?: string });
  /** Connect; the iterator does it by itself. */
  start(): this;
  /** Stop; an iterator ends after what it has queued. */
  close(): void;
  /** All topics are as the publisher has them, as far as is known. */
  readonly isSynced: boolean;
  /** Counters since the start; `malformed` publications could not be read. */
  readonly stats: { events: number; gaps: number; lost: number; resyncs: number;
    malformed: number };
  /** Once only. A slow consumer makes the subscriber read more slowly, never queue without end. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Change>;
}
