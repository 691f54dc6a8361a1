#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What services say reaches the terminal as text only, whoever they are: services in Python answer `xenmesh` with
control characters wherever a text may stand. And what `top` makes of unusual samples."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bus_harness as bus  # noqa: E402

TIMEOUT_S = 20
UUID = "68df19b9-5b13-486b-ac8f-427b03dfd3b7"
EVIL = "x\x1b[31m\u009b31m\u202e\x7f\ry\nFORGED"
NEVER = {*map(chr, range(0x20)), *map(chr, range(0x7f, 0xa0)), "\u202e"} - {"\n"}
# Field that says how the other ones are to be read, or where a reader goes on.
PLAIN = {"uuid": UUID, "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "instance": bytes(16)}


def spoil(message, depth=0):
    """Hostile text in each field that can hold it, one element in each list."""
    from xenmesh.calls import message_class
    for field in message.DESCRIPTOR.fields:
        is_other = depth > 0 and field.containing_oneof and field.index > 0
        if is_other or field.name in ("more", "full", "next"):
            continue
        if field.type == field.TYPE_STRING:
            value = PLAIN.get(field.name, EVIL)
        elif field.type == field.TYPE_BYTES:
            value = PLAIN.get(field.name, EVIL.encode() + b"\x9b\xff")
        elif field.type == field.TYPE_MESSAGE:
            value = spoil(message_class(field.message_type)(), depth + 1)
        else:
            value = 1
        if field.label == field.LABEL_REPEATED:
            getattr(message, field.name).append(value)
        elif field.type == field.TYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message


class Stranger:
    """Services that are no friends, and the command line."""

    def __init__(self, args):
        from fake_service import FakeService
        from xenmesh.calls import find_method, message_class
        self.bench = bus.Bench(args.bin)
        self.program = os.path.join(args.bin, "xenmesh")
        self.env = {**os.environ, "XENMESH_TOPOLOGY": self.bench.topology, "LANG": "C.UTF-8"}
        self.services = {}
        for name in ("ops", "metrics", "agent-bridge"):
            os.mkdir(os.path.join(self.bench.dir, name))
            self.services[name] = FakeService(os.path.join(self.bench.dir, name))
            self.services[name].start_heartbeats()
        self.output = lambda method: message_class(find_method(method).output_type)

    def close(self):
        for service in self.services.values():
            service.close()
        self.bench.close()

    def answer(self, service, method, **fields):
        reply = spoil(self.output(method)())
        for name, value in fields.items():
            setattr(reply, name, value)
        self.services[service].handlers[method] = lambda _: reply

    def run(self, *args, rc=0):
        done = subprocess.run([self.program, *args], env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=TIMEOUT_S, check=False)
        bus.expect(done.returncode == rc, "`%s` ended with %d: %s" % (
            " ".join(args), done.returncode, done.stderr[-300:]))
        return (done.stdout + done.stderr).decode()

    def is_text(self, *args, rc=0):
        output = self.run(*args, rc=rc)
        for line in output.split("\n"):
            bus.expect(not set(line) & NEVER and not line.startswith("FORGED"),
                       "`%s` printed %r" % (" ".join(args), line))
        bus.expect("x\\x1b[31m" in output, "`%s` did not show the text: %s" % (" ".join(args), output[-300:]))

    def vms(self):
        for method in ("ListVms", "GetVm", "DefineVm"):
            self.answer("ops", "Ops/" + method)
        path = os.path.join(self.bench.dir, "a.vm")
        with open(path, "w", encoding="ascii") as f:
            f.write("\n")
        for args in (("list",), ("show", UUID), ("define", path)):
            self.is_text("vm", *args)

    def tasks(self):
        for method in ("ListTasks", "GetTask", "CancelTask"):
            self.answer("ops", "Ops/" + method)
        for state, rc in ((3, 0), (4, 1)):
            self.answer("ops", "Ops/GetTask", state=state, domid=-1)
            self.is_text("task", "wait", UUID, rc=rc)
        for command, args in (("list", ()), ("show", (UUID,)), ("cancel", (UUID,))):
            self.is_text("task", command, *args)

    def host(self):
        self.answer("ops", "Ops/GetHost")
        self.is_text("host", "show")

    def guests(self):
        self.answer("agent-bridge", "Guest/ListGuests")
        self.answer("agent-bridge", "Guest/GetGuest")
        self.is_text("guest", "list")
        self.is_text("guest", "show", UUID)

    def metrics(self):
        self.answer("metrics", "Metrics/ListDataSources")
        self.answer("metrics", "Metrics/Query")
        self.is_text("metrics", "list")
        self.is_text("metrics", "query", "host")

    def the_bus(self):
        for service in self.services:
            for method in ("Describe", "Stats", "SetLogLevel"):
                self.answer(service, "Bus/" + method)
        self.is_text("bus", "describe", "ops")
        self.is_text("bus", "stats", "ops")
        self.is_text("bus", "log-level", "ops", "debug")
        self.is_text("bus", "ls", rc=4)  # the service of the harness is away

    def refusals(self):
        """Said by stderr, or by what looks for faults."""
        from fake_service import Refusal
        from xenmesh.v1 import common_pb2

        def refuse(_):
            raise Refusal(common_pb2.CODE_INTERNAL, EVIL)
        ops = self.services["ops"]
        before = dict(ops.handlers)
        for method in ("Ops/ListVms", "Ops/StartVm", "Bus/Ping", "Bus/Describe", "Bus/Stats"):
            ops.handlers[method] = refuse
        self.is_text("vm", "list", rc=1)
        self.is_text("vm", "start", UUID, rc=1)
        self.is_text("bus", "ping", "ops", rc=1)
        self.is_text("bus", "call", "Ops/ListVms", rc=1)
        self.is_text("bus", "ls", rc=4)
        self.is_text("bus", "doctor", rc=1)
        ops.handlers = before

    def events(self):
        from xenmesh.v1 import bus_pb2
        service = self.services["ops"]
        for body in ("vm_state", "task", "guest_info", "host_state", "removed"):
            event = bus_pb2.Event()
            service.publish("vm/%s/state" % body, **{body: spoil(getattr(event, body))})
        self.is_text("events", "--service", "ops", "--count", "4")
        self.is_text("bus", "snapshot", "ops")
        service.new_instance()

    # ---- top ----

    def top(self, samples, *args):
        """Frames of samples [(seconds of the host's clock, name of its domain)]."""
        from xenmesh.v1 import ops_pb2
        service = self.services["ops"]
        service.new_instance()
        service.traffic.clear()
        process = subprocess.Popen([self.program, "top", "--batch", *args], env=self.env, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE)
        self.bench.processes.append(process)
        bus.wait_for(lambda: ("answer", "xenmesh.v1.Bus/Snapshot") in [item[:2] for item in service.traffic], TIMEOUT_S,
                     "top follows")
        for seconds, name in samples:
            service.publish("host/sample", host_sample=ops_pb2.HostSample(
                monotonic_ns=seconds * 10 ** 9, pcpus=[{"idle_ns": seconds * 10 ** 9 // 4}],
                domains=[{"domid": 1, "name": name, "uuid": UUID}]))
        output = process.communicate(timeout=TIMEOUT_S)[0]
        bus.expect(process.returncode == 0, "top ended with %d" % process.returncode)
        return output.decode()

    def top_cuts_names_between_characters(self):
        lines = self.top([(1000, "\u00e4" * 6), (1001, "a" + "\u00e4" * 12)], "--frames", "1").splitlines()
        bus.expect(lines[-1].startswith("a" + "\u00e4" * 9 + " "), "the line of the domain is %r" % lines[-1])
        bus.expect(len(lines[-1]) == len(lines[-2]), "the lines are not as long as their title")

    def top_outlives_the_boot_of_its_host(self):
        lines = self.top([(1000, "a"), (1001, "a"), (5, "b"), (6, "b")], "--frames", "2").splitlines()
        bus.expect([line.split()[0] for line in lines[2::3]] == ["a", "b"], "the frames are %s" % lines)
        bus.expect(all(" 75.0% busy " in line for line in lines[::3]), "the frames are %s" % lines)


def main():
    args = bus.arguments(__doc__)
    sys.path.insert(0, os.path.join(ROOT, "clients/python/tests"))
    stranger = Stranger(args)
    try:
        return bus.run([(test.__name__, test) for test in (
            stranger.vms, stranger.tasks, stranger.host, stranger.guests, stranger.metrics, stranger.the_bus,
            stranger.refusals, stranger.events, stranger.top_cuts_names_between_characters,
            stranger.top_outlives_the_boot_of_its_host)])
    finally:
        stranger.close()


if __name__ == "__main__":
    sys.exit(main())
