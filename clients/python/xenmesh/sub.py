# SPDX-License-Identifier: LGPL-2.1-or-later
"""Following a publisher, blocking."""
import time

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

    def __init__(self, pub, rpc, prefixes=(), name=NAME, tls=None):
        self._calls = Calls(rpc, name)
        self._follower = Follower(pub, self._calls, prefixes)
        self._drivers = [Driver(self._follower, tls), Driver(self._calls, tls)]

    @classmethod
    def to(cls, service, prefixes=(), topology=None, name=NAME):
        """Of a service of the topology (None: this host's): "ops", "HOST/ops"."""
        topology = topology or Topology.load()
        pub, rpc = topology.pub(service), topology.rpc(service)
        return cls(pub, rpc, prefixes, name, topology.ssl_context_for(pub, rpc))

    @property
    def is_synced(self):
        return self._follower.state == SYNCED

    @property
    def has_heard(self):
        """Anything was published since this was made, be it a heartbeat."""
        return self._follower.has_heard

    def close(self):
        for driver in self._drivers:
            driver.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self):
        while True:
            try:
                yield self.next(3600)
            except TimeoutError:
                continue

    def next(self, timeout):
        """The next Change; TimeoutError when there is none within `timeout` seconds."""
        changes = self._follower.changes
        if not changes and not run(self._drivers, lambda: changes, time.monotonic() + timeout):
            raise TimeoutError("nothing from %s in %.1f s" % (self._follower.url, timeout))
        return changes.popleft()

    def changes(self, timeout):
        """All changes that come within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                yield self.next(max(deadline - time.monotonic(), 0))
            except TimeoutError:
                return
