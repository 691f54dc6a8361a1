#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what, and what a client sees when a service is away."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Skipped, System, arguments, expect, expect_equal, run, wait_for  # noqa: E402

# Users that need not exist.
OBSERVER, OPERATOR, NOBODY = 61001, 61002, 61003
SOON_S = 5


class Tests:
    def __init__(self, system):
        self.system = system

    def as_user(self, uid):
        if os.geteuid() != 0:
            raise Skipped("only root can be several users")
        return {"user": uid, "group": uid, "extra_groups": []}

    def define(self, name):
        path = self.system.write(name + ".json", json.dumps({
            "name": name, "type": "VM_TYPE_PVH", "vcpus": 1, "memory_kib": 65536, "kernel": "/boot/vmlinuz"}))
        self.system.ok("vm", "define", path)
        return path

    def observer(self):
        s, user = self.system, self.as_user(OBSERVER)
        path = self.define("seen")
        s.ok("vm", "list", **user)
        s.ok("vm", "show", "seen", **user)
        s.ok("guest", "list", **user)
        s.ok("metrics", "list", "host", **user)
        for command in (("vm", "start", "seen"), ("vm", "destroy", "seen"), ("vm", "undefine", "seen"),
                        ("vm", "define", path, "--replace"), ("bus", "log-level", "ops", "debug")):
            s.fails(5, "", *command, **user)
        expect_equal(s.vm("seen")["power_state"], "POWER_STATE_HALTED", "state")
        expect_equal(s.json("task", "list", "seen"), [], "tasks of refused commands")

    def operator(self):
        s, user = self.system, self.as_user(OPERATOR)
        path = self.define("run")
        s.ok("vm", "start", "run", **user)
        s.ok("vm", "destroy", "run", **user)
        s.fails(5, "", "vm", "undefine", "run", **user)
        s.fails(5, "", "vm", "define", path, "--replace", **user)
        expect("uid=%d" % OPERATOR in s.json("task", "list", "run")[0]["client"], "the task does not name its user")

    def nobody(self):
        s, user = self.system, self.as_user(NOBODY)
        for command in (("vm", "list"), ("guest", "list"), ("metrics", "list")):
            s.fails(5, "", *command, **user)
        # host/sample comes once a second: an observer hears it, who is nobody does not.
        follow = ("events", "host/sample", "--service", "ops", "--live", "--count", "1", "--for", "4s")
        s.ok(*follow, **self.as_user(OBSERVER))
        heard = s.cli(*follow, **user)
        expect_equal(heard.rc, 5, "status of events")
        expect("needs the role observer" in heard.err, "it said: %s" % heard.err)
        s.fails(5, "needs the role observer", "bus", "wait", "host/sample", **user)
        s.fails(5, "needs the role observer", "bus", "monitor", **user)
        expect("host/sample" not in heard.out, "a user without a role hears events")

    def self_is_admin(self):
        """Whoever runs the services."""
        s = self.system
        self.define("own")
        s.ok("vm", "start", "own")
        s.ok("vm", "destroy", "own")
        s.ok("vm", "undefine", "own")

    def unreachable(self):
        s = self.system
        s.services["agent-bridge"].end()
        s.fails(4, "agent-bridge", "--timeout", "1s", "guest", "list")
        s.ok("vm", "list")
        listed = s.cli("--json", "bus", "ls")
        expect_equal(listed.rc, 4, "status of bus ls")
        expect_equal({row["service"]: row["up"] for row in map(json.loads, listed.out.splitlines())},
                     {"ops": True, "metrics": True, "agent-bridge": False}, "services that are up")
        s.services["agent-bridge"].start()
        s.wait_ready()
        s.ok("guest", "list")
        elsewhere = s.write("elsewhere.conf", "[bus]\nrun_dir = %s/nowhere\n" % s.dir)
        s.fails(4, "", "--topology", elsewhere, "--timeout", "1s", "vm", "list")
        s.fails(1, "", "--topology", os.path.join(s.dir, "absent.conf"), "vm", "list")

    def without_a_host(self):
        """ops goes on without its host process: it shows what is defined, and an operation waits for it."""
        s = self.system
        self.define("later")
        s.services["simhost"].end()
        wait_for(lambda: not s.host()["state"]["connected"], SOON_S, "ops has noticed")
        expect_equal(s.vm("later")["power_state"], "POWER_STATE_HALTED", "state")
        task = s.json("vm", "start", "later", "--no-wait")[0]
        expect_equal(s.json("task", "show", task["id"])[0]["finished_ns"], 0, "end of the task")
        s.services["simhost"].start()
        expect_equal(s.json("task", "wait", task["id"])[0]["state"], "TASK_STATE_DONE", "state of the task")
        s.ok("vm", "destroy", "later")


def main():
    args = arguments(__doc__)
    roles = {"observer": str(OBSERVER), "operator": str(OPERATOR), "admin": "root"}
    with System(args.bin, roles=roles, simhost=("--boot-ms", "200")) as system:
        t = Tests(system)
        names = ("observer", "operator", "nobody", "self_is_admin", "unreachable", "without_a_host")
        return run([(name, getattr(t, name)) for name in names], args.only, system)


if __name__ == "__main__":
    sys.exit(main())
