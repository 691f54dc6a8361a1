# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service in Python for tests: a publisher whose losses are scripted, and a responder.

Everything is done by the test's thread or, for what comes over sockets, by one thread a
connection; `lock` is held while state changes.
"""
import os
import socket
import struct
import threading
import time

from xenmesh.calls import find_method, message_class
from xenmesh.errors import SpError
from xenmesh.wire import PUB, REP, REQ, SUB, Link
from xenmesh.v1 import bus_pb2, common_pb2

CALL_MAX = 1 << 20


class Refusal(Exception):
    """Raised by a handler: the call ends with this code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Peer:
    """One connection that was accepted."""

    def __init__(self, service, sock, own, peer, is_ipc):
        self.service = service
        self.socket = sock
        self.link = Link(own, peer, CALL_MAX, is_ipc)
        self.lock = threading.Lock()

    def flush(self):
        with self.lock:
            output = bytes(self.link.output)
            self.link.output.clear()
            try:
                self.socket.sendall(output)
            except OSError:
                pass  # it has gone; its reader finds out

    def send(self, body):
        with self.lock:
            self.link.send(body)
        self.flush()

    def offer(self, body):
        """As a publisher: dropped while the subscriber does not read."""
        with self.lock:
            output = self.link.output
            if not output:
                self.link.send(body)
            try:
                while output:
                    del output[:self.socket.send(output, socket.MSG_DONTWAIT)]
            except OSError:
                pass  # full, or gone

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def serve(self):
        try:
            while True:
                data = self.socket.recv(65536)
                if not data:
                    break
                self.link.feed(data)
                if self.link.is_up and self not in self.service.peers:
                    self.service.joined(self)
                while (body := self.link.message()) is not None:
                    self.service.received(self, body)
        except (OSError, SpError):
            pass
        finally:
            self.service.left(self)
            self.socket.close()


class FakeService:
    """Listens on DIRECTORY/pub and DIRECTORY/rpc, or on ports of localhost: `tls` is a server's
    ssl.SSLContext."""

    def __init__(self, directory, tls=None, is_tcp=False):
        self.directory = directory
        self.tls = tls
        self.is_ipc = tls is None and not is_tcp
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.peers = []
        self.calls = []  # (time, Call) in order of arrival
        self.traffic = []  # ("pub", event), ("call", method, message), ("answer", method, message)
        self.handlers = {"Bus/Ping": self.on_ping, "Bus/Snapshot": self.on_snapshot,
                         "Bus/Changes": self.on_changes}
        self.page_events = 1 << 30
        self.before_page = None  # called with the number of the page
        self.n_pages = 0
        self.listeners = {}
        self.is_closed = False
        self.new_instance()
        for kind in ("pub", "rpc"):
            self._listen(kind)

    # ---- sockets ----

    def url(self, kind):
        if self.is_ipc:
            return "ipc://%s/%s" % (self.directory, kind)
        return "%s://localhost:%d" % ("tls+tcp" if self.tls else "tcp",
                                      self.listeners[kind].getsockname()[1])

    def _listen(self, kind):
        if not self.is_ipc:
            listener = socket.create_server(("127.0.0.1", 0))
        else:
            path = os.path.join(self.directory, kind)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path + ".new")
            listener.listen(64)
            os.rename(path + ".new", path)
        self.listeners[kind] = listener
        threading.Thread(target=self._accept, args=(kind, listener), daemon=True).start()

    def _accept(self, kind, listener):
        own, peer = (PUB, SUB) if kind == "pub" else (REP, REQ)
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock, own, peer), daemon=True).start()

    def _serve(self, sock, own, peer):
        if self.tls:
            try:
                sock = self.tls.wrap_socket(sock, server_side=True)
            except OSError:
                sock.close()
                return
        Peer(self, sock, own, peer, self.is_ipc).serve()

    def close(self):
        self.is_closed = True
        for listener in self.listeners.values():
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()
        self.cut("pub", "rpc")

    def cut(self, *kinds):
        """Close the connections of these sockets."""
        with self.lock:
            peers = [p for p in self.peers if ("pub" if p.link.peer == SUB else "rpc") in kinds]
        for peer in peers:
            peer.close()

    def joined(self, peer):
        """It is greeted now: a client that is up is one that gets what is published."""
        with self.lock:
            self.peers.append(peer)
            peer.flush()
            self.changed.notify_all()

    def left(self, peer):
        with self.lock:
            if peer in self.peers:
                self.peers.remove(peer)
            self.changed.notify_all()

    def wait(self, condition, seconds=10):
        """Until condition() holds, which is looked at after each change."""
        with self.lock:
            if not self.changed.wait_for(condition, seconds):
                raise AssertionError("not within %d s" % seconds)

    def subscribers(self):
        return [peer for peer in self.peers if peer.link.peer == SUB]

    # ---- publisher ----

    def new_instance(self):
        """As after a restart: nothing published yet."""
        with self.lock:
            self.instance = os.urandom(16)
            self.seq = 0
            self.segments = {}
            self.table = {}
            self.reach = 0  # removals of before are forgotten

    def start_heartbeats(self):
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self):
        while not self.is_closed:
            self.heartbeat()
            time.sleep(1)

    def _send(self, event):
        body = event.topic.encode() + b"\0" + event.SerializeToString()
        self.traffic.append(("pub", body))
        for peer in self.subscribers():
            if self.tls:
                peer.send(body)
            else:
                peer.offer(body)

    def heartbeat(self):
        with self.lock:
            beat = bus_pb2.Heartbeat(seq=self.seq, segments=[
                bus_pb2.SegmentSeq(segment=s, seq=n) for s, n in self.segments.items()])
            self._send(bus_pb2.Event(instance=self.instance, topic="bus/heartbeat",
                                     time_ns=time.time_ns(), heartbeat=beat))

    def publish(self, topic, is_lost=False, **body):
        """An event with the body given as a keyword; none: task.step = its seq. -> seq"""
        with self.lock:
            segment = topic.partition("/")[0]
            previous = self.segments.get(segment, 0)
            self.seq += 1
            self.segments[segment] = self.seq
            if not body:
                body = {"task": {"step": str(self.seq)}}
            event = bus_pb2.Event(instance=self.instance, seq=self.seq, prev_seq=previous,
                                  topic=topic, time_ns=time.time_ns(), **body)
            if not topic.startswith("trace/"):
                self.table[topic] = event
            if not is_lost:
                self._send(event)
            return self.seq

    def remove(self, topic, is_lost=False):
        return self.publish(topic, is_lost, removed={"reason": "test"})

    def forget_removals(self):
        with self.lock:
            gone = [t for t, e in self.table.items() if e.WhichOneof("body") == "removed"]
            for topic in gone:
                self.reach = max(self.reach, self.table.pop(topic).seq)

    def state(self, prefix=""):
        """{topic: value} as a subscriber should have it."""
        with self.lock:
            return {t: e.task.step for t, e in self.table.items()
                    if t.startswith(prefix) and e.WhichOneof("body") != "removed"}

    # ---- responder ----

    def received(self, peer, body):
        n = 4
        while not body[n - 4] & 0x80:
            n += 4
        call = bus_pb2.Call.FromString(body[n:])
        with self.lock:
            self.calls.append((time.monotonic(), call))
            self.traffic.append(("call", call.method, body))
            self.changed.notify_all()
        reply = self.answer(call)
        if reply is not None:
            message = body[:n] + reply.SerializeToString()
            self.traffic.append(("answer", call.method, message))
            peer.send(message)

    def answer(self, call):
        """-> Reply, or None: none is sent."""
        reply = bus_pb2.Reply(request_id=call.request_id)
        handler = self.handlers.get(call.method[len("xenmesh.v1."):])
        if handler is None:
            reply.code, reply.message = common_pb2.CODE_UNIMPLEMENTED, "unknown " + call.method
            return reply
        request = message_class(find_method(call.method).input_type).FromString(call.payload)
        try:
            result = handler(request)
        except Refusal as e:
            reply.code, reply.message = e.code, str(e)
            return reply
        if result is None:
            return None
        reply.payload = result.SerializeToString()
        return reply

    def traffic_of(self, method):
        """The messages of the first call of a method and of its answer."""
        return [next(item[2] for item in self.traffic if item[0] == kind
                     and item[1].endswith(method)) for kind in ("call", "answer")]

    def count(self, method):
        with self.lock:
            return sum(call.method.endswith(method) for _, call in self.calls)

    def on_ping(self, request):
        return bus_pb2.PingReply(echo=request.echo, service="test", instance=self.instance)

    def _page(self, events, is_full, prefixes):
        with self.lock:
            if prefixes:
                events = [e for e in events if any(e.topic.startswith(p) for p in prefixes)]
            events = sorted(events, key=lambda e: e.seq)
            page = events[:self.page_events]
            more = len(events) > len(page)
            reply = bus_pb2.ChangesReply(
                instance=self.instance, full=is_full, events=page, more=more, seq=self.seq,
                resume_seq=page[-1].seq if more else self.seq)
            self.n_pages += 1
            number, before = self.n_pages, self.before_page
        if before:
            before(number)
        return reply

    def on_snapshot(self, request):
        with self.lock:
            events = [e for e in self.table.values() if e.seq > request.after_seq
                      and e.WhichOneof("body") != "removed"]
        return self._page(events, True, request.prefixes)

    def on_changes(self, request):
        with self.lock:
            if request.instance != self.instance or request.since_seq < self.reach:
                return self.on_snapshot(bus_pb2.SnapshotRequest(prefixes=request.prefixes))
            events = [e for e in self.table.values() if e.seq > request.since_seq]
        return self._page(events, False, request.prefixes)


def frame(body):
    """A frame of a unix socket."""
    return b"\1" + struct.pack(">Q", len(body)) + body
