#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Services whose standard error is a journal, as systemd gives it: entries with fields, a journal
that stands still or is gone, and a JOURNAL_STREAM that is of something else.

The journal's socket has a fixed path, so the test runs in a mount namespace of its own with an
empty directory there: the journal of this machine is neither asked nor seen."""
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import (Failed, Service, Skipped, System, arguments, expect, expect_equal,  # noqa: E402
                     run, wait_for)

HERE = "XENMESH_TEST_OUTER_NAMESPACE"  # set inside: the namespace that it must not be
PATH = "/run/systemd/journal/socket"
SOON_S = 10
OBSERVER = 61001  # a user that need not exist
AUDIT_CALL = "8c16b3e0d04a41dabeec220a346feb01"
AUDIT_TASK = "c56d3adc46b24b57a46abb0423e92fc8"
AUDIT_LINE = r"notice SetTrace[^\n]* method=xenmesh\.v1\.Bus/SetTrace [^\n]* trace_id=(\w+) .*"
ENTRY_MAX = 8192  # of log_journal.c
ALWAYS = {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"}
# Those of bus/audit.h and of scopes.
KNOWN = ALWAYS | {"MESSAGE_ID", "TRACE_ID", "TASK", "VM"} | {"XENMESH_" + name for name in (
    "METHOD", "OBJECT", "OBJECT_ID", "OUTCOME", "RESULT", "REASON", "UID", "GID", "PID",
    "CERTIFICATE", "ADDRESS", "CLIENT", "DURATION_US", "REQUEST_ID", "LEFT_OUT")}
# Each would be a field, or an entry, of its own if it were not escaped.
FORGED = ("x\nPRIORITY=0\nMESSAGE=forged",
          "x\n\nMESSAGE=another entry\n",
          "x\nMESSAGE\n\x07\x00\x00\x00\x00\x00\x00\x00forged!\n",
          "x\r\x1b[2J\x7f\x9b\u2028\u202e\t=\"\\\n_UID=0")
CREDENTIALS = struct.Struct("iII")
N_DESCRIPTORS = 8


def parse(data):
    """Fields of one datagram of the native protocol, (name, value) in order."""
    found = []
    while data:
        line, newline, rest = data.partition(b"\n")
        expect(newline, "an entry has no newline at its end")
        expect(line, "an entry is followed by another in its datagram")
        name, equals, value = line.partition(b"=")
        if not equals:
            size, = struct.unpack_from("<Q", rest)
            value, newline, rest = rest[8:8 + size], rest[8 + size:9 + size], rest[9 + size:]
            expect(len(value) == size and newline == b"\n", "a binary field is cut off")
        found.append((name.decode("ascii"), value.decode("utf-8")))
        data = rest
    return found


def check(fields):
    """What holds for every entry, whatever is in it."""
    names = [name for name, _ in fields]
    expect(len(set(names)) == len(names), "a field is there twice: %s" % names)
    expect(ALWAYS <= set(names) <= KNOWN, "fields %s" % names)
    for name, value in fields:
        bad = re.search("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", value)
        expect(not bad, "a control character in %s=%r" % (name, value))


class Journal:
    """Takes entries from its socket, unless it stands still or is closed."""

    def __init__(self):
        self.entries = []   # (pid of the sender, {name: value})
        self.problem = None
        self.gate = threading.Lock()  # held: it stands still
        os.makedirs(os.path.dirname(PATH))
        self.open()

    def open(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        if os.path.exists(PATH):
            os.unlink(PATH)
        self.socket.bind(PATH)
        os.chmod(PATH, 0o666)
        self.wake = os.pipe()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def close(self):
        """What is in the queue is read yet. The path stays, as of a journal that crashed."""
        os.close(self.wake[1])
        self.thread.join()
        os.close(self.wake[0])
        self.take()
        self.socket.close()

    def _read(self):
        while True:
            ready, _, _ = select.select([self.socket, self.wake[0]], [], [])
            if self.wake[0] in ready:
                return
            self.drain()

    def drain(self):
        """All that is in its queue is an entry afterwards."""
        with self.gate:
            self.take()

    def take(self):
        while True:
            try:
                data, control, flags, _ = self.socket.recvmsg(
                    1 << 17, socket.CMSG_SPACE(CREDENTIALS.size) + socket.CMSG_SPACE(4 * N_DESCRIPTORS))
            except BlockingIOError:
                return
            try:
                self.add(data, control, flags)
            except (Failed, ValueError, struct.error) as e:
                self.problem = self.problem or "%s in %r" % (e, data)

    def add(self, data, control, flags):
        pid = None
        for level, kind, content in control:
            # Entries that do not fit into a datagram come as files. Ours always fit.
            expect((level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS), "descriptors")
            pid = CREDENTIALS.unpack(content)[0]
        expect(not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC), "a datagram is cut off")
        expect(0 < len(data) <= ENTRY_MAX, "%d bytes" % len(data))
        fields = parse(data)
        check(fields)
        self.entries.append((pid, dict(fields)))

    def of(self, pid, **fields):
        """Entries of this process with these fields."""
        return [have for sender, have in list(self.entries)
                if sender == pid and all(have.get(k) == v for k, v in fields.items())]


class JournalService(Service):
    """Its output is a stream socket, and JOURNAL_STREAM says so, unless `stream` is given."""
    stream = None
    reader = None

    def _spawn(self):
        self.close_output()
        self.reader, output = socket.socketpair()
        status = os.fstat(output.fileno())
        env = dict(self.env, JOURNAL_STREAM=self.stream or "%d:%d" % (status.st_dev, status.st_ino))
        with output:
            self.process = subprocess.Popen(self.command, env=env, stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output, start_new_session=True)

    def output(self):
        """What it wrote to standard output and error since the last time."""
        text = b""
        try:
            while True:
                part = self.reader.recv(1 << 16, socket.MSG_DONTWAIT)
                if not part:
                    break
                text += part
        except BlockingIOError:
            pass
        with open(self.log_path, "ab") as log:
            log.write(text)
        return text.decode("utf-8")

    def close_output(self):
        if self.reader:
            self.output()
            self.reader.close()


class Tests:
    def __init__(self, system, journal):
        self.system = system
        self.journal = journal
        self.number = 0

    # ---- helpers ----

    @property
    def ops(self):
        return self.system.services["ops"]

    def entries(self, **fields):
        """Of ops."""
        return self.journal.of(self.ops.process.pid, **fields)

    def one_entry(self, **fields):
        found = wait_for(lambda: self.entries(**fields), SOON_S, "an entry with %s" % fields)
        expect_equal(len(found), 1, "number of entries with %s" % fields)
        return found[0]

    def new_trace(self):
        self.number += 1
        trace_id = "%032x" % (0xbead0000 + self.number)
        return "00-%s-%016x-01" % (trace_id, 0xabc), trace_id

    def client(self, name="test_journal/1"):
        from xenmesh import Client
        return Client("ipc://%s/bus/ops/rpc" % self.system.dir, name)

    def audited(self, client):
        """A call that leaves one line of the audit. Its trace id."""
        from xenmesh.v1 import bus_pb2
        parent, trace_id = self.new_trace()
        client.call("Bus/SetTrace", bus_pb2.SetTraceRequest(seconds=0), traceparent=parent)
        return trace_id

    def ping(self):
        self.system.ok("bus", "ping", "ops", "--timeout", "1s")

    def fill(self, client):
        """More lines than the journal, which stands still, has room for. Their trace ids."""
        with open("/proc/sys/net/unix/max_dgram_qlen", encoding="ascii") as f:
            n_room = int(f.read())
        ids = []
        for i in range(n_room + 40):
            ids.append(self.audited(client))
            if i % 40 == 39:
                self.ping()
        return ids

    def check_all(self):
        """Nothing was written but well-formed entries."""
        expect(not self.journal.problem, "a bad entry: %s" % self.journal.problem)
        for name, service in self.system.services.items():
            expect_equal(service.output(), "", "output of %s" % name)

    def lines(self, service, pattern, n=1):
        """So many lines of its output, all that there are; the groups of the pattern in each."""
        text = ""

        def complete():
            nonlocal text
            text += service.output()
            return text.count("\n") >= n
        wait_for(complete, SOON_S, "%d lines" % n)
        found = [re.fullmatch(pattern, line) for line in text.splitlines()]
        expect(len(found) == n and all(found), "it wrote %r" % text)
        return [match.groups() for match in found]

    def renewed(self, test):
        """After it ops is another process, in whatever state the test left it."""
        def function():
            try:
                test()
            finally:
                if not self.journal.thread.is_alive():
                    self.journal.open()
                self.ops.end()
                self.ops.start()
                self.system.wait_ready()
        return function

    # ---- tests ----

    def services(self):
        for name, text in (("simhost", "simulated host started"),
                           ("ops", "connected to simulated host process")):
            pid = self.system.pid(name)
            wait_for(lambda: any(e["MESSAGE"].startswith(text) for e in self.journal.of(
                pid, PRIORITY="6", SYSLOG_IDENTIFIER="xenmesh-" + name)), SOON_S, text)
        self.check_all()

    def levels(self):
        """PRIORITY is that of syslog(3), here of a warning and of a line at debug."""
        s = self.system
        s.ok("bus", "log-level", "ops", "debug")
        try:
            self.ping()
            wait_for(lambda: self.entries(PRIORITY="7"), SOON_S, "an entry at debug")
        finally:
            s.ok("bus", "log-level", "ops", "info")
        s.services["simhost"].end()
        wait_for(lambda: self.entries(PRIORITY="4"), SOON_S, "a warning that the host is gone")
        s.services["simhost"].start()
        s.wait_ready()
        self.check_all()

    def audit_of_a_task(self):
        from xenmesh.v1 import ops_pb2
        s = self.system
        uuid = next(iter(s.vms().values()))["uuid"]
        parent, trace_id = self.new_trace()
        request_id = os.urandom(16)
        with self.client() as client:
            task = client.call("Ops/PauseVm", ops_pb2.PauseVmRequest(vm=uuid), request_id=request_id,
                               traceparent=parent)
            client.call("Ops/WaitTask", ops_pb2.WaitTaskRequest(id=task.id))
        same = {"PRIORITY": "5", "SYSLOG_IDENTIFIER": "xenmesh-ops", "TRACE_ID": trace_id,
                "TASK": task.id, "XENMESH_REQUEST_ID": request_id.hex(), "XENMESH_RESULT": "OK",
                "XENMESH_OBJECT_ID": uuid}
        call = self.one_entry(MESSAGE_ID=AUDIT_CALL, **same)
        expect_equal({k: call.get("XENMESH_" + k) for k in (
            "METHOD", "OBJECT", "OUTCOME", "UID", "GID", "PID", "CLIENT", "REASON")},
            {"METHOD": "xenmesh.v1.Ops/PauseVm", "OBJECT": uuid, "OUTCOME": "accepted",
             "UID": str(os.geteuid()), "GID": str(os.getegid()), "PID": str(os.getpid()),
             "CLIENT": "test_journal/1", "REASON": None}, "the call")
        expect_equal(call["MESSAGE"], "PauseVm of %s by uid %d: accepted" % (uuid, os.geteuid()),
                     "the message")
        expect(int(call["XENMESH_DURATION_US"]) > 0, "duration %s" % call["XENMESH_DURATION_US"])
        ended = self.one_entry(MESSAGE_ID=AUDIT_TASK, **same)
        expect_equal((ended["XENMESH_METHOD"], ended["XENMESH_OUTCOME"]), ("PauseVm", "done"), "the task")
        self.check_all()

    def audit_of_refusals(self):
        if os.environ[HERE].startswith("user "):
            raise Skipped("only root can be several users")
        s = self.system
        parent, trace_id = self.new_trace()
        s.env["TRACEPARENT"] = parent
        try:
            s.fails(5, "", "vm", "pause", "kept", user=OBSERVER, group=OBSERVER, extra_groups=[])
        finally:
            del s.env["TRACEPARENT"]
        entry = self.one_entry(MESSAGE_ID=AUDIT_CALL, TRACE_ID=trace_id)
        expect_equal({k: entry.get("XENMESH_" + k) for k in ("OBJECT", "OUTCOME", "RESULT", "UID", "GID")},
                     {"OBJECT": "kept", "OUTCOME": "denied", "RESULT": "PERMISSION_DENIED",
                      "UID": str(OBSERVER), "GID": str(OBSERVER)}, "the denied call")
        expect(entry["XENMESH_REASON"], "it has no reason")
        self.check_all()

    def forgeries(self):
        """Text of a caller stays in the field where it belongs, in one entry, and is cut there."""
        from xenmesh import CallError
        from xenmesh.v1 import ops_pb2
        for text in (*FORGED, FORGED[0] + "\n" + "y" * 20000):
            parent, trace_id = self.new_trace()
            self.journal.drain()
            before = len(self.entries())
            with self.client(text) as client:
                try:
                    client.call("Ops/PauseVm", ops_pb2.PauseVmRequest(vm=text), traceparent=parent)
                    expect(False, "a VM that is not there was paused")
                except CallError:
                    pass
                entry = self.one_entry(MESSAGE_ID=AUDIT_CALL, TRACE_ID=trace_id)
                after = self.audited(client)
            self.one_entry(TRACE_ID=after)
            expect_equal(len(self.entries()), before + 2, "entries of two calls")
            expect_equal((entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]), ("5", "xenmesh-ops"), "fields")
            expect(entry["XENMESH_OBJECT"].startswith("x\\x"), "object %r" % entry["XENMESH_OBJECT"])
            expect(entry["XENMESH_CLIENT"].startswith("x?"), "client %r" % entry["XENMESH_CLIENT"])
            expect(entry["MESSAGE"].startswith("PauseVm of x\\x"), "MESSAGE=%r" % entry["MESSAGE"])
        self.check_all()

    def journal_stands_still(self):
        """Calls are answered meanwhile; what is missing is counted, and what is there is in order."""
        with self.client() as client:
            with self.journal.gate:
                ids = self.fill(client)
                self.ping()
                expect_equal(self.ops.output(), "", "output of ops")
            self.journal.drain()
            last = self.audited(client)
        self.one_entry(TRACE_ID=last)
        expect_equal(self.missing(ids), self.told(last), "number of lines that are missing")
        self.check_all()

    def missing(self, ids):
        """How many of these have no entry; all from one on."""
        have = [e["TRACE_ID"] for e in self.entries() if e.get("TRACE_ID") in ids]
        expect(0 < len(have) < len(ids), "%d of %d entries came" % (len(have), len(ids)))
        expect_equal(have, ids[:len(have)], "the entries")
        return len(ids) - len(have)

    def told(self, trace_id=None):
        """The number in the last entry, or in that just before this one."""
        entries = self.entries()
        entry = entries[[e.get("TRACE_ID") for e in entries].index(trace_id) - 1 if trace_id else -1]
        match = re.fullmatch(r"(\d+) lines are missing here: the journal was too slow for them",
                             entry["MESSAGE"])
        expect(match and entry["PRIORITY"] == "4", "%s is no number" % entry)
        return int(match[1])

    def journal_gone(self):
        """Standard error is where the lines go then, and nobody reading it does no harm."""
        s = self.system
        with self.client() as client:
            self.journal.close()
            ids = [self.audited(client)]
            os.unlink(PATH)
            ids.append(self.audited(client))
            expect_equal(self.lines(self.ops, "<5>" + AUDIT_LINE, 2), [(i,) for i in ids], "lines")
            self.ops.reader.shutdown(socket.SHUT_RDWR)
            self.audited(client)
            self.ping()
            self.journal.open()
            self.one_entry(TRACE_ID=self.audited(client))
        for i in ids:
            expect_equal(self.entries(TRACE_ID=i), [], "entries while there was no journal")
        for name, service in s.services.items():
            if service is not self.ops:  # they may have something to say too
                for line in service.output().splitlines():
                    expect(re.match("<[3-7]>(error|warning|notice|info|debug) ", line),
                           "%s wrote %r" % (name, line))
        self.check_all()

    def end_after_a_loss(self):
        """Nothing more is logged by a service that ends, but what is missing."""
        with self.client() as client:
            with self.journal.gate:
                ids = self.fill(client)
            self.journal.drain()
        expect_equal(self.ops.end(), 0, "exit status")
        wait_for(lambda: "missing" in self.entries()[-1]["MESSAGE"], SOON_S, "the number")
        expect_equal(self.missing(ids), self.told(), "number of lines that are missing")
        self.check_all()

    def end_while_it_stands_still(self):
        """Then the number is told on standard error."""
        with self.client() as client:
            with self.journal.gate:
                ids = self.fill(client)
                expect_equal(self.ops.end(signal.SIGTERM), 0, "exit status")
        told, = self.lines(self.ops, r"<4>warning (\d+) lines are missing here: the journal was too "
                           r"slow for them")
        self.journal.drain()
        expect_equal(self.missing(ids), int(told[0]), "number of lines that are missing")
        self.check_all()

    def other_stream(self):
        """JOURNAL_STREAM is of another file, or none: standard error is no journal."""
        ops = self.ops
        self.check_all()
        try:
            for stream in ("1:1", "nonsense", "0:%d" % (1 << 62)):
                ops.end()
                ops.stream = stream
                ops.start()
                self.system.wait_ready()
                self.lines(ops, r"xenmesh-ops: info connected to simulated host process .*")
                with self.client() as client:
                    trace_id = self.audited(client)
                expect_equal(self.lines(ops, "xenmesh-ops: " + AUDIT_LINE), [(trace_id,)], "the line")
                expect_equal(self.entries(), [], "entries")
        finally:
            ops.stream = None
        self.check_all()


NAMES = ("services", "levels", "audit_of_a_task", "audit_of_refusals", "forgeries",
         "journal_stands_still", "end_after_a_loss", "end_while_it_stands_still", "journal_gone",
         "other_stream")
RENEWED = ("end_after_a_loss", "end_while_it_stands_still", "journal_gone", "other_stream")


def skip_all(why, only):
    def skip():
        raise Skipped(why)
    return run([("journal." + name, skip) for name in NAMES], only)


def enter(only):
    """This program again, in namespaces of its own."""
    command = ["unshare", "--mount"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    try:
        done = subprocess.run(command + ["mount", "-t", "tmpfs", "tmpfs", "/run"], check=False,
                              capture_output=True, text=True)
    except FileNotFoundError as e:
        return skip_all("no mount namespace: %s" % e, only)
    if done.returncode != 0:
        return skip_all("no mount namespace: %s" % done.stderr.strip().replace("\n", " "), only)
    user = "user " if os.geteuid() != 0 else "root "
    os.environ[HERE] = user + os.readlink("/proc/self/ns/mnt")
    os.execvp(command[0], command + [sys.executable, os.path.abspath(__file__), *sys.argv[1:]])


def mount():
    """An empty directory where the journal's socket is. Never in the namespace of others."""
    expect(os.readlink("/proc/self/ns/mnt") != os.environ[HERE].split()[1], "still the same namespace")
    target = "/run/systemd" if os.path.isdir("/run/systemd") else "/run"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=True)


def main():
    args = arguments(__doc__)
    if HERE not in os.environ:
        return enter(args.only)
    mount()
    journal = Journal()
    system = System(args.bin, vms=1, roles={"observer": "*", "admin": "root"})
    system.services = {name: JournalService(name, s.command, s.env, s.log_path)
                       for name, s in system.services.items()}
    with system:
        t = Tests(system, journal)
        tests = [(name, getattr(t, name)) for name in NAMES]
        status = run([("journal." + name, t.renewed(test) if name in RENEWED else test)
                      for name, test in tests], args.only, system)
        if status:
            print("---- last entries of the journal; the first bad one: %s" % journal.problem)
            for pid, entry in journal.entries[-40:]:
                print("     %s %s" % (pid, entry))
        return status


if __name__ == "__main__":
    sys.exit(main())
