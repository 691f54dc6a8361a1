# SPDX-License-Identifier: LGPL-2.1-or-later
"""Following a publisher without missing anything: section 5 of docs/protocol.md.

While a sync is under way nobody reads the pub socket: what comes meanwhile waits in
its buffers (the list `held` of the protocol), and what does not fit there is noticed as lost.
"""
import collections
import time

from google.protobuf.message import DecodeError

from .client import CallError, Client
from .sp import PUB, SUB, SpError, SpSocket
from .v1 import bus_pb2

EVENT_MAX = (4 << 20) + 129
SILENCE = 3.5
SYNC_TIMEOUT = 5.0
RETRY_MIN, RETRY_MAX = 0.1, 1.0
HEARTBEAT = "bus/heartbeat"

# what: "state" | "removed" | "resynced" | "gap" | "down".  event: a bus_pb2.Event or None.
# replayed: it came with a sync rather than live.  missed: of a gap, at least so many events.
Change = collections.namedtuple("Change", "what topic event seq replayed missed")


def change(what, topic=None, event=None, seq=0, replayed=False, missed=0):
    return Change(what, topic, event, seq, replayed, missed)


def segment_of(topic):
    return topic.partition("/")[0]


class Subscriber:
    """What the publisher at `pub` (whose calls are at `rpc`) says below `prefixes`; [] is all."""

    def __init__(self, pub, rpc, prefixes=(), name="xenmesh-python/0.1"):
        self.pub = pub
        self.prefixes = list(prefixes)
        self.client = Client(rpc, name)
        self.socket = None
        self.instance = None
        self.complete = 0
        self.seen = {}
        self.known = {}
        self.is_synced = False
        self.is_silent = False  # connected, but asking makes no sense before something comes
        self.is_down = False    # and the user was told so
        self.again = None  # the event that told a loss, processed after the sync
        self.queue = collections.deque()
        self.heard = time.monotonic()
        self.has_heard = False  # anything at all, be it a heartbeat
        self.delay = RETRY_MIN
        self.not_before = 0.0

    def close(self):
        self.client.close()
        if self.socket:
            self.socket.close()
            self.socket = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self):
        while True:
            try:
                yield self.next(3600)
            except TimeoutError:
                continue

    def next(self, timeout):
        """The next Change; TimeoutError when there is none within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.queue:
            try:
                self._step(deadline)
            except (SpError, CallError, DecodeError):
                self._lost()
            if not self.queue and time.monotonic() >= deadline:
                raise TimeoutError("nothing from %s in %.1f s" % (self.pub, timeout))
        return self.queue.popleft()

    def changes(self, timeout):
        """All changes that come within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                yield self.next(max(deadline - time.monotonic(), 0))
            except TimeoutError:
                return

    # ---- connection ----

    def _lost(self):
        if self.socket:
            self.socket.close()
            self.socket = None
        self.is_synced = False
        self.not_before = time.monotonic() + self.delay
        self.delay = min(self.delay * 2, RETRY_MAX)
        self._down()

    def _down(self):
        if not self.is_down:
            self.is_down = True
            self.queue.append(change("down", seq=self.complete))

    def _step(self, deadline):
        """Does one thing: connect, sync, or read one message."""
        if not self.socket:
            wait = min(self.not_before, deadline) - time.monotonic()
            if wait > 0:
                time.sleep(wait)
                return
            self.socket = SpSocket(self.pub, SUB, PUB, EVENT_MAX, time.monotonic() + SYNC_TIMEOUT)
            self.heard = time.monotonic()
            self.is_silent = False
            self.again = None
        if not self.is_synced and not self.is_silent:
            self._sync()
            return
        silence = self.heard + SILENCE
        try:
            body = self.socket.receive(deadline if self.is_silent else min(deadline, silence))
        except TimeoutError:
            if time.monotonic() >= silence:
                self.is_silent = True
                self.is_synced = False
                self._down()
            return
        self.heard = time.monotonic()
        self.has_heard = True
        self.is_silent = False
        self._publication(body)

    # ---- sync ----

    def _ask_snapshot(self, after_seq):
        return self.client.call("Bus/Snapshot", bus_pb2.SnapshotRequest(
            prefixes=self.prefixes, after_seq=after_seq), timeout=SYNC_TIMEOUT)

    def _ask_changes(self, since_seq):
        return self.client.call("Bus/Changes", bus_pb2.ChangesRequest(
            instance=self.instance, since_seq=since_seq, prefixes=self.prefixes),
            timeout=SYNC_TIMEOUT)

    def _apply_page(self, page):
        for event in page.events:
            self._apply(event, True)

    def _full(self, first):
        """All pages of a full answer. True if `first` was the only one."""
        if first.instance != self.instance:
            self.instance = None
            self.seen = {}
            self.known = dict.fromkeys(self.known, 0)
        page, listed = first, set()
        while True:
            listed.update(event.topic for event in page.events)
            self._apply_page(page)
            if not page.more:
                break
            page = self._ask_snapshot(page.resume_seq)
            if page.instance != first.instance:
                self.instance = None
                raise SpError("%s: restarted between two pages" % self.pub)
        for topic in [t for t in self.known if t not in listed]:
            del self.known[topic]
            self.queue.append(change("removed", topic, seq=page.seq, replayed=True))
        self.instance = first.instance
        self.complete = first.seq
        return page is first

    def _sync(self):
        if self.instance is None:
            page = self._ask_snapshot(0)
        else:
            page = self._ask_changes(self.complete)
        while True:
            if page.full:
                if self._full(page):
                    break
                # A topic of an early page may have been removed since.
                page = self._ask_changes(page.seq)
                continue
            self._apply_page(page)
            if not page.more:
                break
            page = self._ask_changes(page.resume_seq)
        self.complete = page.seq
        self.seen = {}
        self.is_synced = True
        self.is_down = False
        self.delay = RETRY_MIN
        self.queue.append(change("resynced", seq=page.seq))
        again, self.again = self.again, None
        if again is not None:
            self._event(again)

    # ---- events ----

    def _wants(self, topic):
        return not self.prefixes or any(topic.startswith(p) for p in self.prefixes)

    def _wants_segment(self, segment):
        return not self.prefixes or any(
            segment_of(p) == segment if "/" in p else segment.startswith(p)
            for p in self.prefixes)

    def _covered(self, segment):
        return max(self.seen.get(segment, 0), self.complete)

    def _apply(self, event, replayed):
        known = self.known.get(event.topic)
        if event.WhichOneof("body") == "removed":
            if known is not None and known < event.seq:
                del self.known[event.topic]
                self.queue.append(
                    change("removed", event.topic, event, event.seq, replayed))
        elif known is None or known < event.seq:
            self.known[event.topic] = event.seq
            self.queue.append(change("state", event.topic, event, event.seq, replayed))

    def _gap(self, seq):
        self.is_synced = False
        self.queue.append(change("gap", seq=seq, missed=1))

    def _publication(self, body):
        topic, _, data = body.partition(b"\0")
        topic = topic.decode("ascii", "replace")
        if topic != HEARTBEAT and not self._wants_segment(segment_of(topic)):
            return
        event = bus_pb2.Event.FromString(data)
        if not self.is_synced:
            return
        if event.instance != self.instance:
            self.instance = None
            self.is_synced = False
        elif topic == HEARTBEAT:
            self._heartbeat(event.heartbeat)
        else:
            self._event(event)

    def _heartbeat(self, beat):
        if any(self._wants_segment(s.segment) and s.seq > self._covered(s.segment)
               for s in beat.segments):
            self._gap(beat.seq)
        elif beat.seq > self.complete:
            self.complete = beat.seq
            self.seen = {}

    def _event(self, event):
        segment = segment_of(event.topic)
        if event.instance != self.instance or event.seq <= self.complete:
            return
        if event.prev_seq > self._covered(segment):
            self.again = event
            self._gap(event.seq)
            return
        self.seen[segment] = event.seq
        if self._wants(event.topic):
            self._apply(event, False)
