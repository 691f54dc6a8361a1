# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls to one service without any I/O: section 4 of docs/protocol.md.

A call is in `queued` (to be sent, in order), in `sent` (by its number, on the present
connection) or done.  When the connection is lost `sent` goes back in front of `queued`, so a
call is repeated with its request id.  A call that nobody waits for any more stays in `sent`:
the service counts it until it has answered.  When many of these hold up others the connection
is made anew.
"""
import collections
import os
import random
import struct
import typing

from google.protobuf import descriptor_pool, message_factory, symbol_database
from google.protobuf.message import DecodeError

from .errors import CallError
from .trace import check_traceparent, new_traceparent
from .wire import REP, REQ, Machine
# All services of the package, so that their methods are in the descriptor pool.
from .v1 import bus_pb2, common_pb2, guest_pb2, metrics_pb2, ops_pb2  # noqa: F401

NAME = "xenmesh-python/0.2"
CALL_MAX = 1 << 20
REPLY_MAX = 4 << 20
IN_FLIGHT_MAX = 64
GIVEN_UP_MAX = IN_FLIGHT_MAX // 2
TIMEOUT = 30.0
TIMEOUT_MAX = 3600.0
ABANDONED_SECONDS = 5.0  # past its deadline the service has answered a call, or lost it

NUMBER = struct.Struct(">I")


class CallOptions(typing.NamedTuple):
    """How a call is made.

    timeout: seconds the caller waits, at most 3600.
    request_id: 16 bytes; that of a CallError asks for the outcome of the same request again.
    retry: repeat the call, with its request id, when the connection is lost.
    traceparent: W3C trace context the call belongs to; None begins a new trace.
    """
    timeout: float = TIMEOUT
    request_id: typing.Optional[bytes] = None
    retry: bool = True
    traceparent: typing.Optional[str] = None


def message_class(descriptor):
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return symbol_database.Default().GetPrototype(descriptor)


def find_method(name):
    """Descriptor of "xenmesh.v1.Ops/StartVm"; the package may be left out."""
    service, _, method = name.partition("/")
    if "." not in service:
        service = "xenmesh.v1." + service
    try:
        return descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
    except KeyError:
        raise ValueError("no method %s is known" % name) from None


class Pending:
    """A call under way, and then its outcome. on_done(self) is called once."""

    def __init__(self, call, output, deadline, retry, on_done):
        self.call = call
        self.output = output
        self.deadline = deadline
        self.retry = retry
        self.on_done = on_done  # None: nobody waits
        self.is_done = False
        self._value = None

    def finish(self, value):
        """value: the output message or a CallError."""
        on_done, self.on_done = self.on_done, None
        self.is_done = True
        self._value = value
        if on_done:
            on_done(self)

    def fail(self, code, message, details=()):
        self.finish(CallError(code, message, self.call.request_id, details,
                              self.call.traceparent))

    def result(self):
        """The output message, or the CallError raised."""
        if isinstance(self._value, CallError):
            raise self._value
        return self._value


class Calls(Machine):
    """The rpc socket of one service, as its client."""

    def __init__(self, url, name=NAME):
        super().__init__(url, REQ, REP, REPLY_MAX)
        self.name = name
        self.queued = collections.deque()
        self.sent = {}
        self._number = random.getrandbits(31)

    def start(self, method, request, options, now, on_done):
        """-> Pending. ValueError, TypeError: it cannot be sent whatever the service does."""
        descriptor = find_method(method)
        if request is None:
            request = message_class(descriptor.input_type)()
        if request.DESCRIPTOR is not descriptor.input_type:
            raise TypeError("%s takes a %s" % (method, descriptor.input_type.full_name))
        trace = options.traceparent
        call = bus_pb2.Call(
            request_id=options.request_id or os.urandom(16),
            method="%s/%s" % (descriptor.containing_service.full_name, descriptor.name),
            client=self.name, payload=request.SerializeToString(),
            traceparent=check_traceparent(trace) if trace else new_traceparent(),
            timeout_ms=int(TIMEOUT_MAX * 1000))
        if call.ByteSize() > CALL_MAX:
            raise ValueError("%s: %d bytes are more than a call may have" % (
                method, call.ByteSize()))
        deadline = now + min(options.timeout, TIMEOUT_MAX)
        pending = Pending(call, message_class(descriptor.output_type), deadline, options.retry,
                          on_done)
        self.queued.append(pending)
        self._flush(now)
        return pending

    def cancel(self, pending):
        """Its on_done is not called any more."""
        pending.on_done = None
        if pending in self.queued:
            self.queued.remove(pending)

    def close(self):
        """All calls end as UNAVAILABLE."""
        self.link = None
        self._is_up = False
        ended = list(self.sent.values()) + list(self.queued)
        self.sent.clear()
        self.queued.clear()
        for pending in ended:
            pending.fail(common_pb2.CODE_UNAVAILABLE, "%s: the client was closed" % self.url)

    # ---- the connection ----

    def _wants_link(self):
        return bool(self.queued)

    def _up(self, now):
        self._flush(now)

    def _down(self, now):
        cut = [pending for pending in self.sent.values() if pending.on_done]
        self.sent.clear()
        self.queued.extendleft(reversed(cut))
        for pending in [p for p in self.queued if not p.retry]:
            self.queued.remove(pending)
            pending.fail(common_pb2.CODE_UNAVAILABLE, "%s: %s" % (self.url, self.trouble))

    def _flush(self, now):
        while self._is_up and self.queued and len(self.sent) < IN_FLIGHT_MAX:
            pending = self.queued.popleft()
            self._number = (self._number + 1) & 0x7fffffff
            number = NUMBER.pack(0x80000000 | self._number)
            pending.call.timeout_ms = max(round((pending.deadline - now) * 1000), 1)
            self.sent[number] = pending
            self.link.send(number + pending.call.SerializeToString())
        if self._is_up and self.queued and GIVEN_UP_MAX <= sum(
                pending.on_done is None for pending in self.sent.values()):
            self.lost("too many calls were given up", now)

    def _message(self, body, now):
        pending = self.sent.pop(body[:NUMBER.size], None)
        if pending is None:
            return
        if pending.on_done:
            self._answer(pending, body[NUMBER.size:])
        self._flush(now)

    def _answer(self, pending, data):
        try:
            reply = bus_pb2.Reply.FromString(data)
        except DecodeError:
            pending.fail(common_pb2.CODE_INTERNAL, "%s: its answer is no Reply" % self.url)
            return
        # A service that could not read the call has no id to return.
        if reply.request_id != pending.call.request_id and (
                reply.request_id or reply.code == common_pb2.CODE_OK):
            pending.fail(common_pb2.CODE_INTERNAL, "%s: it answers another request" % self.url)
        elif reply.code != common_pb2.CODE_OK:
            pending.fail(reply.code, reply.message, reply.details)
        else:
            try:
                value = pending.output.FromString(reply.payload)
            except DecodeError:
                pending.fail(common_pb2.CODE_INTERNAL, "%s: its answer is no %s" % (
                    self.url, pending.output.DESCRIPTOR.full_name))
                return
            pending.finish(value)

    # ---- time ----

    @staticmethod
    def _ends_at(pending):
        return pending.deadline + (0 if pending.on_done else ABANDONED_SECONDS)

    def _times(self):
        return [p.deadline for p in self.queued] + [self._ends_at(p) for p in self.sent.values()]

    def _wake(self, now):
        for pending in [p for p in self.queued if p.deadline <= now]:
            self.queued.remove(pending)
            if self._is_up:
                self._time_out(pending)
            else:
                pending.fail(common_pb2.CODE_UNAVAILABLE, "%s: %s" % (self.url, self.trouble))
        for number, pending in [i for i in self.sent.items() if self._ends_at(i[1]) <= now]:
            if pending.on_done:
                self._time_out(pending)
            else:
                del self.sent[number]
        self._flush(now)

    def _time_out(self, pending):
        pending.fail(common_pb2.CODE_DEADLINE_EXCEEDED,
                     "%s: no answer to %s in time; it may still finish" % (
                         self.url, pending.call.method))
