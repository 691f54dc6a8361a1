# SPDX-License-Identifier: LGPL-2.1-or-later
"""One bare SP connection that blocks: for tools and tests.

Each operation takes the moment (time.monotonic()) at which it gives up with TimeoutError.
"""
import select
import time

from .blocking import CHUNK, connect
from .errors import SpError
from .wire import HANDSHAKE_SECONDS, PUB, REP, REQ, SUB, Link, parse_url

__all__ = ["PUB", "REP", "REQ", "SUB", "SpError", "SpSocket"]


class SpSocket:
    """One connection, as the protocol `own`, to a peer of the protocol `peer`."""

    def __init__(self, url, own, peer, max_message, deadline, tls=None):
        address = parse_url(url)
        self.url = url
        self.link = Link(own, peer, max_message, address.kind == "ipc")
        try:
            self.socket = connect(address, max(deadline - time.monotonic(), 0.001), tls)
        except OSError as e:
            raise SpError("%s: %s" % (url, e)) from e
        try:
            self._flush(deadline)
            while not self.link.is_up:
                self._read(min(deadline, time.monotonic() + HANDSHAKE_SECONDS))
        except (SpError, TimeoutError):
            self.close()
            raise

    def close(self):
        self.socket.close()

    def fileno(self):
        return self.socket.fileno()

    def _wait(self, events, deadline):
        poll = select.poll()
        poll.register(self.socket, events)
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError("%s: nothing came in time" % self.url)

    def _flush(self, deadline):
        output = self.link.output
        while output:
            try:
                del output[:self.socket.send(output)]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
            except OSError as e:
                raise SpError("%s: %s" % (self.url, e)) from e

    def _read(self, deadline):
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            self._wait(select.POLLIN, deadline)
            return
        except OSError as e:
            raise SpError("%s: %s" % (self.url, e)) from e
        if not data:
            raise SpError("%s: closed by the service" % self.url)
        self.link.feed(data)

    def send(self, body, deadline):
        """One message. After a TimeoutError the connection must be closed."""
        self.link.send(body)
        self._flush(deadline)

    def receive(self, deadline):
        """The body of the next message; what came in part is kept for the next try."""
        while True:
            body = self.link.message()
            if body is not None:
                return body
            self._read(deadline)
