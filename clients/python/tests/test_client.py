# SPDX-License-Identifier: LGPL-2.1-or-later
import asyncio
import inspect
import os
import re
import shutil
import tempfile
import threading
import time
import unittest

from fake_service import FakeService, Refusal
from shells import Asyncio, Blocking
from xenmesh import AsyncClient, CallError, CallOptions, Client, new_traceparent
from xenmesh.rpc import AsyncBus, Bus, Ops
from xenmesh.v1 import bus_pb2, common_pb2, ops_pb2


class Base(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="xenmesh-py-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.service = FakeService(self.directory)
        self.addCleanup(self.service.close)
        self.gates = []

    def gate(self):
        """Closed; opened at the end of the test at the latest."""
        gate = threading.Event()
        self.addCleanup(gate.set)
        return gate


class CallsTest:
    """With either shell."""

    def connect(self):
        client = self.shell.client(self.service.url("rpc"))
        self.addCleanup(client.close)
        return client

    def fails(self, name, client, *args, **kwargs):
        with self.assertRaises(CallError) as raised:
            client.call(*args, **kwargs)
        self.assertEqual(raised.exception.name, name, raised.exception.message)
        return raised.exception

    def test_ping(self):
        client = self.connect()
        for echo in (b"", b"\0\xff" * 40000):
            reply = client.call("Bus/Ping", bus_pb2.PingRequest(echo=echo))
            self.assertEqual((reply.echo, reply.service), (echo, "test"))

    def test_envelope(self):
        self.connect().call("xenmesh.v1.Bus/Ping", timeout=7)
        call = self.service.calls[0][1]
        self.assertEqual(call.method, "xenmesh.v1.Bus/Ping")
        self.assertEqual(len(call.request_id), 16)
        self.assertTrue(5000 < call.timeout_ms <= 7000, call.timeout_ms)
        self.assertRegex(call.client, r"^xenmesh-python/")

    def test_every_call_has_a_trace_of_its_own(self):
        client = self.connect()
        given = new_traceparent()
        client.call("Bus/Ping")
        client.call("Bus/Ping")
        client.call("Bus/Ping", traceparent=given)
        traces = [call.traceparent for _, call in self.service.calls]
        for trace in traces:
            self.assertRegex(trace, r"^00-[0-9a-f]{32}-[0-9a-f]{16}-01$")
        self.assertEqual(len(set(traces)), 3)
        self.assertEqual(traces[2], given)
        self.assertEqual(new_traceparent(given).split("-")[1], given.split("-")[1])
        with self.assertRaises(ValueError):
            client.call("Bus/Ping", traceparent="00-" + "0" * 32 + "-" + "1" * 16 + "-01")

    def test_refusal(self):
        def refuse(_):
            raise Refusal(common_pb2.CODE_NOT_FOUND, "no such VM")
        self.service.handlers["Ops/GetVm"] = refuse
        error = self.fails("NOT_FOUND", self.connect(), "Ops/GetVm")
        self.assertEqual((error.code, error.message), (common_pb2.CODE_NOT_FOUND, "no such VM"))
        self.assertEqual(error.request_id, self.service.calls[0][1].request_id)
        self.assertEqual(error.traceparent, self.service.calls[0][1].traceparent)

    def test_unknown_code(self):
        def refuse(_):
            raise Refusal(99, "from the future")
        self.service.handlers["Ops/GetVm"] = refuse
        self.assertEqual(self.fails("CODE_99", self.connect(), "Ops/GetVm").code, 99)

    def test_what_cannot_be_sent(self):
        client = self.connect()
        with self.assertRaises(TypeError):
            client.call("Ops/GetVm", bus_pb2.PingRequest())
        with self.assertRaises(ValueError):
            client.call("Ops/NoSuchMethod")
        with self.assertRaises(ValueError):
            client.call("Ops/DefineVm", ops_pb2.DefineVmRequest(xl_cfg=bytes(1 << 20)))
        self.assertEqual(self.service.calls, [])

    def test_deadline(self):
        self.service.handlers["Ops/WaitTask"] = lambda _: None
        client = self.connect()
        began = time.monotonic()
        error = self.fails("DEADLINE_EXCEEDED", client, "Ops/WaitTask", timeout=0.2)
        self.assertTrue(0.19 < time.monotonic() - began < 5)
        self.assertIn("may still finish", error.message)
        # The connection is as good as before.
        self.assertEqual(client.call("Bus/Ping", bus_pb2.PingRequest(echo=b"x")).echo, b"x")
        self.assertEqual(len(self.service.peers), 1)

    def test_late_answer_is_nobody_elses(self):
        late = self.gate()

        def wait(request):
            late.wait(10)
            return ops_pb2.Task(id=request.id)
        self.service.handlers["Ops/WaitTask"] = wait
        client = self.connect()
        self.fails("DEADLINE_EXCEEDED", client, "Ops/WaitTask", timeout=0.1)
        late.set()
        self.assertEqual(client.call("Bus/Ping", bus_pb2.PingRequest(echo=b"y")).echo, b"y")

    def test_away(self):
        self.service.close()
        client = self.connect()
        error = self.fails("UNAVAILABLE", client, "Bus/Ping", timeout=0.3)
        self.assertIn(self.directory, error.message)
        began = time.monotonic()
        self.fails("UNAVAILABLE", client, "Bus/Ping", timeout=30, retry=False)
        self.assertLess(time.monotonic() - began, 5)

    def test_repeats_with_the_same_id_when_cut(self):
        def cut_first(request):
            if self.service.count("StartVm") == 1:
                self.service.cut("rpc")
                return None
            return ops_pb2.Task(vm=request.vm)
        self.service.handlers["Ops/StartVm"] = cut_first
        reply = self.connect().call("Ops/StartVm", ops_pb2.StartVmRequest(vm="web"), timeout=10)
        self.assertEqual(reply.vm, "web")
        first, second = (call for _, call in self.service.calls)
        self.assertEqual((first.request_id, first.payload, first.traceparent),
                         (second.request_id, second.payload, second.traceparent))
        self.assertLessEqual(second.timeout_ms, first.timeout_ms)

    def test_does_not_repeat_if_told_so(self):
        def cut(_):
            self.service.cut("rpc")
        self.service.handlers["Ops/StartVm"] = cut
        self.fails("UNAVAILABLE", self.connect(), "Ops/StartVm", retry=False)
        self.assertEqual(self.service.count("StartVm"), 1)

    def test_given_request_id(self):
        request_id = os.urandom(16)
        self.connect().call("Bus/Ping", request_id=request_id)
        self.assertEqual(self.service.calls[0][1].request_id, request_id)

    def test_service_restarted_between_calls(self):
        client = self.connect()
        client.call("Bus/Ping")
        self.service.close()
        self.service.wait(lambda: not self.service.peers)
        self.service = FakeService(self.directory)
        self.addCleanup(self.service.close)
        client.call("Bus/Ping", timeout=10)
        self.assertEqual(self.service.count("Ping"), 1)

    def test_answer_to_another_request(self):
        self.service.answer = lambda call: bus_pb2.Reply(request_id=bytes(16))
        self.fails("INTERNAL", self.connect(), "Bus/Ping")

    def test_answer_that_is_none(self):
        self.service.answer = lambda call: bus_pb2.Reply(
            request_id=call.request_id, payload=b"\xff")
        self.fails("INTERNAL", self.connect(), "Bus/Ping")

    def test_unknown_fields_are_ignored(self):
        def answer(call):
            # Field 1000 of a later version, in the envelope and in the message.
            unknown = b"\xc2\x3e\x01x"
            reply = bus_pb2.Reply.FromString(bus_pb2.Reply(
                request_id=call.request_id,
                payload=bus_pb2.PingReply(service="new").SerializeToString() + unknown,
            ).SerializeToString() + unknown)
            return reply
        self.service.answer = answer
        self.assertEqual(self.connect().call("Bus/Ping").service, "new")


class BlockingCallsTest(CallsTest, Base):
    shell = Blocking

    def test_closed_client_connects_again(self):
        client = self.connect()
        for _ in range(2):
            client.call("Bus/Ping")
            client.close()
        self.assertEqual(self.service.count("Ping"), 2)

    def test_typed_methods(self):
        self.service.handlers["Ops/ShutdownVm"] = lambda r: ops_pb2.Task(
            vm=r.vm, step="%d %s" % (r.timeout_s, r.force))
        with Client(self.service.url("rpc")) as client:
            task = Ops(client).shutdown_vm(CallOptions(timeout=4), vm="web", timeout_s=9, force=True)
            self.assertEqual((task.vm, task.step), ("web", "9 True"))
            self.assertEqual(Bus(client).ping().service, "test")
        self.assertLessEqual(self.service.calls[0][1].timeout_ms, 4000)


class UnknownHostTest(unittest.TestCase):
    def test_host_that_is_no_name(self):
        for shell in (Blocking, Asyncio):
            with shell.client("tcp://%s:1" % ("x" * 70)) as client:
                with self.assertRaises(CallError) as raised:
                    client.call("Bus/Ping", timeout=5, retry=False)
                self.assertEqual(raised.exception.name, "UNAVAILABLE")


class AsyncioCallsTest(CallsTest, Base):
    shell = Asyncio


class ManyCallsTest(Base, unittest.IsolatedAsyncioTestCase):
    """What only asyncio can do."""

    async def test_more_than_the_service_takes_at_once(self):
        gate = self.gate()
        answered = []

        def wait(request):
            return None if not gate.is_set() else ops_pb2.Task(id=request.id)
        self.service.handlers["Ops/WaitTask"] = wait
        async with AsyncClient(self.service.url("rpc")) as client:
            calls = [asyncio.ensure_future(client.call(
                "Ops/WaitTask", ops_pb2.WaitTaskRequest(id=str(i)), timeout=20)) for i in range(100)]
            await asyncio.to_thread(self.service.wait, lambda: self.service.count("WaitTask") == 64)
            gate.set()
            # The 64 are never answered; the others go over the next connection, behind them.
            self.service.cut("rpc")
            for call in calls:
                answered.append((await call).id)
        self.assertEqual(answered, [str(i) for i in range(100)])
        self.assertLessEqual(self.service.count("WaitTask"), 164)

    async def test_slow_calls_delay_nobody(self):
        self.service.handlers["Ops/WaitTask"] = lambda _: None
        async with AsyncClient(self.service.url("rpc")) as client:
            slow = asyncio.ensure_future(client.call("Ops/WaitTask", timeout=30))
            await asyncio.to_thread(self.service.wait, lambda: self.service.count("WaitTask"))
            self.assertEqual((await AsyncBus(client).ping(echo=b"z")).echo, b"z")
            self.assertFalse(slow.done())
            slow.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await slow

    async def test_cancelled_before_it_was_sent(self):
        self.service.close()
        async with AsyncClient(self.service.url("rpc")) as client:
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(client.call("Bus/Ping", timeout=30), 0.1)
            self.assertFalse(client._calls.queued)

    async def test_cancelled_call_keeps_its_place(self):
        self.service.handlers["Ops/WaitTask"] = lambda _: None
        async with AsyncClient(self.service.url("rpc")) as client:
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(client.call("Ops/WaitTask", timeout=30), 0.1)
            self.assertEqual(len(client._calls.sent), 1)
            await client.call("Bus/Ping")
            self.service.cut("rpc")
            await asyncio.to_thread(self.service.wait, lambda: not self.service.peers)
            await client.call("Bus/Ping")
            self.assertEqual(self.service.count("WaitTask"), 1)

    async def test_cancelled_calls_do_not_hold_up_others(self):
        self.service.handlers["Ops/WaitTask"] = lambda _: None
        async with AsyncClient(self.service.url("rpc")) as client:
            calls = [asyncio.ensure_future(client.call("Ops/WaitTask", timeout=60))
                     for _ in range(64)]
            await asyncio.to_thread(self.service.wait, lambda: self.service.count("WaitTask") == 64)
            for call in calls[:-1]:
                call.cancel()
            await asyncio.wait(calls[:-1])
            self.assertEqual((await client.call("Bus/Ping", timeout=10)).service, "test")
            self.assertEqual((await client.call("Bus/Ping", timeout=10)).service, "test")
            self.assertFalse(calls[-1].done())
            self.assertEqual(self.service.count("WaitTask"), 65)
            calls[-1].cancel()

    async def test_close_ends_calls(self):
        self.service.handlers["Ops/WaitTask"] = lambda _: None
        client = AsyncClient(self.service.url("rpc"))
        call = asyncio.ensure_future(client.call("Ops/WaitTask"))
        await asyncio.to_thread(self.service.wait, lambda: self.service.count("WaitTask"))
        await client.close()
        with self.assertRaisesRegex(CallError, "closed"):
            await call
        with self.assertRaises(ValueError):
            await client.call("Bus/Ping")
        await asyncio.to_thread(self.service.wait, lambda: not self.service.peers)


class StubsTest(unittest.TestCase):
    """xenmesh.rpc is what the descriptors say."""

    def test_every_method_has_a_typed_stub(self):
        import xenmesh.rpc
        from xenmesh.calls import message_class
        n = 0
        for module in (bus_pb2, ops_pb2):
            for service in module.DESCRIPTOR.services_by_name.values():
                for prefix in ("", "Async"):
                    stub = getattr(xenmesh.rpc, prefix + service.name)
                    for method in service.methods:
                        name = re.sub(r"(?<!^)([A-Z])", r"_\1", method.name).lower()
                        function = getattr(stub, name)
                        signature = inspect.signature(function)
                        output = eval(signature.return_annotation, vars(xenmesh.rpc))
                        self.assertIs(output, message_class(method.output_type))
                        self.assertEqual(list(signature.parameters)[2:],
                                         [f.name for f in method.input_type.fields])
                        self.assertEqual(inspect.iscoroutinefunction(function), bool(prefix))
                        n += 1
        self.assertGreater(n, 30)
