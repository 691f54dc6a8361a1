#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The role of a caller is that of the uid and the groups of its process, whatever the user
database says of the user."""
import os
import sys

import bus_harness as bus
from other_user import As
from raw_sp import RawCaller

USER = 65534
GROUP = 70001       # has the role operator, and no name
ADMIN_GROUP = 70002
DENIED = 7
SUB = b"\0SP\0\0\x21\0\0"
METHODS = ("xenmesh.v1.Bus/Ping", "xenmesh.v1.Ops/PauseVm", "xenmesh.v1.Bus/SetLogLevel")


def call_all(tell, directory):
    """The code of each method, the last refusal, and whether the publisher takes us."""
    caller = RawCaller(os.path.join(directory, "rpc"))
    codes, text = [], ""
    for method in METHODS:
        # SetLogLevel of no level: INVALID_ARGUMENT for whoever may call it.
        reply = caller.call(method)
        codes.append(reply.code)
        text = reply.message or text
    try:
        RawCaller(os.path.join(directory, "pub"), hello=SUB).shake()
        hears = True
    except ConnectionError:
        hears = False
    tell(codes=codes, text=text, hears=hears)


class Roles:
    def __init__(self, args):
        self.bench = bus.Bench(args.bin)
        os.chmod(self.bench.dir, 0o755)
        with open(self.bench.topology, "a", encoding="ascii") as f:
            f.write("[access]\nobserver = @%d\noperator = @%d no-such-user\nadmin = @%d\n" % (
                USER, GROUP, ADMIN_GROUP))
        self.log = os.path.join(self.bench.dir, "log")
        with open(self.log, "w", encoding="utf-8") as log:
            self.bench.start("bus_testpub", "--topology", self.bench.topology, "--rate", "0",
                             "--events", "0", "--topics", "1", stderr=log)
        rpc = os.path.join(self.bench.dir, "test", "rpc")
        bus.wait_for(lambda: os.path.exists(rpc), 10, "bus_testpub listens")
        # Before the user changes, who may not read the build directory.
        import xenmesh.v1.bus_pb2

    def codes_of(self, uid, groups):
        other = As(uid, call_all, os.path.join(self.bench.dir, "test"), groups=groups)
        try:
            return other.next()
        finally:
            other.end()

    # ---- tests ----

    def primary_group(self):
        told = self.codes_of(USER, [])
        bus.expect(told["codes"] == [0, DENIED, DENIED] and told["hears"], str(told))
        bus.expect("uid %d has observer" % USER in told["text"], str(told))

    def supplementary_groups(self):
        told = self.codes_of(USER, [5, GROUP, 6])
        bus.expect(told["codes"] == [0, 0, DENIED] and told["hears"], str(told))
        told = self.codes_of(USER, [GROUP, ADMIN_GROUP])
        bus.expect(told["codes"][:2] == [0, 0] and told["codes"][2] != DENIED, str(told))

    def many_groups(self):
        """More than one look gets, and the one that counts is the last."""
        told = self.codes_of(USER, list(range(80000, 81000)) + [GROUP])
        bus.expect(told["codes"] == [0, 0, DENIED], str(told))

    def no_role(self):
        told = self.codes_of(USER - 1, [5])
        bus.expect(told["codes"] == [DENIED] * 3 and not told["hears"], str(told))

    def unknown_names_are_told(self):
        with open(self.log, encoding="utf-8") as log:
            text = log.read()
        bus.expect("the user 'no-such-user' does not exist, so nobody gets the role operator"
                   in text, text)


def main():
    roles = Roles(bus.arguments(__doc__))
    try:
        return bus.run([(test.__name__, test) for test in (
            roles.primary_group, roles.supplementary_groups, roles.many_groups, roles.no_role,
            roles.unknown_names_are_told)])
    finally:
        roles.bench.close()


sys.exit(main())
