# SPDX-License-Identifier: LGPL-2.1-or-later
import random
import unittest

from fake_service import frame
from xenmesh.errors import SpError
from xenmesh.wire import PUB, REP, REQ, SUB, Link, Machine, parse_url

HELLO = b"\0SP\0\0\x20\0\0"


def bodies(link):
    found = []
    while (body := link.message()) is not None:
        found.append(body)
    return found


class LinkTest(unittest.TestCase):
    def subscriber(self, max_message=100, is_ipc=True):
        return Link(SUB, PUB, max_message, is_ipc)

    def test_greets_first(self):
        self.assertEqual(bytes(self.subscriber().output), b"\0SP\0\0\x21\0\0")

    def test_frames_whole(self):
        link = self.subscriber()
        link.feed(HELLO + frame(b"one") + frame(b"") + frame(b"three"))
        self.assertEqual(bodies(link), [b"one", b"", b"three"])

    def test_frames_in_any_pieces(self):
        data = HELLO + b"".join(frame(bytes([i]) * i) for i in range(40))
        rnd = random.Random(1)
        for _ in range(200):
            link, found, at = self.subscriber(), [], 0
            while at < len(data):
                n = rnd.randrange(1, 60)
                link.feed(data[at:at + n])
                found += bodies(link)
                at += n
            self.assertEqual(found, [bytes([i]) * i for i in range(40)])

    def test_tcp_has_no_type_byte(self):
        link = self.subscriber(is_ipc=False)
        link.feed(HELLO + frame(b"body")[1:])
        self.assertEqual(bodies(link), [b"body"])
        sender = Link(REQ, REP, 100, False)
        sender.send(b"body")
        self.assertEqual(bytes(sender.output[8:]), b"\0\0\0\0\0\0\0\4body")

    def test_ipc_sends_the_type_byte(self):
        link = self.subscriber()
        link.send(b"body")
        self.assertEqual(bytes(link.output[8:]), b"\1\0\0\0\0\0\0\0\4body")

    def test_largest_and_larger(self):
        link = self.subscriber()
        link.feed(HELLO + frame(bytes(100)) + frame(bytes(101)))
        self.assertEqual(link.message(), bytes(100))
        with self.assertRaisesRegex(SpError, "101 bytes"):
            link.message()

    def test_huge_length_is_refused_at_once(self):
        link = self.subscriber()
        link.feed(HELLO + b"\1" + b"\xff" * 8)
        with self.assertRaises(SpError):
            link.message()

    def test_other_type_is_refused_at_once(self):
        link = self.subscriber()
        link.feed(HELLO + b"\2")
        with self.assertRaisesRegex(SpError, "type 2"):
            link.message()

    def test_other_handshakes_are_refused(self):
        for hello in (b"\0SP\0\0\x31\0\0", b"HTTP/1.1", b"\0SP\0\0\x20\0\1", b"\0SP\1\0\x20\0\0"):
            with self.assertRaises(SpError):
                self.subscriber().feed(hello)


class UrlTest(unittest.TestCase):
    def test_known(self):
        self.assertEqual(parse_url("ipc:///run/x"), ("ipc", "/run/x", None, None))
        self.assertEqual(parse_url("/run/x"), ("ipc", "/run/x", None, None))
        self.assertEqual(parse_url("tcp://h.example:7"), ("tcp", None, "h.example", 7))
        self.assertEqual(parse_url("tls+tcp://[::1]:7"), ("tls", None, "::1", 7))

    def test_unknown(self):
        for url in ("ws://h:1", "tcp://h", "tcp://:1", "tls+tcp://h:x"):
            with self.assertRaises(ValueError):
                parse_url(url)


class Recorder(Machine):
    """Notes what it is told."""

    def __init__(self):
        super().__init__("ipc:///none", SUB, PUB, 100)
        self.told = []

    def _wants_link(self):
        return True

    def _up(self, now):
        self.told.append("up")

    def _down(self, now):
        self.told.append("down")

    def _message(self, body, now):
        self.told.append(body)
        if body == b"end":
            self.lost("told to", now)

    def _times(self):
        return [None]

    def _wake(self, now):
        pass


class MachineTest(unittest.TestCase):
    def test_tells_in_order(self):
        m = Recorder()
        m.opened(0)
        m.received(HELLO[:3], 0)
        m.received(HELLO[3:] + frame(b"a")[:5], 0)
        m.received(frame(b"a")[5:], 0)
        m.lost("cut", 1)
        self.assertEqual(m.told, ["up", b"a", "down"])

    def test_delays_grow_until_a_connection_lasts(self):
        m, now, delays = Recorder(), 0.0, []
        self.assertEqual(m.dial_at(), 0)
        for _ in range(6):
            m.lost("refused", now)
            delays.append(round(m.dial_at() - now, 3))
            now = m.dial_at()
        self.assertEqual(delays, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
        m.opened(now)
        m.received(HELLO, now)
        m.lost("closed at once", now)
        self.assertEqual(m.dial_at(), now + 1.0)
        m.opened(now)
        m.received(HELLO, now)
        m.lost("after a while", now + 5)
        self.assertLess(m.dial_at() - now - 5, 0.05)
        m.lost("refused", now + 6)
        self.assertAlmostEqual(m.dial_at(), now + 6.1)

    def test_silent_peer_is_left(self):
        m = Recorder()
        m.opened(5)
        self.assertEqual(m.wake_at(), 15)
        m.wake(14.9)
        self.assertIsNotNone(m.link)
        m.wake(15)
        self.assertIsNone(m.link)
        self.assertIn("handshake", m.trouble)

    def test_nonsense_ends_the_connection(self):
        m = Recorder()
        m.opened(0)
        m.received(HELLO + frame(b"a") + b"\7", 0)
        self.assertEqual(m.told, ["up", b"a", "down"])
        self.assertIsNone(m.link)

    def test_nothing_is_told_after_the_end(self):
        m = Recorder()
        m.opened(0)
        m.received(HELLO + frame(b"end") + frame(b"late"), 0)
        self.assertEqual(m.told, ["up", b"end", "down"])
