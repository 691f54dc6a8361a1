# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the services are: section 1 of docs/protocol.md."""
import configparser
import glob
import os

DEFAULT_PATH = "/etc/xenmesh/topology.conf"
DEFAULT_SERVICES = ("ops", "metrics", "agent-bridge")


class Topology:
    """services: {"ops": {"pub": [URL...], "rpc": [URL...]}, "HOST/ops": ...}"""

    def __init__(self, run_dir="/run/xenmesh"):
        self.run_dir = run_dir
        self.services = {
            name: {kind: ["ipc://@run@/%s/%s" % (name, kind)] for kind in ("pub", "rpc")}
            for name in DEFAULT_SERVICES}

    @classmethod
    def load(cls, path=None):
        """path None: $XENMESH_TOPOLOGY, else the system's file if there is one, else defaults."""
        path = path or os.environ.get("XENMESH_TOPOLOGY")
        if path and not os.path.exists(path):
            raise FileNotFoundError(path)
        path = path or DEFAULT_PATH
        ini = configparser.ConfigParser(
            interpolation=None, strict=False, delimiters=("=",), default_section="")
        ini.read([path] + sorted(glob.glob(os.path.splitext(path)[0] + ".d/*.conf")))
        topology = cls(ini.get("bus", "run_dir", fallback="/run/xenmesh"))
        for section in ini.sections():
            kind, _, name = section.partition(" ")
            for key, value in ini.items(section):
                if kind == "service":
                    topology.services.setdefault(name, {})[key] = value.split()
                elif kind == "host":
                    service, _, key = key.rpartition(".")
                    name_there = "%s/%s" % (name, service)
                    topology.services.setdefault(name_there, {})[key] = value.split()
        return topology

    def _url(self, service, kind):
        urls = self.services.get(service, {}).get(kind)
        if not urls:
            raise KeyError("the topology has no %s of a service %s" % (kind, service))
        return urls[0].replace("@run@", self.run_dir)

    def pub(self, service):
        return self._url(service, "pub")

    def rpc(self, service):
        return self._url(service, "rpc")
