#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL of every service at every moment: VMs go on, nothing acknowledged is lost or done twice, and all is as before
within seconds. The harness starts what was killed again, as systemd would."""
import json
import os
import sys
import time
import uuid as uuids

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import System, arguments, expect, expect_equal, run, wait_for  # noqa: E402

CONVERGED_S = 5  # as promised
SOON_S = 5
N_UNMANAGED = 2
N_MANAGED = 2
ROUNDS = 6  # of killing around a reply


def has_ended(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as f:
            return f.read().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return True


class Tests:
    def __init__(self, system):
        self.system = system

    def define(self, name):
        path = self.system.write(name + ".json", json.dumps({
            "name": name, "type": "VM_TYPE_PVH", "vcpus": 1, "memory_kib": 65536, "kernel": "/boot/vmlinuz",
            "vifs": [{"devid": 0}]}))
        self.system.ok("vm", "define", path)

    def setup(self):
        s = self.system
        names = ["m%d" % i for i in range(N_MANAGED)]
        for name in names:
            self.define(name)
        s.ok("vm", "start", *names)
        self.wait_guests()

    def wait_guests(self):
        """Every running VM, and nothing that has gone, has told its name."""
        def complete():
            guests = self.guests()
            running = {vm["uuid"] for vm in self.system.vms().values() if vm["domid"] > 0}
            return set(guests) == running and len(guests) == N_MANAGED + N_UNMANAGED and all(guests.values())
        wait_for(complete, SOON_S, "all guests have reported")

    def guests(self):
        return {g["uuid"]: g["hostname"] for g in self.system.json("guest", "list")}

    def is_connected(self):
        return self.system.host()["state"]["connected"]

    def domains(self):
        """As the hypervisor has them: what must not change when something of ours dies."""
        return sorted(self.system.ask("list"))

    def view(self):
        """As ops shows them."""
        return {vm["name"]: (vm["uuid"], vm["domid"], vm["power_state"], vm["managed"])
                for vm in self.system.vms().values()}

    def killed(self, name):
        """SIGKILL; the time it happened."""
        self.system.services[name].kill()
        return time.monotonic()

    def converges(self, since, condition, why):
        wait_for(condition, max(since + CONVERGED_S - time.monotonic(), 0.1), why)

    # ---- one after the other ----

    def ops(self):
        s = self.system
        before, domains = self.view(), self.domains()
        since = self.killed("ops")
        self.converges(since, lambda: self.is_connected() and self.view() == before, "ops shows what it showed")
        expect_equal(self.domains(), domains, "domains")
        s.ok("vm", "pause", "m0")
        s.ok("vm", "unpause", "m0")

    def ops_while_domains_change(self):
        s = self.system
        s.ask("create name=before")
        wait_for(lambda: "before" in s.vms(), SOON_S, "the domain is seen")
        since = self.killed("ops")
        s.ask("destroy before")
        s.ask("create name=after")
        s.ask("crash m1")
        self.converges(since, lambda: "after" in s.vms() and "before" not in s.vms(), "ops sees what happened")
        self.converges(since, lambda: s.vm("m1")["power_state"] == "POWER_STATE_HALTED", "the crashed VM was seen to")
        s.ok("vm", "start", "m1")
        s.ask("destroy after")

    def agent_bridge(self):
        self.wait_guests()
        before, domains = self.guests(), self.domains()
        since = self.killed("agent-bridge")
        self.converges(since, lambda: self.guests() == before and before, "the guests are known again")
        expect_equal(self.domains(), domains, "domains")

    def agent_bridge_while_guests_change(self):
        s = self.system
        since = self.killed("agent-bridge")
        _, uuid = s.ask("create name=newcomer")[0].split()
        self.converges(since, lambda: self.guests().get(uuid) == "newcomer", "the guest that came meanwhile is known")
        since = self.killed("agent-bridge")
        s.ask("destroy newcomer")
        self.converges(since, lambda: uuid not in self.guests(), "the guest that went meanwhile is forgotten")

    def metrics(self):
        s = self.system
        vm = wait_for(lambda: self.history("m0") and s.vm("m0"), 15, "some history is recorded")
        before = self.history("m0")
        since = self.killed("metrics")
        self.converges(since, lambda: self.history("m0"), "the history is there")
        common = set(before) & set(self.history("m0"))
        expect(common, "nothing of the history before the kill is left")
        # The newest row may still have been filled.
        for at in sorted(common)[:-1]:
            expect_equal(self.history("m0")[at], before[at], "value at %d" % at)
        newest = max(before)
        wait_for(lambda: max(self.history("m0")) > newest + 5, 15, "new values are recorded")
        expect_equal(s.vm("m0")["domid"], vm["domid"], "domid")

    def history(self, vm):
        """{time: value} of its memory."""
        result = self.system.cli("--json", "metrics", "query", vm, "memory", "--start", "-120")
        if result.rc != 0:
            return {}
        reply = json.loads(result.out)
        values = reply["series"][0]["values"]
        return {int(reply["start_s"]) + i * reply["step_s"]: v for i, v in enumerate(values)
                if isinstance(v, (int, float)) and v == v}

    def simhost(self):
        """The power failure of the simulated machine: its domains are gone, definitions are not."""
        s = self.system
        xenstored = int(open(os.path.join(s.dir, "host/xenstored.pid"), encoding="ascii").read())
        since = self.killed("simhost")
        wait_for(lambda: has_ended(xenstored), SOON_S, "its xenstored ends with it")
        self.converges(since, self.is_as_after_power_failure, "the managed VMs are halted, the others are back")
        s.ok("vm", "start", "m0", "m1")
        self.wait_guests()

    def is_as_after_power_failure(self):
        view = self.view()
        n_unmanaged = sum(not managed for *_, managed in view.values())
        return (self.is_connected() and n_unmanaged == N_UNMANAGED and
                all(power == "POWER_STATE_HALTED" for _, _, power, managed in view.values() if managed))

    def all_at_once(self):
        s = self.system
        self.wait_guests()
        before, domains, guests = self.view(), self.domains(), self.guests()
        for name in ("ops", "agent-bridge", "metrics"):
            since = self.killed(name)
        self.converges(since, lambda: self.is_connected() and self.view() == before, "ops shows what it showed")
        self.converges(since, lambda: self.guests() == guests, "the guests are known again")
        self.converges(since, lambda: s.cli("bus", "ping").rc == 0, "all answer")
        expect_equal(self.domains(), domains, "domains")

    # ---- commands and kills ----

    def kill_in_the_middle_of_a_start(self):
        s = self.system
        self.define("half")
        s.ask("fault create half delay=1s")
        task = s.json("vm", "start", "half", "--no-wait")[0]
        wait_for(lambda: any("half" in line for line in s.ask("list")), SOON_S, "the domain is half made")
        self.killed("ops")
        wait_for(lambda: s.cli("bus", "ping", "ops").rc == 0, CONVERGED_S, "ops is back")
        expect_equal(s.json("task", "wait", task["id"])[0]["state"], "TASK_STATE_DONE", "state of the task")
        expect_equal(s.vm("half")["power_state"], "POWER_STATE_RUNNING", "state")
        expect_equal(sum("half" in line for line in s.ask("list")), 1, "domains of that VM")
        s.ok("vm", "destroy", "half")

    def kill_in_the_middle_of_a_paused_start(self):
        """A domain that is being made is paused, too: that alone does not end the task."""
        s = self.system
        self.define("halfway")
        s.ask("fault create halfway delay=3s")
        task = s.json("vm", "start", "halfway", "--paused", "--no-wait")[0]
        wait_for(lambda: any("halfway" in line for line in s.ask("list")), SOON_S, "the domain is half made")
        self.killed("ops")
        wait_for(lambda: s.cli("bus", "ping", "ops").rc == 0, CONVERGED_S, "ops is back")
        expect_equal(s.json("task", "wait", task["id"])[0]["state"], "TASK_STATE_DONE", "state of the task")
        vm = s.vm("halfway")
        expect_equal(vm["power_state"], "POWER_STATE_PAUSED", "state")
        expect_equal(len(vm["vifs"]), 1, "devices when the task is done")
        s.ok("vm", "destroy", "halfway")

    def kill_in_the_middle_of_a_shutdown(self):
        s = self.system
        s.ask("fault guest slow stop=1500ms")
        self.define("slow")
        s.ok("vm", "start", "slow")
        wait_for(lambda: "slow" in self.guests().values(), SOON_S, "it has booted")
        task = s.json("vm", "shutdown", "slow", "--no-wait")[0]
        self.killed("ops")
        wait_for(lambda: s.cli("bus", "ping", "ops").rc == 0, CONVERGED_S, "ops is back")
        expect_equal(s.json("task", "wait", task["id"])[0]["state"], "TASK_STATE_DONE", "state of the task")
        expect_equal(s.vm("slow")["power_state"], "POWER_STATE_HALTED", "state")

    def repeat_after_the_reply(self):
        s = self.system
        request = str(uuids.uuid4())
        made = s.stats()["domains_made"]
        command = ("--request-id", request, "vm", "reboot", "m0")
        first = s.json(*command)[0]
        self.killed("ops")
        wait_for(lambda: s.cli("bus", "ping", "ops").rc == 0, CONVERGED_S, "ops is back")
        again = s.json(*command)[0]
        expect_equal(again["id"], first["id"], "task of the repeated request")
        self.executed_once(request, "m0", made)

    def repeat_without_a_reply(self):
        """ops is killed a moment after the request was sent, be it before or after it stored it, or answered."""
        from xenmesh import CallError, Client, Topology
        from xenmesh.v1 import ops_pb2
        s = self.system
        url = Topology.load(s.topology).rpc("ops")
        for i in range(ROUNDS):
            wait_for(self.is_connected, SOON_S, "ops is connected")
            made, request = s.stats()["domains_made"], uuids.uuid4()
            reboot = ops_pb2.RebootVmRequest(vm="m1", timeout_s=20, force=True)
            with Client(url) as client:
                try:
                    client.call("Ops/RebootVm", reboot, timeout=i * 0.002 + 0.0005, request_id=request.bytes,
                                retry=False)
                except CallError:
                    pass
                self.killed("ops")
            with Client(url) as client:
                task = client.call("Ops/RebootVm", reboot, timeout=20, request_id=request.bytes)
                ended = client.call("Ops/WaitTask", ops_pb2.WaitTaskRequest(id=task.id), timeout=30)
            expect_equal(ended.state, ops_pb2.TASK_STATE_DONE, "state of the task in round %d (%s)" % (
                i, ended.error.message))
            self.executed_once(str(request), "m1", made)

    def executed_once(self, request, vm, made):
        s = self.system
        tasks = [t for t in s.json("task", "list", vm) if t["request_id"] == request.replace("-", "")]
        expect_equal(len(tasks), 1, "tasks of the request")
        expect_equal(s.stats()["domains_made"] - made, 1, "domains made for one reboot")
        expect_equal(s.vm(vm)["power_state"], "POWER_STATE_RUNNING", "state")


def main():
    args = arguments(__doc__)
    with System(args.bin, vms=N_UNMANAGED, simhost=("--boot-ms", "200"), respawn=True) as system:
        t = Tests(system)
        t.setup()
        names = ("ops", "ops_while_domains_change", "agent_bridge", "agent_bridge_while_guests_change", "metrics",
                 "all_at_once", "kill_in_the_middle_of_a_start", "kill_in_the_middle_of_a_paused_start",
                 "kill_in_the_middle_of_a_shutdown", "repeat_after_the_reply", "repeat_without_a_reply", "simhost")
        return run([(name, getattr(t, name)) for name in names], args.only, system)


if __name__ == "__main__":
    sys.exit(main())
