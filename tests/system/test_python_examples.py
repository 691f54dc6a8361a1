#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Python programs of docs/examples do with whole services what they say."""
import os
import subprocess
import sys

from harness import Follower, System, arguments, expect, run

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/examples")
SOON_S = 30


class Examples:
    def __init__(self, system):
        self.system = system

    def command(self, name, *args):
        return [sys.executable, os.path.join(EXAMPLES, name), *args]

    def define(self, name):
        path = self.system.write(name + ".vm", "[vm]\nname = %s\ntype = pvh\nvcpus = 1\nmemory = 64M\n"
                                 "kernel = /boot/vmlinuz\n" % name)
        self.system.ok("vm", "define", path)

    def start_and_follow(self):
        self.define("one")
        self.define("two")
        env = self.system.env
        process = subprocess.Popen(self.command("python_follow.py", "600"), env=env, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with Follower(process) as follower:
            seen = []

            def line_of(text):
                while text not in seen:
                    seen.append(" ".join(follower.line(SOON_S).split()))
            line_of("two POWER_STATE_HALTED")
            done = subprocess.run(self.command("python_start.py", "one", "two", "three"), env=env,
                                  text=True, capture_output=True, timeout=120, check=False)
            expect(done.returncode == 0, done.stderr)
            lines = done.stdout.splitlines()
            expect(len(lines) == 3 and lines[0].startswith("one: domid ")
                   and lines[1].startswith("two: domid ")
                   and lines[2].startswith("three: NOT_FOUND: "), "says %s" % lines)
            line_of("one POWER_STATE_RUNNING")
            line_of("two POWER_STATE_RUNNING")
            self.system.ok("vm", "destroy", "one")
            self.system.ok("vm", "undefine", "one")
            line_of("one gone")


def main():
    args = arguments(__doc__)
    with System(args.bin, services=("simhost", "ops")) as system:
        examples = Examples(system)
        return run([("start_and_follow", examples.start_and_follow)], args.only, system)


sys.exit(main())
