# SPDX-License-Identifier: LGPL-2.1-or-later
"""What docs/protocol.md shows is what happens: its worked example of a repair is played, and the
bytes that go over the socket are those it prints."""
import os
import re
import shutil
import tempfile
import unittest
from unittest import mock

from fake_service import FakeService, frame
from xenmesh import Subscriber
from xenmesh.v1 import bus_pb2

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))
I = bytes(range(0x10, 0x20))
J = bytes(range(0x50, 0x60))
A, B, C, T = "vm/a/state", "vm/b/state", "vm/c/state", "task/1"


def dump(data):
    """As in the document."""
    return "".join("    %-47s  %s\n" % (data[i:i + 16].hex(" "), "".join(
        chr(b) if 32 <= b < 127 else "." for b in data[i:i + 16])) for i in range(0, len(data), 16))


def documented(title):
    """The blocks of bytes that follow a title in bold."""
    with open(os.path.join(ROOT, "docs/protocol.md"), encoding="utf-8") as f:
        text = f.read().partition("**%s**" % title)[2]
    text = re.split(r"^(?:\*\*|#)", text, 1, re.MULTILINE)[0]
    return re.findall(r"(?:^    (?:[0-9a-f]{2} )+.*\n)+", text, re.MULTILINE)


class DocumentTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="xenmesh-py-")
        self.addCleanup(shutil.rmtree, self.directory)
        for target, value in (("time.time_ns", 0x1887_0000_0000_0000),):
            patch = mock.patch(target, lambda value=value: value)
            patch.start()
            self.addCleanup(patch.stop)
        self.service = FakeService(self.directory)
        self.addCleanup(self.service.close)
        self.service.instance = I

    def next(self, sub, *wanted):
        for item in wanted:
            change = sub.next(10)
            self.assertEqual((change.what, change.topic, change.seq), item)

    def test_worked_example(self):
        s = self.service
        s.publish(A)
        s.publish(T)
        with Subscriber(s.url("pub"), s.url("rpc"), ["vm/"], "doc/1") as sub:
            self.next(sub, ("state", A, 1), ("resynced", None, 2))
            self.assertEqual(s.publish(B), 3)
            self.next(sub, ("state", B, 3))
            s.publish(T)
            s.publish(A, is_lost=True)
            s.remove(B, is_lost=True)
            sub._calls._number = 1
            with mock.patch("os.urandom", lambda n: bytes(range(0xa0, 0xa0 + n))), \
                    mock.patch("xenmesh.calls.new_traceparent", lambda: ""):
                s.publish(A)
                self.assertEqual(s.publish(A), 8)
                self.next(sub, ("gap", None, 6), ("removed", B, 6), ("state", A, 8),
                          ("resynced", None, 8))
            call, answer = s.traffic_of("Changes")
            s.heartbeat()
            s.publish(A, is_lost=True)
            s.heartbeat()
            self.next(sub, ("gap", None, 9), ("state", A, 9), ("resynced", None, 9))
            s.new_instance()
            s.instance = J
            s.publish(A, is_lost=True)
            s.publish(C, is_lost=True)
            s.cut("pub", "rpc")
            self.next(sub, ("down", None, 9), ("state", A, 1), ("state", C, 2),
                      ("resynced", None, 2))
        self.assertEqual([dump(frame(call)), dump(frame(answer))], documented("A repair"))
        page = bus_pb2.ChangesReply.FromString(bus_pb2.Reply.FromString(answer[4:]).payload)
        self.assertEqual([(e.topic, e.seq, e.WhichOneof("body")) for e in page.events],
                         [(B, 6, "removed"), (A, 8, "task")])
