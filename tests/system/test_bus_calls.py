#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A C service called by the Python client, which was made from docs/protocol.md alone."""
import os
import re
import socket
import struct
import sys
import time

import bus_harness as bus


PROTOCOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/protocol.md")


def examples():
    """The hex dumps at the end of docs/protocol.md, as bytes."""
    with open(PROTOCOL, encoding="utf-8") as f:
        text = f.read().partition("## 8. Examples")[2]
    blocks = re.findall(r"(?:^    (?:[0-9a-f]{2} )+.*\n)+", text, re.MULTILINE)
    return [bytes.fromhex("".join(line[4:51] for line in block.splitlines())) for block in blocks]


def frames_of(data):
    """The handshake and the bodies of the frames of one direction of a unix socket."""
    bodies, at = [data[:8]], 8
    while at < len(data):
        kind, size = struct.unpack_from(">BQ", data, at)
        bus.expect(kind == 1 and at + 9 + size <= len(data), "no frame at %d" % at)
        bodies.append(data[at + 9:at + 9 + size])
        at += 9 + size
    return bodies


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Calls:
    def __init__(self, args):
        self.ports = [free_port(), free_port()]
        self.bench = bus.Bench(args.bin, self.ports)
        self.rpc = "ipc://%s/test/rpc" % self.bench.dir
        self.tcp = "tcp://127.0.0.1:%d" % self.ports[1]
        self.process = self.bench.start_pub(rate=20000, events=400, topics=300)

    def client(self, url=None):
        from xenmesh import Client
        return Client(url or self.rpc, "test_bus_calls/1")

    def fails(self, name, url, *args, **kwargs):
        """The CallError of a call that must end with code `name`."""
        from xenmesh import CallError
        with self.client(url) as client:
            try:
                client.call(*args, **kwargs)
            except CallError as e:
                bus.expect(e.name == name, "ended with %s" % e)
                bus.expect(e.message, "%s without a text" % name)
                return e
        raise bus.Failed("%s succeeded instead of %s" % (args[0], name))

    def raw(self):
        """A bare SP connection to the rpc socket."""
        from xenmesh.sp import REP, REQ, SpSocket
        return SpSocket(self.rpc, REQ, REP, 4 << 20, time.monotonic() + 5)

    # ---- tests ----

    def ping(self):
        from xenmesh.v1 import bus_pb2
        for url in (self.rpc, self.tcp):
            with self.client(url) as client:
                reply = client.call("Bus/Ping", bus_pb2.PingRequest(echo=b"\0\xff" * 1000))
                bus.expect(reply.echo == b"\0\xff" * 1000, "%s: echo differs" % url)
                bus.expect(reply.service == "test" and len(reply.instance) == 16,
                           "%s: %s" % (url, reply))

    def describe(self):
        from google.protobuf import descriptor_pb2
        from xenmesh.v1 import bus_pb2
        with self.client() as client:
            reply = client.call("Bus/Describe", bus_pb2.DescribeRequest(with_descriptors=True))
        bus.expect(reply.pid == self.process.pid, "pid %d" % reply.pid)
        names = {m.name: m for m in reply.methods}
        bus.expect(names["xenmesh.v1.Ops/PauseVm"].mutating, "PauseVm is not mutating")
        bus.expect("xenmesh.v1.Ops/StartVm" not in names, "StartVm is not served here")
        files = descriptor_pb2.FileDescriptorSet.FromString(reply.descriptors)
        bus.expect(any(f.name == "xenmesh/v1/ops.proto" for f in files.file), "no descriptors")

    def pages(self):
        """Snapshot and Changes say the same, whole or below a prefix."""
        from xenmesh.v1 import bus_pb2
        with self.client() as client:
            whole = bus.published(client)
            tasks = bus.published(client, ["task/"])
            page = client.call("Bus/Snapshot")
            later = client.call("Bus/Changes", bus_pb2.ChangesRequest(
                instance=page.instance, since_seq=page.events[9].seq))
            other = client.call("Bus/Changes", bus_pb2.ChangesRequest(
                instance=bytes(16), since_seq=page.seq))
        bus.expect(tasks == {t: v for t, v in whole.items() if t.startswith("task/")},
                   "prefixes differ")
        seqs = [event.seq for event in page.events]
        bus.expect(page.full and seqs == sorted(seqs), "the snapshot is not in order")
        states = [e for e in later.events if e.WhichOneof("body") != "removed"]
        bus.expect(not later.full and list(states) == list(page.events[10:]), "Changes differs")
        bus.expect(other.full and list(other.events) == list(page.events),
                   "no full answer for another instance")

    def refusals(self):
        from xenmesh.v1 import bus_pb2, ops_pb2
        self.fails("UNIMPLEMENTED", None, "Ops/StartVm", ops_pb2.StartVmRequest(vm="x"))
        self.fails("INVALID_ARGUMENT", None, "Bus/Ping", bus_pb2.PingRequest(echo=bytes(65537)))
        self.fails("INVALID_ARGUMENT", None, "Bus/Snapshot",
                   bus_pb2.SnapshotRequest(prefixes=["x"] * 65))
        self.fails("INVALID_ARGUMENT", None, "Ops/PauseVm", request_id=b"short")
        self.fails("PERMISSION_DENIED", self.tcp, "Ops/PauseVm", ops_pb2.PauseVmRequest(vm="x"))
        self.fails("PERMISSION_DENIED", self.tcp, "Bus/SetLogLevel",
                   bus_pb2.SetLogLevelRequest(level="info"))

    def unreadable_calls(self):
        from xenmesh.v1 import bus_pb2, common_pb2
        sock = self.raw()
        try:
            for body in (b"", b"\xff" * 100, bus_pb2.Call(method="x").SerializeToString(),
                         bus_pb2.Call(request_id=bytes(16), method="xenmesh.v1.Bus/Ping",
                                      payload=b"\xff").SerializeToString()):
                sock.send(b"\x80\0\0\x01" + body, time.monotonic() + 5)
                answer = sock.receive(time.monotonic() + 5)
                reply = bus_pb2.Reply.FromString(answer[4:])
                bus.expect(answer[:4] == b"\x80\0\0\x01", "another number")
                bus.expect(reply.code == common_pb2.CODE_INVALID_ARGUMENT, str(reply))
        finally:
            sock.close()

    def deadline(self):
        from xenmesh.v1 import ops_pb2
        began = time.monotonic()
        self.fails("DEADLINE_EXCEEDED", None, "Ops/WaitTask", ops_pb2.WaitTaskRequest(id="x"),
                   timeout=0.3)
        bus.expect(0.29 < time.monotonic() - began < 2, "after %.2f s" % (
            time.monotonic() - began))

    def slow_and_fast(self):
        """A slow call does not delay a fast one on the same connection."""
        from xenmesh.v1 import bus_pb2
        sock = self.raw()
        try:
            for number, method in ((1, "xenmesh.v1.Ops/UnpauseVm"), (2, "xenmesh.v1.Bus/Ping")):
                call = bus_pb2.Call(request_id=os.urandom(16), method=method)
                sock.send(struct.pack(">I", 1 << 31 | number) + call.SerializeToString(),
                          time.monotonic() + 5)
            order = [sock.receive(time.monotonic() + 5)[3] for _ in range(2)]
            bus.expect(order == [2, 1], "answered in order %s" % order)
        finally:
            sock.close()

    def in_flight_limit(self):
        """Of 70 calls at once 64 wait and the others are refused."""
        from xenmesh.v1 import bus_pb2, common_pb2
        sock = self.raw()
        codes = []
        try:
            for number in range(70):
                call = bus_pb2.Call(request_id=os.urandom(16), timeout_ms=1000,
                                    method="xenmesh.v1.Ops/WaitTask")
                sock.send(struct.pack(">I", 1 << 31 | number) + call.SerializeToString(),
                          time.monotonic() + 5)
            for _ in range(70):
                reply = bus_pb2.Reply.FromString(sock.receive(time.monotonic() + 5)[4:])
                codes.append(reply.code)
        finally:
            sock.close()
        bus.expect(codes[:6] == [common_pb2.CODE_RESOURCE_EXHAUSTED] * 6, str(codes[:6]))
        bus.expect(set(codes[6:]) == {common_pb2.CODE_DEADLINE_EXCEEDED}, str(set(codes[6:])))

    def executed(self):
        from xenmesh.v1 import ops_pb2
        with self.client() as client:
            return int(client.call("Ops/PauseVm", ops_pb2.PauseVmRequest(vm="count")).step)

    def repeat_after_answer(self):
        from xenmesh.v1 import ops_pb2
        request, request_id = ops_pb2.PauseVmRequest(vm="a"), os.urandom(16)
        before = self.executed()
        with self.client() as client:
            first = client.call("Ops/PauseVm", request, request_id=request_id)
        with self.client() as client:
            second = client.call("Ops/PauseVm", request, request_id=request_id)
        bus.expect(first == second, "%s and %s" % (first, second))
        bus.expect(self.executed() == before + 2, "executed again")
        self.fails("INVALID_ARGUMENT", None, "Ops/PauseVm", ops_pb2.PauseVmRequest(vm="b"),
                   request_id=request_id)

    def repeat_while_executing(self):
        """The first caller is gone before the answer; two repeats get it; executed once."""
        from xenmesh.v1 import bus_pb2, ops_pb2
        before = self.executed()
        request = ops_pb2.UnpauseVmRequest(vm="slow")
        call = bus_pb2.Call(request_id=os.urandom(16), method="xenmesh.v1.Ops/UnpauseVm",
                            payload=request.SerializeToString())
        first = self.raw()
        first.send(b"\x80\0\0\0" + call.SerializeToString(), time.monotonic() + 5)
        time.sleep(0.1)
        first.close()
        for _ in range(2):
            with self.client() as client:
                reply = client.call("Ops/UnpauseVm", request, request_id=call.request_id)
                bus.expect(int(reply.step) == before + 1, "executed again: %s" % reply)
        bus.expect(self.executed() == before + 2, "executed again")

    def documented_examples(self):
        """The dumps of the protocol are what they are said to be, and the call still works."""
        from xenmesh.v1 import bus_pb2
        sent, received, hello, published = examples()[:4]
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(self.rpc[len("ipc://"):])
            sock.sendall(sent)
            answer = b""
            while len(answer) < len(received):
                answer += sock.recv(4096)
        # Only the instance, the last 16 bytes, is another one.
        bus.expect(answer[:-16] == received[:-16], "answered %s" % answer.hex(" "))
        shake, beat, event = frames_of(published)
        bus.expect(hello == b"\0SP\0\0\x21\0\0" and shake == b"\0SP\0\0\x20\0\0", "handshake")
        topic, _, data = beat.partition(b"\0")
        beat = bus_pb2.Event.FromString(data)
        bus.expect(topic == b"bus/heartbeat" and beat.heartbeat.segments[0].seq == 1, str(beat))
        topic, _, data = event.partition(b"\0")
        event = bus_pb2.Event.FromString(data)
        bus.expect(topic == b"vm/514/state" and (event.seq, event.prev_seq) == (2, 1), str(event))

    def restart(self):
        """A call outlives the restart of the service; a client left alone says so."""
        from xenmesh.v1 import bus_pb2
        with self.client() as client:
            client.call("Bus/Ping")
            self.process.kill()
            self.process.wait()
            began = time.monotonic()
            error = self.fails("UNAVAILABLE", None, "Bus/Ping", timeout=0.5)
            bus.expect(self.bench.dir in error.message, "does not say where: %s" % error)
            bus.expect(time.monotonic() - began < 2, "too late")
            self.process = self.bench.start_pub()
            reply = client.call("Bus/Ping", bus_pb2.PingRequest(echo=b"again"), timeout=10)
            bus.expect(reply.echo == b"again", "no answer after the restart")


def main():
    calls = Calls(bus.arguments(__doc__))
    try:
        with calls.client() as client:
            bus.wait_for(lambda: bus.is_idle(client), 20, "all events are published")
        return bus.run([(test.__name__, test) for test in (
            calls.ping, calls.describe, calls.pages, calls.refusals, calls.unreadable_calls,
            calls.deadline, calls.slow_and_fast, calls.in_flight_limit,
            calls.repeat_after_answer, calls.repeat_while_executing,
            calls.documented_examples, calls.restart)])
    finally:
        calls.bench.close()


sys.exit(main())
