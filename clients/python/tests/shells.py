# SPDX-License-Identifier: LGPL-2.1-or-later
"""Both shells behind one face, so that each test is done with both."""
import asyncio

from xenmesh import AsyncClient, AsyncSubscriber, Client, Subscriber


class Blocking:
    client = Client
    subscriber = Subscriber


class _OnLoop:
    """An object of xenmesh.aio on a loop that runs only while one of its methods does."""

    def __init__(self, *args, **kwargs):
        self.loop = asyncio.new_event_loop()
        self.inner = self.make(*args, **kwargs)

    def _run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def close(self):
        self._run(self.inner.close())
        self.loop.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _ClientOnLoop(_OnLoop):
    make = AsyncClient

    def call(self, *args, **kwargs):
        return self._run(self.inner.call(*args, **kwargs))


class _SubscriberOnLoop(_OnLoop):
    make = AsyncSubscriber

    @property
    def is_synced(self):
        return self.inner.is_synced

    @property
    def has_heard(self):
        return self.inner.has_heard

    def next(self, timeout):
        return self._run(self.inner.next(timeout))


class Asyncio:
    client = _ClientOnLoop
    subscriber = _SubscriberOnLoop
