# SPDX-License-Identifier: LGPL-2.1-or-later
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

import xenmesh

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))


class PackageTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="xenmesh-py-")
        self.addCleanup(shutil.rmtree, self.directory)

    def copy(self):
        """The source as it is in the tree, so that building leaves nothing behind there."""
        here = os.path.join(self.directory, "clients/python")
        ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
        shutil.copytree(os.path.join(ROOT, "clients/python"), here, ignore=ignore)
        shutil.copytree(os.path.join(ROOT, "proto"), os.path.join(self.directory, "proto"))
        return here

    def pip(self, *args, cwd=None):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", *args], cwd=cwd,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:])

    def test_installs_without_a_network(self):
        target = os.path.join(self.directory, "target")
        self.pip("install", "--no-build-isolation", "--no-index", "--no-deps",
                 "--target", target, ".", cwd=self.copy())
        for name in ("py.typed", "rpc.py", "v1/ops_pb2.py", "v1/ops_pb2.pyi"):
            self.assertTrue(os.path.exists(os.path.join(target, "xenmesh", name)), name)
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        out = subprocess.run(
            [sys.executable, "-c", "import xenmesh.rpc as r; from xenmesh.v1 import ops_pb2;"
             "print(xenmesh.__file__, r.Ops.start_vm.__name__, ops_pb2.Task(id='x').id)"
             .replace("import xenmesh.rpc as r", "import xenmesh, xenmesh.rpc as r")],
            env=dict(env, PYTHONPATH=target), cwd="/", check=True, capture_output=True, text=True)
        self.assertEqual(out.stdout.split(), [os.path.join(target, "xenmesh/__init__.py"),
                                              "start_vm", "x"])

    def test_sdist_can_be_built_elsewhere(self):
        here = self.copy()
        subprocess.run([sys.executable, "setup.py", "-q", "sdist"], cwd=here, check=True,
                       capture_output=True)
        sdist, = glob.glob(os.path.join(here, "dist/*.tar.gz"))
        wheels = os.path.join(self.directory, "wheels")
        self.pip("wheel", "--no-build-isolation", "--no-index", "--no-deps", "-w", wheels, sdist)
        wheel, = glob.glob(os.path.join(wheels, "xenmesh-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        for name in ("xenmesh/v1/bus_pb2.py", "xenmesh/rpc.py", "xenmesh/py.typed"):
            self.assertIn(name, names)

    def test_every_module_is_in_the_build(self):
        built = os.path.dirname(xenmesh.__file__)
        for path in glob.glob(os.path.join(ROOT, "clients/python/xenmesh/*")):
            if not path.endswith("__pycache__"):
                self.assertTrue(os.path.exists(os.path.join(built, os.path.basename(path))), path)
