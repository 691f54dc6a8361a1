// SPDX-License-Identifier: LGPL-2.1-or-later
// The bytes of docs/protocol.md, section 2: handshake and frames, without any I/O.

import { ProtocolError } from "./errors.js";

export const SP_PUB = 0x20;
export const SP_SUB = 0x21;
export const SP_REQ = 0x30;
export const SP_REP = 0x31;

export const HANDSHAKE_BYTES = 8;
const LENGTH_BYTES = 8;
const IPC_TYPE = 0x01;
const BODY_BYTES_MIN = 16384;

/** The eight bytes that an end with this SP protocol sends first. */
export function handshake(protocol) {
  return Buffer.from([0, 0x53, 0x50, 0, protocol >> 8, protocol & 0xff, 0, 0]);
}

/** Header of a frame whose body has this length. */
export function frameHeader(length, isIpc) {
  const header = Buffer.alloc((isIpc ? 1 : 0) + LENGTH_BYTES);
  if (isIpc) {
    header[0] = IPC_TYPE;
  }
  header.writeBigUInt64BE(BigInt(length), isIpc ? 1 : 0);
  return header;
}

/**
 * Cuts what comes from a peer into the bodies of its frames.
 *
 * Memory for a body grows with the bytes that are there, so a false length costs nothing.
 */
export class FrameReader {
  #expected;
  #headerBytes;
  #isIpc;
  #maxBody;
  #head = Buffer.alloc(1 + LENGTH_BYTES); // of the handshake, or of a frame's header
  #headFilled = 0;
  #wanted = -1; // length of the body being received, -1 before its header is there
  #body = null;
  #bodyFilled = 0;

  /** peer: the SP protocol that the other side must have; maxBody in bytes. */
  constructor({ peer, isIpc, maxBody }) {
    this.#expected = handshake(peer);
    this.#headerBytes = (isIpc ? 1 : 0) + LENGTH_BYTES;
    this.#isIpc = isIpc;
    this.#maxBody = maxBody;
    /** True from the end of the handshake on. */
    this.isOpen = false;
  }

  /** True while a frame, or the handshake, has begun and is not complete. */
  get isPartial() {
    return this.#headFilled > 0 || this.#wanted >= 0;
  }

  /**
   * Take bytes; the bodies completed by them, in order.  A body may be a part of `chunk`.
   * Throws ProtocolError, after which the reader is of no more use.
   */
  push(chunk) {
    const bodies = [];
    let pos = 0;
    while (pos < chunk.length || this.#wanted === 0) {
      if (this.#wanted < 0) {
        pos = this.#takeHead(chunk, pos);
        continue;
      }
      const end = Math.min(chunk.length, pos + this.#wanted - this.#bodyFilled);
      const body = this.#takeBody(chunk.subarray(pos, end));
      pos = end;
      if (body) {
        bodies.push(body);
      }
    }
    return bodies;
  }

  #takeHead(chunk, pos) {
    const length = this.isOpen ? this.#headerBytes : HANDSHAKE_BYTES;
    const copied = chunk.copy(this.#head, this.#headFilled, pos,
      pos + length - this.#headFilled);
    this.#headFilled += copied;
    if (this.#headFilled === length) {
      this.#headFilled = 0;
      if (this.isOpen) {
        this.#readHeader();
      } else {
        this.#readHandshake();
      }
    }
    return pos + copied;
  }

  #readHandshake() {
    const got = this.#head.subarray(0, HANDSHAKE_BYTES);
    if (!got.equals(this.#expected)) {
      throw new ProtocolError(`the peer's first bytes are ${got.toString("hex")}, ` +
        `not ${this.#expected.toString("hex")}: is this the right socket?`);
    }
    this.isOpen = true;
  }

  #readHeader() {
    if (this.#isIpc && this.#head[0] !== IPC_TYPE) {
      throw new ProtocolError(`a frame of type ${this.#head[0]} instead of ${IPC_TYPE}`);
    }
    const length = this.#head.readBigUInt64BE(this.#headerBytes - LENGTH_BYTES);
    if (length > BigInt(this.#maxBody)) {
      throw new ProtocolError(`a frame of ${length} bytes, at most ${this.#maxBody} are allowed`);
    }
    this.#wanted = Number(length);
  }

  /** The body if `part` completes it, otherwise null. */
  #takeBody(part) {
    let body = part;
    if (part.length < this.#wanted) {
      this.#append(part);
      if (this.#bodyFilled < this.#wanted) {
        return null;
      }
      body = this.#body;
    }
    this.#wanted = -1;
    this.#body = null;
    this.#bodyFilled = 0;
    return body;
  }

  #append(part) {
    const filled = this.#bodyFilled + part.length;
    if (!this.#body || this.#body.length < filled) {
      const grown = Buffer.allocUnsafe(
        Math.min(this.#wanted, Math.max(filled, 2 * this.#bodyFilled, BODY_BYTES_MIN)));
      this.#body?.copy(grown, 0, 0, this.#bodyFilled);
      this.#body = grown;
    }
    part.copy(this.#body, this.#bodyFilled);
    this.#bodyFilled = filled;
  }
}
