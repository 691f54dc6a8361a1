# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls that block."""
from __future__ import annotations

import time
import typing

from google.protobuf.message import Message

from .base import BaseClient
from .blocking import Driver, run
from .calls import TIMEOUT, CallOptions


class Client(BaseClient):
    """Calls to the service whose rpc socket is at `url`, one after the other.

    name goes into the records of the service: "my-tool/1.2", at most 128 bytes.
    tls: ssl.SSLContext, needed for tls+tcp://.  Not for use by several threads at once.
    """

    def _drive(self, machines, tls):
        self._driver = Driver(machines[0], tls)

    def close(self) -> None:
        self._calls.close()
        self._driver.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, request: typing.Optional[Message] = None,
             timeout: float = TIMEOUT, request_id: typing.Optional[bytes] = None,
             retry: bool = True, traceparent: typing.Optional[str] = None) -> typing.Any:
        """The output message of the method, or CallError.

        method: "Ops/StartVm"; the others are those of CallOptions.  While `timeout` lasts, a
        call whose connection was lost is repeated with the same request id.  To repeat one
        that failed with UNAVAILABLE or DEADLINE_EXCEEDED give the request_id of its CallError.
        """
        return self.call_with(method, request,
                              CallOptions(timeout, request_id, retry, traceparent))

    def call_with(self, method: str, request: typing.Optional[Message],
                  options: CallOptions) -> typing.Any:
        pending = self._calls.start(method, request, options, time.monotonic(), lambda _: None)
        try:
            while not pending.is_done:
                run([self._driver], lambda: pending.is_done, pending.deadline + 1)
        finally:
            self._calls.cancel(pending)
        return pending.result()
