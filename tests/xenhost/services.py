# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our services in the emulated dom0: starting, killing, and asking them through the command line."""

import json
import os
import subprocess
import time

from host import HostError, HostTimeout
from runner import expect

METRICS_URL = "http://127.0.0.1:9780/metrics"
# What the bus calls a service, in topology.conf and in `xenmesh bus ping`.
BUS_NAMES = ("ops", "metrics", "agent-bridge")
# (name here, user, command): in the order in which systemd would start them. Only the host process is root. The
# bridge's user may connect to xenstored (dom0/init) and nothing else.
PROCESSES = (
    ("ops-host", "root", "xenmesh-ops-host --link-group xenmesh"),
    ("ops", "xenmesh", "xenmesh-ops"),
    ("agent-bridge", "xenmesh-bridge", "xenmesh-agent-bridge"),
    ("metrics", "xenmesh-metrics", "xenmesh-metrics"),
)
# What tmpfiles.d and StateDirectory= make on an installed host: (directory, owner)
DIRECTORIES = (
    ("/run/xenmesh", "root"), ("/run/xenmesh/ops-host", "root"), ("/run/xenmesh/ops", "xenmesh"),
    ("/run/xenmesh/agent-bridge", "xenmesh-bridge"), ("/run/xenmesh/metrics", "xenmesh-metrics"),
    ("/var/lib/xenmesh", "root"), ("/var/lib/xenmesh/ops", "xenmesh"), ("/var/lib/xenmesh/metrics", "xenmesh-metrics"),
    ("/etc/xenmesh", "root"), ("/var/log/xenmesh", "root"),
)
START_TIMEOUT_S = 30
HERE_CALL_LIMIT = "2s"


class Services:
    """The services of one dom0, each under a loop that starts it again whenever it ends."""

    def __init__(self, host):
        self.host = host
        self.here_topology = None

    def start(self):
        programs = ["xenmesh", "xenmesh-ops-worker"] + [command.split()[0] for _, _, command in PROCESSES]
        missing = [name for name in programs if self.host.run(f"which {name}")[0] != 0]
        expect(not missing, f"the images hold no {', '.join(missing)}: build them, then run build-images again")
        self.host.check("\n".join(f"mkdir -p {path} && chown {owner} {path} || exit 1"
                                  for path, owner in DIRECTORIES))
        for name, user, command in PROCESSES:
            self.host.spawn(f"exec respawn {user} {name} {command}")

    def pid(self, name):
        """The program's pid now, None between an end and the next start."""
        rc, out = self.host.run(f"read loop pid </run/respawn/{name} && kill -0 $pid && echo $pid")
        return int(out) if rc == 0 else None

    def kill(self, name):
        """SIGKILL; returns the pid it had, when it was sent (monotonic seconds of this machine) and the uptime of
        dom0 then, in ns."""
        out = self.host.check(f"read loop pid </run/respawn/{name} && kill -9 $pid && read up idle </proc/uptime && "
                              "echo $pid $up")
        killed = time.monotonic()
        pid, uptime = out.split()
        return int(pid), killed, int(float(uptime) * 1e9)

    def cli(self, arguments, timeout=30):
        """Runs `xenmesh ARGUMENTS` in dom0; returns its output, a failure is an exception."""
        return self.host.check(f"xenmesh {arguments}", timeout)

    def ask(self, arguments, timeout=30):
        """The same with --json: the list of documents it prints, one a line."""
        out = self.host.check(f"xenmesh --json {arguments} 2>/tmp/cli.err || {{ rc=$?; cat /tmp/cli.err; exit $rc; }}",
                              timeout)
        return [json.loads(line) for line in out.splitlines() if line.strip()]

    def reach_from_here(self, directory):
        """Makes the services' sockets reachable from this machine; returns the path of a topology for them."""
        for name in BUS_NAMES:
            for end in ("pub", "rpc"):
                self.host.relay(f"/run/xenmesh/{name}/{end}", os.path.join(directory, name, end))
        self.here_topology = os.path.join(directory, "topology.conf")
        with open(self.here_topology, "w", encoding="utf-8") as out:
            out.write(f"[bus]\nrun_dir = {directory}\n")
        return self.here_topology

    def ask_here(self, arguments):
        """Like ask(), but the command line runs on this machine, where starting it costs next to nothing: for
        measuring."""
        command = [os.path.join(self.host.images, "xenmesh"), "--json", "--timeout", HERE_CALL_LIMIT]
        done = subprocess.run(command + ["--topology", self.here_topology] + arguments.split(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        if done.returncode != 0:
            raise HostError(f"xenmesh {arguments}: exit {done.returncode}: {done.stderr.strip()[-500:]}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    def vms(self):
        """name -> VmState of every VM and domain, dom0 excluded."""
        return {vm["name"]: vm for vm in self.ask("vm list") if vm["domid"] != 0}

    def vm(self, name):
        (document,) = self.ask(f"vm show {name}")
        return document

    def guest(self, name):
        (document,) = self.ask(f"guest show {name}")
        return document

    def scrape(self):
        return self.host.check(f"wget -q -O - {METRICS_URL}")

    def ping_all(self):
        return self.cli(f"bus ping {' '.join(BUS_NAMES)}")


class Events:
    """`xenmesh events` running in dom0, for what must be seen when it happens."""

    def __init__(self, services, prefixes, service="ops"):
        self.host = services.host
        self.path = f"/tmp/events-{time.monotonic_ns()}"
        self.pid = self.host.spawn(f"exec xenmesh --json events {prefixes} --service {service} --live",
                                   log=self.path)
        self.host.expect(self.path, '"resynced"', START_TIMEOUT_S)

    def wait(self, text, timeout):
        """Waits for a text in an event."""
        return self.host.expect(self.path, text, timeout)

    def all(self):
        lines = self.host.get(self.path).decode().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def close(self):
        self.host.check(f"kill {self.pid}; rm {self.path}")


def wait_until(check, timeout, what):
    """Calls check() until it returns something true without an error; returns that and the seconds it took.
    For conditions that only a call to a service can tell: the calls themselves are the pause."""
    began = time.monotonic()
    why = "it was never so"
    while True:
        try:
            value = check()
            if value:
                return value, time.monotonic() - began
        except (HostError, LookupError, ValueError) as error:
            why = str(error)
        if time.monotonic() - began > timeout:
            raise HostTimeout(f"{what}: not within {timeout} s ({why})")
