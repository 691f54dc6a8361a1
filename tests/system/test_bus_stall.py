#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Subscribers that are stopped, or whose publisher is killed, under a load of 5,000 events a
second end with exactly the publisher's state."""
import os
import signal
import sys
import threading
import time

import bus_harness as bus

RATE = 5000
STOPPED_SECONDS = 60
SETTLE_SECONDS = 20
# The 1,024 messages that are held for a subscriber that stands still, and the noise of malloc.
GROWTH_MAX_KIB = 8 << 10
# Of a subscriber beside it: a machine that stands still for 0.2 s costs it a thousand of these.
BESIDE_LOST_MAX = RATE // 2


class Follower(threading.Thread):
    """The Python client's mirror of the service, as the second implementation."""

    def __init__(self, bench):
        super().__init__(daemon=True)
        from xenmesh import Subscriber
        self.subscriber = Subscriber(*("ipc://%s/test/%s" % (bench.dir, kind)
                                       for kind in ("pub", "rpc")))
        self.topics = {}
        self.went_back = 0
        self.stop = False
        self.start()

    def run(self):
        while not self.stop:
            for change in self.subscriber.changes(0.2):
                if change.what == "removed":
                    self.topics.pop(change.topic, None)
                elif change.what == "state":
                    value = int(change.event.task.step)
                    self.went_back += value <= self.topics.get(change.topic, 0)
                    self.topics[change.topic] = value

    def close(self):
        self.stop = True
        self.join()
        self.subscriber.close()


def check_equal(client, mirrors, prefixes=()):
    """Within SETTLE_SECONDS each mirror is what the publisher, which is idle now, has."""
    want = bus.published(client, prefixes)
    for name, topics_of in mirrors.items():
        deadline = time.monotonic() + SETTLE_SECONDS
        while bus.difference(topics_of(), want) and time.monotonic() < deadline:
            time.sleep(0.1)
        wrong = bus.difference(topics_of(), want)
        bus.expect(not wrong, "%s: %s" % (name, wrong))
    return want


def test_stopped_subscriber(args):
    from xenmesh import Client
    bench = bus.Bench(args.bin)
    try:
        publisher = bench.start_pub(RATE, RATE * args.seconds)
        stopped, running = bus.Mirror(bench), bus.Mirror(bench)
        tasks = bus.Mirror(bench, "task/")
        follower = Follower(bench)
        bus.wait_for(lambda: stopped.dump()[1]["synced"], 10, "bus_testsub is synced")
        time.sleep(3)
        before_kib = bus.rss_kib(publisher.pid)
        with open("/proc/%d/maps" % publisher.pid, encoding="ascii") as maps:
            is_sanitized = "libasan" in maps.read()  # it keeps what is freed
        os.kill(stopped.process.pid, signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        growth_kib = bus.rss_kib(publisher.pid) - before_kib
        os.kill(stopped.process.pid, signal.SIGCONT)
        with Client("ipc://%s/test/rpc" % bench.dir) as client:
            bus.wait_for(lambda: bus.is_idle(client), args.seconds, "all events are published")
            want = check_equal(client, {
                "stopped": lambda: stopped.dump()[0], "running": lambda: running.dump()[0],
                "python": lambda: dict(follower.topics)})
            check_equal(client, {"tasks": lambda: tasks.dump()[0]}, ["task/"])
        counters = stopped.dump()[1]
        print("   %d topics; stopped: %s; running: %s; publisher grew %d KiB" % (
            len(want), counters, running.dump()[1], growth_kib))
        bus.expect(counters["gaps"] > 0, "no gap was told to the subscriber that was stopped")
        bus.expect(counters["synced"] == 1, "it is not synced")
        bus.expect(running.dump()[1]["missed"] <= BESIDE_LOST_MAX, "the one beside it lost %d" %
                   running.dump()[1]["missed"])
        for mirror in (stopped, running, tasks):
            bus.expect(mirror.dump()[1]["went_back"] == 0, "a topic went back")
        bus.expect(follower.went_back == 0, "a topic went back in the Python client")
        if not is_sanitized:
            bus.expect(growth_kib < GROWTH_MAX_KIB, "the publisher grew by %d KiB" % growth_kib)
        follower.close()
    finally:
        bench.close()


def test_killed_publisher(args):
    from xenmesh import Client
    bench = bus.Bench(args.bin)
    try:
        publisher = bench.start_pub(RATE, RATE * 60, topics=900)
        mirror = bus.Mirror(bench)
        follower = Follower(bench)
        bus.wait_for(lambda: mirror.dump()[1]["synced"], 10, "bus_testsub is synced")
        for topics in (300, 600):
            time.sleep(1)
            publisher.kill()
            publisher.wait()
            publisher = bench.start_pub(RATE, RATE * 2, topics=topics)
        with Client("ipc://%s/test/rpc" % bench.dir) as client:
            bus.wait_for(lambda: bus.is_idle(client), 20, "all events are published")
            check_equal(client, {"mirror": lambda: mirror.dump()[0],
                                 "python": lambda: dict(follower.topics)})
        counters = mirror.dump()[1]
        print("   %s" % counters)
        bus.expect(counters["went_back"] == 0, "a topic went back")
        bus.expect(counters["downs"] >= 2, "the subscriber was not told of the kills")
        follower.close()
    finally:
        bench.close()


def main():
    args = bus.arguments(__doc__, lambda parser: parser.add_argument(
        "--seconds", type=int, default=70, help="of load, more than 65"))
    return bus.run([
        ("stopped_subscriber_ends_equal", lambda: test_stopped_subscriber(args)),
        ("killed_publisher_is_followed", lambda: test_killed_publisher(args)),
    ])


sys.exit(main())
