// SPDX-License-Identifier: LGPL-2.1-or-later
// One connection over ipc, tcp or tls+tcp, with SP's handshake and frames.

import { EventEmitter } from "node:events";
import net from "node:net";
import tls from "node:tls";

import { ProtocolError } from "./errors.js";
import { FrameReader, frameHeader, handshake } from "./frames.js";

const IPC_HANDSHAKE_MS = 5000;
const TCP_HANDSHAKE_MS = 10000;
const KEEPALIVE_MS = 10000;
const IPC_PATH_MAX = 107;

/** Parts of a URL: {kind: "ipc", path} or {kind: "tcp" | "tls+tcp", host, port}. */
export function parseUrl(url) {
  const ipc = /^ipc:\/\/(\/.*)$/s.exec(url);
  if (ipc) {
    if (Buffer.byteLength(ipc[1]) > IPC_PATH_MAX || ipc[1].includes("\0")) {
      throw new TypeError(`${url}: the path of a socket has at most ${IPC_PATH_MAX} bytes`);
    }
    return { kind: "ipc", path: ipc[1] };
  }
  const tcp = /^(tcp|tls\+tcp):\/\/(?:\[([0-9a-fA-F:.%]+)\]|([^\s:/[\]]+)):([0-9]{1,5})$/.exec(url);
  const port = tcp ? Number(tcp[4]) : 0;
  if (!tcp || port < 1 || port > 65535) {
    throw new TypeError(`${url} is not ipc:///PATH, tcp://HOST:PORT or tls+tcp://HOST:PORT`);
  }
  return { kind: tcp[1], host: tcp[2] ?? tcp[3], port };
}

function secureContextOf({ ca, cert, key, crl }) {
  return tls.createSecureContext({ ca, cert, key, crl, minVersion: "TLSv1.2" });
}

/**
 * What a Connection needs, of a URL or of what a Topology gives.  Throws what is wrong with the
 * URL or with the certificates, so that no dialling can.
 */
export function endpointOf(where) {
  const { url, tls: files } = typeof where === "string" ? { url: where } : where ?? {};
  if (typeof url !== "string") {
    throw new TypeError("where a service is must be a URL, or {url, tls}");
  }
  const address = parseUrl(url);
  if (address.kind !== "tls+tcp") {
    return { url, address };
  }
  const read = typeof files === "function" ? files : () => files;
  const options = read();
  if (!options?.ca || !options.cert || !options.key) {
    throw new TypeError(`${url} needs {tls: {ca, cert, key}}`);
  }
  let context = secureContextOf(options);
  let known = JSON.stringify(options);
  const secureContext = () => {
    try {
      // Renewed certificates are used from the next connection on.
      const now = read();
      if (JSON.stringify(now) !== known) {
        context = secureContextOf(now);
        known = JSON.stringify(now);
      }
    } catch {
      // Those of before may still do: else the service says so.
    }
    return context;
  };
  return { url, address, secureContext };
}

/**
 * Events: "open" once both sides have said what they are, "message" (body) for each frame,
 * "close" (error) exactly once, whatever ended it.
 */
export class Connection extends EventEmitter {
  #socket;
  #reader;
  #isIpc;
  #timer;
  #isClosed = false;

  /** endpoint: of endpointOf(); own, peer: SP protocols; maxBody: longest frame accepted, bytes. */
  constructor(endpoint, { own, peer, maxBody }) {
    super();
    const { address } = endpoint;
    this.#isIpc = address.kind === "ipc";
    this.#reader = new FrameReader({ peer, isIpc: this.#isIpc, maxBody });
    this.#timer = setTimeout(() => {
      this.destroy(new ProtocolError("the handshake was not complete in time"));
    }, this.#isIpc ? IPC_HANDSHAKE_MS : TCP_HANDSHAKE_MS);
    this.#socket = this.#dial(endpoint);
    this.#socket.on(address.kind === "tls+tcp" ? "secureConnect" : "connect", () => {
      this.#socket.write(handshake(own));
    });
    this.#socket.on("data", (chunk) => this.#take(chunk));
    this.#socket.on("error", (error) => this.destroy(error));
    this.#socket.on("close", () => this.destroy(new Error("the service closed the connection")));
  }

  #dial({ address, secureContext }) {
    const { kind, path, host, port } = address;
    if (kind === "ipc") {
      return net.connect({ path });
    }
    const common = { host, port, noDelay: true, keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_MS };
    if (kind === "tcp") {
      return net.connect(common);
    }
    return tls.connect({
      ...common,
      secureContext: secureContext(),
      rejectUnauthorized: true, // whatever the environment says
      ...(net.isIP(host) ? {} : { servername: host }),
    });
  }

  #take(chunk) {
    const wasOpen = this.#reader.isOpen;
    let bodies;
    try {
      bodies = this.#reader.push(chunk);
    } catch (error) {
      this.destroy(error);
      return;
    }
    if (!wasOpen && this.#reader.isOpen) {
      clearTimeout(this.#timer);
      this.emit("open");
    }
    for (const body of bodies) {
      if (this.#isClosed) {
        return;
      }
      this.emit("message", body);
    }
  }

  get isOpen() {
    return this.#reader.isOpen && !this.#isClosed;
  }

  /** Send one frame, made of these parts. */
  send(...parts) {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    this.#socket.cork();
    this.#socket.write(frameHeader(length, this.#isIpc));
    for (const part of parts) {
      this.#socket.write(part);
    }
    this.#socket.uncork();
  }

  pause() {
    this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }

  /** Whether an open connection keeps the process from ending. */
  setRef(isReferenced) {
    if (isReferenced) {
      this.#socket.ref();
      this.#timer.ref();
    } else {
      this.#socket.unref();
      this.#timer.unref();
    }
  }

  /** End it at once. */
  destroy(error) {
    if (this.#isClosed) {
      return;
    }
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#socket?.destroy();
    this.emit("close", error ?? new Error("closed"));
  }
}
