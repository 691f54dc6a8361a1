# SPDX-License-Identifier: LGPL-2.1-or-later
"""The blocking shell: moves the bytes of machines (wire.py) while somebody waits."""
import select
import socket
import ssl
import time

from .wire import KEEP_ALIVE

CHUNK = 1 << 18
CONNECT_SECONDS = 10
CONNECT_SECONDS_MIN = 0.1  # a try that is over before it began helps nobody


def tune(sock):
    """A TCP socket: small messages go at once, and a host that vanished is noticed."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def connect(address, timeout, tls=None):
    """A non-blocking socket; OSError. tls: ssl.SSLContext for "tls"."""
    if address.kind == "ipc":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(address.path)
        except OSError:
            sock.close()
            raise
    else:
        sock = socket.create_connection((address.host, address.port), timeout=timeout)
        try:
            tune(sock)
            if address.kind == "tls":
                sock = tls.wrap_socket(sock, server_hostname=address.host)
        except OSError:
            sock.close()
            raise
    sock.setblocking(False)
    return sock


class Driver:
    """One machine and its socket."""

    def __init__(self, machine, tls=None):
        if machine.address.kind == "tls" and tls is None:
            raise ValueError("%s: needs an ssl.SSLContext with a client certificate" % machine.url)
        self.machine = machine
        self.tls = tls
        self.socket = None

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None

    def advance(self, now, deadline):
        """Close what is lost, connect when it is time, write."""
        machine = self.machine
        if machine.link is None:
            self.close()
            at = machine.dial_at()
            if at is None or at > now:
                return
            timeout = max(min(deadline - now, CONNECT_SECONDS), CONNECT_SECONDS_MIN)
            try:
                self.socket = connect(machine.address, timeout, self.tls)
            except (OSError, UnicodeError) as e:
                machine.lost(str(e), time.monotonic())
                return
            machine.opened(time.monotonic())
        self.write()

    def write(self):
        data = memoryview(self.machine.take_output())
        try:
            while data:
                data = data[self.socket.send(data):]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self.machine.put_back(data)
        except OSError as e:
            self.machine.lost(str(e), time.monotonic())

    def read(self):
        machine, link = self.machine, self.machine.link
        try:
            while machine.link is link:
                data = self.socket.recv(CHUNK)
                if not data:
                    machine.lost("closed by the other side", time.monotonic())
                    return
                machine.received(data, time.monotonic())
                # What TLS has decoded already no poll tells of.
                if self.tls is None or not self.socket.pending():
                    return
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as e:
            machine.lost(str(e), time.monotonic())

    def times(self):
        return [t for t in (self.machine.dial_at(), self.machine.wake_at()) if t is not None]


def _wait(drivers, seconds):
    """Until a socket is ready, which then is read and written."""
    poll = select.poll()
    by_fd = {}
    for driver in drivers:
        if driver.socket and driver.machine.link:
            by_fd[driver.socket.fileno()] = driver
            poll.register(driver.socket, select.POLLIN | (
                select.POLLOUT if driver.machine.link.output else 0))
    for fd, events in poll.poll(max(seconds, 0) * 1000):
        if events & ~select.POLLOUT:
            by_fd[fd].read()


def run(drivers, is_done, deadline):
    """True when is_done(), False at the deadline. What has come already is read before the
    clock is looked at, so nobody is taken for silent because nobody listened."""
    wait = 0
    while True:
        _wait(drivers, wait)
        now = time.monotonic()
        for driver in drivers:
            driver.machine.wake(now)
        for driver in drivers:
            driver.advance(now, deadline)
        if is_done():
            return True
        now = time.monotonic()
        if now >= deadline:
            return False
        wait = min([deadline] + [t for driver in drivers for t in driver.times()]) - now
