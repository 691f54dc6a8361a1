// SPDX-License-Identifier: LGPL-2.1-or-later
// The async iterator of a Subscriber.  A consumer that is too slow makes the subscriber stop
// reading, so that the queue stays short; what the publisher drops meanwhile is repaired as any
// gap.

const FULL = 1024;
const DRAINED = 256;

export class Changes {
  #queue = [];
  #waiting = []; // next() calls without an answer
  #drainWaiters = [];
  #hasEnded = false;
  #hooks;
  isFull = false;

  constructor(hooks) {
    this.#hooks = hooks;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  push(change) {
    if (this.#hasEnded) {
      return;
    }
    const next = this.#waiting.shift();
    if (next) {
      next({ value: change, done: false });
      return;
    }
    this.#queue.push(change);
    if (!this.isFull && this.#queue.length >= FULL) {
      this.isFull = true;
      this.#hooks.onFull();
    }
  }

  /** What is queued can still be read. */
  end() {
    this.#hasEnded = true;
    this.#waiting.splice(0).forEach((next) => next({ value: undefined, done: true }));
    this.#release();
  }

  /** When there is room again, or nobody waits any more. */
  async drained(signal) {
    if (this.isFull && !this.#hasEnded && !signal.aborted) {
      let resolve;
      const drained = new Promise((settle) => (resolve = settle));
      this.#drainWaiters.push(resolve);
      signal.addEventListener("abort", resolve);
      await drained;
      signal.removeEventListener("abort", resolve);
    }
  }

  next() {
    if (this.#queue.length === 0) {
      return this.#hasEnded ? Promise.resolve({ value: undefined, done: true })
        : new Promise((resolve) => this.#waiting.push(resolve));
    }
    const value = this.#queue.shift();
    if (this.isFull && this.#queue.length <= DRAINED) {
      this.isFull = false;
      this.#release();
      this.#hooks.onDrained();
    }
    return Promise.resolve({ value, done: false });
  }

  /** The loop was left. */
  return() {
    this.#queue = [];
    this.#hooks.onLeft();
    return Promise.resolve({ value: undefined, done: true });
  }

  #release() {
    this.#drainWaiters.splice(0).forEach((resolve) => resolve());
  }
}
