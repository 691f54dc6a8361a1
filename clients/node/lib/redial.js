// SPDX-License-Identifier: LGPL-2.1-or-later
// When to connect again: at once the first time, then after 100 ms, 200 ms, ... 1 s.

const FIRST_MS = 100;
const LONGEST_MS = 1000;

export class Redial {
  #dial;
  #timer = null;
  #delayMs = 0;

  constructor(dial) {
    this.#dial = dial;
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
      this.#delayMs = Math.min(Math.max(2 * this.#delayMs, FIRST_MS), LONGEST_MS);
    }
  }

  /** The connection is of use: not the handshake alone, which an overloaded service gives, too. */
  succeeded() {
    this.#delayMs = FIRST_MS;
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
