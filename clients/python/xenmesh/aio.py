# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same for asyncio: AsyncClient makes any number of calls at once, AsyncSubscriber is an
asynchronous iterator.  Both belong to the event loop that runs when they are first used."""
from __future__ import annotations

import asyncio
import contextlib
import typing

from google.protobuf.message import Message

from .base import BaseClient, BaseSubscriber
from .blocking import tune
from .calls import TIMEOUT, CallOptions
from .follow import Change

CONNECT_SECONDS = 10


class _Connection(asyncio.Protocol):
    """One socket of a driver, until another one takes its place."""

    def __init__(self, driver):
        self.driver = driver
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        if self.driver.machine.address.kind != "ipc":
            tune(transport.get_extra_info("socket"))
        self.driver.made(self)

    def data_received(self, data):
        if self.driver.connection is self:
            self.driver.machine.received(data, self.driver.shell.now())
            self.driver.shell.kick()

    def connection_lost(self, exc):
        if self.driver.connection is self:
            self.driver.lost(str(exc or "closed by the other side"))


class _Driver:
    """One machine and its transport."""

    def __init__(self, shell, machine, tls):
        if machine.address.kind == "tls" and tls is None:
            raise ValueError("%s: needs an ssl.SSLContext with a client certificate" % machine.url)
        self.shell = shell
        self.machine = machine
        self.tls = tls
        self.connection = None
        self.dialling = None

    def close(self):
        connection, self.connection = self.connection, None
        if self.dialling:
            self.dialling.cancel()
        if connection:
            connection.transport.abort()

    def made(self, connection):
        self.connection = connection
        self.machine.opened(self.shell.now())
        self.shell.kick()

    def lost(self, why):
        self.connection = None
        self.machine.lost(why, self.shell.now())
        self.shell.kick()

    async def _dial(self):
        address, loop = self.machine.address, asyncio.get_running_loop()
        if address.kind == "ipc":
            made = loop.create_unix_connection(lambda: _Connection(self), address.path)
        else:
            made = loop.create_connection(
                lambda: _Connection(self), address.host, address.port,
                ssl=self.tls if address.kind == "tls" else None)
        try:
            await asyncio.wait_for(made, CONNECT_SECONDS)
        except asyncio.TimeoutError:
            self.lost("not connected in %d s" % CONNECT_SECONDS)
        except (OSError, UnicodeError) as e:
            self.lost(str(e))
        finally:
            self.dialling = None

    def advance(self, now):
        """Close what is lost, connect when it is time, write."""
        machine = self.machine
        if machine.link is None:
            connection, self.connection = self.connection, None
            if connection:
                connection.transport.abort()
            at = machine.dial_at()
            if at is not None and at <= now and not self.dialling:
                self.dialling = asyncio.get_running_loop().create_task(self._dial())
            return
        output = machine.take_output()
        if output:
            self.connection.transport.write(output)

    def read(self, is_wanted):
        if self.connection and self.connection.transport.is_reading() != is_wanted:
            (self.connection.transport.resume_reading if is_wanted
             else self.connection.transport.pause_reading)()

    def times(self):
        dial_at = None if self.dialling else self.machine.dial_at()
        return [t for t in (dial_at, self.machine.wake_at()) if t is not None]


class _Shell:
    """Drivers of one event loop; progress() is called after each round."""

    def __init__(self, machines, tls, progress=lambda: None):
        self.drivers = [_Driver(self, machine, tls) for machine in machines]
        self._progress = progress
        self._round = None
        self._timer = None
        self.is_closed = False

    @staticmethod
    def now():
        return asyncio.get_running_loop().time()

    def kick(self):
        """A round soon, because something changed."""
        if self._round is None and not self.is_closed:
            self._round = asyncio.get_running_loop().call_soon(self._run)

    def _run(self):
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._round = None
        for driver in self.drivers:
            driver.machine.wake(now)
        for driver in self.drivers:
            driver.advance(now)
        if self._timer:
            self._timer.cancel()
            self._timer = None
        times = [t for driver in self.drivers for t in driver.times()]
        if times:
            self._timer = loop.call_at(max(min(times), now), self.kick)
        self._progress()

    def close(self):
        self.is_closed = True
        for handle in (self._round, self._timer):
            if handle:
                handle.cancel()
        for driver in self.drivers:
            driver.close()


class AsyncClient(BaseClient):
    """Calls to the service whose rpc socket is at `url`, up to 64 of them at once; more wait.

    name and tls are those of Client.
    """

    def _drive(self, machines, tls):
        self._shell = _Shell(machines, tls)

    async def close(self) -> None:
        """Calls under way end with UNAVAILABLE."""
        self._shell.close()
        self._calls.close()
        await asyncio.sleep(0)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def call(self, method: str, request: typing.Optional[Message] = None,
                   timeout: float = TIMEOUT, request_id: typing.Optional[bytes] = None,
                   retry: bool = True, traceparent: typing.Optional[str] = None) -> typing.Any:
        """As Client.call. Cancelling it gives up waiting: a mutating call may be executed."""
        return await self.call_with(method, request,
                                    CallOptions(timeout, request_id, retry, traceparent))

    async def call_with(self, method: str, request: typing.Optional[Message],
                        options: CallOptions) -> typing.Any:
        if self._shell.is_closed:
            raise ValueError("%s: the client is closed" % self.url)
        done = asyncio.get_running_loop().create_future()
        pending = self._calls.start(method, request, options, self._shell.now(),
                                    lambda _: done.done() or done.set_result(None))
        self._shell.kick()
        try:
            await done
        except asyncio.CancelledError:
            self._shell.kick()  # others may wait for its place
            raise
        finally:
            self._calls.cancel(pending)
        return pending.result()


class AsyncSubscriber(BaseSubscriber):
    """As Subscriber: `async for change in AsyncSubscriber(...)`.

    For one task at a time.  While the user takes no changes nothing is read either, and what
    is lost by that is repaired as any other loss.
    """

    def _drive(self, machines, tls):
        self._shell = _Shell(machines, tls, self._progress)
        self._waiter = None

    async def close(self) -> None:
        """Who iterates comes to the end, who waits in next() gets a ValueError."""
        self._shell.close()
        self._wake()
        await asyncio.sleep(0)

    async def __aenter__(self) -> AsyncSubscriber:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncSubscriber:
        return self

    async def __anext__(self) -> Change:
        try:
            return await self.next()
        except ValueError:
            raise StopAsyncIteration from None

    def _progress(self):
        self._shell.drivers[0].read(self._follower.wants_data)
        if self._follower.changes:
            self._wake()

    def _wake(self):
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self):
        # It may start after the change came that it is to wait for.
        while not self._follower.changes:
            if self._shell.is_closed:
                raise ValueError("%s: the subscriber is closed" % self._follower.url)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def next(self, timeout: typing.Optional[float] = None) -> Change:
        """The next Change; TimeoutError when there is none within `timeout` seconds."""
        changes = self._follower.changes
        self._shell.kick()
        if not changes:
            try:
                await asyncio.wait_for(self._wait(), timeout)
            except asyncio.TimeoutError:
                raise TimeoutError("nothing from %s in %.1f s" % (
                    self._follower.url, timeout)) from None
        return changes.popleft()

    async def changes(self, timeout: float) -> typing.AsyncIterator[Change]:
        """All changes that come within `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        left = timeout
        with contextlib.suppress(TimeoutError):
            while left >= 0:
                yield await self.next(left)
                left = deadline - loop.time()
        # Of a slow user: without a bound this would go on for as long as more comes.
        for _ in range(len(self._follower.changes)):
            yield self._follower.changes.popleft()
