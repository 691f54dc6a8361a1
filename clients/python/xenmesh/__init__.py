# SPDX-License-Identifier: LGPL-2.1-or-later
"""Client for the xenmesh services, after docs/protocol.md.

    from xenmesh import Client, Subscriber, Topology
    from xenmesh.v1 import ops_pb2

    where = Topology.load()
    with Client(where.rpc("ops")) as ops:
        print(ops.call("xenmesh.v1.Ops/GetVm", ops_pb2.GetVmRequest(vm="web")))
    with Subscriber(where.pub("ops"), where.rpc("ops"), ["vm/"]) as changes:
        for change in changes:
            print(change.what, change.topic)

The modules in xenmesh.v1 are generated from the .proto files when this package is built.
"""
from .client import CallError, Client
from .sp import SpError
from .sub import Change, Subscriber
from .topology import Topology

__all__ = ["CallError", "Change", "Client", "SpError", "Subscriber", "Topology"]
