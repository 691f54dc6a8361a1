# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parts of a test that run as another user."""
import json
import os
import signal
import traceback

import bus_harness as bus


class As:
    """A function in a process of another user and of `groups`. What it gives to tell() is seen here,
    in order."""

    def __init__(self, uid, function, *args, groups=()):
        if os.geteuid() != 0:
            raise bus.Skipped("only root can be another user")
        read_fd, write_fd = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(read_fd)
            status = 1
            try:
                os.setgroups(groups)
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                out = os.fdopen(write_fd, "w", buffering=1)
                function(lambda **fields: print(json.dumps(fields), file=out), *args)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(write_fd)
        self.told = os.fdopen(read_fd)

    def next(self):
        line = self.told.readline()
        bus.expect(line, "the process of the other user ended")
        return json.loads(line)

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.told.close()


def stay(*_held):
    """Until we are killed, with all that is held open."""
    while True:
        signal.pause()
