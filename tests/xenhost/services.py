# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our services in the emulated dom0: starting, killing, and asking them through the command line."""

import json
import time

from host import HostError, HostTimeout
from runner import expect

METRICS_URL = "http://127.0.0.1:9780/metrics"
# What the bus calls a service, in topology.conf and in `xenmesh bus ping`.
BUS_NAMES = ("ops", "metrics", "agent-bridge")
# (name here, user, command): in the order in which systemd would start them.
PROCESSES = (
    ("ops-host", "root", "xenmesh-ops-host"),
    ("ops", "root", "xenmesh-ops"),
    ("agent-bridge", "root", "xenmesh-agent-bridge"),
    ("metrics", "root", "xenmesh-metrics"),
)
STATE_DIRS = "/run/xenmesh /var/lib/xenmesh /var/lib/xenmesh/ops /var/lib/xenmesh/metrics /etc/xenmesh"
START_TIMEOUT_S = 30


class Services:
    """The services of one dom0, each under a loop that starts it again whenever it ends."""

    def __init__(self, host):
        self.host = host

    def start(self):
        programs = ["xenmesh"] + [command.split()[0] for _, _, command in PROCESSES]
        missing = [name for name in programs if self.host.run(f"which {name}")[0] != 0]
        expect(not missing, f"the images hold no {', '.join(missing)}: build them, then run build-images again")
        self.host.check(f"mkdir -p /var/log/xenmesh {STATE_DIRS}")
        for name, user, command in PROCESSES:
            self.host.spawn(f"exec respawn {user} {name} {command}")

    def pid(self, name):
        """The program's pid now, None between an end and the next start."""
        rc, out = self.host.run(f"read loop pid </run/respawn/{name} && kill -0 $pid && echo $pid")
        return int(out) if rc == 0 else None

    def kill(self, name):
        """SIGKILL; returns the pid it had and when it was sent (monotonic seconds of this machine)."""
        out = self.host.check(f"read loop pid </run/respawn/{name} && kill -9 $pid && echo $pid")
        return int(out), time.monotonic()

    def cli(self, arguments, timeout=30):
        """Runs `xenmesh ARGUMENTS` in dom0; returns its output, a failure is an exception."""
        return self.host.check(f"xenmesh {arguments}", timeout)

    def ask(self, arguments, timeout=30):
        """The same with --json: the list of documents it prints, one a line."""
        out = self.host.check(f"xenmesh --json {arguments} 2>/tmp/cli.err || {{ rc=$?; cat /tmp/cli.err; exit $rc; }}",
                              timeout)
        return [json.loads(line) for line in out.splitlines() if line.strip()]

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
