#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ten million hostile frames, peers that send a byte now and then, and ten thousand bare connects:
the service stays up, small, and quick for a well-behaved client beside them."""
import json
import os
import socket
import subprocess
import sys
import threading

import bus_harness as bus

FRAMES = 10_000_000
FLOOD_SECONDS = 480
PINGS = 1000
ROUNDS = 5
SLOW_PEERS = 100
BYTE_SECONDS = 0.05
CONNECTS = 10_000
# Of the flood after its first tenth: what one large request leaves in the heap.
GROWTH_MAX_KIB = 4 << 10
# Starved, on any machine; the figure to look at is the ratio that is printed.
STARVED_US = 50_000
REQ = b"\0SP\0\0\x30\0\0"
# The announced length is never reached.
ENDLESS = REQ + b"\1" + (1 << 19).to_bytes(8, "big")


class SlowPeers(threading.Thread):
    """Connections that each send one byte after the other, and never come to an end."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.sent = 0
        self.over = threading.Event()
        self.start()

    def run(self):
        peers = []
        while not self.over.wait(BYTE_SECONDS):
            if len(peers) < SLOW_PEERS:
                peer = socket.socket(socket.AF_UNIX)
                peer.connect(self.path)
                peers.append((peer, self.sent))
            for peer, since in peers:
                at = self.sent - since
                try:
                    peer.send(ENDLESS[at:at + 1] or b"x")
                except OSError:
                    pass  # the service had enough of it
            self.sent += 1
        for peer, _ in peers:
            peer.close()

    def close(self):
        self.over.set()
        self.join()


class Service:
    def __init__(self, bench, args):
        self.bench = bench
        self.cli = os.path.join(args.bin, "xenmesh")
        self.process = bench.start_pub(rate=100, events=1 << 30)
        self.rpc = "%s/test/rpc" % bench.dir

    def ping(self):
        """The CLI's p99 of many pings, in microseconds; each of them must be answered."""
        out = subprocess.run([self.cli, "--topology", self.bench.topology, "--json", "bus", "ping", "test", "-c",
                              str(PINGS), "-i", "0"], capture_output=True, text=True, timeout=120, check=False)
        bus.expect(out.returncode == 0, "a ping was not answered: %s" % out.stderr)
        return json.loads(out.stdout)["p99_us"]

    def best_p99(self):
        """Of some rounds, so that what else the machine does counts less."""
        return min(self.ping() for _ in range(ROUNDS))

    def stat(self, name):
        from xenmesh import Client
        with Client("ipc://" + self.rpc) as client:
            return next(s.value for s in client.call("Bus/Stats").stats if s.name == name)

    def rss_kib(self):
        bus.expect(self.process.poll() is None, "the service ended with %s" % self.process.returncode)
        return bus.rss_kib(self.process.pid)

    def is_sanitized(self):
        with open("/proc/%d/maps" % self.process.pid, encoding="ascii") as maps:
            return any("libasan" in line or "libtsan" in line for line in maps)


def flood(service, frames):
    command = [os.path.join(service.bench.bin, "tests/system/bus_flood"), service.rpc, str(frames), str(frames)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process):
    out, _ = process.communicate(timeout=FLOOD_SECONDS)
    bus.expect(process.returncode == 0, "bus_flood ended with %s" % process.returncode)
    return out.strip()


def test_frames(service, args):
    quiet_us = service.best_p99()
    fds = service.stat("process.fds")
    slow = SlowPeers(service.rpc)
    finish(flood(service, args.frames // 10))
    before_kib = service.rss_kib()
    process = flood(service, args.frames - args.frames // 10)
    loud_us = service.best_p99()
    is_still_on = process.poll() is None
    sent = finish(process)
    growth_kib = service.rss_kib() - before_kib
    slow.close()
    received = service.stat("rpc.received")
    print("   %s" % sent)
    print("   %d reached a decoder; %d slow peers sent %d bytes each" % (received, SLOW_PEERS, slow.sent))
    print("   p99 of a ping: %.0f us, beside the flood %.0f us, %.1f times as much; RSS grew by %d KiB" % (
        quiet_us, loud_us, loud_us / quiet_us, growth_kib))
    bus.expect(loud_us < STARVED_US, "a well-behaved client starves")
    bus.expect(is_still_on, "the flood was over before the pings were")
    bus.expect(received > args.frames * 0.8, "most frames never came to a decoder")
    bus.wait_for(lambda: service.stat("process.fds") <= fds + 4, 15, "all descriptors are given back")
    if not service.is_sanitized():  # they keep what is freed
        bus.expect(growth_kib < GROWTH_MAX_KIB, "the service grew by %d KiB" % growth_kib)


def test_connects(service):
    fds = service.stat("process.fds")
    before_kib = service.rss_kib()
    for i in range(CONNECTS):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(service.rpc)
        if i % 1000 == 0:
            service.ping()
    bus.wait_for(lambda: service.stat("process.fds") <= fds + 4, 15, "all descriptors are given back")
    growth_kib = service.rss_kib() - before_kib
    print("   RSS grew by %d KiB" % growth_kib)
    if not service.is_sanitized():
        bus.expect(growth_kib < GROWTH_MAX_KIB, "the service grew by %d KiB" % growth_kib)


def main():
    args = bus.arguments(__doc__, lambda parser: parser.add_argument("--frames", type=int, default=FRAMES))
    bench = bus.Bench(args.bin)
    try:
        service = Service(bench, args)
        return bus.run([
            ("ten_million_hostile_frames", lambda: test_frames(service, args)),
            ("ten_thousand_bare_connects", lambda: test_connects(service)),
        ])
    finally:
        bench.close()


sys.exit(main())
