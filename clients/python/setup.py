# SPDX-License-Identifier: LGPL-2.1-or-later
"""Adds to the build what tools/generate.py makes of the .proto files: those beside this file (in
an sdist) or those of the source tree it stands in."""
import os
import shutil
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = os.path.dirname(os.path.abspath(__file__))
PROTO = next(path for path in (os.path.join(HERE, "proto"), os.path.join(HERE, "../../proto"))
             if os.path.isdir(path))


class BuildWithGenerated(build_py):
    def run(self):
        super().run()
        subprocess.run([sys.executable, os.path.join(HERE, "tools/generate.py"), PROTO,
                        self.build_lib], check=True)


class SdistWithProtos(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        for source, target in ((os.path.join(PROTO, "xenmesh/v1"), "proto/xenmesh/v1"),
                               (os.path.join(HERE, "tools"), "tools")):
            shutil.copytree(source, os.path.join(base_dir, target), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithGenerated, "sdist": SdistWithProtos})
