# SPDX-License-Identifier: LGPL-2.1-or-later
"""Client for the xenmesh services, after docs/protocol.md.

    from xenmesh import Client, Subscriber
    from xenmesh.rpc import Ops

    with Client.to("ops") as client:
        print(Ops(client).get_vm(vm="web"))
    with Subscriber.to("ops", ["vm/"]) as changes:
        for change in changes:
            print(change.what, change.topic)

AsyncClient and AsyncSubscriber are the same for asyncio.  The modules in xenmesh.v1 (messages)
and xenmesh.rpc (methods) are generated from the .proto files when this package is built.
"""
from .aio import AsyncClient, AsyncSubscriber
from .calls import CallOptions
from .client import Client
from .errors import CallError, SpError
from .follow import Change
from .sub import Subscriber
from .topology import Topology
from .trace import new_traceparent

__all__ = ["AsyncClient", "AsyncSubscriber", "CallError", "CallOptions", "Change", "Client",
           "SpError", "Subscriber", "Topology", "new_traceparent"]
