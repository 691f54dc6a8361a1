# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls that block."""
import time

from .blocking import Driver, run
from .calls import NAME, TIMEOUT, CallOptions, Calls
from .topology import Topology


class Client:
    """Calls to the service whose rpc socket is at `url`, one after the other.

    name goes into the records of the service: "my-tool/1.2", at most 128 bytes.
    tls: ssl.SSLContext, needed for tls+tcp://.  Not for use by several threads at once.
    """

    def __init__(self, url, name=NAME, tls=None):
        self._calls = Calls(url, name)
        self._driver = Driver(self._calls, tls)

    @classmethod
    def to(cls, service, topology=None, name=NAME):
        """Of a service of the topology (None: this host's): "ops", "HOST/ops"."""
        topology = topology or Topology.load()
        return cls(topology.rpc(service), name, topology.ssl_context_for(topology.rpc(service)))

    @property
    def url(self):
        return self._calls.url

    def close(self):
        self._calls.close()
        self._driver.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, method, request=None, timeout=TIMEOUT, request_id=None, retry=True,
             traceparent=None):
        """The output message of the method, or CallError.

        method: "Ops/StartVm"; the others are those of CallOptions.  While `timeout` lasts, a
        call whose connection was lost is repeated with the same request id.  To repeat one
        that failed with UNAVAILABLE or DEADLINE_EXCEEDED give the request_id of its CallError.
        """
        return self.call_with(method, request,
                              CallOptions(timeout, request_id, retry, traceparent))

    def call_with(self, method, request, options):
        pending = self._calls.start(method, request, options, time.monotonic(), lambda _: None)
        try:
            while not pending.is_done:
                run([self._driver], lambda: pending.is_done, pending.deadline + 1)
        finally:
            self._calls.cancel(pending)
        return pending.result()
