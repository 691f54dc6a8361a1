#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Python implementation of the protocol and the C one, on either engine, as client and
server of each other: over unix sockets, TCP and TLS."""
import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

import bus_harness as bus

ENGINES = ("native", "nng")
TRANSPORTS = ("ipc", "tcp", "tls")
TOPICS = 300
EVENTS = 3000
SETTLE_S = 20
CALL_S = 20
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def free_ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Pki:
    """Certificates made by `xenmesh bus pki`: of a server for localhost, of an operator."""

    def __init__(self, bin_dir):
        self.cli = os.path.join(bin_dir, "xenmesh")
        self.dir = tempfile.mkdtemp(prefix="xenmesh-pki-")
        ca = os.path.join(self.dir, "ca")
        self.run("init", "--dir", ca)
        self.run("issue", "server", "--role", "operator", "--server", "--host", "localhost",
                 "--dir", ca)
        self.run("issue", "client", "--role", "operator", "--dir", ca)

    def run(self, *args):
        done = subprocess.run([self.cli, "bus", "pki", *args], capture_output=True, text=True,
                              timeout=60, check=False)
        bus.expect(done.returncode == 0, "bus pki %s: %s" % (args, done.stderr))

    def file(self, name, suffix):
        return os.path.join(self.dir, "ca", name, "%s.%s" % (name, suffix))

    def section(self, name):
        return "[tls]\nca = %s\ncert = %s\nkey = %s\n" % (
            os.path.join(self.dir, "ca", name, "ca.crt"), self.file(name, "crt"),
            self.file(name, "key"))

    def server_context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file("server", "crt"), self.file("server", "key"))
        context.load_verify_locations(os.path.join(self.dir, "ca", "server", "ca.crt"))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def close(self):
        shutil.rmtree(self.dir)


class Pair(bus.Bench):
    """One engine and one transport. `topology` is the server's, `client_topology` has the
    address that is tested."""

    def __init__(self, args, pki, engine, transport):
        super().__init__(args.bin)
        self.cli = os.path.join(args.bin, "xenmesh")
        os.makedirs(os.path.join(self.dir, "test"))  # nng does not make it
        self.pki = pki
        self.engine = engine
        self.transport = transport
        # The role of a certificate is read by the native engine only.
        self.is_role_known = transport == "ipc" or (transport, engine) == ("tls", "native")
        scheme = {"tcp": "tcp", "tls": "tls+tcp"}.get(transport)
        self.urls = ["%s://localhost:%d" % (scheme, port) if scheme else
                     "ipc://%s/test/%s" % (self.dir, kind)
                     for kind, port in zip(("pub", "rpc"), free_ports(2))]
        ipc = ["ipc://@run@/test/" + kind for kind in ("pub", "rpc")]
        listens = ["%s %s" % (a, b.replace("localhost", "127.0.0.1")) if scheme else a
                   for a, b in zip(ipc, self.urls)]
        self.topology = self.write("server.conf", listens, "server")
        self.client_topology = self.write("client.conf", self.urls, "client")

    def write(self, name, urls, who):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as f:
            f.write("[bus]\nrun_dir = %s\nengine = %s\n%s" % (
                self.dir, self.engine, self.pki.section(who)))
            f.write("[service test]\npub = %s\nrpc = %s\n" % tuple(urls))
        return path

    def end(self):
        """Processes that were not killed end well; a sanitizer would not let them."""
        statuses = [self.stop(process) for process in self.processes]
        bus.expect(set(statuses) <= {0, -signal.SIGKILL}, "processes ended with %s" % statuses)

    def where(self):
        from xenmesh import Topology
        return Topology.load(self.client_topology)

    def fails(self, name, client, *args, **kwargs):
        from xenmesh import CallError
        try:
            client.call(*args, **kwargs)
        except CallError as e:
            bus.expect(e.name == name, "%s ended with %s" % (args[0], e))
            return e
        raise bus.Failed("%s succeeded instead of %s" % (args[0], name))

    def run_cli(self, *args):
        return subprocess.run([self.cli, *args], env=dict(
            os.environ, XENMESH_TOPOLOGY=self.client_topology), capture_output=True, text=True,
            timeout=60, check=False)


# ---- Python calls and follows a C service ----

def check_calls(pair, client):
    from xenmesh import CallOptions
    from xenmesh.rpc import Bus
    from xenmesh.v1 import bus_pb2, ops_pb2
    for size in (0, 1, 65536):
        echo = os.urandom(size)
        bus.expect(Bus(client).ping(CallOptions(timeout=CALL_S), echo=echo).echo == echo,
                   "an echo of %d bytes differs" % size)
    described = Bus(client).describe(with_descriptors=True)
    bus.expect(described.service == "test" and len(described.descriptors) > 10000, "Describe")
    pair.fails("UNIMPLEMENTED", client, "Ops/GetVm")
    pair.fails("INVALID_ARGUMENT", client, "Bus/Ping", bus_pb2.PingRequest(echo=bytes(65537)))
    pair.fails("DEADLINE_EXCEEDED", client, "Ops/WaitTask", timeout=0.2)
    if not pair.is_role_known:
        pair.fails("PERMISSION_DENIED", client, "Ops/PauseVm")
        return
    pair.fails("PERMISSION_DENIED" if pair.transport == "tls" else "INVALID_ARGUMENT", client,
               "Bus/SetLogLevel", bus_pb2.SetLogLevelRequest(level="loud"))
    request_id = os.urandom(16)
    first, again = (client.call("Ops/PauseVm", ops_pb2.PauseVmRequest(vm="x"),
                                request_id=request_id) for _ in range(2))
    bus.expect(first == again, "a repeat was executed again")


def test_calls(pair):
    from xenmesh import Client
    pair.start_pub(rate=20000, events=EVENTS, topics=TOPICS)
    with Client.to("test", pair.where()) as client:
        check_calls(pair, client)
        bus.wait_for(lambda: bus.is_idle(client), 30, "all events are published")
        bus.expect(len(bus.published(client)) > TOPICS / 2, "the snapshot is too small")


def test_many_at_once(pair):
    """Slow and fast calls, more than the service takes at once, over one connection."""
    from xenmesh import AsyncClient
    from xenmesh.rpc import AsyncBus, AsyncOps

    async def run():
        async with AsyncClient.to("test", pair.where()) as client:
            slow = [] if not pair.is_role_known else [
                AsyncOps(client).unpause_vm(vm=str(i)) for i in range(80)]
            pings = [AsyncBus(client).ping(echo=b"%d" % i) for i in range(300)]
            replies = await asyncio.wait_for(asyncio.gather(*slow, *pings), CALL_S)
            echoes = [reply.echo for reply in replies[len(slow):]]
            bus.expect(echoes == [b"%d" % i for i in range(300)], "an answer to another call")
            # Executed once each.
            steps = {reply.step for reply in replies[:len(slow)]}
            bus.expect(not slow or max(map(int, steps)) == 80, "executed %s" % max(steps, default=0))
    pair.start_pub()
    asyncio.run(run())


def test_call_outlives_a_restart(pair):
    from xenmesh import Client
    process = pair.start_pub()
    with Client.to("test", pair.where()) as client:
        client.call("Bus/Ping", timeout=CALL_S)
        process.kill()
        process.wait()
        pair.fails("UNAVAILABLE", client, "Bus/Ping", timeout=0.3)
        pair.start_pub()
        client.call("Bus/Ping", timeout=CALL_S)


class Followed:
    """The mirror of one Python subscriber."""

    def __init__(self):
        self.topics = {}
        self.whats = []

    def take(self, change):
        if change.what == "state":
            self.topics[change.topic] = int(change.event.task.step)
        elif change.what == "removed":
            self.topics.pop(change.topic)
        else:
            self.whats.append(change.what)


def until_equal(mirror, take_some, want):
    deadline = time.monotonic() + SETTLE_S
    while bus.difference(mirror.topics, want):
        bus.expect(time.monotonic() < deadline, bus.difference(mirror.topics, want))
        take_some()


def test_follows(pair):
    """Both subscribers, from before the events on, and once more after a restart."""
    from xenmesh import AsyncSubscriber, Client, Subscriber
    where, loop = pair.where(), asyncio.new_event_loop()
    blocking, later = Followed(), Followed()
    process = pair.start_pub(rate=5000, events=EVENTS, topics=TOPICS)
    subscriber = Subscriber.to("test", ["vm/"], where)

    async def make():
        return AsyncSubscriber.to("test", ["vm/"], where)

    async def some():
        async for change in asynchronous.changes(0.1):
            later.take(change)

    def some_blocking():
        for change in subscriber.changes(0.1):
            blocking.take(change)
    asynchronous = loop.run_until_complete(make())
    try:
        for is_restarted in (False, True):
            if is_restarted:
                process.kill()
                process.wait()
                pair.start_pub(rate=5000, events=EVENTS // 2, topics=TOPICS // 2)
            with Client.to("test", where) as client:
                bus.wait_for(lambda: bus.is_idle(client), 30, "all events are published")
                want = bus.published(client, ["vm/"])
            until_equal(blocking, some_blocking, want)
            until_equal(later, lambda: loop.run_until_complete(some()), want)
        bus.expect("down" in blocking.whats and "down" in later.whats, "not told of the kill")
    finally:
        subscriber.close()
        loop.run_until_complete(asynchronous.close())
        loop.close()


# ---- C calls and follows a Python service ----

def start_fake(pair):
    from fake_service import FakeService
    service = FakeService(os.path.join(pair.dir, "test"), is_tcp=pair.transport == "tcp", tls=(
        pair.pki.server_context() if pair.transport == "tls" else None))
    pair.client_topology = pair.write("client.conf", [service.url("pub"), service.url("rpc")],
                                      "client")
    return service


def test_c_calls(pair):
    """`xenmesh bus ping` and `bus call` of a Python service."""
    from fake_service import Refusal
    from xenmesh.v1 import common_pb2, ops_pb2

    def get(request):
        if request.vm != "web":
            raise Refusal(common_pb2.CODE_NOT_FOUND, "there is no VM " + request.vm)
        return ops_pb2.VmState(name="web", memory_kib=1 << 40)

    def cut_first(request):
        if service.count("PauseVm") == 1:
            service.cut("rpc")
            return None
        return ops_pb2.Task(vm=request.vm)
    service = start_fake(pair)
    service.handlers.update({"Ops/GetVm": get, "Ops/PauseVm": cut_first})
    try:
        done = pair.run_cli("bus", "ping", "test", "--count", "2")
        bus.expect(done.returncode == 0, "bus ping: %s%s" % (done.stdout, done.stderr))
        done = pair.run_cli("bus", "call", "-s", "test", "Ops/GetVm", "vm=web")
        bus.expect(done.returncode == 0 and '"web"' in done.stdout, "bus call: %s%s" % (
            done.stdout, done.stderr))
        done = pair.run_cli("bus", "call", "-s", "test", "Ops/GetVm", "vm=none")
        bus.expect(done.returncode == 1 and "there is no VM none" in done.stderr, done.stderr)
        done = pair.run_cli("bus", "call", "-s", "test", "Ops/PauseVm", "vm=web")
        bus.expect(done.returncode == 0, "bus call: %s" % done.stderr)
        calls = [call for _, call in service.calls if call.method.endswith("PauseVm")]
        bus.expect(len(calls) == 2 and calls[0].request_id == calls[1].request_id,
                   "%d calls, not one and its repeat" % len(calls))
    finally:
        service.close()


def test_c_follows(pair):
    """bus_testsub and a scripted publisher: losses, pages, another instance, a cut."""
    service = start_fake(pair)
    service.start_heartbeats()
    service.page_events = 7
    for i in range(20):
        service.publish("vm/%d/state" % i)
    pair.topology = pair.client_topology
    mirror = bus.Mirror(pair)

    def equal():
        have, counters = mirror.dump()
        want = {topic: int(value) for topic, value in service.state().items()}
        return counters["synced"] and not bus.difference(have, want) and counters
    try:
        bus.wait_for(equal, SETTLE_S, "the snapshot is complete")
        for i in range(30):
            service.publish("vm/%d/state" % i)
        service.remove("vm/3/state")
        counters = bus.wait_for(equal, SETTLE_S, "live events are taken")
        bus.expect(counters["gaps"] == 0, "a gap where nothing was lost")
        service.publish("vm/new/state", is_lost=True)
        service.remove("vm/4/state", is_lost=True)
        service.publish("vm/5/state")
        counters = bus.wait_for(equal, SETTLE_S, "a loss is repaired")
        bus.expect(counters["gaps"] == 1, "%d gaps" % counters["gaps"])
        service.remove("vm/6/state", is_lost=True)
        service.forget_removals()
        bus.wait_for(equal, SETTLE_S, "a loss that a heartbeat tells is repaired")
        service.cut("pub", "rpc")
        service.publish("vm/7/state", is_lost=True)
        bus.wait_for(equal, SETTLE_S, "a cut connection is made again")
        service.new_instance()
        service.publish("vm/other/state")
        counters = bus.wait_for(equal, SETTLE_S, "another instance is taken up")
        bus.expect(counters["went_back"] == 0, "a topic went back")
    finally:
        bus.Bench.stop(mirror.process)
        service.close()


def main():
    args = bus.arguments(__doc__, lambda parser: parser.add_argument("--only", default=""))
    sys.path.insert(0, os.path.join(ROOT, "clients/python/tests"))
    pki = Pki(args.bin)

    def with_pair(test, engine, transport):
        pair = Pair(args, pki, engine, transport)
        try:
            test(pair)
            pair.end()
        finally:
            pair.close()
    tests = []
    for engine in ENGINES:
        for transport in TRANSPORTS:
            for test in (test_calls, test_many_at_once, test_call_outlives_a_restart,
                         test_follows, test_c_calls, test_c_follows):
                name = "%s_%s_%s" % (engine, transport, test.__name__[len("test_"):])
                tests.append((name, lambda test=test, engine=engine, transport=transport:
                              with_pair(test, engine, transport)))
    try:
        return bus.run([item for item in tests if args.only in item[0]])
    finally:
        pki.close()


sys.exit(main())
