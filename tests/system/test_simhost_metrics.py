#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Numbers: the simulated host's counters are consistent, and samples, top, archives and /metrics agree on them."""
import os
import re
import sys
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import System, arguments, expect, expect_equal, run, wait_for  # noqa: E402

N_VMS = 4
RECORD_S = 17  # at least two whole rows of 5 s
ROW_S = 5
SLACK = 1e-6
# A row is made of the samples in it, whose edges lie up to a second from its own, and loads swing.
AGREEMENT = 0.1
SOON_S = 15
SERIES = re.compile(r'^(\w+)(?:\{(.*)\})? (\S+)$')


def near(have, want, relative, absolute=0.0):
    return abs(have - want) <= max(relative * abs(want), absolute)


class Tests:
    def __init__(self, system):
        self.system = system
        self.samples = []  # HostSample, oldest first

    def record(self):
        from xenmesh import Subscriber, Topology
        where = Topology.load(self.system.topology)
        with Subscriber(where.pub("ops"), where.rpc("ops"), ["host/sample"]) as changes:
            for change in changes.changes(RECORD_S):
                if change.what == "state" and not change.replayed:
                    self.samples.append(change.event.host_sample)
        expect(len(self.samples) >= RECORD_S - 3, "only %d samples in %d s" % (len(self.samples), RECORD_S))

    # ---- the counters themselves ----

    def samples_come_each_second(self):
        for a, b in zip(self.samples, self.samples[1:]):
            apart = (b.monotonic_ns - a.monotonic_ns) / 1e9
            expect(0.5 < apart < 2.5, "two samples are %.3f s apart" % apart)

    def counters_are_consistent(self):
        for a, b in zip(self.samples, self.samples[1:]):
            wall = b.monotonic_ns - a.monotonic_ns
            old = {d.domid: d for d in a.domains}
            used = 0
            for d in b.domains:
                before = old[d.domid]
                delta = d.cpu_ns - before.cpu_ns
                used += delta
                expect(0 <= delta <= d.vcpus_online * wall, "domain %d used %d ns in %d" % (d.domid, delta, wall))
                expect_equal(sum(v.cpu_ns for v in d.vcpus), d.cpu_ns, "sum of vCPUs of domain %d" % d.domid)
                self.only_grow(before, d)
            idle = sum(p.idle_ns for p in b.pcpus) - sum(p.idle_ns for p in a.pcpus)
            expect_equal(idle + used, wall * len(b.pcpus), "idle and used time together")
            running = sum(d.running for d in b.domains)
            expect(running <= len(b.pcpus), "%d domains run on %d pCPUs" % (running, len(b.pcpus)))

    @staticmethod
    def only_grow(a, b):
        for old, new in list(zip(a.vifs, b.vifs)) + list(zip(a.vbds, b.vbds)):
            for field, value in new.ListFields():
                if field.name not in ("devid", "vdev"):
                    expect(value >= getattr(old, field.name), "%s went back" % field.name)

    def memory_adds_up(self):
        host = self.system.host()
        sample = self.samples[-1]
        expect_equal(sum(d.memory_kib for d in sample.domains) + sample.free_memory_kib, host["state"]["memory_kib"],
                     "memory of domains and free memory together")

    def same_seed_same_host(self):
        s = self.system
        have = {name: (vm["uuid"], vm["memory_kib"], vm["vcpus_online"]) for name, vm in s.vms().items()}
        with System(s.bin, vms=N_VMS, services=("simhost", "ops")) as twin:
            wait_for(lambda: len(twin.vms()) == N_VMS, SOON_S, "the twin is up")
            expect_equal({name: (vm["uuid"], vm["memory_kib"], vm["vcpus_online"]) for name, vm in twin.vms().items()},
                         have, "VMs of the same seed")

    # ---- who shows them ----

    def growth(self, uuid, pick, begin_s, end_s):
        """Growth of a counter between two wall-clock times, from the recorded samples."""
        points = [(x.realtime_ns / 1e9, pick(next(d for d in x.domains if d.uuid == uuid))) for x in self.samples]

        def at(when):
            for (t0, v0), (t1, v1) in zip(points, points[1:]):
                if t0 <= when <= t1:
                    return v0 + (v1 - v0) * (when - t0) / (t1 - t0)
            return None
        begin, end = at(begin_s), at(end_s)
        return None if begin is None or end is None else end - begin

    def archives_agree_with_samples(self):
        s = self.system
        vms = s.vms()
        compared = 0
        picks = {
            "cpu_usage": lambda d: d.cpu_ns / 1e9 / d.vcpus_online,
            "vif_0_rx": lambda d: d.vifs[0].rx_bytes,
            "vif_0_tx": lambda d: d.vifs[0].tx_bytes,
            "vbd_xvda_write": lambda d: d.vbds[0].wr_sect * 512,
        }
        for name, vm in vms.items():
            reply = s.json("metrics", "query", name, *picks, "--start", "-60")[0]
            for series in reply["series"]:
                for i, value in enumerate(series["values"]):
                    begin = int(reply["start_s"]) + i * ROW_S
                    grown = self.growth(vm["uuid"], picks[series["name"]], begin, begin + ROW_S)
                    if grown is None or not isinstance(value, (int, float)):
                        continue
                    compared += 1
                    expect(near(value, grown / ROW_S, AGREEMENT, 1e-4 if "cpu" in series["name"] else 1024),
                           "%s of %s at %d: the archive has %g, the samples %g" % (
                               series["name"], name, begin, value, grown / ROW_S))
        expect(compared >= N_VMS * len(picks), "only %d values could be compared" % compared)

    def memory_is_the_same_everywhere(self):
        s = self.system
        for name, vm in s.vms().items():
            values = s.json("metrics", "query", name, "memory", "--start", "-20")[0]["series"][0]["values"]
            known = {v for v in values if isinstance(v, (int, float))}
            expect_equal(known, {vm["memory_kib"] * 1024}, "memory of %s in the archive" % name)

    def sources_are_listed(self):
        s = self.system
        vm = next(iter(s.vms().values()))
        names = {source["name"] for source in s.json("metrics", "list", vm["name"])}
        wanted = {"cpu_usage", "cpu0", "memory", "memory_internal_free", "vif_0_rx", "vif_0_tx", "vbd_xvda_read"}
        expect(wanted <= names, "missing: %s" % sorted(wanted - names))
        host = {source["name"] for source in s.json("metrics", "list", "host")}
        expect({"cpu0", "cpu_avg", "memory_total_kib", "memory_free_kib"} <= host, "sources of the host: %s" % host)
        s.fails(1, 'no VM "nobody"; see: xenmesh vm list', "metrics", "query", "nobody")
        s.fails(1, 'no data source "nonsense"; see: xenmesh metrics list', "metrics", "query", vm["name"], "nonsense")
        # 0 is the epoch, not the default.
        whole = s.json("metrics", "query", vm["name"], "memory", "--start", "0")[0]
        expect(whole["step_s"] == 86400, "from the epoch on, in steps of %s s" % whole["step_s"])

    def scrape(self):
        with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % self.system.port, timeout=10) as page:
            expect("openmetrics" in page.headers["Content-Type"] or "text/plain" in page.headers["Content-Type"],
                   "content type %s" % page.headers["Content-Type"])
            text = page.read().decode()
        out = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                match = SERIES.match(line)
                expect(match, "a line of /metrics is none: %r" % line)
                out[(match[1], match[2] or "")] = float(match[3])
        return out

    def metrics_page_agrees(self):
        """A scrape lies between a sample before it and one after it."""
        s = self.system
        before = s.host()["sample"]
        page = self.scrape()
        start = s.stats()["ticks"]
        wait_for(lambda: s.stats()["ticks"] > start + 1, SOON_S, "another sample")
        after = s.host()["sample"]
        for a, b in zip(before["domains"], after["domains"]):
            label = 'uuid="%s"' % a["uuid"]
            self.between(page, "xen_domain_cpu_seconds_total", label, a["cpu_ns"] / 1e9, b["cpu_ns"] / 1e9)
            expect_equal(page[("xen_domain_memory_bytes", label)], a["memory_kib"] * 1024, "memory of %s" % a["name"])
            for v, w in zip(a["vifs"], b["vifs"]):
                self.between(page, "xen_domain_vif_receive_bytes_total", '%s,vif="%d"' % (label, v["devid"]),
                             v["rx_bytes"], w["rx_bytes"])

    @staticmethod
    def between(page, name, label, low, high):
        value = page.get((name, label))
        expect(value is not None, "%s{%s} is missing" % (name, label))
        expect(low - SLACK <= value <= high + SLACK, "%s{%s} is %r, not in %r..%r" % (name, label, value, low, high))

    def other_pages(self):
        try:
            urllib.request.urlopen("http://127.0.0.1:%d/nothing" % self.system.port, timeout=10)
            expect(False, "/nothing is there")
        except urllib.error.HTTPError as e:
            expect_equal(e.code, 404, "status of /nothing")

    def top_agrees(self):
        s = self.system
        before = s.host()["sample"]
        lines = s.ok("top", "-b", "-n", "1", "-s", "domid").splitlines()
        start = s.stats()["ticks"]
        wait_for(lambda: s.stats()["ticks"] > start + 1, SOON_S, "another sample")
        after = s.host()["sample"]
        titles = next(line for line in lines if "NAME" in line).split()
        cells = [line.split() for line in lines[2:]]
        rows = {row[0]: dict(zip(titles, row)) for row in cells if len(row) == len(titles)}
        expect_equal(set(rows), set(s.vms()), "VMs in top")
        for a, b in zip(before["domains"], after["domains"]):
            if a["domid"] == 0:
                continue
            row = rows[a["name"]]
            expect_equal((int(row["DOMID"]), int(row["MEM(k)"]), int(row["VCPUS"])),
                         (a["domid"], a["memory_kib"], a["vcpus_online"]), "row of %s" % a["name"])
            expect(a["cpu_ns"] // 10**9 - 1 <= int(row["CPU(sec)"]) <= b["cpu_ns"] // 10**9 + 1, "CPU time: %s" % row)
            for column, key in (("VBD_RD", "rd_req"), ("VBD_WSECT", "wr_sect")):
                low, high = (sum(v[key] for v in x["vbds"]) for x in (a, b))
                expect(low <= int(row[column]) <= high, "%s of %s is %s, not in %d..%d" % (
                    column, a["name"], row[column], low, high))

    def unknown_while_ops_is_away(self):
        s = self.system
        s.services["ops"].end()
        wait_for(lambda: self.scrape().get(("xenmesh_ops_up", "")) == 0, SOON_S, "/metrics says that ops is away")
        s.services["ops"].start()
        s.wait_ready()
        wait_for(lambda: self.scrape().get(("xenmesh_ops_up", "")) == 1, SOON_S, "/metrics says that ops is back")


def main():
    args = arguments(__doc__)
    with System(args.bin, vms=N_VMS) as system:
        t = Tests(system)
        wait_for(lambda: len(system.vms()) == N_VMS, SOON_S, "all VMs are seen")
        t.record()
        names = ("samples_come_each_second", "counters_are_consistent", "memory_adds_up", "archives_agree_with_samples",
                 "memory_is_the_same_everywhere", "sources_are_listed", "metrics_page_agrees", "other_pages",
                 "top_agrees", "same_seed_same_host", "unknown_while_ops_is_away")
        return run([(name, getattr(t, name)) for name in names], args.only, system)


if __name__ == "__main__":
    sys.exit(main())
