# SPDX-License-Identifier: LGPL-2.1-or-later
import asyncio
import shutil
import tempfile
import threading
import time
import unittest

from fake_service import FakeService
from shells import Asyncio, Blocking
from xenmesh import AsyncSubscriber
from xenmesh.calls import Calls
from xenmesh.follow import CHANGES_MAX, Follower
from xenmesh.v1 import bus_pb2, ops_pb2


class Base(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="xenmesh-py-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.service = FakeService(self.directory)
        self.addCleanup(lambda: self.service.close())
        self.mirror = {}
        self.seqs = {}

    def restart(self):
        self.service.close()
        self.service = FakeService(self.directory)


class FollowTest:
    """With either shell."""

    def follow(self, *prefixes):
        sub = self.shell.subscriber(self.service.url("pub"), self.service.url("rpc"), prefixes)
        self.addCleanup(sub.close)
        return sub

    def apply(self, change):
        if change.what == "state" and not change.topic.startswith("trace/"):
            self.mirror[change.topic] = change.event.task.step
        elif change.what == "removed":
            self.mirror.pop(change.topic)

    def until(self, sub, what, n=10000):
        """All changes up to the next one of this kind, which are applied to the mirror."""
        seen = []
        for _ in range(n):
            change = sub.next(10)
            self.apply(change)
            seen.append(change)
            if change.what == what:
                return seen
        self.fail("no %s among %d changes" % (what, n))

    def expect(self, sub, *wanted):
        """The next changes are these (what, topic or None, replayed)."""
        for what, topic, replayed in wanted:
            change = sub.next(10)
            self.apply(change)
            self.assertEqual((change.what, change.topic, change.replayed), (what, topic, replayed))
        return change

    def nothing_more(self, sub):
        with self.assertRaises(TimeoutError):
            self.fail("%s" % (sub.next(0.05),))

    def test_snapshot_then_live(self):
        self.service.publish("vm/a/state")
        self.service.publish("vm/b/state")
        self.service.remove("vm/a/state")
        sub = self.follow()
        change = self.expect(sub, ("state", "vm/b/state", True), ("resynced", None, False))
        self.assertEqual(change.seq, 3)
        self.assertTrue(sub.is_synced)
        self.service.publish("vm/b/state")
        self.service.remove("vm/b/state")
        self.expect(sub, ("state", "vm/b/state", False), ("removed", "vm/b/state", False))
        self.nothing_more(sub)
        self.assertEqual(self.service.count("Changes"), 0)

    def test_prefixes(self):
        for topic in ("vm/a/state", "vm/a/guest", "task/1", "vm/b/state"):
            self.service.publish(topic)
        sub = self.follow("vm/a/", "task/")
        self.expect(sub, ("state", "vm/a/state", True), ("state", "vm/a/guest", True),
                    ("state", "task/1", True), ("resynced", None, False))
        for topic in ("vm/b/state", "host/state", "vm/a/state", "task/2"):
            self.service.publish(topic)
        self.expect(sub, ("state", "vm/a/state", False), ("state", "task/2", False))
        self.nothing_more(sub)

    def test_loss_is_seen_at_the_next_event_and_repaired(self):
        self.service.publish("vm/a/state")
        self.service.publish("vm/b/state")
        sub = self.follow()
        self.until(sub, "resynced")
        self.service.publish("vm/a/state", is_lost=True)
        self.service.remove("vm/b/state", is_lost=True)
        self.service.publish("vm/c/state")
        change = self.expect(sub, ("gap", None, False))
        self.assertEqual((change.seq, change.missed), (4, 2))
        self.expect(sub, ("state", "vm/a/state", True), ("removed", "vm/b/state", True),
                    ("state", "vm/c/state", True), ("resynced", None, False))
        self.assertEqual(self.mirror, self.service.state())
        self.nothing_more(sub)

    def test_loss_is_seen_at_the_heartbeat(self):
        sub = self.follow()
        self.until(sub, "resynced")
        self.service.publish("vm/a/state", is_lost=True)
        self.service.heartbeat()
        self.expect(sub, ("gap", None, False), ("state", "vm/a/state", True),
                    ("resynced", None, False))
        self.service.heartbeat()
        self.nothing_more(sub)

    def test_losses_of_no_interest_are_none(self):
        sub = self.follow("vm/")
        self.until(sub, "resynced")
        self.service.publish("task/1", is_lost=True)
        self.service.publish("vm/a/state")
        self.service.heartbeat()
        self.service.publish("vm/a/state")
        self.expect(sub, ("state", "vm/a/state", False), ("state", "vm/a/state", False))
        self.nothing_more(sub)

    def test_loss_beside_the_prefix_in_its_segment(self):
        """prev_seq goes through the segment: the loss of another topic costs one question."""
        sub = self.follow("vm/a/")
        self.until(sub, "resynced")
        self.service.publish("vm/b/state", is_lost=True)
        self.service.publish("vm/a/state")
        self.expect(sub, ("gap", None, False), ("state", "vm/a/state", True),
                    ("resynced", None, False))

    def test_what_comes_during_a_sync_is_held(self):
        for i in range(5):
            self.service.publish("vm/%d/state" % i)
        published = []

        def before(number):
            # After the page was made, before it is answered.
            published.append(self.service.publish("vm/0/state"))
        self.service.before_page = before
        sub = self.follow()
        self.until(sub, "resynced")
        self.expect(sub, ("state", "vm/0/state", False))
        self.assertEqual(self.mirror, self.service.state())
        self.assertEqual(published, [6])

    def test_pages(self):
        for i in range(20):
            self.service.publish("vm/%d/state" % i)
        self.service.page_events = 6

        def before(number):
            if number == 1:
                self.service.remove("vm/2/state", is_lost=True)   # of the page before
                self.service.publish("vm/3/state", is_lost=True)  # comes again at the end
                self.service.publish("vm/new/state", is_lost=True)
        self.service.before_page = before
        sub = self.follow()
        seen = self.until(sub, "resynced")
        self.assertIn("removed", [change.what for change in seen])
        self.assertEqual(self.mirror, self.service.state())
        self.assertEqual(seen[-1].seq, 23)
        self.assertEqual(self.service.count("Changes"), 1)

    def test_restart_of_the_publisher(self):
        self.service.publish("vm/a/state")
        self.service.publish("vm/b/state")
        sub = self.follow()
        self.until(sub, "resynced")
        self.restart()
        self.service.publish("vm/b/state")
        self.expect(sub, ("down", None, False), ("state", "vm/b/state", True),
                    ("removed", "vm/a/state", True), ("resynced", None, False))
        self.assertEqual(self.mirror, {"vm/b/state": "1"})

    def test_other_instance_on_the_same_connection(self):
        self.service.publish("vm/a/state")
        sub = self.follow()
        self.until(sub, "resynced")
        self.service.new_instance()
        self.service.publish("vm/b/state")
        self.expect(sub, ("state", "vm/b/state", True), ("removed", "vm/a/state", True),
                    ("resynced", None, False))
        self.service.new_instance()
        self.service.publish("vm/c/state", is_lost=True)
        self.service.heartbeat()
        self.expect(sub, ("state", "vm/c/state", True), ("removed", "vm/b/state", True),
                    ("resynced", None, False))

    def test_cut_connection_is_made_again(self):
        self.service.publish("vm/a/state")
        sub = self.follow()
        self.until(sub, "resynced")
        self.service.cut("pub")
        self.service.wait(lambda: not self.service.subscribers())
        self.service.publish("vm/b/state")
        self.expect(sub, ("down", None, False), ("state", "vm/b/state", True),
                    ("resynced", None, False))
        self.assertEqual(self.service.count("Snapshot"), 1)

    def test_forgotten_removals_are_found_by_a_full_answer(self):
        for topic in ("vm/a/state", "vm/b/state"):
            self.service.publish(topic)
        sub = self.follow()
        self.until(sub, "resynced")
        self.service.remove("vm/a/state", is_lost=True)
        self.service.forget_removals()
        self.service.heartbeat()
        self.expect(sub, ("gap", None, False), ("removed", "vm/a/state", True),
                    ("resynced", None, False))
        self.assertEqual(self.mirror, self.service.state())

    def test_failed_question_is_asked_again(self):
        snapshot = self.service.handlers.pop("Bus/Snapshot")
        self.service.publish("vm/a/state")
        sub = self.follow()
        with self.assertRaises(TimeoutError):
            sub.next(0.5)
        self.assertTrue(2 <= self.service.count("Snapshot") <= 5, self.service.count("Snapshot"))
        self.service.handlers["Bus/Snapshot"] = snapshot
        self.expect(sub, ("state", "vm/a/state", True), ("resynced", None, False))

    def test_silence(self):
        sub = self.follow()
        self.until(sub, "resynced")
        self.service.heartbeat()
        began = time.monotonic()
        self.expect(sub, ("down", None, False))
        self.assertGreater(time.monotonic() - began, 3)
        self.assertFalse(sub.is_synced)
        self.service.publish("vm/a/state")
        self.expect(sub, ("state", "vm/a/state", True), ("resynced", None, False))

    def test_user_who_was_away_is_no_silent_publisher(self):
        sub = self.follow()
        self.until(sub, "resynced")
        for _ in range(4):
            time.sleep(1)
            self.service.heartbeat()
        self.nothing_more(sub)
        self.assertTrue(sub.is_synced)

    def test_old_and_repeated_events_are_ignored(self):
        self.service.publish("vm/a/state")
        sub = self.follow()
        self.until(sub, "resynced")
        self.service.publish("vm/a/state")
        for _, body in [self.service.traffic[-1]] * 2:
            self.service.subscribers()[0].send(body)
        self.expect(sub, ("state", "vm/a/state", False))
        self.nothing_more(sub)

    def test_nonsense_is_ignored(self):
        sub = self.follow()
        self.until(sub, "resynced")
        peer = self.service.subscribers()[0]
        with self.assertLogs("xenmesh", "WARNING"):
            for body in (b"", b"vm/a", b"vm/a\0\xff\xff", b"\xffvm/a\0", b"vm/a\0", b"v" * 200):
                peer.send(body)
            self.service.publish("vm/a/state")
            self.expect(sub, ("state", "vm/a/state", False))
        self.nothing_more(sub)

    def test_transient_topics_stand_for_themselves(self):
        self.service.publish("trace/rpc/test", rpc_trace={"number": 1})
        sub = self.follow()
        self.until(sub, "resynced")
        self.service.publish("trace/rpc/test", is_lost=True, rpc_trace={"number": 1})
        self.service.publish("trace/rpc/test", rpc_trace={"number": 2})
        self.service.publish("trace/rpc/test", is_lost=True, rpc_trace={"number": 3})
        self.service.publish("trace/rpc/test", rpc_trace={"number": 4})
        self.service.publish("vm/a/state")
        self.expect(sub, ("state", "trace/rpc/test", False), ("lost", None, False),
                    ("state", "trace/rpc/test", False), ("state", "vm/a/state", False))
        self.service.publish("trace/rpc/test", is_lost=True, rpc_trace={"number": 5})
        self.service.heartbeat()
        self.service.publish("vm/a/state", is_lost=True)
        self.service.heartbeat()
        self.expect(sub, ("lost", None, False), ("gap", None, False),
                    ("state", "vm/a/state", True), ("resynced", None, False))
        self.service.new_instance()
        self.service.publish("trace/rpc/test", rpc_trace={"number": 1})
        self.expect(sub, ("removed", "vm/a/state", True), ("resynced", None, False),
                    ("state", "trace/rpc/test", False))
        self.assertEqual((self.service.count("Snapshot"), self.service.count("Changes")), (2, 1))

    def test_publisher_with_wrong_numbers_keeps_nobody_busy(self):
        self.service.publish("vm/a/state")
        sub = self.follow()
        self.until(sub, "resynced")
        for _ in range(50):
            self.service.subscribers()[0].send(b"vm/a/state\0" + bus_pb2.Event(
                instance=self.service.instance, seq=100, prev_seq=99, topic="vm/a/state",
                task=ops_pb2.Task()).SerializeToString())
        with self.assertRaises(TimeoutError):
            deadline = time.monotonic() + 1
            while True:
                sub.next(max(deadline - time.monotonic(), 0))
        self.assertTrue(3 <= self.service.count("Changes") <= 12, self.service.count("Changes"))

    def test_random_losses_end_equal(self):
        import random
        rnd = random.Random(7)
        sub = self.follow("vm/")
        self.until(sub, "resynced")
        self.service.page_events = 7
        for _ in range(60):
            for _ in range(rnd.randrange(30)):
                topic = "%s/%d" % (rnd.choice(("vm", "task")), rnd.randrange(12))
                act = self.service.remove if rnd.random() < 0.3 else self.service.publish
                act(topic, rnd.random() < 0.2)
            if rnd.random() < 0.1:
                self.service.forget_removals()
            try:
                while True:
                    self.apply(sub.next(0.005))
            except TimeoutError:
                pass
        self.service.heartbeat()
        deadline = time.monotonic() + 10
        while self.mirror != self.service.state("vm/") and time.monotonic() < deadline:
            try:
                self.apply(sub.next(0.1))
            except TimeoutError:
                pass
        self.assertEqual(self.mirror, self.service.state("vm/"))


class BlockingFollowTest(FollowTest, Base):
    shell = Blocking

    def test_a_slow_user_of_changes_comes_to_the_end(self):
        sub = self.follow()
        self.expect(sub, ("resynced", None, False))
        n = 0
        self.service.publish("vm/a/state")
        for change in sub.changes(0.1):
            self.assertEqual(change.what, "state")
            self.service.publish("vm/a/state")  # so the next one is always there
            time.sleep(0.01)
            n += 1
            self.assertLess(n, 1000)
        self.assertGreater(n, 1)


class AsyncioFollowTest(FollowTest, Base):
    shell = Asyncio


class SilenceTest(unittest.TestCase):
    """With a clock of our own."""

    def follower(self, url):
        follower = Follower(url, Calls("ipc:///none"))
        follower.opened(0)
        follower.received(b"\0SP\0\0\x20\0\0", 0)
        return follower

    def test_network_connection_that_is_dead_is_made_anew(self):
        follower = self.follower("tcp://localhost:1")
        self.assertEqual(follower.wake_at(), 3.5)
        follower.wake(3.6)
        self.assertEqual([change.what for change in follower.changes], ["down"])
        self.assertEqual(follower.wake_at(), 10)
        follower.wake(10)
        self.assertIsNone(follower.link)
        self.assertLess(follower.dial_at(), 11)

    def test_unix_socket_is_kept(self):
        follower = self.follower("ipc:///none")
        follower.wake(3.6)
        self.assertIsNone(follower.wake_at())
        follower.wake(100)
        self.assertIsNotNone(follower.link)

    def test_late_timer_gives_the_publisher_more_time(self):
        follower = self.follower("tcp://localhost:1")
        follower.wake(60)
        self.assertFalse(follower.changes)
        self.assertEqual(follower.wake_at(), 62)
        follower.wake(62)
        self.assertEqual([change.what for change in follower.changes], ["down"])


class AsyncIterationTest(Base, unittest.IsolatedAsyncioTestCase):
    async def test_iterates(self):
        self.service.publish("vm/a/state")
        seen = []
        async with AsyncSubscriber(self.service.url("pub"), self.service.url("rpc")) as sub:
            async for change in sub:
                seen.append(change.what)
                if change.what == "resynced":
                    self.service.publish("vm/b/state")
                if len(seen) == 3:
                    break
        self.assertEqual(seen, ["state", "resynced", "state"])
        await asyncio.to_thread(self.service.wait, lambda: not self.service.peers)

    async def test_times_out_and_goes_on(self):
        async with AsyncSubscriber(self.service.url("pub"), self.service.url("rpc")) as sub:
            self.assertEqual((await sub.next(10)).what, "resynced")
            with self.assertRaises(TimeoutError):
                await sub.next(0.05)
            waiting = asyncio.ensure_future(sub.next())
            await asyncio.sleep(0)
            waiting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await waiting
            self.service.publish("vm/a/state")
            self.assertEqual((await sub.next(10)).topic, "vm/a/state")

    async def test_close_ends_the_waiting(self):
        sub = AsyncSubscriber(self.service.url("pub"), self.service.url("rpc"))
        seen = []

        async def follow():
            async for change in sub:
                seen.append(change.what)
        following = asyncio.ensure_future(follow())
        await asyncio.to_thread(self.service.wait, self.service.subscribers)
        await asyncio.to_thread(self.service.wait, lambda: self.service.count("Snapshot"))
        while not sub.is_synced:
            await asyncio.sleep(0)
        await sub.close()
        await asyncio.wait_for(following, 10)
        self.assertEqual(seen, ["resynced"])
        with self.assertRaises(ValueError):
            await sub.next()

    async def test_a_slow_user_of_changes_comes_to_the_end(self):
        stop = threading.Event()
        self.addCleanup(stop.set)

        def publish():
            while not stop.wait(0.0002):
                self.service.publish("vm/a/state")
        async with AsyncSubscriber(self.service.url("pub"), self.service.url("rpc")) as sub:
            self.assertEqual((await sub.next(10)).what, "resynced")
            publishing = asyncio.ensure_future(asyncio.to_thread(publish))

            async def follow():
                async for _ in sub.changes(0.2):
                    await asyncio.sleep(0.002)
            await asyncio.wait_for(follow(), 10)
            stop.set()
            await publishing

    async def test_slow_user_stops_the_reading(self):
        """What waits in memory is bounded, and the end is the publisher's state all the same."""
        mirror = {}
        self.service.start_heartbeats()
        async with AsyncSubscriber(self.service.url("pub"), self.service.url("rpc")) as sub:
            self.assertEqual((await sub.next(10)).what, "resynced")

            def publish():
                for i in range(3 * CHANGES_MAX):
                    self.service.publish("vm/%d/state" % (i % 50), is_lost=i % 1000 == 0)
                self.service.publish("vm/last/state")
            publishing = asyncio.ensure_future(asyncio.to_thread(publish))
            most = 0
            while "vm/last/state" not in mirror or mirror != self.service.state():
                change = await sub.next(10)
                most = max(most, len(sub._follower.changes))
                if change.what == "state":
                    mirror[change.topic] = change.event.task.step
                if most < CHANGES_MAX // 2:
                    await asyncio.sleep(0.001)
            await publishing
        # One read, of 256 KiB, may go beyond.
        self.assertLess(most, CHANGES_MAX + 4000)
