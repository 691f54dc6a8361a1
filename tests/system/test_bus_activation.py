#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sockets passed as systemd passes them: a restart of the service refuses nobody."""
import os
import signal
import socket
import subprocess
import sys

import bus_harness as bus
from raw_sp import RawCaller

# Gives itself the descriptors of its arguments as 3, 4 ..., and becomes the service.
LAUNCHER = """
import fcntl, os, sys
n = int(sys.argv[1])
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 3 + n) for fd in sys.argv[2:2 + n]]
for place, fd in enumerate(fds):
    os.dup2(fd, 3 + place)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(n), LISTEN_FDNAMES=":".join(["bus"] * n))
os.execv(sys.argv[2 + n], sys.argv[2 + n:])
"""


class Activation:
    def __init__(self, args):
        self.bench = bus.Bench(args.bin)
        os.mkdir(os.path.join(self.bench.dir, "test"))
        self.rpc = self.path("rpc")
        self.listeners = [self.listen(self.path("pub")), self.listen(self.rpc)]

    def path(self, name):
        return os.path.join(self.bench.dir, "test", name)

    @staticmethod
    def listen(path, kind=socket.SOCK_STREAM):
        s = socket.socket(socket.AF_UNIX, kind)
        s.bind(path)
        s.listen(100)
        return s

    def start(self, listeners, **kwargs):
        fds = [s.fileno() for s in listeners]
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(len(fds)), *map(str, fds),
             os.path.join(self.bench.bin, "tests/system/bus_testpub"),
             "--topology", self.bench.topology, "--rate", "0", "--events", "0", "--topics", "1"],
            pass_fds=fds, **kwargs)
        self.bench.processes.append(process)
        return process

    def ping(self, caller):
        from xenmesh.v1 import bus_pb2
        reply = caller.call("xenmesh.v1.Bus/Ping")
        bus.expect(reply.code == 0, "ping: %s" % reply)
        return bus_pb2.PingReply.FromString(reply.payload).instance

    # ---- tests ----

    def a_restart_refuses_nobody(self):
        process = self.start(self.listeners)
        caller = RawCaller(self.rpc)
        first = self.ping(caller)
        with open("/proc/%d/environ" % process.pid, "rb") as f:
            bus.expect(b"LISTEN_PID=%d" % process.pid in f.read(), "was not started as meant")
        process.send_signal(signal.SIGKILL)
        process.wait()
        caller.close()
        callers = [RawCaller(self.rpc) for _ in range(20)]
        for c in callers:
            c.send("xenmesh.v1.Bus/Ping")
        process = self.start(self.listeners)
        for c in callers:
            _, reply = c.receive()
            bus.expect(reply.code == 0, "while it was down: %s" % reply)
            bus.expect(self.ping(c) != first, "the same instance answers")
            c.close()
        # The end of the service is not the end of its sockets.
        bus.expect(self.bench.stop(process) == 0, "did not end well")
        caller = RawCaller(self.rpc)
        caller.send("xenmesh.v1.Bus/Ping")
        process = self.start(self.listeners)
        bus.expect(caller.receive()[1].code == 0, "after an orderly end")
        caller.close()
        bus.expect(self.bench.stop(process) == 0, "did not end well")
        bus.expect(os.path.exists(self.rpc), "the socket file is gone")

    def wrong_sockets_are_told(self):
        other = self.listen(self.path("other"))
        packets = self.listen(self.path("packets"), socket.SOCK_SEQPACKET)
        tcp = socket.create_server(("127.0.0.1", 0))
        with open(self.path("log"), "w+", encoding="utf-8") as log:
            process = self.start([self.listeners[0], other, packets, tcp, log_fd(log),
                                  self.listeners[1]], stderr=log)
            caller = RawCaller(self.rpc)
            self.ping(caller)
            fds = files_of(process.pid)
            caller.close()
            self.bench.stop(process)
            log.seek(0)
            text = log.read()
        for part in ("descriptor 4 'bus' is bound to %s" % self.path("other"),
                     "descriptor 5 'bus' is no listening stream socket",
                     "descriptor 6 'bus' is no unix socket",
                     "descriptor 7 'bus' is no socket", "make ListenStream="):
            bus.expect(part in text, "%r is not told: %s" % (part, text))
        bus.expect("descriptor 3" not in text and "descriptor 8" not in text, text)
        inode = "socket:[%d]" % os.fstat(other.fileno()).st_ino
        bus.expect(inode not in fds, "a socket nobody uses is kept open")
        for s in (other, packets, tcp):
            s.close()

    def a_removed_file_is_noticed(self):
        """systemd does not know that the file is gone; the service listens on one of its own."""
        os.unlink(self.rpc)
        with open(self.path("log2"), "w+", encoding="utf-8") as log:
            process = self.start(self.listeners, stderr=log)
            bus.wait_for(lambda: os.path.exists(self.rpc), 10, "the service listens")
            caller = RawCaller(self.rpc)
            self.ping(caller)
            caller.close()
            self.bench.stop(process)
            log.seek(0)
            text = log.read()
        bus.expect("restart its socket unit" in text, text)
        bus.expect(not os.path.exists(self.rpc), "its own file was left")


def files_of(pid):
    """What its descriptors are, of those that stay open meanwhile."""
    files = set()
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            files.add(os.readlink("/proc/%d/fd/%s" % (pid, fd)))
        except FileNotFoundError:
            continue
    return files


class log_fd:
    """A file, as something with a descriptor to pass."""

    def __init__(self, file):
        self.fileno = file.fileno


def main():
    activation = Activation(bus.arguments(__doc__))
    try:
        return bus.run([(test.__name__, test) for test in (
            activation.a_restart_refuses_nobody, activation.wrong_sockets_are_told,
            activation.a_removed_file_is_noticed)])
    finally:
        activation.bench.close()


sys.exit(main())
