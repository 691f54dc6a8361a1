#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tour that `make demo` shows: it comes to its end, can be interrupted, says what failed, and leaves nothing."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Follower, arguments, expect, expect_equal, run, wait_for  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOUR_S = 90
SHOWN = ("bus ls", "host show", "vm define", "vm start web db mail", "vm list", "guest show web", "events vm/",
         "top -b -n 1", "metrics query web", "vm shutdown mail")


class Tests:
    def __init__(self, bin_dir):
        self.bin = os.path.abspath(bin_dir)

    def start(self, directory, *args, programs=None):
        return subprocess.Popen([os.path.join(ROOT, "tools/demo"), "--bin", programs or self.bin, *args],
                                env=dict(os.environ, TMPDIR=directory), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    @staticmethod
    def processes_of(directory):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    command = f.read()
                with open("/proc/%s/environ" % pid, "rb") as f:
                    environment = f.read()
            except OSError:
                continue
            if directory.encode() in command + environment and int(pid) != os.getpid():
                found.append(command.replace(b"\0", b" ").decode("utf-8", "replace"))
        return found

    def left_nothing(self, directory):
        expect_equal(os.listdir(directory), [], "what is left behind")
        wait_for(lambda: not self.processes_of(directory), 5, "its processes have ended")

    def ends_by_itself(self):
        directory = tempfile.mkdtemp(prefix="xenmesh-demo-")
        try:
            process = self.start(directory, "--seconds", "1")  # over before the tour is
            out, _ = process.communicate(timeout=TOUR_S)
            expect_equal(process.returncode, 0, "exit status (%s)" % out[-300:])
            commands = [line for line in out.splitlines() if line.startswith("$ ")]
            for words in SHOWN:
                expect(any(words in line for line in commands), "`xenmesh %s` was not shown" % words)
            expect("http://127.0.0.1:" in out and "export XENMESH_TOPOLOGY=" in out, "no word on how to use it")
            expect("localtime" in out, "the xl.cfg's warning is missing")
            self.left_nothing(directory)
        finally:
            shutil.rmtree(directory)

    def is_interrupted(self):
        directory = tempfile.mkdtemp(prefix="xenmesh-demo-")
        try:
            process = self.start(directory)
            with Follower(process) as lines:
                while "Ctrl-C ends it." not in lines.line(TOUR_S):
                    pass
                process.send_signal(signal.SIGINT)
                expect_equal(process.wait(20), 0, "exit status")
            self.left_nothing(directory)
        finally:
            shutil.rmtree(directory)

    def says_what_failed(self):
        """A service that does not start, and a command that fails."""
        directory = tempfile.mkdtemp(prefix="xenmesh-demo-")
        programs = os.path.join(directory, "bin")
        work = os.path.join(directory, "work")
        os.mkdir(work)
        try:
            for broken, script, why in (
                    ("xenmesh-metrics", "exit 3", "metrics has ended with status 3"),
                    ("xenmesh", 'case "$*" in "vm define"*) exit 1; esac; exec %s "$@"' % os.path.join(
                        self.bin, "xenmesh"), "vm define")):
                self.copy_programs(programs, broken, script)
                process = self.start(work, "--seconds", "1", programs=programs)
                out, _ = process.communicate(timeout=TOUR_S)
                expect_equal(process.returncode, 1, "exit status with a broken %s" % broken)
                expect(why in out.rpartition("demo: ")[2], "it says: %s" % out[-300:])
                self.left_nothing(work)
                shutil.rmtree(programs)
        finally:
            shutil.rmtree(directory)

    def copy_programs(self, directory, broken, script):
        os.mkdir(directory)
        for name in os.listdir(self.bin):
            if name.startswith("xenmesh") and name != broken:
                os.symlink(os.path.join(self.bin, name), os.path.join(directory, name))
        path = os.path.join(directory, broken)
        with open(path, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\n%s\n" % script)
        os.chmod(path, 0o755)


def main():
    args = arguments(__doc__)
    t = Tests(args.bin)
    names = ("ends_by_itself", "is_interrupted", "says_what_failed")
    return run([(name, getattr(t, name)) for name in names], args.only)


if __name__ == "__main__":
    sys.exit(main())
