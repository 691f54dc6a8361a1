# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes wrong: with a connection, or with one call."""
import typing

from .v1 import common_pb2


class SpError(ConnectionError):
    """The connection is lost, or the other side does not speak SP as it should."""


class CallError(Exception):
    """A call that was not OK. `code` is a common_pb2.Code, `name` "NOT_FOUND".

    `request_id` repeats the same request (see Client.call); `traceparent` finds it in the
    journal of the service.
    """

    def __init__(self, code: int, message: str, request_id: bytes,
                 details: typing.Iterable[common_pb2.Label] = (), traceparent: str = "") -> None:
        names = common_pb2.Code.DESCRIPTOR.values_by_number
        self.code = code
        self.name = names[code].name[len("CODE_"):] if code in names else "CODE_%d" % code
        self.message = message
        self.request_id = request_id
        self.traceparent = traceparent
        self.details = {label.name: label.value for label in details}
        super().__init__("%s: %s" % (self.name, message))
