#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boot a real Xen host in QEMU once and run the scenarios on it, in order.

Prints one line a scenario and a last line "N passed, N failed"; exit 0 only if all passed."""

import argparse
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# The order of these imports is the order of the scenarios.
import scenarios_platform  # noqa: F401  pylint: disable=unused-import,wrong-import-position
import scenarios_services  # noqa: F401  pylint: disable=unused-import,wrong-import-position
import scenarios_faults  # noqa: F401  pylint: disable=unused-import,wrong-import-position
from host import Host, HostError  # noqa: E402  pylint: disable=wrong-import-position
from runner import SCENARIOS, Context, run_all, save_logs  # noqa: E402  pylint: disable=wrong-import-position


def select(only):
    names = [function.__name__ for function in SCENARIOS]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise SystemExit(f"run.py: no scenario {', '.join(unknown)}; there are: {', '.join(names)}")
    return [function for function in SCENARIOS if not only or function.__name__ in only]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images", required=True, help="what build-images made")
    parser.add_argument("--log-dir", help="keep console, service and guest logs here (default: a new directory)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="run this one; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the scenarios and leave")
    parser.add_argument("--keep", action="store_true", help="leave the host running until Ctrl-C")
    args = parser.parse_args()
    if args.list:
        for function in SCENARIOS:
            print(f"{function.__name__:28} {function.__doc__}")
        return 0
    chosen = select(args.only)
    log_dir = args.log_dir or tempfile.mkdtemp(prefix="xenhost-")
    os.makedirs(log_dir, exist_ok=True)
    print(f"logs: {log_dir}", flush=True)
    with Host(args.images, os.path.join(log_dir, "console.log")) as host:
        try:
            print(f"dom0 answers after {host.boot():.1f} s", flush=True)
        except HostError as error:
            print(f"FAIL boot: {error}\n0 passed, {len(chosen)} failed")
            return 1
        began = time.monotonic()
        with Context(host, log_dir) as context:
            passed, failed = run_all(context, chosen)
            save_logs(context)
        print(f"{time.monotonic() - began:.0f} s in scenarios\n{passed} passed, {failed} failed", flush=True)
        if args.keep:
            here = os.path.dirname(os.path.abspath(__file__))
            print(f"the host stays; a command in dom0: python3 {here}/host.py {host.port} 'xl list'", flush=True)
            try:
                host.process.wait()
            except KeyboardInterrupt:
                pass
        host.poweroff()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
