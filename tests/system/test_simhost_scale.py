#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host of 1,000 VMs: everything is seen, in time, and the services stay small."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import System, arguments, expect, expect_equal, run, wait_for  # noqa: E402

N_VMS = 1000
UP_S = 240  # xenstored itself needs most of it: it gets slower with each node
REPORTED_S = 240
TICK_US = 100000  # of the simulated host and of metrics, the median of some
COMMAND_S = 5
PAUSE_S = 0.5  # between two looks at all VMs
N_TICKS = 7
SAMPLES_S = 6
RSS_KIB = {"simhost": 128 << 10, "ops": 128 << 10, "agent-bridge": 128 << 10, "metrics": 400 << 10}


class Tests:
    def __init__(self, system):
        self.system = system

    def comes_up(self):
        s = self.system
        wait_for(lambda: s.stats()["vms_to_come"] == 0, UP_S, "%d VMs are up" % N_VMS, PAUSE_S)
        wait_for(lambda: len(s.vms()) == N_VMS, 5, "ops sees them all")
        wait_for(self.all_reported, REPORTED_S, "every guest is known to the bridge", PAUSE_S)

    def all_reported(self):
        guests = self.system.json("guest", "list")
        return len(guests) == N_VMS and all(guest["agent"]["installed"] for guest in guests)

    def timed(self, *args):
        started = time.monotonic()
        out = self.system.ok(*args)
        took = time.monotonic() - started
        expect(took < COMMAND_S, "`xenmesh %s` took %.1f s" % (" ".join(args), took))
        return out

    def lists(self):
        expect_equal(len(self.timed("vm", "list").splitlines()), N_VMS + 2, "lines of vm list")
        expect_equal(len(self.timed("guest", "list").splitlines()), N_VMS + 1, "lines of guest list")

    def top(self):
        out = self.timed("top", "-b", "-n", "1")
        expect(sum(" sim" in line for line in out.splitlines()) == N_VMS, "VMs are missing in top")

    def one_in_a_thousand(self):
        s = self.system
        vm = s.vm("sim0500")
        expect_equal(s.vm(vm["domid"])["uuid"], vm["uuid"], "UUID by domid")
        expect_equal(s.json("guest", "show", "sim0500")[0]["hostname"], "sim0500", "hostname")

    def median(self, read):
        """Of the times of several ticks."""
        values, ticks = [], -1
        while len(values) < N_TICKS:
            ticks = wait_for(lambda: self.system.stats()["ticks"] > ticks and self.system.stats()["ticks"], 5, "a tick")
            values.append(read())
        return sorted(values)[N_TICKS // 2]

    def ticks_of_the_host(self):
        took = self.median(lambda: self.system.stats()["tick_us"])
        expect(took < TICK_US, "a tick of the simulated host takes %d us" % took)

    def ticks_of_metrics(self):
        def read():
            stats = dict(line.split() for line in self.system.ok("bus", "stats", "metrics", "metrics.").splitlines())
            return int(stats["metrics.tick_us"])
        took = self.median(read)
        expect(took < TICK_US, "a tick of metrics takes %d us" % took)

    def samples_stay_complete(self):
        from xenmesh import Subscriber, Topology
        where = Topology.load(self.system.topology)
        with Subscriber(where.pub("ops"), where.rpc("ops"), ["host/sample"]) as changes:
            samples = [c.event.host_sample for c in changes.changes(SAMPLES_S) if c.what == "state" and not c.replayed]
        expect(len(samples) >= SAMPLES_S - 2, "only %d samples in %d s" % (len(samples), SAMPLES_S))
        expect_equal({len(sample.domains) for sample in samples}, {N_VMS + 1}, "domains in the samples")
        told = {d.domid for sample in samples for d in sample.domains if d.vcpus}
        expect(len(told) >= N_VMS, "only %d domains' vCPUs came in %d samples" % (len(told), len(samples)))

    def a_domain_is_seen_at_once(self):
        s = self.system
        s.ask("create name=late")
        wait_for(lambda: s.cli("vm", "show", "late").rc == 0, 1, "the 1001st domain is seen")
        s.ask("destroy late")
        wait_for(lambda: s.cli("vm", "show", "late").rc == 1, 1, "it is gone")

    def memory(self):
        for name, limit in RSS_KIB.items():
            with open("/proc/%d/status" % self.system.pid(name), encoding="ascii") as f:
                rss = next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))
            with open("/proc/%d/maps" % self.system.pid(name), encoding="ascii") as f:
                is_sanitized = "libasan" in f.read()  # which takes several times as much
            expect(is_sanitized or rss < limit, "%s takes %d KiB" % (name, rss))


def main():
    args = arguments(__doc__)
    with System(args.bin, vms=N_VMS) as system:
        t = Tests(system)
        names = ("comes_up", "lists", "top", "one_in_a_thousand", "ticks_of_the_host", "ticks_of_metrics",
                 "samples_stay_complete", "a_domain_is_seen_at_once", "memory")
        return run([(name, getattr(t, name)) for name in names], args.only, system)


if __name__ == "__main__":
    sys.exit(main())
