#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Print the power state of every VM, and each change of it, for ever or N seconds."""
import sys

from xenmesh import Subscriber
from xenmesh.v1 import ops_pb2


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1e9
    names = {}
    with Subscriber.to("ops", ["vm/"]) as subscriber:
        for change in subscriber.changes(seconds):
            if change.what == "state":
                vm = change.event.vm_state
                names[change.topic] = vm.name
                print("%-12s %s" % (vm.name, ops_pb2.PowerState.Name(vm.power_state)))
            elif change.what == "removed":
                print("%-12s gone" % names.pop(change.topic))
            elif change.what == "resynced":
                print("# %d VMs, complete up to event %d" % (len(names), change.seq))
            else:
                print("# %s" % change.what)  # gap, down: it goes on by itself
            sys.stdout.flush()


main()
