// SPDX-License-Identifier: LGPL-2.1-or-later
import assert from "node:assert/strict";
import test from "node:test";

import { Code, Subscriber } from "../lib/index.js";
import { Publisher, until } from "./peers.js";

const topic = (i) => `vm/${i}/state`;
const named = (name) => ({ name: String(name) });

// The page of an answer comes after the events before it: they go another way.
const overtaken = () => new Promise((resolve) => setTimeout(resolve, 100));

/** A publisher with some topics, and what a subscriber makes of it. */
class Scene {
  publisher = new Publisher();
  changes = [];
  states = new Map(); // topic -> name

  async start(t, { nTopics = 3, prefixes = ["vm/"], prepare } = {}) {
    for (let i = 0; i < nTopics; i++) {
      this.publisher.publish(topic(i), named(`first${i}`));
    }
    prepare?.(this.publisher);
    const { pub, rpc } = await this.publisher.listen(t);
    this.subscriber = new Subscriber(pub, rpc, prefixes, { client: "test/1" });
    t.after(() => this.subscriber.close());
    this.subscriber.on("change", (change) => this.take(change));
    this.subscriber.start();
    await this.resynced(1);
    return this;
  }

  take(change) {
    this.changes.push(change);
    if (change.what === "state") {
      this.states.set(change.topic, change.event.vmState.name);
    } else if (change.what === "removed") {
      this.states.delete(change.topic);
    }
  }

  count(what) {
    return this.changes.filter((change) => change.what === what).length;
  }

  /** What came, without the topics: "state 3", "gap 2", ... */
  get story() {
    return this.changes.map(({ what, seq }) => seq === undefined ? what : `${what} ${seq}`);
  }

  resynced(times) {
    return until(() => this.count("resynced") >= times, `resynced ${times} times`);
  }

  /** The subscriber has exactly what the publisher has. */
  async equal() {
    const wanted = () => [...this.publisher.newest.values()].filter((event) => !event.removed)
      .map((event) => [event.topic, event.vmState.name]).sort();
    const have = () => [...this.states].sort();
    await until(() => JSON.stringify(have()) === JSON.stringify(wanted()), "the same states")
      .catch(() => assert.deepEqual(have(), wanted()));
  }
}

test("subscriber: snapshot, then live events", async (t) => {
  const scene = await new Scene().start(t);
  const { publisher } = scene;
  publisher.publish(topic(1), named("second"));
  publisher.publish(topic(9), named("new"));
  publisher.publish(topic(0), null);
  publisher.publish("task/1", named("not wanted"));
  publisher.publish(topic(1), named("third"));
  await until(() => scene.states.get(topic(1)) === "third", "the last event");
  assert.deepEqual(scene.story, ["up", "state 1", "state 2", "state 3", "resynced 3", "state 4",
    "state 5", "removed 6", "state 8"]);
  assert.deepEqual(scene.changes.map((change) => change.replayed).filter((x) => x !== undefined),
    [true, true, true, false, false, false, false]);
  assert.deepEqual(publisher.questions, ["Snapshot 0"]);
  assert.equal(scene.subscriber.isSynced, true);
});

test("subscriber: a gap before an event is asked for", async (t) => {
  const scene = await new Scene().start(t);
  const { publisher } = scene;
  publisher.publish(topic(0), named("lost"), { isLost: true });
  publisher.publish(topic(2), null, { isLost: true });
  publisher.publish(topic(1), named("heard"));
  await scene.resynced(2);
  publisher.publish(topic(1), named("on"));
  await until(() => scene.states.get(topic(1)) === "on", "the next event");
  assert.deepEqual(scene.story.slice(5), ["gap 3", "state 4", "removed 5", "state 6", "resynced 6",
    "state 7"]);
  assert.deepEqual(publisher.questions, ["Snapshot 0", "Changes 3"]);
  await scene.equal();
});

test("subscriber: a gap is found by the heartbeat", async (t) => {
  const scene = await new Scene().start(t);
  scene.publisher.heartbeat();
  scene.publisher.publish(topic(0), named("lost"), { isLost: true });
  scene.publisher.heartbeat();
  await scene.resynced(2);
  assert.deepEqual(scene.story.slice(5), ["gap 3", "state 4", "resynced 4"]);
});

test("subscriber: losses of topics that are not wanted are none", async (t) => {
  const scene = await new Scene().start(t);
  const { publisher } = scene;
  publisher.publish("task/1", named("lost"), { isLost: true });
  publisher.publish("task/2", named("heard"));
  publisher.heartbeat();
  publisher.publish(topic(0), named("heard"));
  await until(() => scene.states.get(topic(0)) === "heard", "the event");
  assert.equal(scene.count("gap"), 0);
  assert.deepEqual(publisher.questions, ["Snapshot 0"]);
});

test("subscriber: one VM among others that change", async (t) => {
  const scene = await new Scene().start(t, { prefixes: ["vm/1/"] });
  const { publisher } = scene;
  publisher.publish(topic(0), named("other"));
  publisher.publish(topic(1), named("mine"), { isLost: true });
  publisher.publish(topic(0), named("other"));
  await scene.resynced(2);
  assert.deepEqual(scene.story, ["up", "state 2", "resynced 3", "gap 3", "state 5", "resynced 6"]);
});

test("subscriber: what comes during a sync waits for its end", async (t) => {
  const scene = new Scene();
  await scene.start(t, { prepare: (publisher) => {
    publisher.beforeAnswer = () => {
      publisher.beforeAnswer = null;
      publisher.publish(topic(0), named("live"));
      publisher.publish(topic(1), named("live"));
      return overtaken();
    };
  } });
  await scene.equal();
  assert.deepEqual(scene.story, ["up", "state 1", "state 2", "state 3", "resynced 3", "state 4",
    "state 5"]);
});

test("subscriber: what comes during a repair waits, too", async (t) => {
  const scene = await new Scene().start(t);
  const { publisher } = scene;
  publisher.beforeAnswer = () => {
    publisher.beforeAnswer = null;
    publisher.publish(topic(0), named("live"));
    publisher.publish(topic(2), null);
    return overtaken();
  };
  publisher.publish(topic(0), named("lost"), { isLost: true });
  publisher.publish(topic(1), named("heard"));
  await until(() => scene.count("removed") === 1, "the last event");
  await scene.equal();
  assert.deepEqual(scene.story.slice(5), ["gap 3", "state 4", "state 5", "resynced 5", "state 6",
    "removed 7"]);
  assert.deepEqual(publisher.questions, ["Snapshot 0", "Changes 3"]);
});

test("subscriber: a loss during a sync makes another one", async (t) => {
  const scene = new Scene();
  await scene.start(t, { prepare: (publisher) => {
    publisher.beforeAnswer = () => {
      publisher.beforeAnswer = null;
      publisher.publish(topic(0), named("lost"), { isLost: true });
      publisher.publish(topic(1), named("live"));
      return overtaken();
    };
  } });
  await scene.resynced(2);
  await scene.equal();
  assert.deepEqual(scene.publisher.questions, ["Snapshot 0", "Changes 3"]);
  assert.equal(scene.count("down"), 0);
});

test("subscriber: pages of a snapshot, with changes and removals between them", async (t) => {
  const scene = new Scene();
  await scene.start(t, { nTopics: 10, prepare: (publisher) => {
    publisher.pageEvents = 4;
    publisher.beforeAnswer = (question) => {
      if (question === "Snapshot 0") {
        publisher.publish(topic(1), null, { isLost: true });
        publisher.publish(topic(2), named("moved"), { isLost: true });
        publisher.publish(topic(9), null, { isLost: true });
      }
    };
  } });
  await scene.equal();
  assert.equal(scene.publisher.questions.at(-1), "Changes 10");
  assert.ok(scene.changes.some((change) => change.what === "removed" && change.topic === topic(1)));
});

test("subscriber: a restarted publisher is followed from nothing", async (t) => {
  const scene = await new Scene().start(t);
  const { publisher } = scene;
  publisher.publish(topic(0), named("before"));
  publisher.restart([topic(2)]);
  await scene.resynced(2);
  await scene.equal();
  const removed = scene.changes.filter((change) => change.what === "removed");
  assert.deepEqual(removed.map((change) => change.topic), [topic(2)]);
  assert.equal(scene.count("down"), 1);
  assert.equal(scene.count("up"), 2);
  publisher.publish(topic(0), named("after"));
  await scene.equal();
});

test("subscriber: another instance on the same connection, and its old events", async (t) => {
  const scene = await new Scene().start(t);
  const { publisher } = scene;
  const old = publisher.newest.get(topic(0));
  publisher.pub.dropAll = () => {};
  publisher.restart([topic(1)]);
  const stale = (seq) => publisher.sendEvent({ ...old, seq, prevSeq: seq - 1n,
    vmState: named("stale") });
  publisher.beforeAnswer = () => {
    publisher.beforeAnswer = null;
    for (let seq = 50n; seq < 60n; seq++) {
      stale(seq);
    }
    return overtaken();
  };
  publisher.heartbeat();
  await scene.resynced(2);
  await scene.equal();
  stale(60n);
  publisher.publish(topic(0), named("after"));
  await scene.equal();
  assert.ok(publisher.questions.length <= 4, `${publisher.questions}`);
});

test("subscriber: a restart between two pages begins again", async (t) => {
  const scene = new Scene();
  let nPages = 0;
  await scene.start(t, { nTopics: 10, prepare: (publisher) => {
    publisher.pageEvents = 4;
    publisher.pub.dropAll = () => {};
    publisher.beforeAnswer = () => {
      if (++nPages === 2) {
        setImmediate(() => publisher.restart([topic(0)]));
      }
    };
  } });
  await scene.equal();
  assert.equal(scene.publisher.questions.filter((question) => question === "Snapshot 0").length, 2);
});

test("subscriber: a broken connection is made again and nothing is missing", async (t) => {
  const scene = await new Scene().start(t);
  const { publisher } = scene;
  for (let round = 2; round < 6; round++) {
    publisher.pub.dropAll();
    publisher.publish(topic(round), named("away"), { isLost: true });
    publisher.publish(topic(round - 1), null, { isLost: true });
    await scene.resynced(round);
    await scene.equal();
  }
  assert.equal(scene.count("down"), 4);
});

test("subscriber: failing questions are asked again, and told", async (t) => {
  const codes = [Code.UNAVAILABLE, Code.PERMISSION_DENIED];
  const scene = await new Scene().start(t, { prepare: (publisher) => {
    publisher.onQuestion = () => codes.shift();
  } });
  await scene.equal();
  assert.deepEqual(scene.story.slice(0, 3), ["up", "down", "up"]);
  assert.equal(scene.changes[1].error.codeName, "UNAVAILABLE");
});

test("subscriber: silence is down, a sound is up and a sync", async (t) => {
  const scene = await new Scene().start(t);
  await until(() => scene.count("down") === 1, "silence is noticed");
  assert.equal(scene.subscriber.isSynced, false);
  scene.publisher.publish(topic(0), named("lost"), { isLost: true });
  scene.publisher.heartbeat();
  await scene.resynced(2);
  await scene.equal();
  assert.deepEqual(scene.story.slice(5).filter((line) => !line.startsWith("gap")),
    ["down", "up", "state 4", "resynced 4"]);
});

test("subscriber: unreadable publications are counted and repaired", async (t) => {
  const scene = await new Scene().start(t);
  const { publisher } = scene;
  const garbage = ["", "no NUL", "\0", "vm/x/state\0\xff\xff", `${"t".repeat(200)}\0`,
    "bus/heartbeat\0\x10\x01"];
  garbage.forEach((text) => publisher.sendRaw(Buffer.from(text, "latin1")));
  publisher.sendEvent({ ...publisher.newest.get(topic(0)), seq: 90n }, "vm/other/state");
  publisher.publish(topic(0), named("fine"));
  await scene.equal();
  assert.equal(scene.subscriber.stats.malformed, garbage.length + 1);
  assert.equal(scene.count("resynced"), 1);
});

test("subscriber: a publication above the limit costs the connection only", async (t) => {
  const scene = await new Scene().start(t);
  scene.publisher.sendRaw(Buffer.alloc((4 << 20) + 200, "x"));
  await scene.resynced(2);
  assert.equal(scene.count("down"), 1);
  await scene.equal();
});

test("subscriber: a slow consumer holds the reading up, not the memory", async (t) => {
  const publisher = new Publisher();
  publisher.publish(topic(0), named(0));
  const { pub, rpc } = await publisher.listen(t);
  const subscriber = new Subscriber(pub, rpc);
  t.after(() => subscriber.close());
  const iterator = subscriber[Symbol.asyncIterator]();
  const first = [];
  while (first.at(-1) !== "resynced") {
    first.push((await iterator.next()).value.what);
  }
  const filler = "x".repeat(20000);
  let nSent = 0;
  const [socket] = publisher.pub.connections;
  while (socket.writableLength < 4 << 20) {
    publisher.publish(topic(nSent++ % 50), named(`${nSent} ${filler}`));
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(nSent < 20000, "the subscriber reads on though nobody takes its changes");
  }
  const last = new Map();
  let seq = 0n;
  while (seq < publisher.seq) {
    const { value } = await iterator.next();
    if (value.what === "state") {
      assert.ok(value.seq > seq);
      seq = value.seq;
      last.set(value.topic, value.event.vmState.name);
    }
  }
  for (const [name, event] of publisher.newest) {
    assert.equal(last.get(name), event.vmState.name);
  }
});

test("subscriber: leaving the loop closes it", async (t) => {
  const publisher = new Publisher();
  publisher.publish(topic(0), named(0));
  const { pub, rpc } = await publisher.listen(t);
  const subscriber = new Subscriber(pub, rpc, ["vm/"]);
  for await (const change of subscriber) {
    if (change.what === "resynced") {
      break;
    }
  }
  await until(() => publisher.pub.connections.size === 0, "the connection is closed");
  assert.throws(() => subscriber[Symbol.asyncIterator](), /once/);
  assert.throws(() => subscriber.start(), /closed/);
});

test("subscriber: close() ends the loop after what is queued", async (t) => {
  const publisher = new Publisher();
  const { pub, rpc } = await publisher.listen(t);
  const subscriber = new Subscriber(pub, rpc);
  const seen = [];
  for await (const change of subscriber) {
    seen.push(change.what);
    if (change.what === "resynced") {
      subscriber.close();
    }
  }
  assert.deepEqual(seen, ["up", "resynced"]);
});

test("subscriber: traces are passed on, their loss is told and not asked for", async (t) => {
  const scene = new Scene();
  scene.take = (change) => scene.changes.push(change);
  await scene.start(t, { nTopics: 0, prefixes: ["trace/"] });
  const { publisher } = scene;
  publisher.publish("trace/rpc/ops", named("lost before"), { isLost: true });
  publisher.publish("trace/rpc/ops", named("a"));
  publisher.publish("trace/rpc/ops", named("b"));
  publisher.publish("trace/rpc/ops", named("lost"), { isLost: true });
  publisher.publish("trace/rpc/ops", named("c"));
  publisher.publish("trace/rpc/ops", named("lost"), { isLost: true });
  publisher.heartbeat();
  await until(() => scene.count("lost") === 2, "both losses are told");
  assert.deepEqual(scene.story, ["up", "resynced 0", "state 2", "state 3", "lost 3", "state 5",
    "lost 5"]);
  assert.deepEqual(publisher.questions, ["Snapshot 0"]);
});

test("subscriber: traces of another instance are no loss", async (t) => {
  const scene = new Scene();
  scene.take = (change) => scene.changes.push(change);
  await scene.start(t, { nTopics: 0, prefixes: ["trace/"] });
  const { publisher } = scene;
  publisher.publish("trace/rpc/ops", named("a"));
  publisher.pub.dropAll = () => {};
  publisher.restart(["trace/rpc/ops"]);
  publisher.publish("trace/rpc/ops", named("b"), { isLost: true });
  publisher.publish("trace/rpc/ops", named("c"), { isLost: true });
  publisher.heartbeat();
  publisher.publish("trace/rpc/ops", named("d"));
  await scene.resynced(2);
  publisher.heartbeat();
  publisher.publish("trace/rpc/ops", named("e"));
  await until(() => scene.count("state") === 3, "all that was not lost is there");
  assert.equal(scene.count("lost"), 0);
});

test("subscriber: losses at random, the states are always the publisher's", async (t) => {
  const scene = await new Scene().start(t, { nTopics: 20, prepare: (publisher) => {
    publisher.pageEvents = 7;
  } });
  const { publisher } = scene;
  let state = 4242;
  const random = (n) => (state = Math.imul(state, 1103515245) + 12345 >>> 0) % 65536 % n;
  const newest = new Map();
  scene.subscriber.on("change", ({ what, topic: name, seq }) => {
    if (what === "state" || what === "removed") {
      if (seq <= (newest.get(name) ?? 0n)) {
        assert.fail(`${name} goes back to ${seq}`);
      }
      newest.set(name, seq);
    } else if (what === "down") {
      newest.clear();
    }
  });
  for (let i = 0; i < 3000; i++) {
    publisher.publish(topic(random(30)), random(10) === 0 ? null : named(i),
      { isLost: random(7) === 0 });
    if (random(40) === 0) {
      publisher.heartbeat();
    }
    if (random(500) === 0) {
      publisher.pub.dropAll();
    }
    if (random(20) === 0) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
  await until(() => {
    publisher.heartbeat();
    return scene.subscriber.isSynced;
  }, "synced");
  await scene.equal();
  assert.ok(scene.count("gap") > 5);
});

test("subscriber: wrong arguments", () => {
  assert.throws(() => new Subscriber("ipc:///a", "ipc:///b", "vm/"), TypeError);
  assert.throws(() => new Subscriber("ipc:///a", "ipc:///b", Array(65).fill("vm/")), TypeError);
  assert.throws(() => new Subscriber("a", "ipc:///b"), TypeError);
});
