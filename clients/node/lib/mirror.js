// SPDX-License-Identifier: LGPL-2.1-or-later
// What a subscriber knows of its publisher: the algorithm of docs/protocol.md 5.2 without any I/O.
//
// While `isSyncing` live events are held back; the caller fetches pages, gives them to page(), and
// ends with endSync() or abortSync().  event() and heartbeat() return true when a sync is needed.

const HELD_MAX = 4096;
const HELD_BYTES_MAX = 8 << 20;
const TRANSIENT = "trace";

// Outcomes of an event: known now; those before it are missing; it is of another instance.
const DONE = 0;
const LOST = 1;
const RESTARTED = 2;

const max = (a, b) => a > b ? a : b;

/** First segment of a topic. */
export function segmentOf(topic) {
  const end = topic.indexOf("/");
  return end < 0 ? topic : topic.slice(0, end);
}

export class Mirror {
  #prefixes;
  #tell;
  #instance = null;
  #complete = 0n;
  #seen = new Map(); // segment -> seq
  #known = new Map(); // topic -> seq of the state delivered last
  #held = [];
  #heldBytes = 0;
  #transientSeq = null; // newest event below trace/, null before the first
  isSyncing = false;

  /** tell: called with {what, topic, seq, event, replayed} for each change. */
  constructor(prefixes, tell) {
    this.#prefixes = prefixes;
    this.#tell = tell;
  }

  get complete() {
    return this.#complete;
  }

  get instance() {
    return this.#instance;
  }

  wants(topic) {
    return this.#prefixes.length === 0 || this.#prefixes.some((prefix) => topic.startsWith(prefix));
  }

  /** Whether a topic with this first segment could be wanted. */
  concerns(segment) {
    const start = `${segment}/`;
    return segment !== "bus" && (this.#prefixes.length === 0 ||
      this.#prefixes.some((prefix) => prefix.startsWith(start) || start.startsWith(prefix)));
  }

  // ---- live ----

  /** An event that is no heartbeat; size in bytes.  True: sync. */
  event(event, size) {
    const segment = segmentOf(event.topic);
    if (!this.concerns(segment)) {
      return false;
    }
    if (segment === TRANSIENT) {
      return this.#transient(event);
    }
    if (this.isSyncing || this.#instance === null) {
      this.#hold(event, size);
      return !this.isSyncing;
    }
    const outcome = this.#apply(event, segment);
    if (outcome === LOST) {
      this.#hold(event, size);
    }
    return outcome !== DONE;
  }

  heartbeat({ instance, heartbeat }) {
    if (!this.#isOther(instance)) {
      this.#transientHeartbeat(heartbeat);
    }
    if (this.isSyncing) {
      return false;
    }
    if (!this.#isInstance(instance)) {
      this.#restart();
      return true;
    }
    for (const { segment, seq } of heartbeat.segments) {
      if (segment !== TRANSIENT && this.concerns(segment) && seq > this.#covered(segment)) {
        this.#tell({ what: "gap", seq: this.#complete });
        return true;
      }
    }
    this.#seen.clear();
    this.#complete = max(this.#complete, heartbeat.seq);
    return false;
  }

  #apply(event, segment) {
    if (!this.#isInstance(event.instance)) {
      this.#restart();
      return RESTARTED;
    }
    if (event.seq <= this.#complete) {
      return DONE;
    }
    if (event.prevSeq > this.#covered(segment)) {
      this.#tell({ what: "gap", seq: this.#complete });
      return LOST;
    }
    this.#seen.set(segment, event.seq);
    this.#deliver(event, false);
    return DONE;
  }

  #covered(segment) {
    return max(this.#seen.get(segment) ?? 0n, this.#complete);
  }

  #isInstance(instance) {
    return this.#instance !== null && this.#instance.equals(instance);
  }

  #isOther(instance) {
    return this.#instance !== null && !this.#instance.equals(instance);
  }

  #hold(event, size) {
    this.#held.push({ event, size });
    this.#heldBytes += size;
    // A loss here is found like any other, by the next event's prev_seq.
    while (this.#held.length > HELD_MAX || this.#heldBytes > HELD_BYTES_MAX) {
      this.#heldBytes -= this.#held.shift().size;
    }
  }

  #deliver(event, replayed) {
    const { topic, seq } = event;
    if (!this.wants(topic)) {
      return;
    }
    if (event.removed) {
      if (this.#known.delete(topic)) {
        this.#tell({ what: "removed", topic, seq, event, replayed });
      }
    } else if (seq > (this.#known.get(topic) ?? 0n)) {
      this.#known.set(topic, seq);
      this.#tell({ what: "state", topic, seq, event, replayed });
    }
  }

  /** Each stands for itself, nothing repairs a loss; those before the first are no loss. */
  #transient(event) {
    const isOther = this.#isOther(event.instance);
    const isRestart = isOther && !this.isSyncing;
    if (isRestart) {
      this.#restart();
    }
    const last = isOther ? null : this.#transientSeq;
    this.#transientSeq = event.seq;
    if (last !== null && event.prevSeq > last) {
      this.#tell({ what: "lost", seq: last });
    }
    if (this.wants(event.topic)) {
      this.#tell({ what: "state", topic: event.topic, seq: event.seq, event, replayed: false });
    }
    return isRestart;
  }

  #transientHeartbeat(heartbeat) {
    const found = heartbeat.segments.find(({ segment }) => segment === TRANSIENT);
    if (!found || !this.concerns(TRANSIENT)) {
      return;
    }
    if (this.#transientSeq !== null && found.seq > this.#transientSeq) {
      this.#tell({ what: "lost", seq: this.#transientSeq });
    }
    this.#transientSeq = found.seq;
  }

  // ---- sync ----

  /** What to ask for first: null is a snapshot, otherwise {instance, sinceSeq}. */
  beginSync() {
    this.isSyncing = true;
    return this.#instance === null ? null
      : { instance: this.#instance, sinceSeq: this.#complete };
  }

  /** A page came from this instance. */
  adopt(instance) {
    if (!this.#isInstance(instance)) {
      this.#restart();
      this.#instance = instance;
    }
  }

  /** Events of a page; adds the topics that are there to `topics` if that is not null. */
  page(events, topics) {
    for (const event of events) {
      this.#deliver(event, true);
      if (!event.removed) {
        topics?.add(event.topic);
      }
    }
  }

  /** A full answer had these topics only. */
  keepOnly(topics, seq) {
    for (const topic of this.#known.keys()) {
      if (!topics.has(topic)) {
        this.#known.delete(topic);
        this.#tell({ what: "removed", topic, seq, replayed: true });
      }
    }
  }

  /** All pages up to `seq` are there.  True: the events held back tell of another loss. */
  endSync(seq) {
    this.isSyncing = false;
    this.#complete = seq;
    this.#tell({ what: "resynced", seq });
    while (this.#held.length > 0) {
      const { event, size } = this.#held[0];
      const outcome = this.#apply(event, segmentOf(event.topic));
      if (outcome === LOST) {
        return true;
      }
      this.#held.shift();
      this.#heldBytes -= size;
      if (outcome === RESTARTED) {
        this.abortSync();
        return true;
      }
    }
    return false;
  }

  /** The next one begins with nothing held back: what was in there is found by it. */
  abortSync() {
    this.isSyncing = false;
    this.#held = [];
    this.#heldBytes = 0;
  }

  /** Another instance: its numbers begin anew, its topics may be the same. */
  #restart() {
    this.#instance = null;
    this.#complete = 0n;
    this.#seen.clear();
    this.#transientSeq = null;
    for (const topic of this.#known.keys()) {
      this.#known.set(topic, 0n);
    }
  }
}
