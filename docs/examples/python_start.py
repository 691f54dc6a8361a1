#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Start the VMs that are named, all at once, and wait until each of them runs or has failed."""
import asyncio
import sys

from xenmesh import AsyncClient, CallError, CallOptions
from xenmesh.rpc import AsyncOps
from xenmesh.v1 import ops_pb2


async def start(ops, vm):
    try:
        task = await ops.start_vm(vm=vm)
        task = await ops.wait_task(CallOptions(timeout=120), id=task.id)
    except CallError as e:
        return "%s: %s" % (vm, e)
    if task.state == ops_pb2.TASK_STATE_DONE:
        return "%s: domid %d" % (vm, task.domid)
    return "%s: %s" % (vm, task.error.message)


async def main():
    async with AsyncClient.to("ops") as client:
        ops = AsyncOps(client)
        for line in await asyncio.gather(*(start(ops, vm) for vm in sys.argv[1:])):
            print(line)


asyncio.run(main())
