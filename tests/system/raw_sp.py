# SPDX-License-Identifier: LGPL-2.1-or-later
"""A REQ peer from nothing but sockets, for tests that must not repeat or reconnect by themselves."""
import os
import socket
import struct

HELLO = b"\0SP\0\0\x30\0\0"


class RawCaller:
    def __init__(self, path, timeout=10, hello=HELLO):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.socket.sendall(hello)
        self.number = 0
        self.shaken = False

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        self.socket.close()

    def frame(self, method, payload=b"", timeout_ms=30000):
        """-> (the number of the request, its bytes)"""
        from xenmesh.v1 import bus_pb2
        call = bus_pb2.Call(request_id=os.urandom(16), method=method, client="raw",
                            timeout_ms=timeout_ms, payload=payload)
        body = call.SerializeToString()
        self.number += 1
        return self.number, struct.pack(">BQL", 1, len(body) + 4, self.number | 1 << 31) + body

    def send(self, method, payload=b"", timeout_ms=30000):
        """-> the number of the request"""
        number, data = self.frame(method, payload, timeout_ms)
        self.socket.sendall(data)
        return number

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("hung up")
            data += more
        return data

    def shake(self):
        """Until the service has answered the handshake."""
        if not self.shaken:
            self._exactly(len(HELLO))
            self.shaken = True

    def receive(self):
        """-> (number of the request, Reply)"""
        from xenmesh.v1 import bus_pb2
        self.shake()
        _, size, number = struct.unpack(">BQL", self._exactly(13))
        return number & 0x7fffffff, bus_pb2.Reply.FromString(self._exactly(size - 4))

    def call(self, method, payload=b""):
        number = self.send(method, payload)
        while True:
            got, reply = self.receive()
            if got == number:
                return reply
