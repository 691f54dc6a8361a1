# SPDX-License-Identifier: LGPL-2.1-or-later
"""What clients have in common whether they block or not, and subscribers likewise: which machines
they are made of, and where in the topology these find their service."""
from __future__ import annotations

import ssl
import typing

from .calls import NAME, Calls
from .follow import SYNCED, Follower
from .topology import Topology

AnyClient = typing.TypeVar("AnyClient", bound="BaseClient")
AnySubscriber = typing.TypeVar("AnySubscriber", bound="BaseSubscriber")


class BaseClient:
    def __init__(self, url: str, name: str = NAME,
                 tls: typing.Optional[ssl.SSLContext] = None) -> None:
        self._calls = Calls(url, name)
        self._drive([self._calls], tls)

    def _drive(self, machines, tls):
        """Do the I/O of the machines from now on."""
        raise NotImplementedError

    @classmethod
    def to(cls: typing.Type[AnyClient], service: str,
           topology: typing.Optional[Topology] = None, name: str = NAME) -> AnyClient:
        """Of a service of the topology (None: this host's): "ops", "HOST/ops"."""
        topology = topology or Topology.load()
        return cls(topology.rpc(service), name, topology.ssl_context_for(topology.rpc(service)))

    @property
    def url(self) -> str:
        return self._calls.url


class BaseSubscriber:
    def __init__(self, pub: str, rpc: str, prefixes: typing.Iterable[str] = (),
                 name: str = NAME, tls: typing.Optional[ssl.SSLContext] = None) -> None:
        self._calls = Calls(rpc, name)
        self._follower = Follower(pub, self._calls, prefixes)
        self._drive([self._follower, self._calls], tls)

    def _drive(self, machines, tls):
        """Do the I/O of the machines from now on."""
        raise NotImplementedError

    @classmethod
    def to(cls: typing.Type[AnySubscriber], service: str, prefixes: typing.Iterable[str] = (),
           topology: typing.Optional[Topology] = None, name: str = NAME) -> AnySubscriber:
        """Of a service of the topology (None: this host's): "ops", "HOST/ops"."""
        topology = topology or Topology.load()
        pub, rpc = topology.pub(service), topology.rpc(service)
        return cls(pub, rpc, prefixes, name, topology.ssl_context_for(pub, rpc))

    @property
    def is_synced(self) -> bool:
        return self._follower.state == SYNCED

    @property
    def has_heard(self) -> bool:
        """Anything was published since this was made, be it a heartbeat."""
        return self._follower.has_heard
