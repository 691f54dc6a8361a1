# SPDX-License-Identifier: LGPL-2.1-or-later
"""SP messages over unix sockets and TCP: section 2 of docs/protocol.md.

Sockets are non-blocking; each operation takes the moment (time.monotonic()) at
which it gives up with TimeoutError.  What came in part is kept for the next try.
"""
import select
import socket
import struct
import time

SUB, PUB = 0x21, 0x20
REQ, REP = 0x30, 0x31

HANDSHAKE = struct.Struct(">4sHH")
MAGIC = b"\0SP\0"
HANDSHAKE_SECONDS = 10
CHUNK = 1 << 18


class SpError(ConnectionError):
    """The connection is lost, or the other side does not speak SP as it should."""


def parse_url(url):
    """-> (family, address). A plain path is that of a unix socket."""
    if url.startswith("ipc://"):
        return socket.AF_UNIX, url[len("ipc://"):]
    if url.startswith("tcp://"):
        host, _, port = url[len("tcp://"):].rpartition(":")
        return socket.AF_INET, (host.strip("[]"), int(port))
    if "://" in url:
        raise ValueError("%s: only ipc:// and tcp:// are known" % url)
    return socket.AF_UNIX, url


class SpSocket:
    """One connection, as the protocol `own`, to a peer of the protocol `peer`."""

    def __init__(self, url, own, peer, max_message, deadline):
        family, address = parse_url(url)
        self.url = url
        self.max_message = max_message
        self.is_ipc = family == socket.AF_UNIX
        self.buffer = bytearray()
        try:
            if self.is_ipc:
                self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.socket.connect(address)
            else:
                left = max(deadline - time.monotonic(), 0.001)
                self.socket = socket.create_connection(address, timeout=left)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setblocking(False)
            self._shake_hands(own, peer, min(deadline, time.monotonic() + HANDSHAKE_SECONDS))
        except OSError as e:
            self.close()
            raise SpError("%s: %s" % (url, e)) from e

    def close(self):
        sock = getattr(self, "socket", None)
        if sock:
            sock.close()

    def fileno(self):
        return self.socket.fileno()

    def _shake_hands(self, own, peer, deadline):
        self._write(HANDSHAKE.pack(MAGIC, own, 0), deadline)
        self._fill(HANDSHAKE.size, deadline)
        magic, protocol, reserved = HANDSHAKE.unpack(self._take(HANDSHAKE.size))
        if magic != MAGIC or protocol != peer or reserved != 0:
            raise SpError("%s: not a socket of SP protocol 0x%02x" % (self.url, peer))

    def _wait(self, events, deadline):
        left = deadline - time.monotonic()
        poll = select.poll()
        poll.register(self.socket, events)
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError("%s: nothing came in time" % self.url)

    def _write(self, data, deadline):
        view = memoryview(data)
        while view:
            try:
                view = view[self.socket.send(view):]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
            except OSError as e:
                raise SpError("%s: %s" % (self.url, e)) from e

    def _fill(self, size, deadline):
        """At least `size` bytes in the buffer."""
        while len(self.buffer) < size:
            try:
                data = self.socket.recv(CHUNK)
            except BlockingIOError:
                self._wait(select.POLLIN, deadline)
                continue
            except OSError as e:
                raise SpError("%s: %s" % (self.url, e)) from e
            if not data:
                raise SpError("%s: closed by the service" % self.url)
            self.buffer += data

    def _take(self, size):
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def send(self, body, deadline):
        """One message. After a TimeoutError the connection must be closed."""
        kind = b"\1" if self.is_ipc else b""
        self._write(kind + struct.pack(">Q", len(body)) + body, deadline)

    def receive(self, deadline):
        """The body of the next message."""
        head = 9 if self.is_ipc else 8
        self._fill(head, deadline)
        if self.is_ipc and self.buffer[0] != 1:
            raise SpError("%s: frame of type %d" % (self.url, self.buffer[0]))
        size, = struct.unpack_from(">Q", self.buffer, head - 8)
        if size > self.max_message:
            raise SpError("%s: a message of %d bytes is too large" % (self.url, size))
        self._fill(head + size, deadline)
        return self._take(head + size)[head:]
