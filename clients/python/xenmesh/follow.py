# SPDX-License-Identifier: LGPL-2.1-or-later
"""Following a publisher without any I/O: the algorithm of section 5 of docs/protocol.md.

Invariants while synced: every event of interest is known as far as `_covered` says, so an
event whose prev_seq is beyond it, or a heartbeat that is, tells a loss; _known[topic] is the
seq of what the user got last and never goes back within an instance.  While not synced live
events are held; losing some of them only means that another sync follows.
"""
import collections
import logging
import typing

from google.protobuf.message import DecodeError

from .calls import CallOptions
from .errors import CallError
from .wire import PUB, SUB, Machine
from .v1 import bus_pb2

TOPIC_MAX = 128
PREFIXES_MAX = 64
EVENT_MAX = (4 << 20) + TOPIC_MAX + 1
SEGMENTS_MAX = 64
TOPICS_MAX = 1 << 18
HELD_MAX, HELD_BYTES = 65536, 32 << 20
CHANGES_MAX = 4096  # that the user has not taken; then nothing more is read
SILENCE = 3.5
SLEPT = 0.5  # a timer that late: it was us who stood still
DEAD = 10.0  # a network connection that silent is made anew
SYNC_TIMEOUT = 5.0
RETRY_MIN, RETRY_MAX = 0.1, 2.0
HEARTBEAT = "bus/heartbeat"
TRANSIENT = "trace/"

OFF, SYNCING, SYNCED = range(3)

log = logging.getLogger("xenmesh")


class Change(typing.NamedTuple):
    """What a Subscriber yields.

    what: "state" (a topic's whole new state), "removed" (the topic is no more), "resynced"
    (all topics are as the publisher has them at `seq`), "gap" (at least `missed` events were
    lost and are asked for), "lost" (the same of events below trace/, which nothing repairs) or
    "down" (the publisher is not heard; states may be old).
    event: a bus_pb2.Event of state and removed; None when that is all that is known.
    replayed: it came with a snapshot or repair rather than live.
    """
    what: str
    topic: typing.Optional[str] = None
    event: typing.Optional[bus_pb2.Event] = None
    seq: int = 0
    replayed: bool = False
    missed: int = 0


def segment_of(topic):
    return topic.partition("/")[0]


class Follower(Machine):
    """The pub socket of a service, as its subscriber; it asks by means of `calls`."""

    def __init__(self, url, calls, prefixes=()):
        super().__init__(url, SUB, PUB, EVENT_MAX)
        if isinstance(prefixes, str):
            raise TypeError("prefixes is a list of them")
        self.prefixes = list(prefixes)
        if len(self.prefixes) > PREFIXES_MAX or any(len(p) > TOPIC_MAX for p in self.prefixes):
            raise ValueError("at most %d prefixes of %d characters" % (PREFIXES_MAX, TOPIC_MAX))
        self.changes = collections.deque()
        self._was_idle = False  # the last sync brought nothing that was not known
        self.state = OFF
        self.has_heard = False  # anything at all, be it a heartbeat
        self.complete = 0
        self._calls = calls
        self._instance = None  # that all numbers belong to
        self._has_base = False  # `complete` holds for it
        self._seen = {}
        self._known = {}
        self._transient_seq = None  # of the last event below TRANSIENT; None: not heard yet
        self._heard_at = 0.0
        self._is_down_told = False
        self._began_at = -1  # `complete` when the sync began
        self._question = None  # a Pending
        self._retry_at = None
        self._retry_delay = RETRY_MIN
        self._held = collections.deque()
        self._held_bytes = 0
        self._begin_answer()

    @property
    def wants_data(self):
        """False while the user has enough to read."""
        return len(self.changes) < CHANGES_MAX

    def _tell(self, what, **kwargs):
        self.changes.append(Change(what, **kwargs))

    # ---- topics of interest ----

    def _wants(self, topic):
        return not self.prefixes or any(topic.startswith(p) for p in self.prefixes)

    def _wants_segment(self, segment):
        """Whether some topic below it may be wanted."""
        return not self.prefixes or any(
            segment_of(p) == segment if "/" in p else segment.startswith(p)
            for p in self.prefixes)

    def _apply(self, event, replayed):
        """Tells an event unless it is old."""
        topic, known = event.topic, self._known.get(event.topic)
        if event.WhichOneof("body") == "removed":
            if known is not None and known < event.seq:
                del self._known[topic]
                self._tell("removed", topic=topic, event=event, seq=event.seq, replayed=replayed)
            return
        if known is None and len(self._known) >= TOPICS_MAX:
            log.error("%s publishes more than %d topics: %s is ignored", self.url, TOPICS_MAX,
                      topic)
            return
        self._listed.add(topic)
        if known is None or known < event.seq:
            self._known[topic] = event.seq
            self._tell("state", topic=topic, event=event, seq=event.seq, replayed=replayed)

    # ---- sync ----

    def _begin_answer(self):
        """No page of an answer has come."""
        self._is_paging = False  # the next question goes on at _position
        self._is_full = False
        self._position = 0
        self._first_seq = 0
        self._n_pages = 0
        self._listed = set()  # topics of a full answer

    def _start_sync(self, now):
        self._stop_sync()
        self.state = SYNCING
        self._began_at = self.complete if self._has_base else -1
        self._begin_answer()
        self._ask(now)

    def _stop_sync(self):
        if self._question:
            self._calls.cancel(self._question)
            self._question = None
        self._retry_at = None

    def _start_over(self, now):
        """The instance is another one: nothing that is known is worth anything."""
        self._has_base = False
        self._clear_held()
        self._start_sync(now)

    def _ask(self, now):
        if self._is_full if self._is_paging else not self._has_base:
            method = "xenmesh.v1.Bus/Snapshot"
            request = bus_pb2.SnapshotRequest(
                prefixes=self.prefixes, after_seq=self._position if self._is_paging else 0)
        else:
            method = "xenmesh.v1.Bus/Changes"
            request = bus_pb2.ChangesRequest(
                instance=self._instance, prefixes=self.prefixes,
                since_seq=self._position if self._is_paging else self.complete)
        self._question = self._calls.start(method, request, CallOptions(SYNC_TIMEOUT), now,
                                           self._answered)
        self._asked_at = now

    def _answered(self, pending):
        # What has come meanwhile is older than now; times of an answer need not be exact.
        now = max(self._asked_at, self._heard_at)
        self._question = None
        try:
            page = pending.result()
        except CallError as e:
            self._fail_sync(str(e), now)
            return
        wrong = self._fault_of(page)
        if wrong:
            self._has_base = self._has_base and page.instance == self._instance
            self._fail_sync(wrong, now)
        else:
            self._page(page, now)

    def _fail_sync(self, why, now):
        log.info("cannot follow %s, retrying: %s", self.url, why)
        self._retry_at = now + self._retry_delay
        self._retry_delay = min(self._retry_delay * 2, RETRY_MAX)

    def _fault_of(self, page):
        """What is wrong with the page as the answer to what was asked, or None."""
        goes_on = self._is_paging and self._is_full == page.full
        if len(page.instance) != 16:
            return "its answer has no instance"
        if not page.full and page.instance != self._instance:
            return "it was restarted"
        if self._is_paging and self._is_full and (
                not page.full or page.instance != self._instance):
            return "it was restarted between two pages"
        if page.more and page.resume_seq <= (self._position if goes_on else 0):
            return "its pages do not advance"
        return None

    def _page(self, page, now):
        if page.full and not (self._is_paging and self._is_full):
            self._begin_answer()
            self._first_seq = page.seq
            if page.instance != self._instance:
                self._instance = page.instance
                self._has_base = False
                self.complete = 0
                self._seen = {}
                self._transient_seq = None
                self._known = dict.fromkeys(self._known, 0)
        self._is_full = page.full
        self._n_pages += 1
        for event in page.events:
            if event.seq and 0 < len(event.topic) <= TOPIC_MAX and self._wants(event.topic):
                self._apply(event, True)
        if page.more:
            self._is_paging = True
            self._position = page.resume_seq
            self._ask(now)
            return
        if page.full:
            self._sweep(page.seq)
        self._has_base = True
        if page.full and self._n_pages > 1:
            # A topic of an early page may have been removed since.
            self.complete = self._first_seq
            self._seen = {}
            self._begin_answer()
            self._ask(now)
            return
        self._finish_sync(page.seq, now)

    def _sweep(self, seq):
        """After a full answer: what was on none of its pages is no more."""
        for topic in [t for t in self._known if t not in self._listed]:
            del self._known[topic]
            self._tell("removed", topic=topic, seq=seq, replayed=True)

    def _finish_sync(self, seq, now):
        self._was_idle = seq <= self._began_at
        self.complete = seq
        self._seen = {}
        self._listed = set()
        self.state = SYNCED
        self._is_down_told = False
        self._retry_delay = RETRY_MIN
        self._tell("resynced", seq=seq)
        while self.state == SYNCED and self._held:
            body = self._held.popleft()
            self._held_bytes -= len(body)
            self._process(body, now)

    # ---- live events ----

    def _covered(self, segment):
        return max(self._seen.get(segment, 0), self.complete)

    def _clear_held(self):
        self._held.clear()
        self._held_bytes = 0

    def _hold(self, body, at_front=False):
        if len(self._held) >= HELD_MAX or self._held_bytes + len(body) > HELD_BYTES:
            self._clear_held()
        (self._held.appendleft if at_front else self._held.append)(body)
        self._held_bytes += len(body)

    def _gap(self, seq, at_least, now):
        """Who follows all topics can tell how many events are lost up to `seq`."""
        highest = max(self._seen.values(), default=0)
        highest = max(highest, self.complete)
        missed = at_least if self.prefixes else max(at_least, seq - highest)
        self._tell("gap", seq=seq, missed=missed)
        if self._was_idle:
            # A publisher that tells of losses which are none shall not keep us busy.
            self.state = SYNCING
            self._retry_at = now + RETRY_MIN
        else:
            self._start_sync(now)

    def _process(self, body, now):
        topic, _, data = body.partition(b"\0")
        try:
            topic = topic.decode("ascii")
            event = bus_pb2.Event.FromString(data)
        except (UnicodeDecodeError, DecodeError):
            event = None
        if event is None or event.topic != topic or not 0 < len(topic) <= TOPIC_MAX:
            log.warning("%s published %d bytes that are no event", self.url, len(body))
        elif topic == HEARTBEAT:
            self._heartbeat(event, now)
        elif topic.startswith(TRANSIENT):
            self._transient(event, body, now)
        else:
            self._event(event, body, now)

    def _follow_transient(self, seq, prev_seq):
        """The publisher is at `seq` with them; those up to prev_seq that did not come are lost,
        unless it is the first that is heard of them."""
        last = self._transient_seq
        self._transient_seq = seq if last is None else max(last, seq)
        if last is not None and prev_seq > last:
            self._tell("lost", seq=prev_seq, missed=1)

    def _transient(self, event, body, now):
        """Stands for itself: a loss of such events is told, and nothing can repair it."""
        if event.instance != self._instance:
            self._start_over(now)
            self._hold(body)  # no snapshot has it
        elif self._transient_seq is None or event.seq > self._transient_seq:
            self._follow_transient(event.seq, event.prev_seq)
            if self._wants(event.topic):
                self._tell("state", topic=event.topic, event=event, seq=event.seq)

    def _heartbeat(self, event, now):
        if event.instance != self._instance:
            self._start_over(now)
            return
        beat = event.heartbeat
        seqs = {s.segment: s.seq for s in beat.segments}
        transient_seq = seqs.pop(segment_of(TRANSIENT), 0)
        if self._wants_segment(segment_of(TRANSIENT)):
            self._follow_transient(transient_seq, transient_seq)
        n_behind = sum(self._wants_segment(segment) and seq > self._covered(segment)
                       for segment, seq in seqs.items())
        if n_behind:
            self._gap(beat.seq, n_behind, now)
        elif beat.seq > self.complete:
            self.complete = beat.seq
            self._seen = {}

    def _event(self, event, body, now):
        segment = segment_of(event.topic)
        if event.instance != self._instance:
            self._start_over(now)
        elif event.seq <= self.complete:
            pass
        elif event.prev_seq > self._covered(segment):
            self._hold(body, at_front=True)
            self._gap(event.seq - 1, 1, now)
        elif segment not in self._seen and len(self._seen) >= SEGMENTS_MAX:
            self._hold(body, at_front=True)
            self._start_sync(now)
        else:
            self._seen[segment] = max(event.seq, self._seen.get(segment, 0))
            if self._wants(event.topic):
                self._apply(event, False)

    # ---- the connection, and its silence ----

    def _wants_link(self):
        return True

    def _up(self, now):
        self._heard_at = now
        self._clear_held()
        self._start_sync(now)

    def _down(self, now):
        self._go_down()

    def _go_down(self):
        self._stop_sync()
        self.state = OFF
        self._clear_held()
        if not self._is_down_told:
            self._is_down_told = True
            self._tell("down", seq=self.complete)

    def _is_of_interest(self, body):
        """All of a first segment is needed to see that nothing of it is missing."""
        segment = body[:TOPIC_MAX + 1].partition(b"\0")[0].partition(b"/")[0]
        return segment == b"bus" or self._wants_segment(segment.decode("ascii", "replace"))

    def _message(self, body, now):
        self._heard_at = now
        self.has_heard = True
        if self.state == OFF:
            self._start_sync(now)
        if not self._is_of_interest(body):
            return
        if self.state == SYNCED:
            self._process(body, now)
        elif not body.startswith(HEARTBEAT.encode() + b"\0"):
            self._hold(body)

    def _patience(self):
        """How long silence is waited for; None: for ever."""
        if not self._is_up or not self.wants_data:
            return None
        if self.state != OFF:
            return SILENCE
        return None if self.address.kind == "ipc" else DEAD

    def _times(self):
        patience = self._patience()
        return [self._retry_at, None if patience is None else self._heard_at + patience]

    def _wake(self, now):
        if self._retry_at is not None and now >= self._retry_at:
            self._start_sync(now)
        if not self.wants_data:
            self._heard_at = now
        patience = self._patience()
        silent = now - self._heard_at
        if patience is None or silent < patience:
            return
        if self.state == OFF:
            self.lost("nothing came for %d s" % DEAD, now)
        elif silent > SILENCE + SLEPT:
            self._heard_at = now - SILENCE + 2.0
        else:
            self._go_down()
