#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The life of VMs through the command line: definitions in all formats, every operation, what a guest's own end leads
to, and what goes wrong."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import System, arguments, expect, expect_equal, run, wait_for  # noqa: E402

SOON_S = 5
VM_FILE = """[vm]
name = alpha
type = pvh
vcpus = 2
memory = 256M
kernel = /boot/vmlinuz
cmdline = console=hvc0

[vif 0]
bridge = xenbr0
mac = 00:16:3e:00:00:01

[vbd xvda]
target = /srv/alpha.img
"""
XL_CFG = """name = "beta"
type = "pv"
vcpus = 1
memory = 128
kernel = "/boot/vmlinuz"
vif = [ "mac=00:16:3e:00:00:02,bridge=xenbr0" ]
disk = [ "/srv/beta.img,raw,xvda,rw" ]
serial = "pty"
localtime = 1
"""
JSON_CONFIG = {"name": "gamma", "type": "VM_TYPE_PVH", "vcpus": 1, "memory_kib": 131072, "kernel": "/boot/vmlinuz"}


def config(name, **keys):
    return dict(JSON_CONFIG, name=name, **keys)


class Tests:
    def __init__(self, system):
        self.system = system

    def define(self, name, **keys):
        path = self.system.write(name + ".json", json.dumps(config(name, **keys)))
        return self.system.json("vm", "define", path)[0]["vm"]["uuid"]

    def power(self, name):
        return self.system.vm(name)["power_state"].replace("POWER_STATE_", "").lower()

    def wait_power(self, name, power, seconds=SOON_S):
        wait_for(lambda: self.power(name) == power, seconds, "%s is %s" % (name, power))

    def wait_booted(self, name):
        """Its agent has reported: it obeys control/shutdown, too."""
        wait_for(lambda: self.system.json("guest", "show", name)[0]["hostname"] == name, SOON_S,
                 "%s has booted" % name)

    def running(self, name, **keys):
        self.define(name, **keys)
        self.system.ok("vm", "start", name)
        self.wait_booted(name)
        return self.system.vm(name)["domid"]

    # ---- definitions ----

    def define_formats(self):
        s = self.system
        alpha = s.json("vm", "define", s.write("alpha.vm", VM_FILE))[0]["vm"]
        expect_equal(alpha["power_state"], "POWER_STATE_HALTED", "state of a new VM")
        expect_equal(alpha["config"]["vifs"][0]["mac"], "00:16:3e:00:00:01", "its MAC")
        beta = s.cli("vm", "define", s.write("beta.cfg", XL_CFG))
        expect(beta.rc == 0 and "beta defined" in beta.out, "xl.cfg: %s%s" % (beta.out, beta.err))
        for key in ("serial", "localtime"):
            expect("warning" in beta.err and key in beta.err, "no warning of %s: %s" % (key, beta.err))
        gamma = s.json("vm", "define", s.write("gamma.json", json.dumps(JSON_CONFIG)))[0]["vm"]
        expect(len({vm["uuid"] for vm in (alpha, gamma, s.vm("beta"))}) == 3, "UUIDs are not unique")
        expect_equal(s.vm("beta")["config"]["vbds"][0]["target"], "/srv/beta.img", "disk from the xl.cfg")
        # A VM without a domain has no vCPUs and no memory, but a definition of both.
        shown = s.ok("vm", "show", "alpha")
        expect("vcpus 2\n" in shown and "memory 256 MiB\n" in shown, "not all of the definition: %s" % shown)
        expect("0 of" not in shown and "no limit" not in shown, "shown for a halted VM: %s" % shown)
        # From standard input, twice the same.
        out = s.ok("vm", "define", "-", "--format", "vm", "--replace", stdin=VM_FILE)
        expect(alpha["uuid"] in out, "replace gave another UUID: %s" % out)

    def define_dry_run(self):
        s = self.system
        path = s.write("delta.json", json.dumps(config("delta")))
        s.ok("vm", "define", path, "--dry-run")
        s.fails(1, "delta", "vm", "show", "delta")

    def define_refused(self):
        s = self.system
        self.define("epsilon")
        path = s.write("epsilon.json", json.dumps(config("epsilon")))
        s.fails(1, "replace", "vm", "define", path)
        s.ok("vm", "define", path, "--replace")
        bad = s.write("bad.vm", VM_FILE.replace("vcpus = 2", "vcpus = many").replace("cmdline", "comandline"))
        refused = s.fails(1, "vcpus", "vm", "define", bad)
        expect("comandline" in refused.err, "only one of two mistakes is told: %s" % refused.err)
        s.fails(1, "No such file", "vm", "define", "/nonexistent.vm")
        # Of an xl.cfg, what has no effect beside what is wrong: each line says which of them it is.
        bad = s.write("bad.cfg", XL_CFG.replace("vcpus", "vcpus = 'many'\n#"))
        lines = s.fails(1, "vcpus", "vm", "define", bad).err.splitlines()
        for key, is_warning in (("vcpus", False), ("serial", True), ("localtime", True)):
            told = [line for line in lines if key in line]
            expect(len(told) == 1 and ("warning: " in told[0]) == is_warning, "of %s: %s" % (key, lines))

    # ---- operations ----

    def start_and_shutdown(self):
        s = self.system
        domid = self.running("life")
        vm = s.vm("life")
        expect_equal((vm["power_state"], vm["managed"]), ("POWER_STATE_RUNNING", True), "state")
        expect(vm["started_ns"] > 0, "no start time")
        s.fails(1, "running already", "vm", "start", "life")
        s.ok("vm", "shutdown", domid)
        vm = s.vm("life")
        expect_equal((vm["power_state"], vm["domid"]), ("POWER_STATE_HALTED", -1), "state after shutdown")
        s.ok("vm", "shutdown", "life")  # is what was wanted

    def devices_connect(self):
        s = self.system
        self.running("devices", vifs=[{"devid": 0, "bridge": "xenbr1"}, {"devid": 2}],
                     vbds=[{"vdev": "xvda", "target": "/srv/a"},
                           {"vdev": "xvdb", "target": "/srv/b", "readonly": True}])
        vm = s.vm("devices")
        expect_equal([v["devid"] for v in vm["vifs"]], [0, 2], "vifs")
        expect_equal([(v["vdev"], v["devid"], v["readonly"]) for v in vm["vbds"]],
                     [("xvda", 51712, False), ("xvdb", 51728, True)], "vbds")
        expect_equal({d["xenbus_state"] for d in vm["vifs"] + vm["vbds"]}, {4}, "backends' states")
        s.ok("vm", "destroy", "devices")

    def pause(self):
        s = self.system
        self.running("still")
        s.ok("vm", "pause", "still")
        s.ok("vm", "pause", "still")  # idempotent
        expect_equal(self.power("still"), "paused", "state")
        s.fails(1, "paused", "vm", "shutdown", "still")
        self.wait_samples(2)
        before = self.cpu_ns("still")
        self.wait_samples(2)
        expect_equal(self.cpu_ns("still"), before, "CPU time of a paused VM")
        s.ok("vm", "unpause", "still")
        expect_equal(self.power("still"), "running", "state")
        wait_for(lambda: self.cpu_ns("still") > before, SOON_S, "its CPU time grows again")
        s.ok("vm", "shutdown", "still")

    def wait_samples(self, n):
        start = self.system.stats()["ticks"]
        wait_for(lambda: self.system.stats()["ticks"] >= start + n, SOON_S, "%d more samples" % n)

    def cpu_ns(self, name):
        sample = self.system.host()["sample"]
        return next(d["cpu_ns"] for d in sample["domains"] if d["name"] == name)

    def start_paused(self):
        s = self.system
        self.define("waits")
        s.ok("vm", "start", "waits", "--paused")
        expect_equal(self.power("waits"), "paused", "state")
        s.ok("vm", "unpause", "waits")
        self.wait_booted("waits")
        s.ok("vm", "destroy", "waits")

    def reboot(self):
        s = self.system
        domid = self.running("again")
        s.ok("vm", "reboot", "again")
        vm = s.vm("again")
        expect(vm["power_state"] == "POWER_STATE_RUNNING" and vm["domid"] > domid,
               "after the reboot it is %s, domid %s (was %s)" % (vm["power_state"], vm["domid"], domid))
        self.wait_booted("again")
        s.ok("vm", "destroy", "again")
        s.fails(1, "halted", "vm", "reboot", "again")

    def stubborn_guest(self):
        s = self.system
        s.ask("fault guest stubborn ignore-shutdown count=0")
        self.running("stubborn")
        s.fails(3, "did not end", "vm", "shutdown", "stubborn", "--deadline", "1")
        expect_equal(self.power("stubborn"), "running", "state after the deadline")
        s.ok("vm", "shutdown", "stubborn", "--deadline", "1", "--force")
        expect_equal(self.power("stubborn"), "halted", "state after --force")
        s.ask("clear-faults")

    def several_at_once(self):
        s = self.system
        names = ["many%d" % i for i in range(8)]
        for name in names:
            self.define(name)
        s.ok("vm", "start", *names)
        expect_equal({self.power(name) for name in names}, {"running"}, "states")
        expect(len({s.vm(name)["domid"] for name in names}) == len(names), "domids are not unique")
        s.ok("vm", "destroy", *names)
        expect_equal({self.power(name) for name in names}, {"halted"}, "states")

    def undefine(self):
        s = self.system
        self.running("gone")
        s.fails(1, "not halted", "vm", "undefine", "gone")
        s.ok("vm", "destroy", "gone")
        s.ok("vm", "undefine", "gone")
        s.fails(1, "gone", "vm", "show", "gone")

    # ---- the guest's own end ----

    def guest_powers_off(self):
        self.running("quits")
        self.system.ask("poweroff quits")
        self.wait_power("quits", "halted")

    def guest_crashes(self):
        s = self.system
        self.running("crashes")
        s.ask("crash crashes")
        self.wait_power("crashes", "halted")
        self.define("kept", on_crash="ACTION_PRESERVE")
        s.ok("vm", "start", "kept")
        s.ask("crash kept")
        wait_for(lambda: s.vm("kept")["shutdown_reason"] == "SHUTDOWN_REASON_CRASH", SOON_S, "the crash is seen")
        expect_equal(self.power("kept"), "shutdown", "state of a preserved domain")
        s.fails(1, "destroy it first", "vm", "start", "kept")
        s.ok("vm", "destroy", "kept")

    def crash_loop_guard(self):
        s = self.system
        self.running("loops", on_crash="ACTION_RESTART")
        s.ask("crash loops")
        self.wait_power("loops", "halted")
        wait_for(lambda: "crashed" in s.vm("loops")["last_error"], SOON_S, "the reason is told")

    def destroyed_by_xl(self):
        s = self.system
        self.running("foreign")
        s.ask("destroy foreign")
        wait_for(lambda: s.vm("foreign")["domid"] == -1, 1, "the VM is halted")
        s.ok("vm", "start", "foreign")
        s.ok("vm", "destroy", "foreign")

    # ---- what goes wrong ----

    def create_fails(self):
        s = self.system
        self.define("unlucky")
        s.ask("fault create unlucky fail")
        failed = s.fails(1, "cannot create the domain", "vm", "start", "unlucky")
        expect("cannot load /boot/vmlinuz" in failed.err, "libxl's lines are missing: %s" % failed.err)
        vm = s.vm("unlucky")
        expect_equal(vm["domid"], -1, "domid after a failed start")
        expect("cannot create" in vm["last_error"], "last_error is %r" % vm["last_error"])
        expect(not any("unlucky" in line for line in s.ask("list")), "the half-made domain is still there")
        s.ok("vm", "start", "unlucky")
        expect_equal(s.vm("unlucky")["last_error"], "", "last_error after success")
        s.ok("vm", "destroy", "unlucky")

    def not_enough_memory(self):
        s = self.system
        self.define("huge", memory_kib=1 << 33)
        s.fails(1, "memory", "vm", "start", "huge")
        expect_equal(self.power("huge"), "halted", "state")

    def exit_codes(self):
        s = self.system
        s.fails(1, "nobody", "vm", "show", "nobody")
        s.fails(2, "", "vm", "start")
        s.fails(2, "", "vm", "launch", "x")
        s.fails(2, "", "vm", "shutdown", "alpha", "--deadline", "soon")
        s.fails(1, "dom0", "vm", "destroy", "0")
        self.define("slow")
        s.ask("fault create slow delay=3s")
        s.fails(3, "", "--timeout", "300ms", "vm", "start", "slow")
        # The operation goes on all the same.
        self.wait_power("slow", "running", 10)
        s.ok("vm", "destroy", "slow")


def main():
    args = arguments(__doc__)
    with System(args.bin, simhost=("--boot-ms", "200")) as system:
        t = Tests(system)
        names = ("define_formats", "define_dry_run", "define_refused", "start_and_shutdown", "devices_connect",
                 "pause", "start_paused", "reboot", "stubborn_guest", "several_at_once", "undefine",
                 "guest_powers_off", "guest_crashes", "crash_loop_guard", "destroyed_by_xl", "create_fails",
                 "not_enough_memory", "exit_codes")
        return run([(name, getattr(t, name)) for name in names], args.only, system)


if __name__ == "__main__":
    sys.exit(main())
