# SPDX-License-Identifier: LGPL-2.1-or-later
"""Following a publisher, blocking."""
from __future__ import annotations

import ssl
import time
import typing

from .blocking import Driver, run
from .calls import NAME, Calls
from .follow import SYNCED, Change, Follower
from .topology import Topology

__all__ = ["Change", "Subscriber"]


class Subscriber:
    """What the publisher at `pub` (whose calls are at `rpc`) says below `prefixes`; [] is all.

    Yields Changes: for every topic its states in order, with losses told and repaired.  Not
    for use by several threads at once.
    """

    def __init__(self, pub: str, rpc: str, prefixes: typing.Iterable[str] = (),
                 name: str = NAME, tls: typing.Optional[ssl.SSLContext] = None) -> None:
        self._calls = Calls(rpc, name)
        self._follower = Follower(pub, self._calls, prefixes)
        self._drivers = [Driver(self._follower, tls), Driver(self._calls, tls)]

    @classmethod
    def to(cls, service: str, prefixes: typing.Iterable[str] = (),
           topology: typing.Optional[Topology] = None, name: str = NAME) -> Subscriber:
        """Of a service of the topology (None: this host's): "ops", "HOST/ops"."""
        topology = topology or Topology.load()
        pub, rpc = topology.pub(service), topology.rpc(service)
        return cls(pub, rpc, prefixes, name, topology.ssl_context_for(pub, rpc))

    @property
    def is_synced(self) -> bool:
        return self._follower.state == SYNCED

    @property
    def has_heard(self) -> bool:
        """Anything was published since this was made, be it a heartbeat."""
        return self._follower.has_heard

    def close(self) -> None:
        for driver in self._drivers:
            driver.close()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> typing.Iterator[Change]:
        while True:
            try:
                yield self.next(3600)
            except TimeoutError:
                continue

    def next(self, timeout: float) -> Change:
        """The next Change; TimeoutError when there is none within `timeout` seconds."""
        changes = self._follower.changes
        if not changes and not run(self._drivers, lambda: changes, time.monotonic() + timeout):
            raise TimeoutError("nothing from %s in %.1f s" % (self._follower.url, timeout))
        return changes.popleft()

    def changes(self, timeout: float) -> typing.Iterator[Change]:
        """All changes that come within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                yield self.next(max(deadline - time.monotonic(), 0))
            except TimeoutError:
                return
