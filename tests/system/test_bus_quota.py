#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One user who takes all it can get of connections, calls and memory: the calls of others are
answered, and so are its own that are essential."""
import itertools
import os
import select
import selectors
import struct
import sys

import bus_harness as bus
from other_user import As, stay
from raw_sp import RawCaller

FLOODER = 65534
OTHER = 65533
IN_FLIGHT_MAX = 1024   # BUS_INFLIGHT_MAX
IN_FLIGHT_OF_ONE = 64  # BUS_INFLIGHT_PER_PEER
BYTES_OF_ONE = 64 << 20
EXHAUSTED = 8
PING = "xenmesh.v1.Bus/Ping"
WAIT = "xenmesh.v1.Ops/WaitTask"
PAUSE = "xenmesh.v1.Ops/PauseVm"


def first_reply(callers):
    """Of whichever is answered first."""
    for caller in callers:
        caller.shake()
    ready, _, _ = select.select(callers, [], [], 10)
    bus.expect(ready, "none of the calls is refused")
    return ready[0].receive()[1]


def wait_for_ever(tell, path):
    """As many calls that are not answered as there may be, on as many connections as that takes."""
    n_sent = IN_FLIGHT_MAX + IN_FLIGHT_OF_ONE
    callers = [RawCaller(path) for _ in range(n_sent // IN_FLIGHT_OF_ONE)]
    for caller in callers:
        for _ in range(IN_FLIGHT_OF_ONE):
            caller.send(WAIT)
    refusal = first_reply(callers)
    own = RawCaller(path)
    ping = own.call(PING)
    more = own.call(WAIT)
    tell(code=refusal.code, text=refusal.message, ping=ping.code, more=more.code)
    stay(callers, own)


def connect_for_ever(tell, path):
    """Connections until the service hangs up on the newest."""
    callers = []
    while len(callers) < 3000:
        try:
            caller = RawCaller(path)
            caller.call(PING)
        except ConnectionError:
            break
        callers.append(caller)
    tell(n=len(callers))
    stay(callers)


def begin_large_messages(tell, path):
    """Messages of 1 MiB, all but their last byte."""
    body = struct.pack(">BQ", 1, 1 << 20) + b"\x80\0\0\1" + bytes((1 << 20) - 5)
    held, n_ended = [], 0
    for _ in range(200):
        caller = RawCaller(path)
        held.append(caller)
        try:
            caller.socket.sendall(body)
        except ConnectionError:
            n_ended += 1
    tell(n_ended=n_ended)
    stay(held)


def flood(tell, path):
    """Calls on many connections as fast as they are taken; the answers are read, or not."""
    callers = [RawCaller(path) for _ in range(100)]
    block = callers[0].frame(PING)[1] * 64
    selector = selectors.DefaultSelector()
    for caller in callers:
        caller.shake()
        caller.socket.setblocking(False)
        selector.register(caller, selectors.EVENT_READ | selectors.EVENT_WRITE)
    for n in itertools.count():
        for key, events in selector.select():
            try:
                if events & selectors.EVENT_READ:
                    key.fileobj.socket.recv(1 << 16)
                if events & selectors.EVENT_WRITE:
                    key.fileobj.socket.send(block)
            except BlockingIOError:
                continue
        if n == 20:
            tell(begun=True)


class Quota:
    def __init__(self, args):
        self.bench = bus.Bench(args.bin)
        os.chmod(self.bench.dir, 0o755)
        with open(os.path.join(self.bench.dir, "log"), "w", encoding="utf-8") as log:
            self.process = self.bench.start("bus_testpub", "--topology", self.bench.topology,
                                            "--rate", "0", "--events", "0", "--topics", "1",
                                            stderr=log)
        self.rpc = os.path.join(self.bench.dir, "test", "rpc")
        bus.wait_for(lambda: os.path.exists(self.rpc), 10, "bus_testpub listens")
        # Before the user changes, who may not read the build directory.
        import xenmesh.v1.bus_pb2

    def as_user(self, uid, function):
        return As(uid, function, self.rpc)

    def stats(self):
        from xenmesh.v1 import bus_pb2
        caller = RawCaller(self.rpc)
        reply = caller.call("xenmesh.v1.Bus/Stats")
        caller.close()
        bus.expect(reply.code == 0, "stats: %s" % reply)
        return {s.name: s.value for s in bus_pb2.StatsReply.FromString(reply.payload).stats}

    def is_served(self, n=50):
        """n pings and changing calls of an ordinary user, each on a connection of its own."""
        for _ in range(n):
            caller = RawCaller(self.rpc, timeout=5)
            for method in (PING, PAUSE):
                reply = caller.call(method)
                bus.expect(reply.code == 0, "%s beside the flood: %s" % (method, reply))
            caller.close()

    # ---- tests ----

    def calls_in_flight(self):
        flooder = self.as_user(FLOODER, wait_for_ever)
        try:
            told = flooder.next()
            bus.expect(told["code"] == EXHAUSTED, "not refused: %s" % told)
            bus.expect("of this user, whose limit is %d now" % (IN_FLIGHT_MAX // 2) in told["text"],
                       "does not tell the limit: %s" % told)
            bus.expect(told["ping"] == 0, "its own ping is not answered: %s" % told)
            bus.expect(told["more"] == EXHAUSTED, "another call is taken: %s" % told)
            stats = self.stats()
            bus.expect(stats["rpc.in_flight"] == IN_FLIGHT_MAX // 2 + 1, str(stats))
            bus.expect(stats["rpc.shed"] > 0 and stats["rpc.from_reserve"] >= 1, str(stats))
            self.is_served()
            # A second one gets half of what the first left.
            second = self.as_user(OTHER, wait_for_ever)
            try:
                told = second.next()
                bus.expect("whose limit is %d now" % (IN_FLIGHT_MAX // 4) in told["text"], told)
                self.is_served()
            finally:
                second.end()
        finally:
            flooder.end()
        bus.wait_for(lambda: self.stats()["rpc.in_flight"] == 1, 10, "all is given back")

    def connections(self):
        flooder = self.as_user(FLOODER, connect_for_ever)
        try:
            n = flooder.next()["n"]
            bus.expect(100 <= n <= 2048, "it got %d connections" % n)
            self.is_served()
        finally:
            flooder.end()
        bus.wait_for(lambda: self.stats()["rpc.peers"] <= 2, 10, "all is given back")

    def bytes_of_half_messages(self):
        before = bus.rss_kib(self.process.pid)
        flooder = self.as_user(FLOODER, begin_large_messages)
        try:
            n_ended = flooder.next()["n_ended"]
            self.is_served()
            grown = bus.rss_kib(self.process.pid) - before
            with open("/proc/%d/maps" % self.process.pid, encoding="ascii") as maps:
                is_sanitized = "libasan" in maps.read()  # it keeps what is freed
            bus.expect(is_sanitized or grown << 10 < 2 * BYTES_OF_ONE, "grew by %d KiB" % grown)
            peers = self.stats()["rpc.peers"]
            bus.expect(32 <= peers <= 70, "%d peers, %d were hung up on" % (peers, n_ended))
        finally:
            flooder.end()
        bus.wait_for(lambda: self.stats()["rpc.peers"] <= 2, 10, "all is given back")

    def busy_connections(self):
        flooder = self.as_user(FLOODER, flood)
        try:
            flooder.next()
            self.is_served()
        finally:
            flooder.end()

    def own_user_too(self):
        """The user of the service, here mostly root, has an account as everybody has."""
        callers = [RawCaller(self.rpc) for _ in range(9)]
        for caller in callers:
            for _ in range(IN_FLIGHT_OF_ONE):
                caller.send(WAIT)
        refusal = first_reply(callers)
        bus.expect(refusal.code == EXHAUSTED, "not refused: %s" % refusal)
        for caller in callers:
            bus.expect(caller.call(PING).code == 0, "a full connection has no reserve")
        caller = RawCaller(self.rpc)
        bus.expect(caller.call(PING).code == 0, "no reserve")
        bus.expect(caller.call(PAUSE).code == EXHAUSTED, "what is not essential was taken")
        for c in callers + [caller]:
            c.close()
        bus.wait_for(lambda: self.stats()["rpc.in_flight"] == 1, 10, "all is given back")
        self.is_served(1)


def main():
    quota = Quota(bus.arguments(__doc__))
    try:
        return bus.run([(test.__name__, test) for test in (
            quota.calls_in_flight, quota.connections, quota.bytes_of_half_messages,
            quota.busy_connections, quota.own_user_too)])
    finally:
        quota.bench.close()


sys.exit(main())
