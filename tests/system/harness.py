# SPDX-License-Identifier: LGPL-2.1-or-later
"""All services with the simulated host, in a temporary directory: for system tests and tools/demo.

    system = System(bin_dir, vms=2)
    with system:
        system.json("vm", "list")
"""
import argparse
import collections
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

SERVICES = ("simhost", "ops", "agent-bridge", "metrics")
# Those with a place on the bus.
BUS_SERVICES = ("ops", "agent-bridge", "metrics")
START_S = 20
STOP_S = 10
POLL_S = 0.03
RESPAWN_S = 0.1  # systemd's RestartSec

Result = collections.namedtuple("Result", "rc out err")


class Failed(Exception):
    """A test's expectation does not hold."""


class Ended(Failed):
    """A process that should run does not: waiting is of no use."""


class Skipped(Exception):
    """A test cannot run here; says why."""


def expect(condition, why):
    if not condition:
        raise Failed(why)


def expect_equal(have, want, what):
    expect(have == want, "%s is %r, not %r" % (what, have, want))


def wait_for(condition, seconds, why, pause=POLL_S):
    """The first true value of condition(), asked often. An exception Failed in it counts as no."""
    deadline = time.monotonic() + seconds
    while True:
        last = None
        try:
            value = condition()
            if value:
                return value
        except Ended:
            raise
        except Failed as e:
            last = e
        if time.monotonic() > deadline:
            raise Failed("not within %g s: %s%s" % (seconds, why, " (%s)" % last if last else ""))
        time.sleep(pause)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Service:
    """One process of ours, started again when it ends if it shall be."""

    def __init__(self, name, command, env, log_path):
        self.name = name
        self.command = command
        self.env = env
        self.log_path = log_path
        self.process = None
        self.respawns = False
        self.is_wanted = False
        self.lock = threading.Lock()

    def start(self):
        with self.lock:
            self.is_wanted = True
            self._spawn()
        return self.process.pid

    def _spawn(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, env=self.env, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        if self.respawns:
            threading.Thread(target=self._guard, args=(self.process,), daemon=True).start()

    def _guard(self, process):
        process.wait()
        time.sleep(RESPAWN_S)
        with self.lock:
            if self.is_wanted and self.respawns and self.process is process:
                self._spawn()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def end(self, number=signal.SIGTERM):
        """Stop it for good. Its exit status, None if it did not run."""
        with self.lock:
            self.is_wanted = False
            process = self.process
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed("%s did not end within %d s of signal %d" % (self.name, STOP_S, number))

    def kill(self):
        """SIGKILL; respawned if it is one of those."""
        process = self.process
        expect(process.poll() is None, "%s has ended before it could be killed" % self.name)
        process.kill()
        process.wait()


class Follower:
    """The lines that a command prints while it goes on."""

    def __init__(self, process):
        self.process = process
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def line(self, seconds=STOP_S):
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            line = ""
        expect(line != "", "no line within %g s" % seconds)
        expect(line is not None, "the command has ended")
        return line

    def document(self, seconds=STOP_S):
        return json.loads(self.line(seconds))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class System:
    """The set of services. roles: {"observer": "*", ...} for [access]."""

    def __init__(self, bin_dir, vms=0, simhost=(), ops=(), roles=None, respawn=False,
                 services=SERVICES, log_level="info"):
        self.bin = os.path.abspath(bin_dir)
        self.dir = tempfile.mkdtemp(prefix="xenmesh-")
        self.topology = os.path.join(self.dir, "topology.conf")
        self.link = os.path.join(self.dir, "link")
        self.port = free_port()
        self.services = {}
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("XENMESH_", "XENSTORED_"))}
        self.env["XENMESH_TOPOLOGY"] = self.topology
        self.env["XENSTORED_PATH"] = os.path.join(self.dir, "host/run/socket")
        self.env["PYTHONPATH"] = os.path.join(self.bin, "python")
        self._write_topology(roles)
        commands = {
            "simhost": ["xenmesh-simhost", "--state-dir", os.path.join(self.dir, "host"),
                        "--link", self.link, "--vms", str(vms), *simhost],
            "ops": ["xenmesh-ops", "--state-dir", os.path.join(self.dir, "ops-state"),
                    "--host-link", self.link, *ops],
            "agent-bridge": ["xenmesh-agent-bridge"],
            "metrics": ["xenmesh-metrics", "--state-dir", os.path.join(self.dir, "metrics-state"),
                        "--http", "127.0.0.1:%d" % self.port],
        }
        for name in services:
            command = commands[name]
            command[0] = os.path.join(self.bin, command[0])
            service = Service(name, command + ["--log-level", log_level], self.env,
                              os.path.join(self.dir, name + ".log"))
            service.respawns = respawn
            self.services[name] = service

    def _write_topology(self, roles):
        os.chmod(self.dir, 0o755)
        with open(self.topology, "w", encoding="ascii") as f:
            f.write("[bus]\nrun_dir = %s/bus\n" % self.dir)
            if roles:
                f.write("[access]\n" + "".join("%s = %s\n" % item for item in roles.items()))

    # ---- processes ----

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.print_logs()
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None and issubclass(kind, Exception) and not issubclass(kind, Skipped):
            self.print_logs()
        self.close()

    def start(self):
        for name in ("ops-state", "metrics-state", "bus"):
            os.makedirs(os.path.join(self.dir, name), exist_ok=True)
        for name, service in self.services.items():
            service.start()
            if name == "simhost":
                # As units are ordered after xenstored's.
                wait_for(lambda: os.path.exists(self.link), START_S, "simhost listens")
        self.wait_ready()

    def wait_ready(self, seconds=START_S):
        """Every service answers, and ops has its host."""
        for name in self.services:
            if name in BUS_SERVICES:
                wait_for(lambda: self._answers(name), seconds, "%s answers a ping" % name)
        if "ops" in self.services and "simhost" in self.services:
            wait_for(lambda: self.host()["state"]["connected"], seconds,
                     "ops is connected to its host")

    def _answers(self, name):
        service = self.services[name]
        if not service.is_running() and not service.respawns:
            raise Ended("%s has ended with status %s" % (name, service.process.returncode))
        return self.cli("bus", "ping", name, "--timeout", "1s").rc == 0

    def close(self):
        for service in reversed(list(self.services.values())):
            try:
                service.end()
            except Failed as e:
                print("harness: %s" % e)
        shutil.rmtree(self.dir, ignore_errors=True)

    def print_logs(self, lines=40):
        for service in self.services.values():
            print("---- log of %s" % service.name)
            try:
                with open(service.log_path, encoding="utf-8", errors="replace") as log:
                    for line in log.read().splitlines()[-lines:]:
                        print("     " + line)
            except FileNotFoundError:
                print("     (none)")
        sys.stdout.flush()

    def pid(self, name):
        return self.services[name].process.pid

    # ---- the command line ----

    def command(self, *args):
        return [os.path.join(self.bin, "xenmesh"), *map(str, args)]

    def popen(self, *args, **kwargs):
        """A command that goes on, as `events`."""
        return subprocess.Popen(self.command(*args), env=self.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, text=True, **kwargs)

    def follow(self, *args):
        return Follower(self.popen("--json", *args))

    def cli(self, *args, timeout=60, stdin="", **kwargs):
        done = subprocess.run(self.command(*args), env=self.env, input=stdin, text=True,
                              capture_output=True, timeout=timeout, check=False, **kwargs)
        return Result(done.returncode, done.stdout, done.stderr)

    def ok(self, *args, **kwargs):
        """Standard output of a command that must succeed."""
        result = self.cli(*args, **kwargs)
        expect(result.rc == 0, "`xenmesh %s` failed with %d: %s" % (
            " ".join(map(str, args)), result.rc, result.err.strip()))
        return result.out

    def json(self, *args, **kwargs):
        """Its documents, one a line."""
        out = self.ok("--json", *args, **kwargs)
        return [json.loads(line) for line in out.splitlines()]

    def fails(self, rc, text, *args, **kwargs):
        """The command must fail with this exit status and say this."""
        result = self.cli(*args, **kwargs)
        what = "`xenmesh %s`" % " ".join(map(str, args))
        expect(result.rc == rc, "%s ended with %d, not %d: %s%s" % (
            what, result.rc, rc, result.out, result.err))
        expect(text in result.err, "%s says %r, not %r" % (what, result.err, text))
        return result

    # ---- short cuts ----

    def vms(self):
        """{name: VmState} without dom0."""
        return {vm["name"]: vm for vm in self.json("vm", "list") if vm.get("domid", 0) != 0}

    def vm(self, name):
        return self.json("vm", "show", name)[0]

    def host(self):
        return self.json("host", "show")[0]

    def write(self, name, text):
        """A file in the directory; its path."""
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def ask(self, command):
        """Tell the simulated host something; the lines it answers."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(os.path.join(self.dir, "host/control"))
            s.sendall(command.encode() + b"\n")
            lines = s.makefile().read().splitlines()
        expect(lines and lines[-1] == "ok", "simhost: %s: %s" % (command, lines))
        return lines[:-1]

    def stats(self):
        """Numbers of the simulated host."""
        return {name: int(value) for name, value in (line.split() for line in self.ask("stats"))}


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bin", required=True, help="build directory")
    parser.add_argument("--only", default="", help="part of the names of the tests to run")
    args = parser.parse_args()
    sys.path.insert(0, os.path.join(args.bin, "python"))
    return args


def run(tests, only="", system=None):
    """tests: [(name, function)]. The logs of `system` are shown if one fails. Exit status."""
    passed = failed = 0
    for name, function in tests:
        if only not in name:
            continue
        try:
            function()
            print("ok %s" % name)
            passed += 1
        except Skipped as e:
            print("skip %s: %s" % (name, e))
        except Exception as e:
            if not isinstance(e, Failed):
                traceback.print_exc(file=sys.stdout)
            print("FAIL %s: %s" % (name, str(e).replace("\n", " ") or type(e).__name__))
            failed += 1
        sys.stdout.flush()
    if failed and system:
        system.print_logs()
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0
