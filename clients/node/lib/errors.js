// SPDX-License-Identifier: LGPL-2.1-or-later
// What a call can end with.  Numbers and meanings are those of docs/protocol.md, 4.3.

export const Code = Object.freeze({
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
});

const NAMES = new Map(Object.entries(Code).map(([name, code]) => [code, name]));

// A repeat with the same request id may succeed, and cannot execute anything twice.
const RETRIABLE = new Set([Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE]);

/** Name of a code; that of one unknown to this version is UNKNOWN. */
export function codeName(code) {
  return NAMES.get(code) ?? "UNKNOWN";
}

/** A call that did not succeed. */
export class CallError extends Error {
  constructor(code, message, { method, requestId, details, remote = false, cause } = {}) {
    super(`${method ? `${method}: ` : ""}${codeName(code)}: ${message}`,
      cause === undefined ? undefined : { cause });
    this.name = "CallError";
    this.code = code;
    this.codeName = codeName(code);
    this.reason = message;
    this.method = method;
    this.requestId = requestId;
    this.details = details ?? [];
    this.remote = remote;
    this.retriable = RETRIABLE.has(code);
  }
}

/** The peer, or a file, does not keep to the protocol. */
export class ProtocolError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = "ProtocolError";
  }
}

/** The topology cannot be read: says file, line, what is wrong. */
export class TopologyError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = "TopologyError";
  }
}
