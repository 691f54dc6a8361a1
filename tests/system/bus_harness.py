# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of the bus with whole processes share."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback


class Failed(Exception):
    """A test's expectation does not hold."""


class Skipped(Exception):
    """A test cannot run here; says why."""


def expect(condition, why):
    if not condition:
        raise Failed(why)


def wait_for(condition, seconds, why):
    """The first true value of condition(), asked often."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        expect(time.monotonic() < deadline, "not within %g s: %s" % (seconds, why))
        time.sleep(0.02)


class Bench:
    """A temporary directory with a topology of the service "test", and the processes started."""

    def __init__(self, bin_dir, tcp_ports=None):
        self.bin = bin_dir
        self.dir = tempfile.mkdtemp(prefix="xenmesh-bus-")
        self.topology = os.path.join(self.dir, "topology.conf")
        self.processes = []
        tcp = " tcp://127.0.0.1:%d"
        with open(self.topology, "w", encoding="ascii") as f:
            f.write("[bus]\nrun_dir = %s\n[service test]\n" % self.dir)
            for i, kind in enumerate(("pub", "rpc")):
                f.write("%s = ipc://@run@/test/%s%s\n" % (
                    kind, kind, tcp % tcp_ports[i] if tcp_ports else ""))

    def close(self):
        for process in self.processes:
            self.stop(process)
        shutil.rmtree(self.dir)

    def start(self, name, *args, **kwargs):
        path = os.path.join(self.bin, "tests/system", name)
        process = subprocess.Popen([path, *args], **kwargs)
        self.processes.append(process)
        return process

    def start_pub(self, rate=0, events=0, topics=900):
        process = self.start("bus_testpub", "--topology", self.topology, "--rate", str(rate),
                             "--events", str(events), "--topics", str(topics))
        sockets = [os.path.join(self.dir, "test", kind) for kind in ("pub", "rpc")]
        wait_for(lambda: all(map(os.path.exists, sockets)), 10, "bus_testpub listens")
        return process

    @staticmethod
    def stop(process):
        """End it with SIGTERM; one that does not end within 10 s is killed. Its exit status."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        return process.wait()


class Mirror:
    """A bus_testsub and what it says it has."""

    def __init__(self, bench, *prefixes):
        self.process = bench.start("bus_testsub", bench.topology, *prefixes,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def dump(self):
        """-> ({topic: value}, {counter: number})"""
        self.process.stdin.write("dump\n")
        self.process.stdin.flush()
        topics = {}
        for line in self.process.stdout:
            name, value = line.rstrip("\n").split(" ", 1)
            if name == "end":
                return topics, {k: int(v) for k, v in (pair.split("=") for pair in value.split())}
            topics[name] = int(value)
        raise Failed("bus_testsub ended with status %s" % self.process.wait())


def published(client, prefixes=()):
    """The publisher's own table: {topic: value}, over Bus.Snapshot."""
    from xenmesh.v1 import bus_pb2
    topics, after = {}, 0
    while True:
        page = client.call("Bus/Snapshot", bus_pb2.SnapshotRequest(
            after_seq=after, prefixes=prefixes))
        topics.update((event.topic, int(event.task.step)) for event in page.events)
        if not page.more:
            return topics
        after = page.resume_seq


def is_idle(client):
    """The publisher's sequence number stands still."""
    seq = client.call("Bus/Snapshot").seq
    time.sleep(0.3)
    return client.call("Bus/Snapshot").seq == seq


def difference(have, want):
    """A short text, empty when equal."""
    missing = sorted(set(want) - set(have))
    surplus = sorted(set(have) - set(want))
    other = sorted(t for t in set(have) & set(want) if have[t] != want[t])
    parts = ["%d %s, first %s" % (len(topics), what, topics[0])
             for what, topics in (("missing", missing), ("surplus", surplus), ("stale", other))
             if topics]
    return "; ".join(parts)


def rss_kib(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def arguments(description, add=None):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bin", required=True, help="build directory")
    if add:
        add(parser)
    args = parser.parse_args()
    sys.path.insert(0, os.path.join(args.bin, "python"))
    return args


def run(tests):
    """tests: [(name, function)]. Exit status."""
    passed = failed = 0
    for name, function in tests:
        try:
            function()
            print("ok %s" % name)
            passed += 1
        except Skipped as e:
            print("skip %s: %s" % (name, e))
        except Exception as e:
            if not isinstance(e, Failed):
                traceback.print_exc()
            print("FAIL %s: %s" % (name, str(e).replace("\n", " ") or type(e).__name__))
            failed += 1
        sys.stdout.flush()
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0
