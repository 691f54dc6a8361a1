// SPDX-License-Identifier: LGPL-2.1-or-later
// Follows a publisher (docs/protocol.md, section 5): the I/O around a Mirror.  One connection to
// `pub`, one Client for the pages of `rpc`; at most one sync is under way at a time.

import { EventEmitter } from "node:events";

import { Changes } from "./changes.js";
import { Client } from "./client.js";
import { decode } from "./codec.js";
import { Connection, endpointOf } from "./connection.js";
import { CallError, Code, ProtocolError } from "./errors.js";
import { SP_PUB, SP_SUB } from "./frames.js";
import { messageType } from "./messages.js";
import { Mirror, segmentOf } from "./mirror.js";
import { Redial } from "./redial.js";

const TOPIC_BYTES_MAX = 128;
const PUBLICATION_BYTES_MAX = (4 << 20) + TOPIC_BYTES_MAX + 1;
const PREFIXES_MAX = 64;
const HEARTBEAT = "bus/heartbeat";
const SILENCE_MS = 3500;
const DEAD_MS = 10000; // of silence: the connection is dialled again
const CHECK_MS = 500;
const PAGE_TIMEOUT_MS = 10000;
const RETRY_MS = 2000; // the longest wait before another sync
const RESTARTS_MAX = 8; // of the publisher during one sync

const EventType = messageType("Event");

export class Subscriber extends EventEmitter {
  #endpoint;
  #client;
  #prefixes;
  #mirror;
  #connection = null;
  #redial = new Redial(() => this.#connect());
  #isStarted = false;
  #isClosed = false;
  #isUp = null;
  #isHeard = false;
  #heardAt = 0;
  #checkedAt = 0;
  #checkTimer = null;
  #sync = null; // AbortController of the one under way
  #syncError = null;
  #changes = null;
  #stats = { events: 0, gaps: 0, lost: 0, resyncs: 0, malformed: 0 };

  constructor(pub, rpc, prefixes = [], { client } = {}) {
    super();
    if (!Array.isArray(prefixes) || prefixes.some((prefix) => typeof prefix !== "string") ||
        prefixes.length > PREFIXES_MAX) {
      throw new TypeError(`prefixes must be at most ${PREFIXES_MAX} strings`);
    }
    this.#endpoint = endpointOf(pub);
    this.#client = new Client(rpc, { client });
    this.#prefixes = [...prefixes];
    this.#mirror = new Mirror(this.#prefixes, (change) => this.#tell(change));
  }

  get isSynced() {
    return this.#isUp === true && this.#mirror.instance !== null && !this.#mirror.isSyncing;
  }

  get stats() {
    return { ...this.#stats };
  }

  start() {
    if (this.#isClosed) {
      throw new Error("the subscriber was closed");
    }
    if (!this.#isStarted) {
      this.#isStarted = true;
      this.#checkedAt = performance.now();
      this.#checkTimer = setInterval(() => this.#checkSilence(), CHECK_MS);
      this.#redial.want(true);
    }
    return this;
  }

  close() {
    this.#isClosed = true;
    clearInterval(this.#checkTimer);
    this.#redial.stop();
    this.#sync?.abort();
    this.#connection?.destroy();
    this.#client.close();
    this.#changes?.end();
  }

  [Symbol.asyncIterator]() {
    if (this.#changes) {
      throw new Error("a Subscriber can be iterated over once");
    }
    this.#changes = new Changes({
      onFull: () => this.#connection?.pause(),
      onDrained: () => {
        this.#heardAt = performance.now();
        this.#connection?.resume();
      },
      onLeft: () => this.close(),
    });
    if (this.#isClosed) {
      this.#changes.end();
    } else {
      this.start();
    }
    return this.#changes;
  }

  #tell(change) {
    if (this.#isClosed) {
      return;
    }
    this.#stats.events += change.what === "state" || change.what === "removed";
    this.#stats.gaps += change.what === "gap";
    this.#stats.lost += change.what === "lost";
    this.#stats.resyncs += change.what === "resynced";
    this.#changes?.push(change);
    this.emit(change.what, change);
    this.emit("change", change);
  }

  // ---- the connection to pub ----

  #connect() {
    const connection = new Connection(this.#endpoint,
      { own: SP_SUB, peer: SP_PUB, maxBody: PUBLICATION_BYTES_MAX });
    this.#connection = connection;
    connection.on("open", () => {
      this.#redial.opened();
      this.#heard();
      if (this.#changes?.isFull) {
        connection.pause();
      }
    });
    connection.on("message", (body) => this.#publication(body));
    connection.on("close", (error) => this.#lost(error));
  }

  #lost(error) {
    this.#connection = null;
    this.#redial.lost();
    if (!this.#isClosed) {
      this.#unheard(error);
      this.#redial.want(true);
    }
  }

  #unheard(error) {
    this.#isHeard = false;
    this.#sync?.abort();
    this.#sync = null;
    this.#mirror.abortSync();
    this.#update(error);
  }

  #heard() {
    const wasSilent = !this.#isHeard;
    this.#heardAt = performance.now();
    this.#isHeard = true;
    if (wasSilent) {
      this.#update();
      this.#requestSync();
    }
  }

  /** "up" and "down", once for each change. */
  #update(error) {
    const isUp = this.#isHeard && !this.#syncError;
    if (isUp !== this.#isUp) {
      this.#isUp = isUp;
      this.#tell(isUp ? { what: "up" } : { what: "down", error: error ?? this.#syncError });
    }
  }

  #checkSilence() {
    const now = performance.now();
    // This process was held up, or it is us who do not read: silence says nothing.
    if (now - this.#checkedAt > 2 * CHECK_MS || this.#changes?.isFull) {
      this.#heardAt = now;
    }
    this.#checkedAt = now;
    const silentMs = now - this.#heardAt;
    if (!this.#connection?.isOpen || silentMs < SILENCE_MS) {
      return;
    }
    if (this.#isHeard) {
      this.#unheard(new Error(`nothing was heard for ${SILENCE_MS} ms`));
    }
    if (silentMs >= DEAD_MS) {
      this.#connection.destroy(new Error(`nothing was heard for ${DEAD_MS} ms`));
    }
  }

  #publication(body) {
    const end = body.subarray(0, TOPIC_BYTES_MAX + 1).indexOf(0);
    const topic = end > 0 ? body.toString("latin1", 0, end) : "";
    this.#heard();
    if (topic !== HEARTBEAT && end > 0 && !this.#mirror.concerns(segmentOf(topic))) {
      return;
    }
    let event;
    try {
      event = decode(EventType, body.subarray(end + 1));
    } catch {
      event = null;
    }
    if (end <= 0 || event?.topic !== topic || topic === HEARTBEAT && !event.heartbeat) {
      this.#stats.malformed++; // if it was an event its loss will be found
    } else if (topic === HEARTBEAT ? this.#mirror.heartbeat(event)
      : this.#mirror.event(event, body.length)) {
      this.#requestSync();
    }
  }

  // ---- sync ----

  #requestSync() {
    if (!this.#sync && !this.#isClosed) {
      this.#sync = new AbortController();
      this.#runSync(this.#sync.signal);
    }
  }

  async #runSync(signal) {
    const pause = new Redial(() => {}, RETRY_MS);
    let before = -1n;
    for (;;) {
      try {
        const seq = await this.#fetchPages(signal);
        signal.throwIfAborted();
        if (!this.#mirror.endSync(seq)) {
          this.#sync = null;
          return;
        }
        if (seq > before) {
          before = seq;
          continue; // something was lost meanwhile
        }
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        if (!(error instanceof CallError || error instanceof ProtocolError)) {
          throw error;
        }
        this.#syncError = error;
        this.#update();
      }
      await pause.elapsed(signal);
      if (signal.aborted) {
        return;
      }
    }
  }

  /** All pages of one Changes or Snapshot; the seq up to which everything is known then. */
  async #fetchPages(signal) {
    const mirror = this.#mirror;
    let since = mirror.beginSync();
    let after = 0n;
    let last = null; // the page before, of the same question
    let full = null; // {topics, firstSeq, nPages} while a full answer comes in
    let nRestarts = 0;
    for (;;) {
      const page = await this.#fetch(since, after, signal);
      if (last && !last.instance.equals(page.instance)) {
        if (++nRestarts > RESTARTS_MAX) {
          throw new ProtocolError("every page is from another instance of the publisher");
        }
        [since, after, last, full] = [null, 0n, null, null];
        continue;
      }
      if (!page.full && (full || !since)) {
        throw new ProtocolError("a page of a snapshot is none");
      }
      mirror.adopt(page.instance);
      if (page.full) {
        full ??= { topics: new Set(), firstSeq: page.seq, nPages: 0 };
        full.nPages++;
      }
      mirror.page(page.events, full?.topics ?? null);
      await this.#changes?.drained(signal);
      if (page.more) {
        if (last?.more && page.resumeSeq <= last.resumeSeq) {
          throw new ProtocolError("a page does not go on where the one before it ended");
        }
        last = page;
        [since, after] = full ? [null, page.resumeSeq]
          : [{ instance: page.instance, sinceSeq: page.resumeSeq }, 0n];
        continue;
      }
      if (full) {
        mirror.keepOnly(full.topics, page.seq);
        if (full.nPages > 1) {
          since = { instance: page.instance, sinceSeq: full.firstSeq };
          [after, last, full] = [0n, { instance: page.instance, more: false }, null];
          continue;
        }
      }
      return page.seq;
    }
  }

  async #fetch(since, after, signal) {
    const options = { signal, timeoutMs: PAGE_TIMEOUT_MS };
    const prefixes = this.#prefixes;
    const page = since ? await this.#client.call("Bus/Changes", { ...since, prefixes }, options)
      : await this.#client.call("Bus/Snapshot", { afterSeq: after, prefixes }, options);
    signal.throwIfAborted();
    this.#syncError = null;
    this.#update();
    return page;
  }
}
