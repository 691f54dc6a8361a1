#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The simulated host by itself: the private links as a core speaks them, the nodes in its xenstore, and callers that
do not behave."""
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import System, arguments, expect, expect_equal, run, wait_for  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOON_S = 10
UUID = "11111111-2222-4333-8444-555555555555"
OTHER = "11111111-2222-4333-8444-666666666666"
MANY = 60
XS_DIRECTORY, XS_READ, XS_GET_PERMS, XS_ERROR = 1, 2, 3, 16


class Link:
    """libcommon/link.h: a length, a message, perhaps a descriptor."""

    def __init__(self, sock, kind):
        self.sock = sock
        self.kind = kind
        self.data = b""
        self.fds = []
        sock.settimeout(SOON_S)

    def send(self, message):
        body = message.SerializeToString()
        self.sock.sendall(struct.pack("<I", len(body)) + body)

    def receive(self):
        """The next message, None at the end."""
        while True:
            if len(self.data) >= 4:
                size = struct.unpack("<I", self.data[:4])[0]
                if len(self.data) >= 4 + size:
                    message = self.kind.FromString(self.data[4:4 + size])
                    self.data = self.data[4 + size:]
                    return message
            try:
                data, fds, _, _ = socket.recv_fds(self.sock, 65536, 4)
            except ConnectionResetError:
                return None
            self.fds += fds
            if not data:
                return None
            self.data += data

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Xenstore:
    """A few requests to xenstored as dom0."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SOON_S)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()

    def ask(self, kind, path):
        payload = path.encode() + b"\0"
        self.sock.sendall(struct.pack("<IIII", kind, 0, 0, len(payload)) + payload)
        kind, _, _, size = struct.unpack("<IIII", self.file.read(16))
        body = self.file.read(size)
        return None if kind == XS_ERROR else body

    def read(self, path):
        value = self.ask(XS_READ, path)
        return None if value is None else value.decode()

    def names(self, path):
        return [name.decode() for name in (self.ask(XS_DIRECTORY, path) or b"").split(b"\0") if name]

    def perms(self, path):
        return (self.ask(XS_GET_PERMS, path) or b"").rstrip(b"\0").decode().replace("\0", ",")


class Tests:
    def __init__(self, system, host_pb2):
        self.system = system
        self.pb = host_pb2
        self.ids = 0

    def core(self, hello=True):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.system.link)
        link = Link(sock, self.pb.FromHost)
        if hello:
            link.send(self.pb.ToHost(hello=self.pb.CoreHello(version="test")))
        return link

    def xenstore(self):
        return Xenstore(self.system.env["XENSTORED_PATH"])

    def until(self, link, kind):
        """The next message of this kind."""
        while True:
            message = link.receive()
            expect(message is not None, "the link closed before %s came" % kind)
            if message.WhichOneof("body") == kind:
                return getattr(message, kind)

    def worker(self, core, **request):
        self.ids += 1
        core.send(self.pb.ToHost(spawn_worker=self.pb.SpawnWorker(id=self.ids)))
        ready = self.until(core, "worker")
        expect(ready.ok and ready.id == self.ids, "no worker: %s" % ready.error)
        link = Link(socket.socket(fileno=core.fds.pop(0)), self.pb.FromWorker)
        link.send(self.pb.ToWorker(**request))
        return link

    def do(self, **request):
        """One operation's WorkerDone."""
        with self.core() as core, self.worker(core, **request) as worker:
            done = self.until(worker, "done")
            expect(worker.receive() is None, "something comes after the result")
            return done

    def create(self, name="one", uuid=UUID, **keys):
        from xenmesh.v1 import ops_pb2
        config = ops_pb2.VmConfig(uuid=uuid, name=name, type=ops_pb2.VM_TYPE_PV, vcpus=2, memory_kib=131072,
                                  kernel="/boot/vmlinuz", cmdline="quiet")
        config.vifs.add(devid=0, mac="00:16:3e:00:00:01", bridge="xenbr0")
        config.vbds.add(vdev="xvda", target="/dev/loop0")
        return self.pb.CreateDomain(config=config, **keys)

    def act(self, domid, action, uuid=UUID):
        return self.do(act=self.pb.ActOnDomain(domain=self.pb.DomainRef(domid=domid, uuid=uuid),
                                               action=getattr(self.pb, "DOMAIN_ACTION_" + action)))

    def made(self, **keys):
        done = self.do(create=self.create(**keys))
        expect_equal(done.code, 0, "code (%s)" % done.message)
        return done.domid

    # ---- the link of the host process ----

    def hello_then_everything(self):
        with self.core() as core:
            kinds = [core.receive() for _ in range(3)]
            expect_equal([m.WhichOneof("body") for m in kinds], ["hello", "state", "table"], "first messages")
            expect(kinds[0].hello.simulated and kinds[1].state.simulated, "it does not say that it is simulated")
            domids = [d.domid for d in kinds[2].table.domains]
            expect(domids[0] == 0 and domids == sorted(domids), "domids of the table: %s" % domids)
            self.until(core, "sample")
            core.send(self.pb.ToHost(resync=self.pb.Resync(reason="test")))
            self.until(core, "state")
            self.until(core, "table")

    def every_core_is_told(self):
        cores = [self.core() for _ in range(4)]
        for core in cores:
            self.until(core, "table")
        domid = self.made()
        self.act(domid, "DESTROY")
        for core in cores:
            states = []
            while True:
                message = core.receive()
                if message.WhichOneof("body") == "domain" and message.domain.domid == domid:
                    states.append(message.domain.power_state)
                if message.WhichOneof("body") == "gone" and message.gone.domid == domid:
                    break
            # paused, running, ..., dying
            expect(states[0] == 3 and 2 in states and states[-1] == 5, "states that were told: %s" % states)
            core.close()

    def strangers_are_shut_out(self):
        for data in (b"\xff" * 64, struct.pack("<I", 1 << 31), struct.pack("<I", 4) + b"\xff\xff\xff\xff"):
            with self.core(hello=False) as link:
                link.sock.sendall(data)
                expect(link.receive() is None, "it talks to a stranger")
        with self.core(hello=False) as link:
            link.send(self.pb.ToHost(spawn_worker=self.pb.SpawnWorker(id=1)))
            expect(link.receive() is None, "a worker without a hello")
        held = [self.core(hello=False) for _ in range(50)]
        with self.core() as core:
            self.until(core, "table")
        for link in held:
            link.close()

    # ---- workers ----

    def uuid_is_checked(self):
        domid = self.made()
        for action in ("SHUTDOWN", "REBOOT", "PAUSE", "UNPAUSE"):
            done = self.act(domid, action, OTHER)
            expect_equal(done.code, 5, "code of %s with another UUID" % action)
        expect_equal(self.act(domid, "DESTROY", OTHER).code, 0, "code of DESTROY of what is not there")
        expect(any(line.startswith("%d %s" % (domid, UUID)) for line in self.system.ask("list")), "the domain is gone")
        self.act(domid, "DESTROY")

    def states_are_checked(self):
        s = self.system
        domid = self.made()
        expect_equal(self.do(create=self.create(uuid=OTHER)).code, 6, "code for a name in use")
        expect_equal(self.do(create=self.create(name="two")).code, 6, "code for a UUID in use")
        expect_equal(self.act(domid, "PAUSE").code, 0, "code of PAUSE")
        expect_equal(self.act(domid, "SHUTDOWN").code, 9, "code of SHUTDOWN of a paused domain")
        expect_equal(self.act(domid, "UNPAUSE").code, 0, "code of UNPAUSE")
        s.ask("crash %d" % domid)
        for action in ("SHUTDOWN", "PAUSE", "UNPAUSE"):
            expect_equal(self.act(domid, action).code, 9, "code of %s of a crashed domain" % action)
        expect_equal(self.act(domid, "DESTROY").code, 0, "code of DESTROY")
        expect_equal(self.act(domid, "DESTROY").code, 0, "code of a second DESTROY")

    def progress_is_told(self):
        with self.core() as core, self.worker(core, create=self.create(paused=True)) as worker:
            steps = []
            while True:
                message = worker.receive()
                if message.WhichOneof("body") == "done":
                    break
                steps.append(message.progress.progress)
            expect(len(steps) >= 3 and steps == sorted(steps) and steps[-1] == 1, "progress: %s" % steps)
            self.act(message.done.domid, "DESTROY")

    def cancel(self):
        s = self.system
        s.ask("fault create one delay=60s")
        with self.core() as core, self.worker(core, create=self.create()) as worker:
            wait_for(lambda: any(UUID in line for line in s.ask("list")), SOON_S, "the domain is half made")
            worker.send(self.pb.ToWorker(cancel=self.pb.CancelOperation(reason="enough")))
            done = self.until(worker, "done")
            expect_equal(done.code, 1, "code")
            expect("enough" in done.message, "message: %s" % done.message)
        expect(not any(UUID in line for line in s.ask("list")), "the half-made domain is still there")

    def hanging_worker(self):
        s = self.system
        s.ask("fault create one hang")
        with self.core() as core:
            worker = self.worker(core, create=self.create())
            wait_for(lambda: any(UUID in line for line in s.ask("list")), SOON_S, "the domain is half made")
            worker.send(self.pb.ToWorker(cancel=self.pb.CancelOperation(reason="enough")))
            expect_equal(s.stats()["workers"], 1, "workers")
            worker.close()
            wait_for(lambda: s.stats()["workers"] == 0, SOON_S, "the worker has ended")
        s.ask("destroy one")

    def core_goes_away(self):
        s = self.system
        s.ask("fault create one delay=300ms")
        with self.core() as core:
            self.worker(core, create=self.create()).close()
        wait_for(lambda: any(UUID in line and "running" in line for line in s.ask("list")), SOON_S,
                 "the operation goes on without its core")
        s.ask("destroy one")

    def one_operation_a_worker(self):
        with self.core() as core, self.worker(core, create=self.create()) as worker:
            worker.send(self.pb.ToWorker(create=self.create(name="two", uuid=OTHER)))
            while worker.receive() is not None:
                pass
        wait_for(lambda: any(UUID in line and "running" in line for line in self.system.ask("list")), SOON_S,
                 "the first operation was done")
        expect(not any(OTHER in line for line in self.system.ask("list")), "the second was done, too")
        self.system.ask("destroy one")
        with self.core() as core, self.worker(core) as worker:  # an empty message
            expect(worker.receive() is None, "it answers an empty message")

    # ---- xenstore ----

    def nodes_are_as_libxl_makes_them(self):
        domid = self.made()
        home, vif = "/local/domain/%d" % domid, "/local/domain/%d/device/vif/0" % domid
        mine, readable, dom0 = "n%d" % domid, "n0,r%d" % domid, "n0"
        wanted = {  # path: (value, permissions); a value of None is not compared
            home + "/vm": ("/vm/" + UUID, readable),
            home + "/name": ("one", readable),
            home + "/domid": (str(domid), readable),
            home + "/cpu/1/availability": ("online", readable),
            home + "/memory/target": ("131072", readable),
            home + "/control": ("", readable),
            home + "/control/shutdown": ("", mine),
            home + "/control/feature-poweroff": (None, mine),
            home + "/data": ("", mine),
            home + "/attr": ("", mine),
            home + "/console/limit": ("1048576", readable),
            home + "/device/suspend/event-channel": ("", mine),
            vif + "/backend": ("/local/domain/0/backend/vif/%d/0" % domid, mine + ",r0"),
            vif + "/mac": ("00:16:3e:00:00:01", mine + ",r0"),
            home + "/device/vbd/51712/virtual-device": ("51712", mine + ",r0"),
            "/local/domain/0/backend/vif/%d/0/frontend" % domid: (vif, readable),
            "/local/domain/0/backend/vbd/%d/51712/params" % domid: ("/dev/loop0", readable),
            "/libxl/%d/device/vif/0/bridge" % domid: ("xenbr0", dom0),
            "/libxl/%d/device/vbd/51712/dev" % domid: ("xvda", dom0),
            "/libxl/%d/type" % domid: ("pv", dom0),
            "/vm/%s/image/cmdline" % UUID: ("quiet", readable),
        }
        with self.xenstore() as xs:
            for path, (value, perms) in wanted.items():
                have = xs.read(path)
                expect(have is not None, "%s is missing" % path)
                expect(value is None or have == value, "%s is %r, not %r" % (path, have, value))
                expect_equal(xs.perms(path), perms, "permissions of %s" % path)
            wait_for(lambda: xs.read(home + "/attr/PVAddons/Installed") == "1", SOON_S, "its agent reports")
            for path in (home + "/data/os_name", home + "/attr/vif/0/ipv4/0"):
                expect(xs.read(path), "%s is missing" % path)
                expect_equal(xs.perms(path).split(",")[0], mine, "owner of %s" % path)
            expect_equal(xs.read("/local/domain/0/backend/vif/%d/0/state" % domid), "4", "state of the backend")
            expect_equal(xs.read(vif + "/state"), "4", "state of the frontend")
        self.act(domid, "DESTROY")

    def nothing_is_left(self):
        with self.xenstore() as xs:
            before = self.everything(xs)
            for _ in range(3):
                self.system.ask("create name=short vifs=2 vbds=3")
                self.system.ask("destroy short")
            domid = self.made()
            self.act(domid, "DESTROY")
            expect_equal(self.everything(xs), before, "nodes after all domains are gone")

    @staticmethod
    def everything(xs):
        return {path: xs.names(path) for path in
                ("/vm", "/libxl", "/local/domain", "/local/domain/0/backend/vif", "/local/domain/0/backend/vbd")}

    def domids_do_not_run_out(self):
        s = self.system
        seen = []
        for _ in range(MANY):
            seen.append(int(s.ask("create name=short vifs=0 vbds=0")[0].split()[0]))
            s.ask("destroy short")
        expect_equal(len(set(seen)), MANY, "different domids")

    # ---- commands ----

    def commands_that_are_none(self):
        s = self.system
        for command, why in (("dance", "no such command"), ("create", "name=NAME is missing"),
                             ("create name=a color=red", "color"), ("create name=a vcpus=0", "vcpus"),
                             ("destroy nobody", "no domain"), ("destroy 0", "no domain"),
                             ("fault dance", "no operation"), ("create name=a memory=16777216", "memory"),
                             ("x" * 5000, "too long")):
            answer = self.answer(command)
            expect(answer.startswith("error: ") and why in answer, "%s: %r" % (command[:30], answer))
        idle = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for one in idle:
            one.connect(os.path.join(s.dir, "host/control"))
        s.stats()
        for one in idle:
            one.close()

    def answer(self, command):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(SOON_S)
            sock.connect(os.path.join(self.system.dir, "host/control"))
            try:
                sock.sendall(command.encode() + b"\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # it had enough before all was sent
            return sock.makefile().read()

    def program(self, *args):
        done = subprocess.run([os.path.join(self.system.bin, "xenmesh-simhost"), *args], capture_output=True, text=True,
                              timeout=SOON_S, check=False)
        return done.returncode, done.stdout + done.stderr

    def command_line(self):
        state = os.path.join(self.system.dir, "host")
        expect_equal(self.program("--vms", "x")[0], 2, "status of a bad option")
        expect_equal(self.program("--fault", "dance")[0], 2, "status of a bad rule")
        rc, out = self.program("--state-dir", state, "--ask", "list")
        expect(rc == 0 and "Domain-0" in out, "--ask list: %d %s" % (rc, out))
        rc, out = self.program("--state-dir", state, "--ask", "dance")
        expect(rc == 1 and "no such command" in out, "--ask dance: %d %s" % (rc, out))
        rc, out = self.program("--state-dir", os.path.join(self.system.dir, "nowhere"), "--ask", "list")
        expect(rc == 1 and "cannot connect" in out, "--ask of nobody: %d %s" % (rc, out))
        rc, out = self.program("--state-dir", state)
        expect(rc == 1 and "use" in out, "a second one in the same directory: %d %s" % (rc, out))
        small = os.path.join(self.system.dir, "small")
        rc, out = self.program("--state-dir", small, "--vms", "100", "--memory", "4096")
        expect(rc == 1 and "--memory" in out, "too many VMs for the memory: %d %s" % (rc, out))
        expect_equal(self.system.stats()["domains"], 1, "domains of the one that runs")


def compile_host_proto(directory):
    """The private messages are not part of the Python client."""
    subprocess.run(["protoc", "-I" + os.path.join(ROOT, "proto"), "-I/usr/include", "--python_out=" + directory,
                    "xenmesh/host/host.proto"], check=True)
    os.rename(os.path.join(directory, "xenmesh/host/host_pb2.py"), os.path.join(directory, "host_pb2.py"))
    sys.path.insert(0, directory)
    import host_pb2  # pylint: disable=import-error
    return host_pb2


def main():
    args = arguments(__doc__)
    directory = tempfile.mkdtemp(prefix="xenmesh-proto-")
    try:
        host_pb2 = compile_host_proto(directory)
        with System(args.bin, services=("simhost",), simhost=("--boot-ms", "100")) as system:
            t = Tests(system, host_pb2)
            names = ("hello_then_everything", "every_core_is_told", "strangers_are_shut_out", "uuid_is_checked",
                     "states_are_checked", "progress_is_told", "cancel", "hanging_worker", "core_goes_away",
                     "one_operation_a_worker", "nodes_are_as_libxl_makes_them", "nothing_is_left",
                     "domids_do_not_run_out", "commands_that_are_none", "command_line")
            return run([(name, getattr(t, name)) for name in names], args.only, system)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
