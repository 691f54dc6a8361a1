# SPDX-License-Identifier: LGPL-2.1-or-later
"""Following a publisher, blocking."""
from __future__ import annotations

import contextlib
import time
import typing

from .base import BaseSubscriber
from .blocking import Driver, run
from .follow import Change

__all__ = ["Change", "Subscriber"]


class Subscriber(BaseSubscriber):
    """What the publisher at `pub` (whose calls are at `rpc`) says below `prefixes`; [] is all.

    Yields Changes: for every topic its states in order, with losses told and repaired.  Not
    for use by several threads at once.
    """

    def _drive(self, machines, tls):
        self._drivers = [Driver(machine, tls) for machine in machines]

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
        left = timeout
        with contextlib.suppress(TimeoutError):
            while left >= 0:
                yield self.next(left)
                left = deadline - time.monotonic()
        # Of a slow user: without a bound this would go on for as long as more comes.
        for _ in range(len(self._follower.changes)):
            yield self._follower.changes.popleft()
