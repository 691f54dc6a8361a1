#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real Xen host in QEMU: boots it, runs commands in its dom0, copies files, relays its unix sockets.

Emulated (no KVM needed). Everything goes through one forwarded loopback port to the program `remoted` in dom0, one
TCP connection a request; see remoted.c for the protocol. QEMU never outlives the Python process."""

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

QEMU = "qemu-system-x86_64"
XEN_CMDLINE = "console=com1 com1=115200,8n1 dom0_mem=1024M,max:1024M dom0_max_vcpus=2 spec-ctrl=no"
DOM0_CMDLINE = "console=hvc0 quiet loglevel=4 mitigations=off panic=5"
READY = b"XENHOST-READY"
PR_SET_PDEATHSIG = 1


class HostError(Exception):
    """The emulated host did not do what it should; the text says what."""


class HostTimeout(HostError):
    """It did not do so in time."""


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class _Connection:
    """One request to remoted."""

    def __init__(self, port, deadline):
        self.deadline = deadline
        self.buffer = b""
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=max(0.1, deadline - time.monotonic()))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def send(self, line, payload=b""):
        self.sock.settimeout(max(0.1, self.deadline - time.monotonic()))
        self.sock.sendall(line.encode() + b"\n" + payload)

    def _more(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout()
        self.sock.settimeout(left)
        data = self.sock.recv(1 << 16)
        if not data:
            raise HostError("dom0 closed the control connection")
        self.buffer += data

    def _take(self, length):
        while len(self.buffer) < length:
            self._more()
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def _line(self):
        while b"\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def answer(self, on_data=None):
        """Reads to the end of the answer; returns (value, data)."""
        chunks = []
        while True:
            kind, value = self._line().split()
            if kind == "x":
                return int(value), b"".join(chunks)
            data = self._take(int(value))
            chunks.append(data)
            if on_data is not None:
                on_data(data)


class Relay:
    """A unix socket here whose connections end at a unix socket in dom0."""

    def __init__(self, host, remote_path, local_path):
        self.host, self.remote_path, self.local_path = host, remote_path, local_path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.makedirs(os.path.dirname(local_path), exist_ok=True)
        self.listener.bind(local_path)
        self.listener.listen(64)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                local, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(local,), daemon=True).start()

    def _serve(self, local):
        try:
            with local, _Connection(self.host.port, time.monotonic() + 10) as conn:
                conn.send(f"unix {self.remote_path}")
                value, _ = conn.answer()
                if value != 0:
                    return
                if conn.buffer:
                    local.sendall(conn.buffer)
                conn.sock.settimeout(None)
                self._pump(local, conn.sock)
        except (OSError, HostError):
            return

    @staticmethod
    def _pump(one, other):
        open_ends = {one: other, other: one}
        while open_ends:
            ready, _, _ = select.select(list(open_ends), [], [])
            for sock in ready:
                data = sock.recv(1 << 16)
                if data:
                    open_ends.get(sock, other if sock is one else one).sendall(data)
                else:
                    peer = open_ends.pop(sock)
                    try:
                        peer.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        try:
            os.unlink(self.local_path)
        except FileNotFoundError:
            pass


class Host:
    """The emulated host. Use as a context manager; QEMU is gone afterwards whatever happened."""

    def __init__(self, images, log_path, memory_mib=2048, cpus=4):
        self.images, self.log_path = images, log_path
        self.memory_mib, self.cpus = memory_mib, cpus
        self.process = None
        self.port = None
        self.console = bytearray()
        self.console_grew = threading.Condition()
        self.console_ended = False
        self.relays = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _command(self):
        image = lambda name: os.path.join(self.images, name)
        return [QEMU, "-accel", "tcg,thread=multi", "-cpu", "qemu64,+svm,+npt", "-m", str(self.memory_mib),
                "-smp", str(self.cpus), "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none",
                "-serial", "stdio", "-no-reboot",
                "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:7000",
                "-device", "virtio-net-pci,netdev=net,romfile=",
                "-kernel", image("xen.elf"), "-append", XEN_CMDLINE,
                "-initrd", f"{image('vmlinuz')} {DOM0_CMDLINE},{image('dom0.cpio')}"]

    def _read_console(self):
        with open(self.log_path, "wb") as log:
            while True:
                data = os.read(self.process.stdout.fileno(), 1 << 16)
                with self.console_grew:
                    if not data:
                        self.console_ended = True
                    self.console += data
                    self.console_grew.notify_all()
                if not data:
                    return
                log.write(data)
                log.flush()

    def wait_console(self, text, timeout, start=0):
        """Waits for bytes on the serial console at or behind an offset; returns the offset after them."""
        deadline = time.monotonic() + timeout
        with self.console_grew:
            while True:
                at = self.console.find(text, start)
                if at >= 0:
                    return at + len(text)
                if self.console_ended:
                    raise HostError(f"QEMU ended before {text!r}; console: ...{self.console_tail()}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise HostTimeout(f"no {text!r} within {timeout} s; console: ...{self.console_tail()}")
                self.console_grew.wait(left)

    def console_tail(self, size=1500):
        return bytes(self.console[-size:]).decode("utf-8", "replace")

    def _start_qemu(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, preexec_fn=_die_with_parent)
        self.console, self.console_ended = bytearray(), False
        threading.Thread(target=self._read_console, daemon=True).start()

    def boot(self, timeout=180):
        """Returns the seconds it took until dom0 answers commands."""
        began = time.monotonic()
        for attempt in range(5):
            self._start_qemu()
            try:
                self.wait_console(READY, timeout)
                break
            except HostError:
                # Somebody else may have taken the port between our choice and QEMU's start.
                if b"could not set up host forwarding" not in self.console.lower() or attempt == 4:
                    raise
                self.process.wait()
        rc, out = self.run("cat /proc/xen/capabilities", timeout)
        if rc != 0 or "control_d" not in out:
            raise HostError(f"this is no dom0: {out}")
        return time.monotonic() - began

    def _request(self, line, payload, timeout, on_data=None):
        try:
            with _Connection(self.port, time.monotonic() + timeout) as conn:
                conn.send(line, payload)
                return conn.answer(on_data)
        except socket.timeout:
            raise HostTimeout(f"no answer within {timeout} s to: {line} {payload[:200]!r}") from None
        except OSError as error:
            raise HostError(f"control channel: {error}") from error

    def run(self, script, timeout=30):
        """Runs a shell script in dom0; returns (exit code, stdout and stderr as text)."""
        data = script.encode()
        value, out = self._request(f"run {len(data)}", data, timeout)
        return value, out.decode("utf-8", "replace")

    def check(self, script, timeout=30):
        """Like run(), but a failure is an exception; returns the output."""
        rc, out = self.run(script, timeout)
        if rc != 0:
            raise HostError(f"`{script}` left with {rc}: {out.strip()[-1500:]}")
        return out

    def spawn(self, script, log=None, timeout=30):
        """Starts a shell script in the background, in a process group of its own; returns its pid in dom0."""
        data = (f"exec >>{log} 2>&1\n" if log else "").encode() + script.encode()
        value, _ = self._request(f"spawn {len(data)}", data, timeout)
        if value < 0:
            raise HostError(f"cannot start `{script}`: {os.strerror(-value)}")
        return value

    def put(self, path, content, mode=0o644, timeout=60):
        data = content.encode() if isinstance(content, str) else content
        value, _ = self._request(f"put {mode:o} {len(data)} {path}", data, timeout)
        if value != 0:
            raise HostError(f"cannot write {path} in dom0: {os.strerror(-value)}")

    def get(self, path, offset=0, timeout=60):
        value, data = self._request(f"get {offset} {path}", b"", timeout)
        if value != 0:
            raise HostError(f"cannot read {path} in dom0: {os.strerror(-value)}")
        return data

    def size(self, path):
        rc, out = self.run(f"stat -c %s {path}")
        return int(out) if rc == 0 else 0

    def expect(self, path, text, timeout, start=0):
        """Waits until a file of dom0 holds a text at or behind an offset; returns the offset after it."""
        needle = text.encode()
        try:
            value, _ = self._request(f"expect {start} {len(needle)} {path}", needle, timeout)
        except HostTimeout:
            _, tail = self.run(f"tail -n 30 {path}")
            raise HostTimeout(f"no {text!r} in {path} within {timeout} s; it ends: {tail.strip()[-1500:]}") from None
        if value < 0:
            raise HostError(f"cannot watch {path} in dom0: {os.strerror(-value)}")
        return value

    def wait_for(self, script, timeout, interval=0.2):
        """Repeats a shell script until it succeeds, where there is no event to wait for; returns its output."""
        loop = f"until out=$({script}); do usleep {int(interval * 1e6)}; done; echo \"$out\""
        try:
            return self.check(loop, timeout)
        except HostTimeout:
            rc, out = self.run(script)
            raise HostTimeout(f"`{script}` did not succeed within {timeout} s (now {rc}: {out.strip()[-800:]})") \
                from None

    def relay(self, remote_path, local_path):
        """Makes a unix socket of dom0 reachable as a unix socket here."""
        relay = Relay(self, remote_path, local_path)
        self.relays.append(relay)
        return relay

    def poweroff(self, timeout=30):
        """Ends dom0; the hypervisor then ends QEMU."""
        try:
            self.spawn("poweroff -f")
            self.process.wait(timeout)
        except (HostError, subprocess.TimeoutExpired):
            pass
        self.close()

    def close(self):
        for relay in self.relays:
            relay.close()
        self.relays = []
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()


def main():
    """host.py PORT SCRIPT: runs a shell script in the dom0 of a host that run.py --keep left running."""
    if len(sys.argv) != 3 or not sys.argv[1].isdigit():
        print(main.__doc__, file=sys.stderr)
        return 2
    host = Host(None, None)
    host.port = int(sys.argv[1])
    try:
        rc, out = host.run(sys.argv[2], 600)
    except HostError as error:
        print(f"host.py: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(out)
    return rc


if __name__ == "__main__":
    sys.exit(main())
