# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls: section 4 of docs/protocol.md."""
import os
import random
import struct
import time

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from .sp import REP, REQ, SpError, SpSocket
# All services of the package, so that their methods are in the descriptor pool.
from .v1 import bus_pb2, common_pb2, guest_pb2, metrics_pb2, ops_pb2  # noqa: F401

REPLY_MAX = 4 << 20
RETRY_MIN, RETRY_MAX = 0.1, 1.0


class CallError(Exception):
    """A call that was not OK. `code` is a common_pb2.Code, `name` "NOT_FOUND"."""

    def __init__(self, code, message, request_id, details=()):
        names = common_pb2.Code.DESCRIPTOR.values_by_number
        self.code = code
        self.name = names[code].name[len("CODE_"):] if code in names else "CODE_%d" % code
        self.message = message
        self.request_id = request_id
        self.details = {label.name: label.value for label in details}
        super().__init__("%s: %s" % (self.name, message))


def message_class(descriptor):
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(descriptor_pool.Default()).GetPrototype(descriptor)


def find_method(name):
    """Descriptor of "xenmesh.v1.Ops/StartVm"; the package may be left out."""
    service, _, method = name.partition("/")
    if "." not in service:
        service = "xenmesh.v1." + service
    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]


class Client:
    """Calls to the service whose rpc socket is at `url`, one after the other."""

    def __init__(self, url, name="xenmesh-python/0.1"):
        self.url = url
        self.name = name
        self.socket = None
        self.number = random.getrandbits(31)

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, method, request=None, timeout=30.0, request_id=None, retry=True):
        """The output message of the method, or CallError.

        While `timeout` seconds last, a call whose connection was lost is repeated
        with the same request id (unless retry is False).  Repeating a call that failed
        with UNAVAILABLE or DEADLINE_EXCEEDED needs the request_id of that CallError.
        """
        descriptor = find_method(method)
        if request is None:
            request = message_class(descriptor.input_type)()
        if request.DESCRIPTOR is not descriptor.input_type:
            raise TypeError("%s takes a %s" % (method, descriptor.input_type.full_name))
        call = bus_pb2.Call(
            request_id=request_id or os.urandom(16),
            method="%s/%s" % (descriptor.containing_service.full_name, descriptor.name),
            client=self.name, payload=request.SerializeToString())
        reply = self._exchange(call, time.monotonic() + timeout, retry)
        if reply.code != common_pb2.CODE_OK:
            raise CallError(reply.code, reply.message, call.request_id, reply.details)
        return message_class(descriptor.output_type).FromString(reply.payload)

    def _exchange(self, call, deadline, retry):
        delay = RETRY_MIN
        while True:
            try:
                return self._try(call, deadline)
            except TimeoutError as e:
                # The answer may still come: it must not be taken for that of another call,
                # which its number prevents. A half-sent message needs a new connection.
                self.close()
                raise CallError(common_pb2.CODE_DEADLINE_EXCEEDED, str(e),
                                call.request_id) from e
            except SpError as e:
                self.close()
                if not retry or time.monotonic() + delay >= deadline:
                    raise CallError(common_pb2.CODE_UNAVAILABLE, str(e), call.request_id) from e
            time.sleep(delay)
            delay = min(delay * 2, RETRY_MAX)

    def _try(self, call, deadline):
        if not self.socket:
            self.socket = SpSocket(self.url, REQ, REP, REPLY_MAX, deadline)
        self.number = (self.number + 1) & 0x7fffffff
        header = struct.pack(">I", 0x80000000 | self.number)
        call.timeout_ms = max(int((deadline - time.monotonic()) * 1000), 1)
        self.socket.send(header + call.SerializeToString(), deadline)
        while True:
            body = self.socket.receive(deadline)
            if body[:4] != header:
                continue
            try:
                reply = bus_pb2.Reply.FromString(body[4:])
            except DecodeError as e:
                raise SpError("%s: its answer is no Reply" % self.url) from e
            if reply.request_id not in (call.request_id, b""):
                raise SpError("%s: answer to another request" % self.url)
            return reply
