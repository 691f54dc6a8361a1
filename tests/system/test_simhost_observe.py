#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is seen: domains of other tools, guests that report, events, tasks; with the Python client beside the command
line where both should see the same."""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import System, arguments, expect, expect_equal, run, wait_for  # noqa: E402

SEEN_S = 1  # as promised: a domain is seen within a second
SOON_S = 5
N_AT_START = 3
STORM = 2500  # pauses and unpauses; twice as many events are more than the buffers of a pub socket hold


class Tests:
    def __init__(self, system):
        self.system = system

    def wrong_usage_of_the_simulator(self):
        """A line each that says what is wrong; --help has the rest."""
        program = os.path.join(self.system.bin, "xenmesh-simhost")
        for args, said in ((["--nonsense"], 'unknown option "--nonsense"'), (["-x"], 'unknown option "-x"'),
                           (["-xy"], 'unknown option "-x"'), (["--vms"], 'a value is missing after "--vms"'),
                           (["--help=now"], 'no value belongs to "--help=now"'), (["extra"], '"extra" is no option'),
                           (["--vms", "many"], '--vms: "many" is not a number from 0 to 10000'),
                           (["--pcpus", "0"], '--pcpus: "0" is not a number from 1 to 4096'),
                           (["--log-level", "loud"], "no such log level: loud"),
                           (["--fault", "nonsense"], "--fault: "), (["--link", ""], "--link wants a path"),
                           (["--link", "x" * 5000], "is too long"), (["--state-dir", "x" * 5000], "is too long")):
            done = subprocess.run([program, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=SOON_S, check=False)
            expect_equal((done.returncode, done.stdout), (2, ""), "status and output with %.40s" % args)
            expect(done.stderr.startswith("xenmesh-simhost: ") and said in done.stderr and
                   done.stderr.endswith("; see --help\n") and done.stderr.count("\n") == 1,
                   "with %.40s it said %r" % (args, done.stderr))
        done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=SOON_S, check=False)
        expect(done.returncode == 0 and done.stdout.startswith("usage: ") and not done.stderr, "%s" % done)

    def find(self, name):
        """As `vm list` has it, None if it has not."""
        return self.system.vms().get(name)

    # ---- domains of other tools ----

    def there_at_the_start(self):
        s = self.system
        wait_for(lambda: len(s.vms()) == N_AT_START, SOON_S, "%d VMs are seen" % N_AT_START)
        for vm in s.vms().values():
            expect_equal((vm["managed"], vm["power_state"]), (False, "POWER_STATE_RUNNING"), vm["name"])
        expect_equal(s.vm("0")["name"], "Domain-0", "name of dom0")
        expect_equal(s.host()["domains"], N_AT_START + 1, "domains of the host")
        expect_equal(s.host()["state"]["simulated"], True, "simulated")

    def appear_and_go(self):
        s = self.system
        domid, uuid = s.ask("create name=alien vcpus=3 memory=384 vifs=2")[0].split()
        vm = wait_for(lambda: self.find("alien"), SEEN_S, "the domain is seen")
        expect_equal((vm["uuid"], vm["domid"], vm["managed"], vm["memory_kib"], vm["vcpus_online"], len(vm["vifs"])),
                     (uuid, int(domid), False, 384 * 1024, 3, 2), "what is seen of it")
        expect("config" not in vm, "it has a definition")
        s.ask("destroy alien")
        wait_for(lambda: not self.find("alien"), SEEN_S, "it is gone")
        s.fails(1, "alien", "vm", "show", "alien")

    def act_on_unmanaged(self):
        s = self.system
        s.ask("create name=guestful")
        wait_for(lambda: self.find("guestful"), SEEN_S, "the domain is seen")
        s.ok("vm", "pause", "guestful")
        expect_equal(s.vm("guestful")["power_state"], "POWER_STATE_PAUSED", "state")
        s.ok("vm", "unpause", "guestful")
        s.fails(1, "no definition", "vm", "undefine", "guestful")
        wait_for(lambda: s.json("guest", "show", "guestful")[0]["hostname"] == "guestful", SOON_S, "it has booted")
        s.ok("vm", "shutdown", "guestful")
        wait_for(lambda: not self.find("guestful"), SOON_S, "its xl has destroyed it")

    def xl_restarts(self):
        s = self.system
        first, uuid = s.ask("create name=cycle")[0].split()
        wait_for(lambda: self.find("cycle"), SEEN_S, "the domain is seen")
        s.ask("reboot cycle")
        vm = wait_for(lambda: (self.find("cycle") or {}).get("domid", 0) > int(first) and self.find("cycle"), SOON_S,
                      "it is back with another domid")
        expect_equal(vm["uuid"], uuid, "its UUID")
        s.ok("vm", "destroy", uuid)
        wait_for(lambda: not self.find("cycle"), SEEN_S, "it is gone")

    # ---- guests ----

    def guests_report(self):
        s = self.system
        domid, uuid = s.ask("create name=talker memory=512 vifs=2")[0].split()

        def told():
            guest = s.json("guest", "show", domid)[0]
            return guest["agent"]["installed"] and guest
        guest = wait_for(told, SOON_S, "its agent reports")
        expect_equal((guest["uuid"], guest["hostname"]), (uuid, "talker"), "who it is")
        expect(guest["os"]["name"] and guest["os"]["uname"], "no OS is told: %s" % guest["os"])
        expect(0 < guest["memory_free_kib"] < guest["memory_total_kib"] < 512 * 1024, "memory: %s" % guest)
        macs = {vif["mac"] for vif in s.vm(domid)["vifs"]}
        expect_equal({vif["mac"] for vif in guest["vifs"]}, macs, "MACs told by the guest and by the toolstack")
        for vif in guest["vifs"]:
            expect_equal([a["ipv6"] for a in vif["addresses"]], [False, True, True],
                         "addresses of vif %d" % vif["devid"])
        listed = [g for g in s.json("guest", "list") if g["uuid"] == uuid]
        expect_equal(listed, [guest], "guest list")
        s.ask("destroy talker")
        wait_for(lambda: s.cli("guest", "show", uuid).rc == 1, SOON_S, "the guest is forgotten")

    def guest_without_agent(self):
        s = self.system
        s.ask("fault guest mute no-agent")
        s.ask("create name=mute")
        domid = wait_for(lambda: self.find("mute"), SEEN_S, "the domain is seen")["domid"]
        guest = wait_for(lambda: self.poweroff_feature(domid), SOON_S, "its kernel is up")
        expect_equal(guest["agent"]["installed"], False, "installed")
        s.ask("destroy mute")

    def poweroff_feature(self, domid):
        guest = self.system.json("guest", "show", domid)[0]
        return {"key": "control/feature-poweroff", "value": "1"} in guest["features"] and guest

    def python_agrees(self):
        """A second implementation made from the documents sees the same."""
        from xenmesh import CallError, Client, Topology
        from xenmesh.v1 import common_pb2, guest_pb2, ops_pb2
        s = self.system
        where = Topology.load(s.topology)
        with Client(where.rpc("ops")) as ops, Client(where.rpc("agent-bridge")) as bridge:
            vms = ops.call("Ops/ListVms", ops_pb2.ListVmsRequest()).vms
            expect_equal({vm.uuid: vm.name for vm in vms},
                         {vm["uuid"]: vm["name"] for vm in s.json("vm", "list")}, "VMs")
            guests = bridge.call("Guest/ListGuests", guest_pb2.ListGuestsRequest()).guests
            expect_equal([g.uuid for g in guests], [g["uuid"] for g in s.json("guest", "list")], "guests")
            try:
                ops.call("Ops/GetVm", ops_pb2.GetVmRequest(vm="nobody"))
                expect(False, "GetVm of nobody succeeded")
            except CallError as e:
                expect_equal(e.code, common_pb2.CODE_NOT_FOUND, "code of GetVm of nobody")

    # ---- events ----

    def events_follow(self):
        from xenmesh import Subscriber, Topology
        s = self.system
        where = Topology.load(s.topology)
        with Subscriber(where.pub("ops"), where.rpc("ops"), ["vm/"]) as changes:
            wait_for(lambda: changes.next(SOON_S).what == "resynced", SOON_S, "the subscriber is in step")
            _, uuid = s.ask("create name=seen")[0].split()
            made = time.monotonic()
            topic = "vm/%s/state" % uuid
            change = wait_for(lambda: self.next_of(changes, topic), SOON_S, "an event of the new domain")
            expect(time.monotonic() - made < SEEN_S, "the event came after %.2f s" % (time.monotonic() - made))
            expect_equal((change.what, change.event.vm_state.name), ("state", "seen"), "the event")
            s.ask("destroy seen")
            wait_for(lambda: self.next_of(changes, topic).what == "removed", SOON_S, "its removal is told")

    @staticmethod
    def next_of(changes, topic):
        while True:
            change = changes.next(SOON_S)
            if change.topic == topic:
                return change

    def events_on_the_command_line(self):
        s = self.system
        with s.follow("events", "vm/", "--live", "--service", "ops") as lines:
            expect_equal(lines.document()["kind"], "resynced", "first line")
            _, uuid = s.ask("create name=line")[0].split()
            seqs, connected = [], False
            while not connected:
                event = lines.document()
                if event["topic"] == "vm/%s/state" % uuid:
                    seqs.append(event["seq"])
                    connected = [v["xenbus_state"] for v in event["event"]["vm_state"]["vifs"]] == [4]
            expect_equal(seqs, sorted(set(seqs)), "sequence numbers")
            s.ask("destroy line")
            while lines.document()["kind"] != "removed":
                pass

    def gap_is_marked_and_repaired(self):
        s = self.system
        s.ask("create name=storm")
        wait_for(lambda: self.find("storm"), SEEN_S, "the domain is seen")
        with s.follow("events", "vm/", "--service", "ops") as lines:
            while lines.document()["kind"] != "resynced":
                pass
            lines.process.send_signal(signal.SIGSTOP)
            for _ in range(STORM):
                s.ask("pause storm")
                s.ask("unpause storm")
            s.ask("pause storm")
            lines.process.send_signal(signal.SIGCONT)
            kinds, last = [], None
            while kinds[-1:] != ["resynced"]:
                line = lines.document()
                if line["kind"] != "state":
                    kinds.append(line["kind"])
                elif line["event"].get("vm_state", {}).get("name") == "storm":
                    last = line["event"]["vm_state"]["power_state"]
            expect("gap" in kinds, "no gap is marked: %s" % kinds)
            expect_equal(last, "POWER_STATE_PAUSED", "state after the repair")
        s.ask("destroy storm")

    # ---- tasks ----

    def define(self, name):
        path = self.system.write(name + ".json", json.dumps({
            "name": name, "type": "VM_TYPE_PVH", "vcpus": 1, "memory_kib": 65536, "kernel": "/boot/vmlinuz"}))
        self.system.ok("vm", "define", path, "--replace")

    def task_is_listed_and_waited_for(self):
        s = self.system
        self.define("t1")
        s.ask("fault create t1 delay=1s")
        task = s.json("vm", "start", "t1", "--no-wait")[0]
        active = s.json("task", "list", "--active")
        expect_equal([t["id"] for t in active], [task["id"]], "active tasks")
        expect_equal(s.vm("t1")["task"], task["id"], "the VM's task")
        shown = wait_for(lambda: s.json("task", "show", task["id"][:8])[0]["state"] == "TASK_STATE_RUNNING" and
                         s.json("task", "show", task["id"][:8])[0], SOON_S, "it runs")
        expect(shown["cancellable"] and shown["method"] == "StartVm" and shown["vm_name"] == "t1", "task: %s" % shown)
        wait_for(lambda: 0 < s.json("task", "show", task["id"])[0]["progress"] < 1, SOON_S, "its progress is told")
        done = s.json("task", "wait", task["id"])[0]
        expect_equal((done["state"], done["progress"]), ("TASK_STATE_DONE", 1), "the end")
        expect_equal(s.json("task", "list", "t1")[0]["id"], task["id"], "tasks of the VM")
        s.ok("vm", "destroy", "t1")

    def task_is_cancelled(self):
        s = self.system
        self.define("t2")
        s.ask("fault create t2 delay=60s")
        task = s.json("vm", "start", "t2", "--no-wait")[0]
        wait_for(lambda: any("t2" in line for line in s.ask("list")), SOON_S, "the domain is half made")
        s.ok("task", "cancel", task["id"])
        s.fails(1, "cancelled", "task", "wait", task["id"])
        expect(not any("t2" in line for line in s.ask("list")), "the half-made domain is still there")
        expect_equal(s.vm("t2")["power_state"], "POWER_STATE_HALTED", "state")
        s.ok("vm", "start", "t2")
        s.ok("vm", "destroy", "t2")

    def destroy_overtakes(self):
        s = self.system
        s.ask("fault guest t3 ignore-shutdown")
        self.define("t3")
        s.ok("vm", "start", "t3")
        waits = s.json("vm", "shutdown", "t3", "--no-wait")[0]
        queued = s.json("vm", "pause", "t3", "--no-wait")[0]
        started = time.monotonic()
        s.ok("vm", "destroy", "t3")
        expect(time.monotonic() - started < SOON_S, "destroy waited for the others")
        for task in (waits, queued):
            ended = s.json("task", "show", task["id"])[0]
            expect_equal(ended["state"], "TASK_STATE_CANCELLED", "state of the overtaken %s" % task["method"])
        expect_equal(s.vm("t3")["power_state"], "POWER_STATE_HALTED", "state")

    def worker_dies(self):
        s = self.system
        self.define("t4")
        s.ask("fault create t4 die")
        s.fails(1, "", "vm", "start", "t4")
        task = s.json("task", "list", "t4")[0]
        expect_equal(task["state"], "TASK_STATE_FAILED", "state of the task")
        expect(task["error"]["message"], "no reason is told")
        # It left a paused domain behind; nobody pretends that there is none.
        expect_equal(s.vm("t4")["power_state"], "POWER_STATE_PAUSED", "state")
        s.ok("vm", "destroy", "t4")
        s.ok("vm", "start", "t4")
        s.ok("vm", "destroy", "t4")

    def no_worker_can_be_started(self):
        s = self.system
        self.define("t5")
        s.ask("fault spawn * fail")
        s.fails(4, "cannot start a worker", "vm", "start", "t5")
        s.ok("vm", "start", "t5")
        s.ok("vm", "destroy", "t5")


def main():
    args = arguments(__doc__)
    with System(args.bin, vms=N_AT_START, simhost=("--boot-ms", "200")) as system:
        t = Tests(system)
        names = ("wrong_usage_of_the_simulator", "there_at_the_start", "appear_and_go", "act_on_unmanaged",
                 "xl_restarts", "guests_report", "guest_without_agent", "python_agrees", "events_follow",
                 "events_on_the_command_line", "gap_is_marked_and_repaired", "task_is_listed_and_waited_for",
                 "task_is_cancelled", "destroy_overtakes", "worker_dies", "no_worker_can_be_started")
        return run([(name, getattr(t, name)) for name in names], args.only, system)


if __name__ == "__main__":
    sys.exit(main())
