# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import shutil
import tempfile
import unittest
from unittest import mock

from xenmesh import Client, Topology


class TopologyTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="xenmesh-py-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = os.path.join(self.directory, "topology.conf")

    def write(self, text, name="topology.conf"):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def load(self, text):
        self.write(text)
        return Topology.load(self.path)

    def test_defaults(self):
        where = Topology()
        self.assertEqual(where.pub("ops"), "ipc:///run/xenmesh/ops/pub")
        self.assertEqual(where.rpc("agent-bridge"), "ipc:///run/xenmesh/agent-bridge/rpc")
        with self.assertRaises(KeyError):
            where.rpc("other")

    def test_sections(self):
        where = self.load(
            "\ufeff; a comment\n[bus]\n  engine = nng\nrun_dir = /tmp/x ; as @run@\n"
            "[service ops]\npub = ipc://@run@/p tcp://127.0.0.1:1\nrpc=tcp://127.0.0.1:2\n"
            "[service mine]\nrpc = ipc://@run@/m\n"
            "[host Alpha]\nops.pub = tls+tcp://alpha:1\nnew.thing.rpc = tcp://alpha:2\n"
            "[access]\nadmin = root\n[from the future]\nkey = value\n")
        self.assertEqual(where.pub("ops"), "ipc:///tmp/x/p")
        self.assertEqual(where.rpc("ops"), "tcp://127.0.0.1:2")
        self.assertEqual(where.pub("metrics"), "ipc:///tmp/x/metrics/pub")
        self.assertEqual(where.rpc("mine"), "ipc:///tmp/x/m")
        self.assertEqual(where.pub("Alpha/ops"), "tls+tcp://alpha:1")
        self.assertEqual(where.rpc("Alpha/new.thing"), "tcp://alpha:2")
        with self.assertRaises(KeyError):
            where.pub("mine")

    def test_drop_ins_in_order(self):
        self.write("[bus]\nrun_dir = /b\n", "topology.d/20.conf")
        self.write("[bus]\nrun_dir = /a\n[service ops]\nrpc = ipc:///x\n", "topology.d/10.conf")
        self.write("nothing", "topology.d/30.other")
        where = self.load("[bus]\nrun_dir = /main\n[service ops]\nrpc = ipc:///main\n")
        self.assertEqual((where.pub("ops"), where.rpc("ops")), ("ipc:///b/ops/pub", "ipc:///x"))

    def test_named_by_the_environment(self):
        self.write("[bus]\nrun_dir = /env\n")
        with mock.patch.dict(os.environ, XENMESH_TOPOLOGY=self.path):
            self.assertEqual(Topology.load().run_dir, "/env")
        with mock.patch.dict(os.environ, XENMESH_TOPOLOGY=self.path + ".none"):
            with self.assertRaises(FileNotFoundError):
                Topology.load()

    def test_mistakes_tell_their_place(self):
        with self.assertRaisesRegex(ValueError, "topology.conf:2: "):
            self.load("[bus]\nrun_dir\n")

    def test_tls(self):
        where = self.load("[tls]\nca = /ca\ncert = /cert\nkey = /key\n"
                          "[host a]\nops.rpc = tls+tcp://a:1\n")
        self.assertEqual(where.tls, ("/ca", "/cert", "/key", None))
        self.assertIsNone(where.ssl_context_for(where.rpc("ops")))
        with self.assertRaises(OSError):
            where.ssl_context_for(where.rpc("a/ops"))
        where = self.load("[tls]\nca = /ca\n[host a]\nops.rpc = tls+tcp://a:1\n")
        with self.assertRaisesRegex(KeyError, "cert and key"):
            Client.to("a/ops", where)
        with self.assertRaisesRegex(ValueError, "certificate"):
            Client(where.rpc("a/ops"))
