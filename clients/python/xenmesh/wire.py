# SPDX-License-Identifier: LGPL-2.1-or-later
"""SP bytes without any I/O: section 2 of docs/protocol.md.

A Link is one connection: bytes in, messages out.  A Machine is a connection that is made
again when it is lost; a shell (blocking.py, aio.py) connects for it and moves its bytes.
"""
import collections
import struct

from .errors import SpError

SUB, PUB = 0x21, 0x20
REQ, REP = 0x30, 0x31

HANDSHAKE = struct.Struct(">4sHH")
MAGIC = b"\0SP\0"
HANDSHAKE_SECONDS = 10
LENGTH = struct.Struct(">Q")
TYPE_MESSAGE = 1

REDIAL_FIRST = 0.01  # after a connection that had lasted
REDIAL_MIN, REDIAL_MAX = 0.1, 1.0
LASTED = 1.0

# kind: "ipc" (path), "tcp" or "tls" (host, port).
Address = collections.namedtuple("Address", "kind path host port")


# A peer whose host has vanished is noticed within a minute: (option of TCP, value).
KEEP_ALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


def parse_url(url):
    """-> Address. A plain path is that of a unix socket."""
    for scheme, kind in (("tcp://", "tcp"), ("tls+tcp://", "tls")):
        if url.startswith(scheme):
            host, _, port = url[len(scheme):].rpartition(":")
            if not host or not port.isdigit():
                raise ValueError("%s: needs a host and a port" % url)
            return Address(kind, None, host.strip("[]"), int(port))
    if url.startswith("ipc://"):
        url = url[len("ipc://"):]
    elif "://" in url:
        raise ValueError("%s: only ipc://, tcp:// and tls+tcp:// are known" % url)
    return Address("ipc", url, None, None)


class Link:
    """One connection as the SP protocol `own` to a peer of the protocol `peer`."""

    def __init__(self, own, peer, max_message, is_ipc):
        self.is_up = False  # the other side has shaken hands
        self.output = bytearray(HANDSHAKE.pack(MAGIC, own, 0))
        self.peer = peer
        self.max_message = max_message
        self.is_ipc = is_ipc
        self._input = bytearray()

    def send(self, body):
        """One message into the output."""
        if self.is_ipc:
            self.output.append(TYPE_MESSAGE)
        self.output += LENGTH.pack(len(body))
        self.output += body

    def feed(self, data):
        """What came. SpError when it is not SP."""
        self._input += data
        if self.is_up or len(self._input) < HANDSHAKE.size:
            return
        magic, protocol, reserved = HANDSHAKE.unpack(self._take(HANDSHAKE.size))
        if magic != MAGIC or protocol != self.peer or reserved != 0:
            raise SpError("the other side is no socket of SP protocol 0x%02x" % self.peer)
        self.is_up = True

    def message(self):
        """The body of the next message that is whole, or None."""
        head = LENGTH.size + self.is_ipc
        if not self.is_up or not self._input:
            return None
        if self.is_ipc and self._input[0] != TYPE_MESSAGE:
            raise SpError("a frame of type %d" % self._input[0])
        if len(self._input) < head:
            return None
        size, = LENGTH.unpack_from(self._input, head - LENGTH.size)
        if size > self.max_message:
            raise SpError("a message of %d bytes is too large" % size)
        if len(self._input) < head + size:
            return None
        return self._take(head + size)[head:]

    def _take(self, size):
        data = bytes(self._input[:size])
        del self._input[:size]
        return data


class Machine:
    """Base of what speaks over one connection at a time.

    All times are seconds of one monotonic clock.  The shell connects at dial_at() and then
    calls opened(), received(), lost(); it writes take_output() and calls wake() at wake_at().
    When `link` is None the shell has no connection, or must close the one it has.
    """

    def __init__(self, url, own, peer, max_message):
        self.url = url
        self.address = parse_url(url)
        self.link = None
        self.trouble = "not connected yet"  # why there is no connection
        self._protocols = own, peer, max_message
        self._is_up = False
        self._up_since = 0.0
        self._shaken_by = 0.0
        self._redial_at = 0.0
        self._redial_delay = REDIAL_MIN

    # ---- for the shell ----

    def dial_at(self):
        """When to connect; None: there is a connection, or none is needed."""
        return self._redial_at if self.link is None and self._wants_link() else None

    def opened(self, now):
        self.link = Link(*self._protocols, self.address.kind == "ipc")
        self._shaken_by = now + HANDSHAKE_SECONDS

    def received(self, data, now):
        link = self.link
        try:
            link.feed(data)
            if link.is_up and not self._is_up:
                self._is_up = True
                self._up_since = now
                self._up(now)
            # What is told by a message may end the connection.
            while self.link is link:
                body = link.message()
                if body is None:
                    break
                self._message(body, now)
        except SpError as e:
            self.lost(str(e), now)

    def lost(self, why, now):
        """The connection, or the attempt to make one, came to its end."""
        lasted = self._is_up and now - self._up_since >= LASTED
        self.link = None
        self._is_up = False
        self.trouble = why
        if lasted:
            self._redial_at = now + REDIAL_FIRST
            self._redial_delay = REDIAL_MIN
        else:
            self._redial_at = now + self._redial_delay
            self._redial_delay = min(self._redial_delay * 2, REDIAL_MAX)
        self._down(now)

    def take_output(self):
        if self.link is None or not self.link.output:
            return b""
        output = bytes(self.link.output)
        self.link.output.clear()
        return output

    def put_back(self, data):
        """Output that could not be written yet."""
        self.link.output[:0] = data

    def wake_at(self):
        """When wake() has something to do."""
        times = [time for time in self._times() if time is not None]
        if self.link is not None and not self._is_up:
            times.append(self._shaken_by)
        return min(times, default=None)

    def wake(self, now):
        if self.link is not None and not self._is_up and now >= self._shaken_by:
            self.lost("no SP handshake in %d s" % HANDSHAKE_SECONDS, now)
        self._wake(now)

    # ---- for the classes made of this one ----

    def _wants_link(self):
        raise NotImplementedError

    def _up(self, now):
        raise NotImplementedError

    def _down(self, now):
        raise NotImplementedError

    def _message(self, body, now):
        raise NotImplementedError

    def _times(self):
        raise NotImplementedError

    def _wake(self, now):
        raise NotImplementedError
