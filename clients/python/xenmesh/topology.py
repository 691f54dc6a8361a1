# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the services are: section 1 of docs/protocol.md."""
from __future__ import annotations

import glob
import os
import re
import ssl
import typing

DEFAULT_PATH = "/etc/xenmesh/topology.conf"
DEFAULT_SERVICES = ("ops", "metrics", "agent-bridge")
CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Tls(typing.NamedTuple):
    """PEM files of section [tls]; crl may be None."""
    ca: str
    cert: str
    key: str
    crl: typing.Optional[str] = None

    def context(self) -> ssl.SSLContext:
        """An ssl.SSLContext for clients: shows our certificate, verifies chain and name of the
        service's."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS_1_2)
        context.hostname_checks_common_name = False
        context.load_verify_locations(self.ca)
        context.load_cert_chain(self.cert, self.key)
        if self.crl:
            context.load_verify_locations(self.crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return context


def read_ini(path):
    """(section, key, value) of each line `key = value`; ValueError with the place of a mistake."""
    with open(path, encoding="utf-8-sig") as f:
        text = f.read()
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line[0] in ";#":
            continue
        line = re.split(r"\s;", line, 1)[0].strip()
        if line[0] == "[" and "]" in line:
            section = line[1:line.index("]")]
        elif "=" in line and line[0] != "[":
            key, _, value = line.partition("=")
            yield section, key.strip(), value.strip()
        else:
            raise ValueError("%s:%d: neither [section] nor key = value" % (path, number))


class Topology:
    """services: {"ops": {"pub": [URL...], "rpc": [URL...]}, "HOST/ops": ...}; tls: Tls or None."""

    def __init__(self, run_dir="/run/xenmesh"):
        self.run_dir = run_dir
        self.services = {
            name: {kind: ["ipc://@run@/%s/%s" % (name, kind)] for kind in ("pub", "rpc")}
            for name in DEFAULT_SERVICES}
        self.tls = None

    @classmethod
    def load(cls, path: typing.Optional[str] = None) -> Topology:
        """path None: $XENMESH_TOPOLOGY, else the system's file if there is one, else defaults."""
        path = path or os.environ.get("XENMESH_TOPOLOGY")
        topology, tls = cls(), {}
        if path and not os.path.exists(path):
            raise FileNotFoundError(path)
        path = path or DEFAULT_PATH
        drop_ins = sorted(glob.glob(glob.escape(os.path.splitext(path)[0]) + ".d/*.conf"))
        for file in ([path] if os.path.exists(path) else []) + drop_ins:
            for section, key, value in read_ini(file):
                topology._set(section, key, value, tls)
        if tls.get("ca") and tls.get("cert") and tls.get("key"):
            topology.tls = Tls(tls["ca"], tls["cert"], tls["key"], tls.get("crl") or None)
        return topology

    def _set(self, section, key, value, tls):
        kind, _, name = section.partition(" ")
        if section == "bus" and key == "run_dir":
            self.run_dir = value
        elif section == "tls":
            tls[key] = value
        elif kind == "service" and key in ("pub", "rpc"):
            self.services.setdefault(name, {})[key] = value.split()
        elif kind == "host":
            service, _, key = key.rpartition(".")
            if key in ("pub", "rpc"):
                self.services.setdefault("%s/%s" % (name, service), {})[key] = value.split()

    def _url(self, service, kind):
        urls = self.services.get(service, {}).get(kind)
        if not urls:
            raise KeyError("the topology has no %s of a service %s" % (kind, service))
        return urls[0].replace("@run@", self.run_dir)

    def pub(self, service: str) -> str:
        return self._url(service, "pub")

    def rpc(self, service: str) -> str:
        return self._url(service, "rpc")

    def ssl_context_for(self, *urls: str) -> typing.Optional[ssl.SSLContext]:
        """What a client of these URLs needs as `tls`: None if none of them is tls+tcp://."""
        if not any(url.startswith("tls+tcp://") for url in urls):
            return None
        if self.tls is None:
            raise KeyError("%s needs ca, cert and key in section [tls] of the topology" % urls[0])
        return self.tls.context()
