#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands of `xenmesh bus` that watch, wait, record and play, with whole processes."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios

import bus_harness as bus

TIMEOUT_S = 60
NOBODY = 65534


def has_blocked(pid, number):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        mask = next(line.split()[1] for line in f if line.startswith("SigBlk:"))
    return int(mask, 16) >> (number - 1) & 1


class Cli:
    """A service "test" that publishes all the time, and the command line."""

    def __init__(self, args):
        self.bench = bus.Bench(args.bin)
        self.program = os.path.join(args.bin, "xenmesh")
        self.env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "XENMESH_TOPOLOGY")}
        self.env["XENMESH_TOPOLOGY"] = self.bench.topology
        self.process = None
        self.line = ""
        self.stage = os.path.join(self.bench.dir, "stage")
        os.mkdir(self.stage)

    def start(self, rate=200, topics=30):
        self.process = self.bench.start_pub(rate=rate, events=1 << 30, topics=topics)

    def stop(self):
        self.bench.stop(self.process)

    def command(self, *args):
        return [self.program, "bus", *map(str, args)]

    def run(self, *args, rc=0, text=True):
        done = subprocess.run(self.command(*args), env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=text, timeout=TIMEOUT_S, check=False)
        bus.expect(done.returncode == rc, "`bus %s` ended with %d, not %d: %s" % (
            " ".join(map(str, args)), done.returncode, rc, done.stderr.strip()[-300:]))
        return done

    def lines(self, *args, **kwargs):
        return self.run(*args, **kwargs).stdout.splitlines()

    def documents(self, *args, **kwargs):
        return [json.loads(line) for line in self.lines(*args, "--json", **kwargs)]

    def popen(self, *args, **kwargs):
        process = subprocess.Popen(self.command(*args), env=self.env, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True, **kwargs)
        self.bench.processes.append(process)
        return process

    def states(self, *args, **kwargs):
        return [d for d in self.documents(*args, **kwargs) if d["kind"] in ("state", "removed")]

    # ---- monitor ----

    def monitor_lines(self):
        lines = self.lines("monitor", "vm/", "--service", "test", "--count", 5)
        lines = [line.split(" ") for line in lines if " RESYNCED " not in line]
        bus.expect(len(lines) == 5, "%d lines" % len(lines))
        for time, topic, service, seq, size, *_ in lines:
            bus.expect(time[10] == "T" and time[-3] == ":" and len(time) == 29, "time %s" % time)
            bus.expect(topic.startswith("vm/") and service == "test", "%s of %s" % (topic, service))
            bus.expect(seq[0] == "#" and seq[1:].isdigit(), "seq %s" % seq)
            bus.expect(size[-1] == "B" and size[:-1].isdigit(), "size %s" % size)

    def monitor_json(self):
        events = self.states("monitor", "--service", "test", "--count", 20)
        bus.expect(len(events) == 20, "%d events" % len(events))
        seqs = [e["seq"] for e in events]
        bus.expect(seqs == list(range(seqs[0], seqs[0] + 20)), "seqs %s" % seqs)
        for e in events:
            bus.expect(e["service"] == "test" and not e["replayed"], "event %s" % e)
            bus.expect(e["event"]["topic"] == e["topic"] and e["event"]["seq"] == e["seq"], "event %s" % e)

    def monitor_fields(self):
        lines = self.lines("monitor", "--service", "test", "--count", 5, "-f", "topic,seq", "--field", "step",
                           "--filter", "kind==state")
        for line in lines:
            topic, seq, step = line.split(",")
            bus.expect("/" in topic and 0 < int(seq) <= int(step), "line %s" % line)
        bus.expect(len(lines) == 5, "%d lines" % len(lines))
        values = self.documents("monitor", "--service", "test", "--count", 3, "--field", "seq")
        bus.expect(values == list(range(values[0], values[0] + 3)), "values %s" % values)

    def monitor_filter(self):
        events = self.states("monitor", "--service", "test", "--count", 10, "--filter",
                             "topic contains vm/ && (seq>0 && !(event.seq==0)) && kind!=removed")
        bus.expect(all(e["topic"].startswith("vm/") and e["kind"] == "state" for e in events), "events %s" % events)
        bus.expect(len(events) == 10, "%d events" % len(events))
        wrong = self.run("monitor", "--filter", "seq=1", rc=2)
        bus.expect("equality is written ==" in wrong.stderr, wrong.stderr)

    def monitor_bytes(self):
        out = self.run("monitor", "--service", "test", "--count", 3, "--raw", text=False).stdout
        from xenmesh.v1 import bus_pb2
        n = 0
        while out:
            size = struct.unpack_from(">I", out)[0]
            topic, _, event = out[4:4 + size].partition(b"\0")
            bus.expect(bus_pb2.Event.FromString(event).topic == topic.decode(), "topic %s" % topic)
            out, n = out[4 + size:], n + 1
        bus.expect(n == 3, "%d publications" % n)
        line = self.lines("monitor", "--service", "test", "--count", 1, "--hex")[-1]
        topic, data = line.split(" ")[1], bytes.fromhex(line.split(" ")[5])
        bus.expect(data.startswith(topic.encode() + b"\0"), line)

    def count_of_nothing(self):
        """0 is no number of events, and no word for "without an end" either."""
        path = os.path.join(self.bench.dir, "none")
        for args in (["monitor"], ["hz"], ["bw"], ["delay"], ["trace", "test"], ["capture", "-o", path],
                     ["capture", "--show", path]):
            for count in ("0", "-1", "many", ""):
                done = self.run(*args, "--count=" + count, rc=2)
                said = '--count wants a number from 1, got "%s"' % count
                bus.expect(said in done.stderr and not done.stdout, "%s said %r" % (args, done.stderr))
        bus.expect(not os.path.exists(path), "a file was begun")
        for args in (["ping", "test"], ["bench", "pub"]):
            bus.expect("--count wants 1 to " in self.run(*args, "--count", 0, rc=2).stderr, "%s" % args)
        events = subprocess.run([self.program, "events", "--count", "0"], env=self.env, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        bus.expect(events.returncode == 2 and "--count wants a number from 1" in events.stderr, events.stderr)

    def monitor_ends(self):
        self.run("monitor", "no/such", "--timeout", "300ms", rc=3)
        self.run("monitor", "no/such", "--count", 1, "--for", "300ms", rc=3)
        self.run("monitor", "no/such", "--for", "300ms")
        self.run("monitor", "--service", "nobody", rc=2)
        self.run("monitor", "--count", "many", rc=2)
        process = self.popen("monitor", "--service", "test")
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        bus.expect(process.wait(10) == 0, "an interrupt gives %s" % process.returncode)

    def events(self, *args, topology):
        return subprocess.run([self.program, "--topology", topology, "events", *args], env=self.env, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False)

    def nobody_reached(self):
        """An end by time with nobody there is no success, and names who is missing."""
        other = bus.Bench(self.bench.bin)
        try:
            none = "no service could be reached in this time: ops, metrics, agent-bridge, test; `xenmesh bus ls`"
            path = os.path.join(other.dir, "kept")
            short = ["--for", "200ms", "--topology", other.topology]
            for args in (["monitor"], ["monitor", "--count", 1], ["monitor", "--json"], ["hz"], ["bw"], ["delay"],
                         ["capture", "-o", path]):
                said = self.run(*args, *short, rc=4).stderr
                bus.expect(none in said, "%s said %r" % (args, said))
            said = self.run("hz", "--count", 1, "--interval", "200ms", "--topology", other.topology, rc=4).stderr
            bus.expect(none in said, said)
            said = self.run("monitor", "--service", "test", *short, rc=4).stderr
            bus.expect("in this time: test; " in said, said)
            said = self.run("monitor", "--since-start", "--timeout", "200ms", *short, rc=4).stderr
            bus.expect(none in said and said.count("not connected at ipc:") == 4, said)
            self.run("monitor", "--since-start", "--timeout", "200ms", "--topology", other.topology, rc=3)
            events = self.events("--for", "200ms", topology=other.topology)
            bus.expect(events.returncode == 4 and none in events.stderr and not events.stdout, "%s" % events)
        finally:
            other.close()
        # One that is there makes it a success, with a warning of the others.
        rest = "warning: not reached in this time: ops, metrics, agent-bridge; "
        bus.expect(rest in self.run("monitor", "no/such", "--for", "2s").stderr, "no warning of bus monitor")
        bus.expect(rest in self.run("monitor", "no/such", "--count", 1, "--for", "2s", rc=3).stderr, "nor with --count")
        bus.expect(rest in self.run("hz", "no/such", "--for", "2s", rc=3).stderr, "no warning of bus hz")
        events = self.events("--for", "2s", topology=self.bench.topology)
        bus.expect(events.returncode == 0 and rest in events.stderr, "events: %s" % events.stderr)
        alone = self.run("monitor", "no/such", "--service", "test", "--for", "2s").stderr
        bus.expect(alone == "", "said of one that was reached: %r" % alone)

    def monitor_closed_pipe(self):
        """Whoever reads has enough: the end, without a word."""
        process = self.popen("monitor", "--service", "test", stderr=subprocess.PIPE)
        process.stdout.readline()
        process.stdout.close()
        bus.expect(process.wait(10) == -signal.SIGPIPE, "ended with %s" % process.returncode)
        bus.expect(process.stderr.read() == "", "it complained")
        process.stderr.close()
        process.stdout = None

    def closed_output(self):
        """Nothing of ours may get into a connection that was given the number of a stream that is closed."""
        for stream, status in (("1", 1), ("2", 0), ("0", 0)):
            done = subprocess.run(["sh", "-c", 'exec "$@" %s>&-' % stream, "sh", *self.command("snapshot", "test")],
                                  env=self.env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
            bus.expect(done.returncode == status, "without %s it ended with %s" % (stream, done.returncode))
            bus.expect(stream != "1" or "cannot write the output" in done.stderr, "said: %r" % done.stderr)
            bus.expect(stream == "1" or " test " in done.stdout, "said: %r" % done.stdout)

    def monitor_snapshot(self):
        """The states at the beginning, each once, then what comes after them without a hole."""
        docs = self.documents("monitor", "--service", "test", "--snapshot", "--count", 60)
        at = next(i for i, d in enumerate(docs) if d["kind"] == "resynced")
        first = docs[:at]
        bus.expect(first and all(d["replayed"] for d in first), "no states at the beginning")
        bus.expect(len({d["topic"] for d in first}) == len(first), "a topic came twice")
        live = [d["seq"] for d in docs[at + 1:]]
        bus.expect(live == list(range(docs[at]["seq"] + 1, docs[at]["seq"] + 1 + len(live))), "a hole: %s" % live)

    def monitor_since_start(self):
        """Removals too, and nothing twice."""
        docs = self.documents("monitor", "--service", "test", "--since-start", "--count", 60)
        states = [d for d in docs if d["kind"] in ("state", "removed")]
        seqs = [d["seq"] for d in states]
        bus.expect(len(set(seqs)) == len(seqs) and seqs == sorted(seqs), "seqs %s" % seqs)
        bus.expect(states[0]["replayed"] and not states[-1]["replayed"], "from %s to %s" % (states[0], states[-1]))

    def monitor_gap(self):
        """One that was stopped for longer than its queue holds says so, and has everything in the end."""
        fast = bus.Bench(self.bench.bin)
        try:
            fast.start_pub(rate=20000, events=400000, topics=50)
            env = dict(self.env, XENMESH_TOPOLOGY=fast.topology)
            process = subprocess.Popen(self.command("monitor", "--service", "test", "--json", "--for", "60s"),
                                       env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            fast.processes.append(process)
            process.stdout.readline()
            process.send_signal(signal.SIGSTOP)
            from xenmesh import Client
            with Client("ipc://%s/test/rpc" % fast.dir, "test/1") as client:
                begin = client.call("Bus/Snapshot").seq
                bus.wait_for(lambda: client.call("Bus/Snapshot").seq > begin + 60000, 30, "60,000 events")
                process.send_signal(signal.SIGCONT)
                gap = resynced = None
                for line in process.stdout:
                    d = json.loads(line)
                    if d["kind"] == "gap":
                        gap = d
                    elif d["kind"] == "resynced" and gap:
                        resynced = d
                        break
                bus.expect(gap and gap["missed"] > 0, "no gap")
                bus.expect(resynced["seq"] >= gap["seq"], "%s after %s" % (resynced, gap))
        finally:
            fast.close()

    def on_terminal(self, *args, columns=80, env=None, **streams):
        """The command with a terminal of its own; the process and the terminal's other end."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(self.command(*args), env={**self.env, "TERM": "xterm", **(env or {})},
                                   **dict({"stdin": theirs, "stderr": subprocess.DEVNULL}, **streams),
                                   stdout=theirs, start_new_session=True)
        os.close(theirs)
        self.bench.processes.append(process)
        return process, ours

    @staticmethod
    def read_until(fd, text):
        """What comes until there is `text` in it and its line is whole."""
        data = b""

        def more():
            nonlocal data
            if select.select([fd], [], [], 0.2)[0]:
                data += os.read(fd, 65536)
            return text in data and data.endswith(b"\n")

        bus.wait_for(more, 30, "%r in %r" % (text, data[-200:]))
        return data.decode()

    def monitor_on_a_terminal(self):
        """Lines are as wide as it is; what is wrong is red unless nobody wants that."""
        for args, env, red in (((), {}, True), (("--no-colour",), {}, False), ((), {"NO_COLOR": "1"}, False)):
            other = bus.Bench(self.bench.bin)
            try:
                publisher = other.start_pub(rate=100, events=1 << 30, topics=9)
                process, fd = self.on_terminal("monitor", "--service", "test", *args, columns=50,
                                               env=dict(env, XENMESH_TOPOLOGY=other.topology))
                lines = self.read_until(fd, b"#9").splitlines()
                widths = {len(line) for line in lines if " RESYNCED " not in line}
                bus.expect(widths and max(widths) <= 50, "widths %s" % widths)
                bus.expect(all(re.match(r"(\033\S*)?\d\d:\d\d:\d\d\.\d{3} ", line) for line in lines),
                           "times of %s" % lines[:3])
                other.stop(publisher)
                down = next(line for line in self.read_until(fd, b" DOWN").splitlines() if " DOWN" in line)
                bus.expect(("\033[31m" in down and "\033[0m" in down) == red, "with %s %s: %r" % (args, env, down))
                bus.expect(red or "\033" not in down, "coloured: %r" % down)
                self.bench.stop(process)
                os.close(fd)
            finally:
                other.close()

    # ---- rates ----

    def rates(self):
        hz = self.documents("hz", "vm/", "task/", "--service", "test", "--count", 2)
        bus.expect([d["prefix"] for d in hz] == ["vm/", "task/"] * 2, "prefixes of %s" % hz)
        bus.expect(all(d["messages"] > 0 and d["per_second"] > 0 for d in hz), "rates %s" % hz)
        bw = self.documents("bw", "--service", "test", "--count", 1)[0]
        size = bw["size_bytes"]
        bus.expect(20 < size["min"] <= size["avg"] <= size["p99"] <= size["max"] < 200, "sizes %s" % size)
        bus.expect(bw["bytes_per_second"] > bw["per_second"] * size["min"] * 0.9, "bytes %s" % bw)
        delay = self.documents("delay", "--service", "test", "--for", "1s")[-1]["delay_ms"]
        bus.expect(0 <= delay["min"] <= delay["p50"] <= delay["p99"] < 5000, "delay %s" % delay)
        self.run("hz", "no/such", "--count", 1, rc=3)
        far = os.path.join(self.bench.dir, "far.conf")
        with open(far, "w", encoding="ascii") as f:
            f.write("[host far]\ntest.pub = ipc://%s/test/pub\ntest.rpc = ipc://%s/test/rpc\n" % (
                self.bench.dir, self.bench.dir))
        told = self.run("delay", "--service", "far/test", "--count", 1, "--topology", far).stderr
        bus.expect("far/test may be on another host" in told, told)
        self.run("hz", "no/such", "--timeout", "300ms", rc=3)

    # ---- wait ----

    def wait(self):
        self.run("wait", "test")
        self.run("wait", "vm/", "--for", "step>10")
        bus.expect(len(self.documents("wait", "vm/")) == 1, "more than the event that was waited for")
        self.run("wait", "no/such", "--timeout", "300ms", rc=3)
        self.run("wait", "ops", "--timeout", "300ms", rc=3)
        self.run("wait", "nobody", rc=2)
        self.run("wait", "test", "--for", "a==1", rc=2)

    def interrupted(self):
        """Ctrl-C is success only for what nothing else ends."""
        for args, status in ((["wait", "no/such"], 130), (["monitor", "no/such", "--count", 1], 130),
                             (["monitor", "no/such"], 0), (["ping", "test", "-c", 9, "-i", "100s"], 130),
                             (["top", "-n", 9], 130), (["top"], 0)):
            process = self.popen(*args, stderr=subprocess.PIPE)
            bus.wait_for(lambda pid=process.pid: has_blocked(pid, signal.SIGINT), 20, "%s waits for signals" % args)
            if args[0] == "ping":
                bus.expect("number 1" in process.stdout.readline(), "no answer")
            process.send_signal(signal.SIGINT)
            out = process.communicate(timeout=20)[0]
            bus.expect(process.returncode == status, "%s ended with %s" % (args, process.returncode))
            bus.expect(args[0] != "ping" or "1 of 1 answered" in out, "said: %r" % out)

    def wait_for_a_start(self):
        """Both kinds begin before the service does."""
        self.stop()
        waiting = [self.popen("wait", "test", "--timeout", "50s"), self.popen("wait", "vm/", "--timeout", "50s")]
        bus.expect(all(w.poll() is None for w in waiting), "it does not wait")
        self.start()
        for process in waiting:
            bus.expect(process.wait(30) == 0, "ended with %s" % process.returncode)

    def unknown_service(self):
        """A service that the topology does not have is wrong usage everywhere, and told with those there are."""
        for args in (["ping", "nobody"], ["ping", "test", "nobody"], ["stats", "nobody"], ["log-level", "nobody"],
                     ["log-level", "nobody", "info"], ["bench", "rtt", "nobody"], ["call", "nobody.Ping"],
                     ["call", "Ping", "--service", "nobody"], ["snapshot", "nobody"], ["snapshot", "test", "nobody"],
                     ["trace", "nobody"], ["trace", "test", "nobody"], ["wait", "nobody"],
                     ["wait", "vm/", "--service", "nobody"], ["monitor", "--service", "nobody"],
                     ["hz", "--service", "nobody"], ["bw", "--service", "nobody"], ["delay", "--service", "nobody"],
                     ["capture", "-o", os.path.join(self.bench.dir, "unknown"), "--service", "nobody"],
                     ["pub", "nobody", "task/7", "-j", "{}", "--socket-dir", self.stage]):
            done = self.run(*args, rc=2)
            for said in ('no service "nobody"', "it has: ops, metrics, agent-bridge, test\n"):
                bus.expect(said in done.stderr, "%s said %r" % (args, done.stderr))
            bus.expect(not done.stdout, "%s has begun: %r" % (args, done.stdout))

    # ---- snapshot, stats, top ----

    def snapshot(self):
        docs = self.documents("snapshot", "test", "vm/")
        events, whole = docs[:-1], docs[-1]
        bus.expect(whole["kind"] == "snapshot" and whole["topics"] == len(events), "whole %s" % whole)
        topics = [e["topic"] for e in events]
        bus.expect(topics == sorted(topics) and all(t.startswith("vm/") for t in topics), "topics %s" % topics)
        bus.expect(all(e["seq"] <= whole["seq"] for e in events), "a seq above the snapshot's")
        self.run("snapshot", "nobody", rc=2)
        self.run("snapshot", "ops", "--timeout", "300ms", rc=4)

    def stats(self):
        every = self.documents("stats", "test")[0]
        some = self.documents("stats", "test", "pub.")[0]
        bus.expect(some and set(some) == {name for name in every if name.startswith("pub.")}, "stats %s" % some)
        for form, out in (((), ""), (("--json",), "{}\n"), (("--openmetrics",), "# EOF\n")):
            for prefix in (("nosuchprefix",), ("--prefix", "nosuchprefix")):
                done = self.run("stats", "test", *prefix, *form, rc=1)
                bus.expect(done.stdout == out, "printed %r" % done.stdout)
                for said in ('no counter of test begins with "nosuchprefix"', "`xenmesh bus stats test` lists all"):
                    bus.expect(said in done.stderr, "said: %r" % done.stderr)

    def openmetrics(self):
        self.run("ping", "test")
        lines = self.lines("stats", "test", "--openmetrics")
        bus.expect(lines[-1] == "# EOF", "ends with %s" % lines[-1])
        families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
        bus.expect(len(set(families)) == len(families), "a family comes twice")
        bus.expect(any(line.startswith('xenmesh_pub_events{service="test"} ') for line in lines), "no pub.events")
        bus.expect(any(line.startswith("xenmesh_rpc_method_calls{") and "Ping" in line for line in lines),
                   "no calls of Ping: %s" % [line for line in lines if "method" in line])
        for line in lines[:-1]:
            name = line.split("{")[0] if line[0] != "#" else line.split()[2]
            bus.expect(name in families, "%s without a type" % name)

    def top(self):
        frames = self.documents("top", "-n", 2)
        bus.expect(len(frames) == 2, "%d frames" % len(frames))
        vm = next(t for t in frames[1]["topics"] if t["segment"] == "vm")
        bus.expect(vm["publishers"] == ["test"] and vm["subscribers"] >= 1, "topic %s" % vm)
        bus.expect(vm["messages_per_second"] > 0 and 20 < vm["size_p50"] <= vm["size_p99"], "topic %s" % vm)
        test = next(s for s in frames[1]["services"] if s["service"] == "test")
        bus.expect(test["up"] and test["calls_per_second"] > 0 and test["rss_kib"] > 0, "service %s" % test)
        ops = next(s for s in frames[1]["services"] if s["service"] == "ops")
        bus.expect(not ops["up"], "ops is up")
        stats = next(m for m in frames[1]["methods"] if m["method"].endswith("Stats"))
        bus.expect(stats["service"] == "test" and stats["calls_per_second"] > 0, "method %s" % stats)
        bus.expect("--frames wants" in self.run("top", "-n", 0, rc=2).stderr, "what is wrong with 0 frames")
        text = self.run("top", "-b", "-n", 1).stdout
        bus.expect("TOPICS" in text and "SERVICE" in text and "METHOD" in text, text)

    def top_on_a_terminal(self):
        process, fd = self.on_terminal("top", columns=120)
        data = b""
        while b"q quit" not in data or b"METHOD" not in data:
            bus.expect(select.select([fd], [], [], 20)[0], "nothing is drawn: %r" % data[-200:])
            data += os.read(fd, 65536)
        os.write(fd, b"q")
        bus.wait_for(lambda: select.select([fd], [], [], 0)[0] and self.drained(fd, process), 10, "q ends it")
        bus.expect(process.wait(10) == 0, "ended with %s" % process.returncode)
        os.close(fd)

    def top_on_an_unknown_terminal(self):
        process, fd = self.on_terminal("top", env={"TERM": "no-such-terminal"}, stderr=subprocess.PIPE)
        said = process.communicate(timeout=TIMEOUT_S)[1].decode()
        bus.expect(process.returncode == 1, "ended with %s" % process.returncode)
        bus.expect("no-such-terminal" in said and "--batch" in said, "said: %r" % said)
        os.close(fd)

    def top_without_keys(self):
        """Standard input that is no terminal leaves the frames."""
        process, fd = self.on_terminal("top", "-n", 1, columns=120, stdin=subprocess.DEVNULL)
        data = b""
        while b"METHOD" not in data:
            bus.expect(select.select([fd], [], [], 20)[0], "nothing is drawn: %r" % data[-200:])
            data += os.read(fd, 65536)
        bus.wait_for(lambda: select.select([fd], [], [], 0)[0] and self.drained(fd, process), 10, "the frame ends it")
        bus.expect(process.wait(10) == 0, "ended with %s" % process.returncode)
        os.close(fd)

    @staticmethod
    def drained(fd, process):
        """True once it has ended; reads on so that it can."""
        try:
            os.read(fd, 65536)
        except OSError:
            return True
        return process.poll() is not None

    # ---- trace ----

    def trace(self):
        """Calls are seen while it goes on, with their callers if that is asked for, and no longer."""
        def switched_on():
            return self.documents("call", "SetTrace", "seconds=0", "--service", "test")[0].get("previous_seconds")

        process = self.popen("trace", "test", "--callers", "--json", "--for", "50s", "--filter",
                             "method contains Ping && rpc_trace.caller.local")
        bus.wait_for(lambda: self.run("ping", "test") and self.sees_line(process), 20, "a call is shown")
        process.send_signal(signal.SIGINT)
        bus.expect(process.wait(10) == 0, "ended with %s" % process.returncode)
        bus.expect(not switched_on(), "the trace is left on")
        d = json.loads(self.line)
        call = d["event"]["rpc_trace"]
        bus.expect(d["topic"] == "trace/rpc/test" and call["method"].endswith("/Ping"), "event %s" % d)
        bus.expect(call["code"] == "CODE_OK" and call["caller"]["uid"] == os.getuid(), "call %s" % call)
        # Its own switching on is not one of the calls that are wanted.
        process = self.popen("trace", "test", "--json", "--for", "50s", "--count", 1)
        bus.wait_for(lambda: self.run("ping", "test") and self.sees_line(process), 20, "a call is shown")
        bus.expect(process.wait(10) == 0, "ended with %s" % process.returncode)
        d = json.loads(self.line)
        bus.expect(d["event"]["rpc_trace"]["method"].endswith("/Ping"), "the first call %s" % d)
        self.run("trace", rc=2)
        self.run("trace", "nobody", rc=2)
        self.run("trace", "test", "--for", "2h", rc=2)
        self.run("trace", "test", "--filter", "method==none", "--count", 1, "--for", "1s", rc=3)

    def trace_denied(self):
        """Who is no admin is told so, with a status of its own."""
        if os.getuid() != 0:
            raise bus.Skipped("only root may become somebody else")
        os.chmod(self.bench.dir, 0o755)
        done = subprocess.run(self.command("trace", "test", "--for", "5s"), env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=TIMEOUT_S, check=False, user=NOBODY,
                              group=NOBODY, extra_groups=[])
        bus.expect(done.returncode == 5, "ended with %d: %s" % (done.returncode, done.stderr))

    def sees_line(self, process):
        if select.select([process.stdout], [], [], 0.2)[0]:
            self.line = process.stdout.readline()
            return True
        return False

    # ---- capture and replay ----

    def capture(self, name, *args):
        path = os.path.join(self.bench.dir, name)
        self.run("capture", "-o", path, "--service", "test", *args)
        return path

    def capture_show(self):
        path = self.capture("capture", "--count", 100)
        events = self.states("capture", "--show", path)
        bus.expect(len(events) == 100, "%d events" % len(events))
        live = [e["seq"] for e in events if not e["replayed"]]
        bus.expect(live == list(range(live[0], live[0] + len(live))), "a hole")
        some = self.lines("capture", "--show", path, "--field", "topic", "--filter", "topic contains task/")
        bus.expect(some == [e["topic"] for e in events if e["topic"].startswith("task/")], "the filter differs")
        refused = self.run("capture", "-o", path, "--count", 1, rc=1)
        bus.expect("--force" in refused.stderr, refused.stderr)
        self.run("capture", rc=2)
        self.run("capture", "-o", path, "--force", "--service", "nobody", rc=2)
        bus.expect(len(self.states("capture", "--show", path)) == 100, "what could not begin has cost a capture")
        new = os.path.join(self.bench.dir, "never")
        self.run("capture", "-o", new, "--service", "nobody", rc=2)
        bus.expect(not os.path.exists(new), "a file of a capture that did not begin is left")

    def capture_damaged(self):
        path = self.capture("damaged", "--count", 50)
        with open(path, "rb") as f:
            data = bytearray(f.read())
        total = len(self.states("capture", "--show", path))
        with open(path, "wb") as f:
            f.write(data[:-3])
        cut = self.run("capture", "--show", path, "--json", rc=1)
        bus.expect("the file ends within it" in cut.stderr and "record at byte" in cut.stderr, cut.stderr)
        kept = sum(json.loads(line)["kind"] in ("state", "removed") for line in cut.stdout.splitlines())
        bus.expect(kept == total - 1, "%d of %d are kept" % (kept, total))
        data[16 + 40] ^= 1
        with open(path, "wb") as f:
            f.write(data)
        damaged = self.run("capture", "--show", path, "--json", rc=1)
        bus.expect("record at byte 16: its checksum is wrong" in damaged.stderr, damaged.stderr)
        kept = sum(json.loads(line)["kind"] in ("state", "removed") for line in damaged.stdout.splitlines())
        bus.expect(kept == total - 1, "%d of %d are kept" % (kept, total))

    def capture_interrupted(self):
        path = os.path.join(self.bench.dir, "interrupted")
        process = self.popen("capture", "-o", path, "--service", "test", stderr=subprocess.PIPE)
        bus.wait_for(lambda: os.path.exists(path) and os.path.getsize(path) > 1000, 10, "something is written")
        process.send_signal(signal.SIGTERM)
        bus.expect(process.wait(10) == 0, "ended with %s" % process.returncode)
        bus.expect("publications" in process.stderr.read(), "it does not say how much")
        process.stderr.close()
        bus.expect(self.states("capture", "--show", path), "nothing is in it")

    def replay(self, path, *args):
        return self.popen("replay", path, "--socket-dir", self.stage, *args, stderr=subprocess.PIPE)

    def replay_gives_the_same(self):
        """A subscriber of the replay ends with the state that the capture ends with."""
        path = self.capture("replayed", "--count", 400)
        wanted = {}
        for e in self.states("capture", "--show", path):
            if e["kind"] == "removed":
                wanted.pop(e["topic"], None)
            else:
                wanted[e["topic"]] = e["event"]["task"]["step"]
        player = self.replay(path, "--speed", "max", "--keep", "--wait-subscribers", 1)
        heard = self.popen("monitor", "--service", "test", "--snapshot", "--socket-dir", self.stage, "--json")
        bus.expect("waiting for 1 subscribers" in player.stderr.readline(), "it does not say that it waits")
        bus.expect("0 damaged; listening" in player.stderr.readline(), "no summary")
        docs = self.documents("snapshot", "test", "--socket-dir", self.stage)
        have = {d["topic"]: d["event"]["task"]["step"] for d in docs[:-1]}
        bus.expect(have == wanted, "the state differs: %s" % bus.difference(have, wanted))
        last = docs[-1]["seq"]
        seqs = []
        for line in heard.stdout:
            d = json.loads(line)
            bus.expect(d["kind"] != "gap" or d["missed"] > 0, "gap %s" % d)
            if d["kind"] in ("state", "removed"):
                seqs.append(d["seq"])
            if d["seq"] >= last:
                break
        bus.expect(seqs == sorted(seqs) and seqs[0] >= 1, "seqs %s" % seqs)
        player.send_signal(signal.SIGINT)
        bus.expect(player.wait(10) == 0, "ended with %s" % player.returncode)
        player.stderr.close()

    def replay_refuses(self):
        path = self.capture("refused", "--count", 5)
        running = self.run("replay", path, rc=1)
        bus.expect("it is running" in running.stderr, running.stderr)
        self.run("replay", os.path.join(self.bench.dir, "nothing"), "--socket-dir", self.stage, rc=1)
        self.run("replay", path, "--speed", "0", rc=2)
        empty = os.path.join(self.bench.dir, "empty")
        with open(empty, "wb"):
            pass
        self.run("replay", empty, "--socket-dir", self.stage, rc=1)

    def replay_damaged(self):
        """What is good of it is played, what is not is told, once."""
        path = self.capture("bad", "--count", 50)
        with open(path, "r+b") as f:
            f.seek(16 + 40)
            byte = f.read(1)[0]
            f.seek(16 + 40)
            f.write(bytes([byte ^ 1]))
        told = self.run("replay", path, "--speed", "max", "--socket-dir", self.stage, rc=1).stderr
        bus.expect(told.count("checksum") == 1 and " 1 damaged" in told, told)

    def replay_never_live(self):
        """The host's own addresses, here the defaults, want --i-know."""
        path = self.capture("live", "--count", 5)
        with open(path, "rb") as f:
            data = f.read()
        topology = os.path.join(self.bench.dir, "live.conf")
        with open(topology, "w", encoding="ascii") as f:
            f.write("[service test]\npub = ipc:///run/xenmesh/ops/pub\nrpc = ipc://%s/rpc\n" % self.stage)
        bus.expect(data, "no capture")
        refused = self.run("replay", path, "--topology", topology, rc=1)
        bus.expect("--i-know" in refused.stderr, refused.stderr)
        refused = self.run("pub", "ops", "vm/1/state", "-j", '{"task": {}}', "--topology", "/dev/null",
                           "--socket-dir", "/run/xenmesh", rc=1)
        bus.expect("--i-know" in refused.stderr, refused.stderr)

    def pub(self):
        shutil.rmtree(self.stage)  # it makes the directory of a test bus
        player = self.popen("pub", "test", "task/7", "-j", '{"task": {"id": "7", "step": "x"}}',
                            "--socket-dir", self.stage, "--for", "30s")
        event = self.documents("wait", "task/7", "--socket-dir", self.stage, "--for", "step==x")[0]
        bus.expect(event["service"] == "test" and event["event"]["task"]["id"] == "7", "event %s" % event)
        self.bench.stop(player)
        self.run("pub", "test", "task/7", "-j", '{"task": {"nothing": 1}}', "--socket-dir", self.stage, rc=2)
        self.run("pub", "test", "bus/heartbeat", "-j", '{"task": {}}', "--socket-dir", self.stage, rc=2)
        self.run("pub", "test", "task/7", "-j", "{}", "--socket-dir", self.stage, rc=2)


def main():
    args = bus.arguments(__doc__, lambda p: p.add_argument("--only", default=""))
    cli = Cli(args)
    names = ("monitor_lines", "monitor_json", "monitor_fields", "monitor_filter", "monitor_bytes", "monitor_ends",
             "count_of_nothing", "nobody_reached",
             "monitor_closed_pipe", "closed_output", "monitor_snapshot", "monitor_since_start", "monitor_gap",
             "monitor_on_a_terminal", "rates", "wait", "interrupted", "wait_for_a_start", "unknown_service",
             "snapshot", "stats", "openmetrics", "top", "top_on_a_terminal",
             "top_on_an_unknown_terminal", "top_without_keys",
             "trace", "trace_denied", "capture_show", "capture_damaged",
             "capture_interrupted", "replay_gives_the_same", "replay_refuses", "replay_damaged",
             "replay_never_live", "pub")
    try:
        cli.start()
        return bus.run([(name, getattr(cli, name)) for name in names if args.only in name])
    finally:
        cli.bench.close()


if __name__ == "__main__":
    sys.exit(main())
