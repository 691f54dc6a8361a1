# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import shutil
import ssl
import subprocess
import tempfile
import unittest

from fake_service import FakeService
from shells import Asyncio, Blocking
from xenmesh import CallError
from xenmesh.topology import Tls
from xenmesh.v1 import bus_pb2


def make_certificate(directory, name, alternative, ca="ca"):
    """NAME.crt and NAME.key, signed by `ca` (itself, if that is its name)."""
    def path(file):
        return os.path.join(directory, file)

    with open(path(name + ".ext"), "w", encoding="ascii") as f:
        f.write("subjectAltName = %s\n" % alternative if alternative else
                "basicConstraints = critical, CA:TRUE\n")
    subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=" + name, "-keyout", path(name + ".key"),
                    "-out", path(name + ".csr")], check=True, capture_output=True)
    signer = (["-signkey", path(name + ".key")] if ca == name else
              ["-CA", path(ca + ".crt"), "-CAkey", path(ca + ".key"), "-CAcreateserial"])
    subprocess.run(["openssl", "x509", "-req", "-in", path(name + ".csr"), "-days", "2", *signer,
                    "-extfile", path(name + ".ext"), "-out", path(name + ".crt")],
                   check=True, capture_output=True)
    return Tls(path(ca + ".crt"), path(name + ".crt"), path(name + ".key"))


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="xenmesh-py-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        for ca in ("ca", "other"):
            make_certificate(cls.directory, ca, None, ca)
        cls.server = make_certificate(cls.directory, "server", "DNS:localhost")
        cls.client = make_certificate(cls.directory, "client", "URI:xenmesh:role:operator")
        cls.stranger = make_certificate(cls.directory, "stranger", "DNS:localhost", "other")

    def serve(self, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        context.load_verify_locations(self.client.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        service = FakeService(self.directory, tls=context)
        self.addCleanup(service.close)
        return service

    def test_calls_and_events(self):
        service = self.serve(self.server)
        service.publish("vm/a/state", task={"step": "x" * 300000})
        for shell in (Blocking, Asyncio):
            tls = self.client.context()
            with shell.client(service.url("rpc"), tls=tls) as client:
                echo = os.urandom(200000)
                reply = client.call("Bus/Ping", bus_pb2.PingRequest(echo=echo))
                self.assertEqual(reply.echo, echo)
            with shell.subscriber(service.url("pub"), service.url("rpc"), tls=tls) as sub:
                self.assertEqual([sub.next(10).what for _ in range(2)], ["state", "resynced"])
                service.publish("vm/a/state", task={"step": "y" * 300000})
                self.assertEqual(sub.next(10).event.task.step, "y" * 300000)

    def test_server_of_another_authority_is_not_spoken_to(self):
        service = self.serve(self.stranger)
        for shell in (Blocking, Asyncio):
            with shell.client(service.url("rpc"), tls=self.client.context()) as client:
                with self.assertRaises(CallError) as raised:
                    client.call("Bus/Ping", timeout=5, retry=False)
                self.assertEqual(raised.exception.name, "UNAVAILABLE")
                self.assertIn("CERTIFICATE_VERIFY_FAILED", raised.exception.message)
        self.assertEqual(service.calls, [])

    def test_common_name_is_no_name(self):
        service = self.serve(make_certificate(self.directory, "localhost", "IP:127.0.0.2"))
        with Blocking.client(service.url("rpc"), tls=self.client.context()) as client:
            with self.assertRaisesRegex(CallError, "CERTIFICATE_VERIFY_FAILED"):
                client.call("Bus/Ping", timeout=5, retry=False)

    def test_server_of_another_name_is_not_spoken_to(self):
        service = self.serve(self.server)
        url = service.url("rpc").replace("localhost", "127.0.0.1")
        with Blocking.client(url, tls=self.client.context()) as client:
            with self.assertRaisesRegex(CallError, "CERTIFICATE_VERIFY_FAILED"):
                client.call("Bus/Ping", timeout=5, retry=False)
