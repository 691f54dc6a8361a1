#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two hosts on loopback: the command line of one calls a service of the other over tls+tcp://, with
the role of its certificate; and programs of different versions understand each other."""
import json
import os
import socket
import struct
import subprocess
import sys
import time

import bus_harness as bus

DENIED = 5
UNREACHABLE = 4
TIMEOUT = 3


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Hosts:
    """"blue" has the service; "red" is where the command line runs."""

    def __init__(self, args):
        self.bin = args.bin
        self.bench = bus.Bench(args.bin)
        self.dir = self.bench.dir
        self.pki = os.path.join(self.dir, "pki")
        self.ports = {"pub": free_port(), "rpc": free_port()}
        self.must("bus", "pki", "init", "--dir", self.pki)
        self.issue("blue", "observer", "--server", "--host", "127.0.0.1")
        for role in ("observer", "operator", "admin"):
            self.issue(role, role)
        urls = "".join("%s = ipc://@run@/test/%s tls+tcp://127.0.0.1:%d\n" % (kind, kind, port)
                       for kind, port in self.ports.items())
        self.write(self.bench.topology, "[bus]\nrun_dir = %s\n[service test]\n%s%s" % (
            self.dir, urls, self.tls("blue")))
        self.process = self.bench.start_pub(rate=1000, events=50, topics=20)

    def write(self, path, text):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def issue(self, name, role, *more):
        self.must("bus", "pki", "issue", name, "--role", role, "--dir", self.pki, *more)

    def tls(self, name):
        base = os.path.join(self.pki, name)
        return "[tls]\nca = %s/ca.crt\ncert = %s/%s.crt\nkey = %s/%s.key\ncrl = %s/crl.pem\n" % (
            base, base, name, base, name, self.pki)

    def red(self, name, engine="native", scheme="tls+tcp"):
        """The topology of the other host, with the certificate of that name."""
        urls = "".join("test.%s = %s://127.0.0.1:%d\n" % (kind, scheme, port)
                       for kind, port in self.ports.items())
        return self.write(os.path.join(self.dir, "red-%s.conf" % name),
                          "[bus]\nrun_dir = %s/red\nengine = %s\n[host blue]\n%s%s" % (
                              self.dir, engine, urls, self.tls(name)))

    def cli(self, *args, topology=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith("XENMESH_")}
        env["XENMESH_TOPOLOGY"] = topology or os.devnull
        return subprocess.run([os.path.join(self.bin, "xenmesh"), *args], env=env, timeout=60,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)

    def must(self, *args, topology=None):
        result = self.cli(*args, topology=topology)
        bus.expect(result.returncode == 0,
                   "%s ended with %d: %s" % (args, result.returncode, result.stderr))
        return result.stdout

    def call(self, name, *args, topology=None):
        return self.cli("--timeout", "5s", "--json", "bus", "call", *args, "--service", "blue/test",
                        topology=topology or self.red(name))

    # ---- tests ----

    def roles(self):
        """Reading needs observer, PauseVm operator, SetLogLevel admin."""
        calls = (("Bus/Ping", "observer"), ("Ops/PauseVm", "operator"),
                 ("Bus/SetLogLevel", "admin"))
        order = ("observer", "operator", "admin")
        fields = {"Ops/PauseVm": ["vm=1"], "Bus/SetLogLevel": ["level=info"]}
        for name in order:
            for method, needs in calls:
                result = self.call(name, method, *fields.get(method, ()))
                want = 0 if order.index(name) >= order.index(needs) else DENIED
                bus.expect(result.returncode == want, "%s calls %s: status %d, not %d: %s%s" % (
                    name, method, result.returncode, want, result.stdout, result.stderr))
                if want == DENIED:
                    bus.expect("the certificate of '%s' has %s" % (name, name) in result.stderr,
                               "denied with %s" % result.stderr)

    def local_roles_stay(self):
        """Over the unix socket it is the user that counts."""
        result = self.cli("bus", "call", "Ops/PauseVm", "vm=1", "--service", "test",
                          topology=self.bench.topology)
        bus.expect(result.returncode == 0, result.stderr)

    def events(self):
        """A subscriber of the other host gets state and heartbeats."""
        out = self.must("--json", "events", "--service", "blue/test", "--count", "5",
                        "--for", "20", topology=self.red("observer"))
        lines = [json.loads(line) for line in out.splitlines()]
        bus.expect(len(lines) >= 5 and all("topic" in line for line in lines), "got %s" % out)

    def nng_as_client(self):
        """engine = nng, on the other end of a native service's unix socket."""
        out = self.must("bus", "ping", "test", "--count", "1",
                        topology=self.write(os.path.join(self.dir, "nng.conf"),
                                            "[bus]\nrun_dir = %s\nengine = nng\n"
                                            "[service test]\nrpc = ipc://@run@/test/rpc\n"
                                            % self.dir))
        bus.expect("test" in out, out)

    def plain_peer(self):
        """tcp:// to a port of TLS: no answer, and the service says why."""
        topology = self.red("observer", scheme="tcp")
        result = self.call("observer", "Bus/Ping", topology=topology)
        bus.expect(result.returncode in (UNREACHABLE, TIMEOUT), "status %d" % result.returncode)

    def wrong_files(self):
        """Complaints name the file, the line and what to do."""
        topology = self.red("admin")
        key = os.path.join(self.pki, "admin/admin.key")
        os.chmod(key, 0o644)
        try:
            result = self.call("admin", "Bus/Ping", topology=topology)
        finally:
            os.chmod(key, 0o600)
        bus.expect(result.returncode != 0, "a key that all can read was taken")
        for text in (topology + ":", "has mode 0644", "chmod 600"):
            bus.expect(text in result.stderr, "%r is not in %s" % (text, result.stderr))

    def revoked(self):
        """Without a restart of the service."""
        self.issue("leaver", "admin")
        topology = self.red("leaver")
        bus.expect(self.call("leaver", "Bus/Ping", topology=topology).returncode == 0, "no ping")
        self.must("bus", "pki", "revoke", "leaver", "--dir", self.pki)

        def is_refused():
            result = self.call("leaver", "Bus/Ping", topology=topology)
            return result.returncode != 0 and "revoked" in result.stderr
        bus.wait_for(is_refused, 30, "the service refuses the revoked certificate")
        bus.expect(self.call("admin", "Bus/Ping").returncode == 0, "others are refused too")

    def skew(self):
        """A newer caller: unknown fields are passed over, unknown methods UNIMPLEMENTED."""
        from xenmesh.v1 import bus_pb2, common_pb2

        def field(number, data):
            key = number << 3 | 2
            head = bytes([key & 0x7f | 0x80, key >> 7]) if key > 127 else bytes([key])
            return head + bytes([len(data)]) + data

        def exchange(method, payload):
            call = bus_pb2.Call(method=method, request_id=bytes(range(16)), timeout_ms=5000,
                                client="newer/9", payload=payload + field(900, b"later"))
            data = call.SerializeToString() + field(901, b"of a later version")
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(os.path.join(self.dir, "test/rpc"))
                s.sendall(b"\0SP\0\0\x30\0\0")
                s.sendall(struct.pack(">BQI", 1, 4 + len(data), 0x80000001) + data)
                stream = s.makefile("rb")
                bus.expect(len(stream.read(8)) == 8, "no handshake")
                size = struct.unpack(">BQ", stream.read(9))[1]
                return bus_pb2.Reply.FromString(stream.read(size)[4:])
        reply = exchange("xenmesh.v1.Bus/Ping", bus_pb2.PingRequest(echo=b"x").SerializeToString())
        bus.expect(reply.code == 0, "unknown fields: %s" % reply)
        bus.expect(bus_pb2.PingReply.FromString(reply.payload).echo == b"x", "echo differs")
        reply = exchange("xenmesh.v1.Bus/OfALaterVersion", b"")
        bus.expect(common_pb2.Code.Name(reply.code).endswith("UNIMPLEMENTED"), "unknown method: %s" % reply)

    def threads(self):
        """Neither tcp nor TLS made any."""
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as f:
            threads = next(int(line.split()[1]) for line in f if line.startswith("Threads:"))
        bus.expect(threads == 1, "%d threads" % threads)
        bus.expect(self.process.poll() is None, "the service has ended")

    def close(self):
        self.bench.close()


def main():
    args = bus.arguments(__doc__)
    hosts = Hosts(args)
    try:
        return bus.run([(name, getattr(hosts, name)) for name in (
            "roles", "local_roles_stay", "events", "nng_as_client", "plain_peer", "wrong_files",
            "revoked", "skew", "threads")])
    finally:
        hosts.close()


if __name__ == "__main__":
    sys.exit(main())
