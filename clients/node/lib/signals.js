// SPDX-License-Identifier: LGPL-2.1-or-later
// One listener for each AbortSignal, however many calls share it: node warns of more than ten.

export class SignalWatch {
  #watched = new Map(); // signal -> {handlers, listener}

  /** Call `handler` when `signal` is aborted, until remove(). */
  add(signal, handler) {
    let entry = this.#watched.get(signal);
    if (!entry) {
      const handlers = new Set();
      entry = { handlers, listener: () => [...handlers].forEach((each) => each()) };
      this.#watched.set(signal, entry);
      signal.addEventListener("abort", entry.listener, { once: true });
    }
    entry.handlers.add(handler);
  }

  remove(signal, handler) {
    const entry = this.#watched.get(signal);
    if (entry?.handlers.delete(handler) && entry.handlers.size === 0) {
      signal.removeEventListener("abort", entry.listener);
      this.#watched.delete(signal);
    }
  }
}
