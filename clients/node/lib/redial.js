// SPDX-License-Identifier: LGPL-2.1-or-later
// When to connect again: at once the first time, then after 100 ms, 200 ms, ... 1 s; at once
// after a connection that had lasted.

const FIRST_MS = 100;
const LONGEST_MS = 1000;
const LASTED_MS = 1000;

export class Redial {
  #dial;
  #timer = null;
  #delayMs = 0;
  #longestMs;
  #openedAt = null;

  constructor(dial, longestMs = LONGEST_MS) {
    this.#dial = dial;
    this.#longestMs = longestMs;
  }

  /** Whether a connection, of which there is none, is wanted. */
  want(isWanted) {
    if (!isWanted) {
      this.stop();
    } else if (!this.#timer) {
      this.#timer = setTimeout(() => {
        this.#timer = null;
        this.#dial();
      }, this.#delayMs);
      this.#delayMs = Math.min(Math.max(2 * this.#delayMs, FIRST_MS), this.#longestMs);
    }
  }

  /** The handshake is complete: an overloaded service gives that, too, and closes. */
  opened() {
    this.#openedAt = performance.now();
  }

  /** The connection, open or not, is no more. */
  lost() {
    if (this.#openedAt !== null && performance.now() - this.#openedAt >= LASTED_MS) {
      this.#delayMs = 0;
    }
    this.#openedAt = null;
  }

  /** Wait as long as before a dial; less if the signal is aborted. */
  async elapsed(signal) {
    let resolve;
    const elapsed = new Promise((settle) => (resolve = settle));
    this.#dial = resolve;
    this.#delayMs = Math.max(this.#delayMs, FIRST_MS);
    this.want(true);
    signal.addEventListener("abort", resolve);
    await elapsed;
    signal.removeEventListener("abort", resolve);
    this.stop();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }
}
