#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands of `xenmesh bus` that look at services, call them and find what is wrong: with all services, with none,
and with services that are deaf, stale or forbidden."""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Skipped, System, arguments, expect, expect_equal, run, wait_for  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMPLETION = os.path.join(ROOT, "docs/completion/xenmesh.bash")
NOBODY = 61003
ALL = ["ops", "metrics", "agent-bridge"]
UUID = "0123abcd-0000-4000-8000-000000000001"
COMPLETE_S = 5  # a tab takes milliseconds; this is for a busy machine


def has_blocked(pid, number):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        mask = next(line.split()[1] for line in f if line.startswith("SigBlk:"))
    return int(mask, 16) >> (number - 1) & 1


class Stranger(threading.Thread):
    """A service of another release and with another clock, that answers calls and publishes nothing."""

    AHEAD_S = 3600

    def __init__(self, directory):
        super().__init__(daemon=True)
        self.listeners = []
        for kind in ("pub", "rpc"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(os.path.join(directory, kind))
            listener.listen()
            self.listeners.append(listener)
        self.topology = "ops.pub = ipc://%s/pub\nops.rpc = ipc://%s/rpc\n" % (directory, directory)

    def run(self):
        for listener, protocol in zip(self.listeners, (0x20, 0x31)):
            threading.Thread(target=self.accept, args=(listener, protocol), daemon=True).start()

    def accept(self, listener, protocol):
        while True:
            try:
                peer = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer, protocol), daemon=True).start()

    def serve(self, peer, protocol):
        with peer, peer.makefile("rb") as stream:
            stream.read(8)
            peer.sendall(b"\0SP\0\0%c\0\0" % protocol)
            while True:
                header = stream.read(13)
                if len(header) < 13:
                    return
                reply = self.answer(stream.read(struct.unpack(">BQ", header[:9])[1] - 4))
                peer.sendall(struct.pack(">BQ", 1, len(reply) + 4) + header[9:] + reply)

    def answer(self, body):
        from xenmesh.v1 import bus_pb2
        call = bus_pb2.Call.FromString(body)
        payload = bus_pb2.StatsReply(stats=[bus_pb2.Stat(name="process.uptime_s", value=100)])
        if call.method.endswith("/Describe"):
            payload = bus_pb2.DescribeReply(service="ops", version="9.9.\033[31m9", pid=1, instance=b"x" * 16,
                                            started_ns=(int(time.time()) + self.AHEAD_S - 100) * 10 ** 9)
        elif call.method.endswith(("/Snapshot", "/Changes")):
            payload = bus_pb2.ChangesReply(instance=b"x" * 16, full=True)
        return bus_pb2.Reply(request_id=call.request_id, payload=payload.SerializeToString()).SerializeToString()

    def close(self):
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


class Tests:
    def __init__(self, system):
        self.system = system

    def rows(self, *args, **kwargs):
        """{service: row} of bus ls, whatever its exit status."""
        result = self.system.cli("--json", "bus", "ls", *args, **kwargs)
        return result.rc, {row["service"]: row for row in map(json.loads, result.out.splitlines())}

    def findings(self, *args, **kwargs):
        """Exit status and findings, without those about what else may have happened on this machine."""
        result = self.system.cli("--json", *args, "bus", "doctor", **kwargs)
        found = [json.loads(line) for line in result.out.splitlines()]
        expect_equal(result.rc, 1 if found else 0, "status of bus doctor with findings %s" % found)
        found = [f for f in found if f["check"] != "journal"]
        return 1 if found else 0, found

    def elsewhere(self, name, text=""):
        """A topology of its own, with its directory."""
        directory = os.path.join(self.system.dir, name)
        for service in ALL:
            os.makedirs(os.path.join(directory, service), exist_ok=True)
        return directory, self.system.write(name + ".conf", "[bus]\nrun_dir = %s\n%s" % (directory, text))

    # ---- ls, ping ----

    def ls(self):
        rc, rows = self.rows("--sample", "1500ms")
        expect_equal(rc, 0, "status")
        expect_equal(list(rows), ALL, "services")
        for name, row in rows.items():
            expect_equal(row["pid"], self.system.pid(name), "pid of " + name)
            expect_equal(row["uid"], os.geteuid(), "uid of " + name)
            expect_equal(row["state"], "up", "state of " + name)
            expect(0.5 < row["messages_per_s"] < 1000, "%s has %s messages/s" % (name, row["messages_per_s"]))
            expect(row["last_seen_ns"] >= row["started_ns"], "%s was seen before it started" % name)
        table = self.system.ok("bus", "ls").splitlines()
        expect(table[0].split()[:7] == "SERVICE STATE PID UID VERSION UP MSG/S".split(), table[0])
        expect_equal([line.split()[:2] for line in table[1:]], [[name, "up"] for name in ALL], "rows")

    def ls_missing(self):
        directory, topology = self.elsewhere("missing", "[host blue]\nops.rpc = tcp://127.0.0.1:1\n")
        rc, rows = self.rows("--topology", topology)
        expect_equal(rc, 4, "status")
        expect_equal({name: row["state"] for name, row in rows.items()},
                     dict({name: "missing" for name in ALL}, **{"blue/ops": "unreachable"}), "states")
        expect_equal(rows["ops"]["advice"], "systemctl start xenmesh-ops", "advice")
        expect_equal(rows["blue/ops"]["advice"], "ssh blue systemctl start xenmesh-ops", "advice for a host")
        expect(self.system.cli("--socket-dir", directory, "bus", "ls").rc == 4, "--socket-dir has no effect")

    def ls_stale_and_deaf(self):
        directory, topology = self.elsewhere("deaf")
        with socket.socket(socket.AF_UNIX) as stale, socket.socket(socket.AF_UNIX) as deaf:
            stale.bind(os.path.join(directory, "ops/rpc"))
            deaf.bind(os.path.join(directory, "metrics/rpc"))
            deaf.listen()
            rc, rows = self.rows("--topology", topology, "--timeout", "500ms")
            expect_equal(rc, 4, "status")
            expect_equal({name: row["state"] for name, row in rows.items()},
                         {"ops": "down", "metrics": "deaf", "agent-bridge": "missing"}, "states")
            expect_equal(rows["metrics"]["advice"], "systemctl restart xenmesh-metrics", "advice")

    def ls_denied(self):
        if os.geteuid() != 0:
            raise Skipped("only root can be several users")
        rc, rows = self.rows(user=NOBODY, group=NOBODY, extra_groups=[])
        expect_equal(rc, 5, "status")
        expect_equal({row["state"] for row in rows.values()}, {"denied"}, "states")

    def ping(self):
        row = self.system.json("bus", "ping", "ops", "-c", "50", "-s", "1000")[0]
        expect_equal((row["sent"], row["received"], row["loss_percent"], row["bytes"]), (50, 50, 0, 1000), "pings")
        expect(0 < row["min_us"] <= row["avg_us"] <= row["max_us"] and row["p99_us"] <= row["max_us"], str(row))
        lines = self.system.ok("bus", "ping", "ops", "metrics", "-c", "2", "-i", "10ms").splitlines()
        expect_equal([line.split(":")[0] for line in lines], ["ops"] * 3 + ["metrics"] * 3, "lines")
        self.system.fails(4, "not connected", "--socket-dir", "/nonexistent", "--timeout", "300ms", "bus", "ping",
                          "ops")
        self.system.fails(2, "--size", "bus", "ping", "ops", "-s", "65537")
        self.system.ok("bus", "ping", "ops", "-s", "65536")

    def ping_stopped(self):
        pid = self.system.pid("metrics")
        os.kill(pid, signal.SIGSTOP)
        try:
            self.system.fails(4, "not connected", "--timeout", "300ms", "bus", "ping", "metrics")
            rc, rows = self.rows("--timeout", "500ms")
            expect_equal((rc, rows["metrics"]["state"], rows["ops"]["state"]), (4, "deaf", "up"), "bus ls")
            rc, found = self.findings("--timeout", "1s")
            expect_equal((rc, [(f["subject"], f["mend"]) for f in found]),
                         (1, [("metrics", "systemctl restart xenmesh-metrics")]), "findings")
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: self.system.cli("bus", "ping", "metrics", "--timeout", "1s").rc == 0, COMPLETE_S,
                 "metrics answers again")

    # ---- describe, call ----

    def log_level(self):
        s = self.system
        expect_equal(s.ok("bus", "log-level", "metrics"), "metrics: info\n", "level")
        expect_equal(s.ok("bus", "log-level", "metrics", "debug"), "metrics: debug, was info\n", "change")
        expect_equal(s.json("bus", "log-level", "metrics"), [{"level": "debug"}], "level")
        expect_equal(s.json("bus", "log-level", "metrics", "info"), [{"previous": "debug"}], "change")
        s.fails(1, "unknown level 'loud'; there are error, warning", "bus", "log-level", "metrics", "loud")
        s.fails(2, "a service and perhaps a level", "bus", "log-level")

    def log_level_of_a_stranger(self):
        directory = os.path.join(self.system.dir, "green")
        os.mkdir(directory)
        stranger = Stranger(directory)
        stranger.start()
        topology = self.system.write("green.conf", "[host green]\n%s" % stranger.topology)
        try:
            self.system.fails(1, "does not tell its log level", "--topology", topology, "bus", "log-level",
                              "green/ops")
        finally:
            stranger.close()

    def describe(self):
        s = self.system
        live = s.json("bus", "describe", "ops")[0]
        expect_equal((live["service"], live["pid"]), ("ops", s.pid("ops")), "service")
        known = {m["name"]: m for m in s.json("bus", "describe") if m["kind"] == "method"}
        for method in live["methods"]:
            expect_equal({k: known[method["name"]][k] for k in ("mutating", "input", "output", "doc")},
                         {k: method[k] for k in ("mutating", "input", "output", "doc")}, method["name"])
        away = ("--socket-dir", "/nonexistent")
        start = s.ok(*away, "bus", "describe", "ops.StartVm")
        expect("role operator, mutating" in start and "message xenmesh.v1.StartVmRequest" in start, start)
        call = s.json(*away, "bus", "describe", "Call")[0]
        expect("16 random bytes" in call["fields"][0]["doc"], "no comment of request_id: %s" % call["fields"][0])
        states = s.json(*away, "bus", "describe", "TaskState")[0]["values"]
        expect("TASK_STATE_RUNNING" in [v["name"] for v in states], str(states))
        topics = s.json(*away, "bus", "describe", "vm/68df19b9-5b13-486b-ac8f-427b03dfd3b7/state")
        expect_equal([t["message"] for t in topics], ["xenmesh.v1.VmState"], "message of a topic")
        s.fails(1, "did you mean StartVm?", *away, "bus", "describe", "StrtVm")
        s.fails(4, "not connected", *away, "--timeout", "300ms", "bus", "describe", "ops")

    def call(self):
        s = self.system
        vms = s.json("bus", "call", "ListVms")[0]["vms"]
        expect_equal(s.json("bus", "call", "ops.GetVm", "vm=" + vms[1]["uuid"])[0]["name"], vms[1]["name"], "name")
        expect_equal(s.json("bus", "call", "metrics.Ping", "echo=hex:00ff")[0]["echo"], {"base64": "AP8="}, "bytes")
        pages = [s.json("bus", "call", "ops.Snapshot", *args, stdin='{"prefixes": ["host/"]}')[0]
                 for args in (["prefixes+=host/"], ["-"], ["-j", '{"prefixes": ["host/"]}'],
                              ["@" + s.write("request.json", '{"prefixes": ["host/"]}')])]
        for page in pages:
            expect_equal({event["topic"] for event in page["events"]}, {"host/state", "host/sample"}, "topics")
        s.fails(2, 'has no field "nmae"; did you mean name?', "bus", "call", "DefineVm", "config.nmae=x")
        s.fails(2, "SERVICE.Ping", "bus", "call", "Ping")
        s.fails(2, "no method", "bus", "call", "NoSuch")
        s.fails(2, "is no JSON", "bus", "call", "GetVm", "-j", "{")
        s.fails(2, "there is more behind the value, at byte 14", "bus", "call", "GetVm", "-j", '{"vm": "a"}   {}')
        s.fails(2, "given twice", "bus", "call", "GetVm", "@x", "-j", "{}")
        s.fails(2, "no service", "bus", "call", "GetVm", "--service", "nothing")
        s.fails(2, "/nonexistent: No such file", "bus", "call", "GetVm", "@/nonexistent")
        s.fails(2, "vm: must be UTF-8", "bus", "call", "GetVm", "vm=\udcff")
        s.fails(2, "vifs[] adds one", "bus", "call", "DefineVm", "config.vifs[0].mac=x")
        # What somebody wrote must not reach the terminal as it is.
        s.fails(2, 'no method "\\x1b[31m"', "bus", "call", "\033[31m")

    def call_dry(self):
        s = self.system
        plan = s.json("--socket-dir", "/nonexistent", "bus", "call", "StartVm", "vm=x", "paused=yes", "--dry-run")[0]
        expect_equal(plan, {"service": "ops", "method": "xenmesh.v1.Ops/StartVm", "role": "operator", "mutating": True,
                            "bytes": 5, "request": {"vm": "x", "paused": True}}, "plan")

    def call_failure(self):
        s = self.system
        refused = s.fails(1, "NOT_FOUND", "--json", "bus", "call", "StartVm", "vm=nothing")
        told = json.loads(refused.out)
        expect_equal((told["code"], told["retry"]), ("NOT_FOUND", "useless"), "failure")
        away = ("--socket-dir", "/nonexistent", "--timeout", "300ms", "--json", "--request-id", UUID, "bus", "call")
        told = json.loads(s.fails(4, "--request-id " + UUID, *away, "StartVm", "vm=x").out)
        expect_equal((told["code"], told["retry"], told["request_id"]), ("UNAVAILABLE", "same-id", UUID), "failure")
        told = json.loads(s.fails(4, "changes nothing", *away, "GetVm", "vm=x").out)
        expect_equal((told["code"], told["retry"]), ("UNAVAILABLE", "safe"), "failure of a question")

    @staticmethod
    def never_answer(listener):
        """Takes what one client sends."""
        listener.settimeout(30)
        peer = listener.accept()[0]
        with peer:
            peer.settimeout(30)
            peer.sendall(b"\0SP\0\0\x31\0\0")
            while peer.recv(65536):
                pass

    def call_never_sent(self):
        s = self.system
        directory, topology = self.elsewhere("unsent")
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(os.path.join(directory, "ops/rpc"))
            for where in (("--socket-dir", "/nonexistent"), ("--topology", topology)):
                away = where + ("--timeout", "300ms")
                said = s.fails(4, "ops: not connected", *away, "vm", "start", UUID).err
                expect("accepted" not in said and "--request-id" not in said, said)
                said = s.fails(4, "ops: UNAVAILABLE: not connected", *away, "bus", "call", "StartVm", "vm=x").err
                expect("nothing was sent; a retry is safe" in said and "--request-id" not in said, said)
                # An earlier try with this id may have been sent.
                s.fails(4, "accepted all the same; repeat it safely with --request-id " + UUID,
                        *away, "--request-id", UUID, "vm", "start", UUID)
            stale.listen()
            mute = threading.Thread(target=self.never_answer, args=[stale])
            mute.start()
            s.fails(3, "accepted all the same; repeat it safely with --request-id",
                    "--topology", topology, "--timeout", "1s", "vm", "start", UUID)
            mute.join()

    # ---- topology, doctor ----

    def topology(self):
        s = self.system
        rows = {(row["section"], row["key"]): row for row in s.json("bus", "topology", "show", "--origin")}
        run_dir = rows["bus", "run_dir"]
        expect_equal((run_dir["file"], run_dir["line"]), (s.topology, 2), "place of run_dir")
        expect_equal(rows["service ops", "rpc"]["file"], "(defaults)", "place of a default")
        shown = s.write("shown.conf", s.ok("bus", "topology", "show", "--origin"))
        expect_equal(s.ok("--topology", shown, "bus", "topology", "show"), s.ok("bus", "topology", "show"),
                     "what is shown, read again")
        moved = s.json("--socket-dir", "/run/moved", "bus", "topology", "show")[0]
        expect_equal((moved["value"], moved["file"]), ("/run/moved", "--socket-dir"), "run_dir of --socket-dir")
        dot = s.ok("bus", "topology", "dot")
        expect(dot.startswith("digraph") and dot.count("{") == dot.count("}"), dot)
        expect('"ops.pub" -> "metrics"' in dot and "ipc://%s/bus/ops/rpc" % s.dir in dot, dot)

    def topology_check(self):
        s = self.system
        expect("no errors" in s.ok("bus", "topology", "check"), "a sound topology is not")
        twice = s.write("twice.conf", "[service a]\npub = ipc://@run@/x\nrpc = ipc://@run@/x\n"
                                      "[access]\nadmin = no-such-user-here\n[service b]\nrpc = tcp://0.0.0.0:7101\n")
        told = json.loads(s.fails(1, "", "--json", "bus", "topology", "check", twice).out)
        expect("same address for pub and rpc" in "".join(told["errors"]), str(told))
        expect("twice.conf:5: admin: there is no user no-such-user-here" in "".join(told["warnings"]), str(told))
        expect("unencrypted" in "".join(told["warnings"]), str(told))
        broken = s.write("broken.conf", "[bus]\nrun_dir = relative\n[nothing]\nx = y\n")
        s.fails(1, "broken.conf:4: unknown section", "bus", "topology", "check", broken)
        s.fails(1, "broken.conf:4: unknown section", "--topology", broken, "bus", "topology", "check")
        expect_equal(json.loads(s.cli("--json", "bus", "topology", "check", broken).out)["file"], broken, "file")
        other = s.write("other.conf", "no topology\n" * 30)
        said = s.fails(1, "and 10 more mistakes", "--topology", other, "bus", "ls").err.splitlines()
        expect(len(said) == 21 and all(line.startswith("xenmesh: ") for line in said), str(said))

    def doctor(self):
        s = self.system
        expect_equal(self.findings(), (0, []), "findings of a healthy system")
        said = s.cli("bus", "doctor")
        expect_equal("healthy" in said.out, said.rc == 0, "what is said with status %d" % said.rc)
        place = os.path.join(s.dir, "bus/ops")
        os.chmod(place, 0o777)
        try:
            rc, found = self.findings()
        finally:
            os.chmod(place, 0o755)
        expect_equal((rc, [f["mend"] for f in found]), (1, ["chmod go-w " + place]), "an open directory")
        # What is said to mend it does.
        expect_equal(self.findings()[0], 0, "status after it was mended")
        path = os.path.join(place, "rpc")
        os.chmod(path, 0o600)
        try:
            rc, found = self.findings()
        finally:
            os.chmod(path, 0o666)
        expect_equal((rc, [f["mend"] for f in found]), (1, ["chmod 0666 " + path]), "a closed socket")

    def doctor_of_owners(self):
        s = self.system
        if os.getuid() != 0:
            raise Skipped("only root can give directories away")
        place = os.path.join(s.dir, "bus")
        os.chown(place, NOBODY, -1)
        try:
            rc, found = self.findings()
        finally:
            os.chown(place, 0, -1)
        expect_equal((rc, [f["mend"] for f in found]), (1, ["chown root " + place]), "a run_dir of somebody else")
        place = os.path.join(place, "ops")
        os.chmod(place, 0o700)
        try:
            denied = s.fails(5, "may not connect to %s/rpc" % place, "--timeout", "300ms", "bus", "call", "GetHost",
                             user=NOBODY, group=NOBODY, extra_groups=[])
            rc, found = self.findings(user=NOBODY, group=NOBODY, extra_groups=[])
        finally:
            os.chmod(place, 0o755)
        expect("systemctl" not in denied.err, "advice: %s" % denied.err)
        expect("sudo chmod o+x " + place in [f["mend"] for f in found], "a closed directory: %s" % found)

    def doctor_of_a_dead_bus(self):
        directory, topology = self.elsewhere("dead")
        with socket.socket(socket.AF_UNIX) as stale, socket.socket(socket.AF_UNIX) as deaf:
            stale.bind(os.path.join(directory, "ops/rpc"))
            deaf.bind(os.path.join(directory, "metrics/rpc"))
            deaf.listen()
            rc, found = self.findings("--topology", topology, "--timeout", "500ms")
        expect_equal(rc, 1, "status")
        problems = {f["subject"]: f["problem"] for f in found if f["check"] == "services"}
        for name, part in (("ops", "stale socket"), ("metrics", "deaf"), ("agent-bridge", "is not there")):
            expect(part in problems.get(name, ""), "%s: %s" % (name, problems))
        rc, found = self.findings("--socket-dir", os.path.join(directory, "gone"))
        expect("install -d -m 0755 %s/gone" % directory in [f["mend"] for f in found], str(found))

    def doctor_of_a_stranger(self):
        s = self.system
        directory = os.path.join(s.dir, "blue")
        os.mkdir(directory)
        stranger = Stranger(directory)
        stranger.start()
        topology = s.write("blue.conf", "[bus]\nrun_dir = %s/bus\n[host blue]\n%s" % (s.dir, stranger.topology))
        try:
            rc, found = self.findings("--topology", topology)
            shown = s.ok("--topology", topology, "bus", "describe", "blue/ops")
        finally:
            stranger.close()
        expect_equal(rc, 1, "status")
        expect_equal({(f["check"], f["subject"], f["mend"]) for f in found}, {
            ("publications", "blue/ops", "ssh blue systemctl restart xenmesh-ops"),
            ("versions", "blue/ops", "ssh blue systemctl restart xenmesh-ops"),
            ("clocks", "blue/ops", "ssh blue chronyc makestep")}, "findings")
        ahead = int(re.search(r"(\d+) s ahead", " ".join(f["problem"] for f in found))[1])
        expect(abs(ahead - Stranger.AHEAD_S) <= 5, "the clock is said to be %d s ahead" % ahead)
        expect("\033" not in shown and "9.9." in shown, "the stranger's words: %r" % shown)

    def doctor_of_the_host(self):
        s = self.system
        env = dict(s.env, XENSTORED_PATH=os.path.join(s.dir, "no-xenstored"))
        result = subprocess.run(s.command("--json", "bus", "doctor"), env=env, capture_output=True, text=True,
                                timeout=30, check=False)
        checks = [json.loads(line)["check"] for line in result.stdout.splitlines()]
        checks = [check for check in checks if check != "journal"]
        expect_equal((result.returncode, checks), (1, ["xenstored"]), "findings without xenstored")
        s.services["simhost"].end()
        try:
            wait_for(lambda: not s.host()["state"]["connected"], COMPLETE_S, "ops has noticed")
            rc, found = self.findings()
            expect("host process is away" in " ".join(f["problem"] for f in found), str(found))
        finally:
            s.services["simhost"].start()
            wait_for(lambda: s.host()["state"]["connected"], COMPLETE_S, "ops is connected again")

    def doctor_of_tls(self):
        s = self.system
        pki = os.path.join(s.dir, "pki")
        made = s.cli("bus", "pki", "init", "--dir", pki)
        if made.rc != 0 and "openssl" in made.err:
            raise Skipped(made.err.strip())
        s.ok("bus", "pki", "issue", "here", "--role", "admin", "--dir", pki)
        own = os.path.join(pki, "here")
        text = "[bus]\nrun_dir = %s/bus\n[tls]\nca = %s/ca.crt\ncert = %s/here.crt\nkey = %s/here.key\n"
        topology = s.write("tls.conf", text % (s.dir, own, own, own))
        expect_equal(self.findings("--topology", topology), (0, []), "findings of good files")
        key = os.path.join(own, "here.key")
        os.chmod(key, 0o644)
        rc, found = self.findings("--topology", topology)
        expect_equal((rc, [(f["check"], f["mend"]) for f in found]), (1, [("tls", "chmod 600 " + key)]), "an open key")
        os.chmod(key, 0o600)
        os.rename(os.path.join(own, "here.crt"), os.path.join(own, "away"))
        rc, found = self.findings("--topology", topology)
        expect_equal((rc, [f["check"] for f in found]), (1, ["tls"]), "a missing certificate")
        far = s.write("far.conf", text % (s.dir, own, own, own) +
                      "[host far]\nops.pub = tls+tcp://127.0.0.1:1\nops.rpc = tls+tcp://127.0.0.1:2\n")
        s.fails(4, "no connection can be made", "--topology", far, "bus", "ping", "far/ops")
        rc, found = self.findings("--topology", far)
        expect_equal((rc, {f["subject"]: f["mend"].split()[0] for f in found if f["check"] in ("services", "tls")}),
                     (1, {"far/ops": "mend", "tls": "xenmesh"}), "findings of a host behind TLS")
        expect(not [f for f in found if f["subject"] in f["problem"]], "a name twice: %s" % found)

    # ---- bench ----

    def bench(self):
        s = self.system
        before = set(os.listdir(s.dir))
        for kind, words, rows in (("rtt", ["rtt", "ops", "-o", "8"], 1), ("pub", ["pub"], 2),
                                  ("fan", ["fan", "-n", "3"], 2)):
            env = dict(s.env, TMPDIR=s.dir if len(s.dir) < 32 else "/tmp")
            done = subprocess.run(s.command("--json", "bus", "bench", *words, "-c", "300", "-s", "100"), env=env,
                                  capture_output=True, text=True, timeout=60, check=True)
            results = [json.loads(line) for line in done.stdout.splitlines()]
            expect_equal(len(results), rows, "results of %s" % kind)
            for result in results:
                expect_equal(result["calls" if kind == "rtt" else "events"], 300, "how many")
                expect(0 < result["min_us"] <= result["p50_us"] <= result["p99_us"] <= result["max_us"], str(result))
        env = dict(s.env, TMPDIR=s.dir)
        stopped = subprocess.Popen(s.command("bus", "bench", "pub", "-c", "1000000"), env=env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        # The publisher is forked, listens, and is asked for events: then there is something to leave behind.
        wait_for(lambda: any(os.path.exists(os.path.join(s.dir, name, "rpc")) for name in os.listdir(s.dir)
                             if name.startswith("xenmesh-bench-")), 20, "the private bus is there")
        wait_for(lambda: has_blocked(stopped.pid, signal.SIGINT), 20, "it waits for signals")
        stopped.send_signal(signal.SIGINT)
        said = stopped.communicate(timeout=20)[1]
        expect(stopped.returncode == 1 and "interrupted" in said, "interrupted: %s" % said)
        expect_equal(set(os.listdir(s.dir)), before, "files left behind")
        s.fails(4, "not connected", "--socket-dir", "/nonexistent", "bus", "bench", "rtt")
        s.fails(2, "rtt", "bus", "bench", "nothing")

    # ---- plumbing ----

    def complete(self, *words):
        """{word: description} of the hidden command; it must be silent."""
        result = self.system.cli("__complete", "--", *words)
        expect_equal((result.rc, result.err), (0, ""), "completion of %s" % (words,))
        return dict((line.split("\t") + [""])[:2] for line in result.out.splitlines())

    def completion(self):
        s = self.system
        vms = {vm["name"] for vm in s.json("vm", "list")}
        expect_equal(set(self.complete("vm", "show", "")), vms, "VMs")
        expect_equal(set(self.complete("bus", "call", "GetVm", "vm=")), {"vm=" + name for name in vms}, "values")
        s.ok("bus", "wait", "host/sample", "--timeout", "20s")
        topics = self.complete("bus", "monitor", "host/")
        expect_equal(set(topics), {"host/sample", "host/state"}, "topics")
        uuid = s.json("vm", "list")[-1]["uuid"]
        expect_equal(set(self.complete("events", "vm/" + uuid[:8])), {"vm/%s/" % uuid, ":nospace"}, "topics of VMs")
        expect("vm/%s/state" % uuid in self.complete("events", "vm/%s/" % uuid), "topics of a VM")
        expect_equal(self.complete("--socket-dir", "/nonexistent", "vm", "show", ""), {}, "VMs of a dead bus")
        expect_equal(self.complete("--topology", "/nonexistent", "bus", "ping", ""), {}, "a missing topology")

    def completion_in_bash(self):
        s = self.system
        names = sorted(vm["name"] for vm in s.json("vm", "list"))
        driver = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _xenmesh; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        for words in (["vm", "show", ""], ["bus", "call", "GetVm", "vm", "="]):
            done = subprocess.run(["bash", "-c", driver, "bash", COMPLETION, s.command()[0], *words], env=s.env,
                                  capture_output=True, text=True, timeout=20, check=False)
            expect_equal((sorted(done.stdout.split()), done.stderr), (names, ""), "words after %s" % words)

    def plumbing(self):
        s = self.system
        # The reader has gone: no complaint.
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as nobody:
            gone = subprocess.run(s.command("bus", "describe"), env=s.env, stdout=nobody, stderr=subprocess.PIPE,
                                  timeout=20, check=False)
        expect_equal((gone.stderr, gone.returncode), (b"", -signal.SIGPIPE), "a closed pipe")
        full = subprocess.run("exec %s bus describe > /dev/full" % s.command()[0], shell=True, env=s.env,
                              capture_output=True, text=True, timeout=20, check=False)
        expect(full.returncode == 1 and "cannot write" in full.stderr, "a full disk: %s" % full)
        expect(not re.search("\033", s.cli("bus", "doctor").out + s.ok("bus", "ls")), "colours in a pipe")
        s.fails(2, "wants one of: check show dot", "bus", "topology", "nothing")
        s.fails(2, "wants one of:", "bus")
        s.fails(2, "did you mean bus?", "buss", "ls")
        s.fails(2, "see: xenmesh --help", "nothing-like-it")
        expect("bus ping" in s.ok("bus", "--help") and "vm list" not in s.ok("bus", "--help"), "help of a group")


def main():
    args = arguments(__doc__)
    # Here everybody but NOBODY is known by number, so that no user has to exist.
    with System(args.bin, vms=2, roles={"observer": "0", "operator": "0", "admin": "0"}) as system:
        t = Tests(system)
        names = ("ls", "ls_missing", "ls_stale_and_deaf", "ls_denied", "ping", "ping_stopped", "log_level",
                 "log_level_of_a_stranger", "describe", "call", "call_dry", "call_failure", "call_never_sent",
                 "topology", "topology_check", "doctor", "doctor_of_owners",
                 "doctor_of_a_dead_bus", "doctor_of_a_stranger", "doctor_of_the_host", "doctor_of_tls", "bench",
                 "completion", "completion_in_bash", "plumbing")
        return run([(name, getattr(t, name)) for name in names], args.only, system)


if __name__ == "__main__":
    sys.exit(main())
