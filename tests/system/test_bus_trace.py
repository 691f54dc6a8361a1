#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One call followed by its trace: task record, restart of ops, audit lines, trace topic."""
import json
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Skipped, System, arguments, expect, expect_equal, run, wait_for  # noqa: E402

OBSERVER = 61001  # a user that need not exist
SOON_S = 10
FIELD = re.compile(r' ([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))')


def traceparent(number):
    return "00-%032x-%016x-01" % (number, 0xabc)


class Tests:
    def __init__(self, system):
        self.system = system
        self.number = 0

    # ---- helpers ----

    def client(self):
        from xenmesh import Client
        return Client("ipc://%s/bus/ops/rpc" % self.system.dir, "test_bus_trace/1")

    def new_trace(self):
        """A traceparent, its trace id and a request id of their own."""
        self.number += 1
        text = traceparent(0xf00d0000 + self.number)
        return text, text.split("-")[1], os.urandom(16)

    def audit(self, **fields):
        """The lines of the audit that have these fields."""
        found = []
        with open(self.system.services["ops"].log_path, encoding="utf-8") as log:
            for line in log:
                match = re.match(r"xenmesh-ops: notice (.*)$", line)
                if not match:
                    continue
                have = {name: value if not quoted else re.sub(r'\\(["\\])', r"\1", quoted)
                        for name, quoted, value in FIELD.findall(match.group(1))}
                if all(have.get(name) == str(value) for name, value in fields.items()):
                    found.append(have)
        return found

    def one_line(self, **fields):
        lines = wait_for(lambda: self.audit(**fields), SOON_S, "a line with %s" % fields)
        expect_equal(len(lines), 1, "number of lines with %s" % fields)
        return lines[0]

    def define(self, name):
        path = self.system.write(name + ".json", json.dumps({
            "name": name, "type": "VM_TYPE_PVH", "vcpus": 1, "memory_kib": 65536,
            "kernel": "/boot/vmlinuz"}))
        self.system.ok("vm", "define", path)
        return self.system.vm(name)["uuid"]

    def end_task(self, client, task):
        from xenmesh.v1 import ops_pb2
        return client.call("Ops/WaitTask", ops_pb2.WaitTaskRequest(id=task.id))

    # ---- tests ----

    def call_task_restart_repeat(self):
        from xenmesh.v1 import ops_pb2
        s = self.system
        parent, trace_id, request_id = self.new_trace()
        uuid = self.define("traced")
        request = ops_pb2.StartVmRequest(vm="traced")
        with self.client() as client:
            task = client.call("Ops/StartVm", request, request_id=request_id, traceparent=parent)
            expect_equal(task.traceparent, parent, "trace of the task")
            self.end_task(client, task)
        ids = {"trace_id": trace_id, "request_id": request_id.hex(), "task": task.id}
        line = self.one_line(outcome="accepted", **ids)
        expect_equal((line["method"], line["object"], line["object_id"], line["result"]),
                     ("xenmesh.v1.Ops/StartVm", "traced", uuid, "OK"), "what the call did")
        expect_equal((line["uid"], line["pid"], line["client"]),
                     (str(os.geteuid()), str(os.getpid()), "test_bus_trace/1"), "who called")
        expect(int(line["duration_us"]) >= 0, "the duration is %s" % line["duration_us"])
        ended = self.one_line(outcome="done", **ids)
        expect_equal((ended["method"], ended["object_id"]), ("StartVm", uuid), "what the task did")
        expect("trace     %s\n" % trace_id in s.ok("task", "show", task.id), "task show has no trace")

        ops = s.services["ops"]
        ops.end(signal.SIGKILL)
        ops.start()
        s.wait_ready()
        expect_equal(s.json("task", "show", task.id)[0]["traceparent"], parent,
                     "trace of the task after a restart")
        with self.client() as client:
            again = client.call("Ops/StartVm", request, request_id=request_id, traceparent=parent)
        expect_equal(again.id, task.id, "task of the repeated call")
        line = self.one_line(outcome="repeated", trace_id=trace_id)
        expect_equal((line["object"], line["result"], line["request_id"]),
                     ("traced", "OK", request_id.hex()), "the repeat")
        expect_equal(len(self.audit(trace_id=trace_id)), 3, "lines of all this")

    def failed(self):
        from xenmesh import CallError
        from xenmesh.v1 import ops_pb2
        parent, trace_id, _ = self.new_trace()
        with self.client() as client:
            try:
                client.call("Ops/StartVm", ops_pb2.StartVmRequest(vm="no\nbody"), traceparent=parent)
                expect(False, "a VM that is not there was started")
            except CallError as e:
                expect_equal(e.name, "NOT_FOUND", "code")
        line = self.one_line(trace_id=trace_id)
        expect_equal((line["outcome"], line["result"], line["object"]),
                     ("failed", "NOT_FOUND", "no\\x0abody"), "the failed call")
        expect("there is no" in line["reason"], "reason %r" % line["reason"])

    def definitions(self):
        """The name is in the file, not in a field of the request."""
        s = self.system
        s.ok("vm", "define", s.write("filed.cfg", 'name = "filed"\ntype = "pvh"\nmemory = 64\n'
                                                  'kernel = "/boot/vmlinuz"\n'))
        line = self.one_line(object="filed")
        expect_equal((line["method"], line["object_id"], line["outcome"]),
                     ("xenmesh.v1.Ops/DefineVm", s.vm("filed")["uuid"], "accepted"), "the definition")
        s.fails(1, "", "vm", "define", s.write("bad.cfg", 'name = "bad"\ntype = "pvh"\nmemory = 64\n'))
        expect_equal(self.one_line(object="bad")["result"], "INVALID_ARGUMENT", "a bad definition")

    def denied(self):
        if os.geteuid() != 0:
            raise Skipped("only root can be several users")
        s = self.system
        self.define("kept")
        parent, trace_id, _ = self.new_trace()
        s.env["TRACEPARENT"] = parent
        try:
            s.fails(5, "", "vm", "start", "kept", user=OBSERVER, group=OBSERVER, extra_groups=[])
        finally:
            del s.env["TRACEPARENT"]
        line = self.one_line(trace_id=trace_id)
        expect_equal((line["outcome"], line["result"], line["object"], line["uid"], line["gid"]),
                     ("denied", "PERMISSION_DENIED", "kept", str(OBSERVER), str(OBSERVER)),
                     "the denied call")

    def environment_of_the_command(self):
        """What a command does belongs to the trace that it was given."""
        s = self.system
        self.define("inherited")
        parent, trace_id, _ = self.new_trace()
        s.env["TRACEPARENT"] = parent
        try:
            s.ok("vm", "start", "inherited")
        finally:
            del s.env["TRACEPARENT"]
        task = s.json("task", "list", "inherited")[0]
        expect_equal(task["traceparent"].split("-")[1], trace_id, "trace of the task")
        expect(task["traceparent"] != parent, "the call is no child of its command")
        s.ok("vm", "destroy", "inherited")
        other = s.json("task", "list", "inherited")[0]["traceparent"]
        expect(other.split("-")[1] != trace_id, "another command has the same trace")

    def reads_leave_no_line(self):
        from xenmesh.v1 import ops_pb2
        parent, trace_id, _ = self.new_trace()
        with self.client() as client:
            client.call("Ops/ListVms", ops_pb2.ListVmsRequest(), traceparent=parent)
        self.define("marker")  # its line comes after that of the read, if there were one
        wait_for(lambda: self.audit(object="marker"), SOON_S, "the next line")
        expect_equal(self.audit(trace_id=trace_id), [], "lines of a call that only reads")

    def trace_topic(self):
        from xenmesh import Subscriber
        from xenmesh.v1 import bus_pb2, ops_pb2
        s = self.system
        parent, trace_id, request_id = self.new_trace()
        url = "ipc://%s/bus/ops/" % s.dir

        def next_trace(method):
            deadline = time.monotonic() + SOON_S
            while True:
                change = subscriber.next(deadline - time.monotonic())
                if change.event and change.event.rpc_trace.method == method:
                    expect_equal(change.event.topic, "trace/rpc/ops", "topic")
                    return change.event.rpc_trace

        with self.client() as client, Subscriber(url + "pub", url + "rpc", ["trace/"]) as subscriber:
            while not (subscriber.is_synced and subscriber.has_heard):
                list(subscriber.changes(0.1))
            reply = client.call("Bus/SetTrace", bus_pb2.SetTraceRequest(seconds=600))
            expect_equal((reply.topic, reply.previous_seconds), ("trace/rpc/ops", 0), "SetTrace")
            client.call("Ops/ListVms", ops_pb2.ListVmsRequest(), request_id=request_id,
                        traceparent=parent)
            told = next_trace("xenmesh.v1.Ops/ListVms")
            expect_equal((told.traceparent, told.request_id, told.code), (parent, request_id, 0),
                         "the call that was traced")
            expect(told.request_bytes > 0 and told.reply_bytes > 0, "no sizes: %s" % told)
            expect(not told.HasField("caller"), "the caller is told to all observers")
            client.call("Bus/SetTrace", bus_pb2.SetTraceRequest(seconds=600, with_callers=True))
            client.call("Ops/ListVms", ops_pb2.ListVmsRequest())
            caller = next_trace("xenmesh.v1.Ops/ListVms").caller
            expect_equal((caller.uid, caller.pid, caller.client),
                         (os.geteuid(), os.getpid(), "test_bus_trace/1"), "the caller")
            reply = client.call("Bus/SetTrace", bus_pb2.SetTraceRequest(seconds=0))
            expect(0 < reply.previous_seconds <= 600, "%d s were left" % reply.previous_seconds)
            snapshot = client.call("Bus/Snapshot", bus_pb2.SnapshotRequest(prefixes=["trace/"]))
            expect_equal(len(snapshot.events), 0, "traces in a snapshot")
        expect_equal(self.one_line(method="xenmesh.v1.Bus/SetTrace", object=0)["outcome"],
                     "accepted", "SetTrace in the audit")

    def latency(self):
        from xenmesh.v1 import bus_pb2
        with self.client() as client:
            reply = client.call("Bus/Stats", bus_pb2.StatsRequest())
        stats = {stat.name: stat.value for stat in reply.stats}
        for method in ("StartVm", "DefineVm"):
            expect(stats["rpc.%s.calls" % method] > 0, "%s was not counted" % method)
            expect(0 < stats["rpc.%s.p50_us" % method] <= stats["rpc.%s.p99_us" % method],
                   "quantiles of %s" % method)
        expect(stats["pub.vm.events"] > 0 and stats["pub.task.bytes"] > 0, "segments")


def main():
    args = arguments(__doc__)
    with System(args.bin, services=("simhost", "ops"), roles={"observer": "*", "admin": "root"}) as s:
        t = Tests(s)
        return run([
            ("bus_trace.call_task_restart_repeat", t.call_task_restart_repeat),
            ("bus_trace.failed", t.failed),
            ("bus_trace.definitions", t.definitions),
            ("bus_trace.denied", t.denied),
            ("bus_trace.environment_of_the_command", t.environment_of_the_command),
            ("bus_trace.reads_leave_no_line", t.reads_leave_no_line),
            ("bus_trace.trace_topic", t.trace_topic),
            ("bus_trace.latency", t.latency),
        ], args.only, s)


if __name__ == "__main__":
    sys.exit(main())
