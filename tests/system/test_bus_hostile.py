#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Peers that connect and close, stop half-way, or send nonsense harm no service: afterwards each
still answers a ping, its publications are still heard, and it has given back all descriptors.
With --topology FILE it is done to the ipc sockets of the services that run there, else to one
that it starts."""
import os
import random
import socket
import struct
import sys
import time

import bus_harness as bus

N = 1000
HEAL_SECONDS = 5
OPEN_AT_ONCE = 200
# Connections that are just being closed.
FDS_SLACK = 16

REQ = b"\0SP\0\0\x30\0\0"
SUB = b"\0SP\0\0\x21\0\0"
# A number, and a Call with request_id and method.
CALL = b"\x80\0\0\1" + b"\x0a\x10" + bytes(16) + b"\x12\x13xenmesh.v1.Bus/Ping"


def frame(body, announced=None):
    return b"\1" + struct.pack(">Q", len(body) if announced is None else announced) + body


def half_messages(hello):
    """Bytes after which a peer falls silent or goes."""
    return [
        b"\0", hello[:5], b"GET / HTTP/1.1\r\n\r\n", hello[:4] + b"\0\x10\0\0", hello,
        hello + b"\1", hello + frame(b"", 100), hello + frame(CALL[:9], len(CALL)),
        hello + frame(CALL)[:-1], hello + frame(b"", 1 << 62), hello + b"\2" + bytes(8),
        hello + frame(b""), hello + frame(b"\x80\0"), hello + frame(b"\0\0\0\1" * 20),
        hello + frame(b"\x80\0\0\1"), hello + frame(b"\x80\0\0\1" + b"\xff" * 1000),
        hello + frame(CALL) * 3,
    ]


def connect(path):
    """A connection, made in spite of a full backlog."""
    deadline = time.monotonic() + HEAL_SECONDS
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(HEAL_SECONDS)
        try:
            sock.connect(path)
            return sock
        except (BlockingIOError, ConnectionRefusedError, socket.timeout) as e:
            sock.close()
            bus.expect(time.monotonic() < deadline, "%s takes no connections: %s" % (path, e))
            time.sleep(0.01)


def send(sock, data):
    try:
        sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it had enough of us


class Target:
    """One service of a topology."""

    def __init__(self, name, pub, rpc):
        self.name = name
        self.pub = pub
        self.rpc = rpc
        self.paths = [(url[len("ipc://"):], hello) for url, hello in ((pub, SUB), (rpc, REQ))
                      if url.startswith("ipc://")]

    def stat(self, name):
        from xenmesh import Client
        with Client(self.rpc) as client:
            return next(s.value for s in client.call("Bus/Stats").stats if s.name == name)

    def check_alive(self):
        """Answers, and is heard by a subscriber that connects now."""
        from xenmesh import Client, Subscriber
        from xenmesh.v1 import bus_pb2
        with Client(self.rpc) as client:
            reply = client.call("Bus/Ping", bus_pb2.PingRequest(echo=b"alive"),
                                timeout=HEAL_SECONDS)
            bus.expect(reply.echo == b"alive", "%s answers something else" % self.name)
        deadline = time.monotonic() + HEAL_SECONDS
        with Subscriber(self.pub, self.rpc, ["no-such-topic/"]) as subscriber:
            while True:
                left = deadline - time.monotonic()
                bus.expect(left > 0, "%s is not heard" % self.name)
                for change in subscriber.changes(min(left, 0.1)):
                    bus.expect(change.what != "gap", "a gap where there is nothing")
                if subscriber.is_synced and subscriber.has_heard:
                    return

    def check_fds(self, before):
        deadline = time.monotonic() + 15
        now = self.stat("process.fds")
        while now > before + FDS_SLACK and time.monotonic() < deadline:
            time.sleep(0.2)
            now = self.stat("process.fds")
        print("   %s has %d descriptors, had %d" % (self.name, now, before))
        bus.expect(now <= before + FDS_SLACK, "descriptors are lost")


def connect_and_close(target):
    before = target.stat("process.fds")
    for path, _ in target.paths:
        for _ in range(N):
            connect(path).close()
        target.check_alive()
    target.check_fds(before)


def half_sent(target):
    rnd = random.Random(1)
    before = target.stat("process.fds")
    for path, hello in target.paths:
        kinds = half_messages(hello)
        still_open = []
        for i in range(N):
            sock = connect(path)
            send(sock, kinds[i % len(kinds)])
            still_open.append(sock)
            if len(still_open) > OPEN_AT_ONCE:
                still_open.pop(rnd.randrange(len(still_open))).close()
        target.check_alive()
        for sock in still_open:
            sock.close()
        target.check_alive()
    target.check_fds(before)


def noise(target):
    """Random bytes and random changes of a good call."""
    rnd = random.Random(2)
    for path, hello in target.paths:
        good = hello + frame(CALL)
        for _ in range(N // 4):
            data = bytearray(good)
            for _ in range(rnd.randrange(1, 5)):
                data[rnd.randrange(8, len(data))] = rnd.randrange(256)
            sock = connect(path)
            send(sock, bytes(data) + rnd.randbytes(rnd.randrange(50)))
            sock.close()
        target.check_alive()


def targets_of(topology):
    from xenmesh import CallError, Client
    for name in topology.services:
        if "/" in name:
            continue
        target = Target(name, topology.pub(name), topology.rpc(name))
        if not os.path.exists(target.rpc.replace("ipc://", "")):
            raise bus.Failed("%s is not running" % name)
        try:
            Client(target.rpc).call("Bus/Ping", timeout=HEAL_SECONDS)
        except CallError as e:
            raise bus.Failed("%s does not answer: %s" % (name, e)) from e
        yield target


def add_arguments(parser):
    parser.add_argument("--topology")


def main():
    args = bus.arguments(__doc__, add_arguments)
    from xenmesh import Topology
    bench = None
    if args.topology:
        topology = Topology.load(args.topology)
    else:
        bench = bus.Bench(args.bin)
        bench.start_pub(rate=100, events=1 << 30)
        topology = Topology.load(bench.topology)
        topology.services = {"test": topology.services["test"]}
    try:
        tests = []
        for target in targets_of(topology):
            for test in (connect_and_close, half_sent, noise):
                tests.append(("%s_%s" % (target.name, test.__name__),
                              lambda target=target, test=test: test(target)))
        return bus.run(tests)
    finally:
        if bench:
            bench.close()


sys.exit(main())
