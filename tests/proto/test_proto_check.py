#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The public API keeps what was released, and tools/proto_check.py sees every way of not doing
so."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RELEASED = os.path.join(ROOT, "proto/released/xenmesh-v1.textproto")

API = '''syntax = "proto3";
package xenmesh.v1;
import "xenmesh/v1/options.proto";
enum Colour {
  reserved 7, 9 to 11;
  reserved "COLOUR_MAUVE";
  COLOUR_UNSPECIFIED = 0;
  COLOUR_RED = 1;
}
message Thing {
  reserved 5, 20 to 22;
  reserved "weight";
  string name = 1;
  repeated uint32 sizes = 2;
  oneof kind { string shape = 3; Colour colour = 4; }
  message Part { string name = 1; }
  Part part = 6;
}
message Spare { string name = 1; }
message Other { string name = 1; }
service Things {
  rpc Get(Other) returns (Thing) { option (role) = ROLE_OBSERVER; }
  rpc Set(Thing) returns (Other) { option (role) = ROLE_ADMIN; option (mutating) = true; }
}
'''

# (name, what is replaced, by what, what must be said, what must be advised)
BREAKING = [
    ("removed_field", "  string name = 1;\n  repeated", "  repeated",
     "xenmesh.v1.Thing.name = 1: the field was removed", "add a new field under a new number"),
    ("removed_and_reserved_field", "  string name = 1;\n  repeated", "  reserved 1;\n  repeated",
     "xenmesh.v1.Thing.name = 1: the field was removed", "deprecated = true"),
    ("renumbered_field", "string name = 1;\n  repeated", "string name = 8;\n  repeated",
     "renumbered to 8", "add a new field"),
    ("renamed_field", "string name = 1;\n  repeated", "string title = 1;\n  repeated",
     "renamed to title", "add a new field"),
    ("number_given_to_another", "string name = 1;\n  repeated",
     "string title = 1;\n string name = 30;\n repeated", "renumbered to 30", "add a new field"),
    ("retyped_field", "repeated uint32 sizes", "repeated sint32 sizes",
     "its type changed from uint32 to sint32", "add a new field"),
    ("retyped_message_field", "Part part = 6", "Other part = 6",
     "from xenmesh.v1.Thing.Part to xenmesh.v1.Other", "add a new field"),
    ("changed_label", "repeated uint32 sizes", "uint32 sizes", "its label", "add a new field"),
    ("became_optional", "string name = 1; }\nservice", "optional string name = 1; }\nservice",
     "xenmesh.v1.Other.name = 1: its label", "add a new field"),
    ("left_its_oneof", "oneof kind { string shape = 3; Colour colour = 4; }",
     "oneof kind { string shape = 3; } Colour colour = 4;", "out of a oneof", "add a new field"),
    ("changed_json_name", "Part part = 6", 'Part part = 6 [json_name = "bit"]', "JSON name",
     "add a new field"),
    ("nested_field", "message Part { string name = 1; }", "message Part { bytes name = 1; }",
     "xenmesh.v1.Thing.Part.name = 1: its type", "add a new field"),
    ("removed_message", "message Spare { string name = 1; }\n", "",
     "xenmesh.v1.Spare: the message was removed", "xenmesh.v2"),
    ("removed_enum_value", "  COLOUR_RED = 1;\n", "", "xenmesh.v1.Colour.COLOUR_RED = 1: the value was "
     "removed", "add a new value"),
    ("renumbered_enum_value", "COLOUR_RED = 1", "COLOUR_RED = 2", "renumbered to 2", "its number"),
    ("reused_enum_number", "  reserved 7, 9 to 11;\n", "  reserved 7, 9, 10;\n  COLOUR_NONE = 0;\n"
     "  COLOUR_TEAL = 11;\n  option allow_alias = true;\n",
     "the reserved number 11 is used again by COLOUR_TEAL", "never used"),
    ("reused_number", "  reserved 5, 20 to 22;\n", "  reserved 20 to 22;\n  string fresh = 5;\n",
     "the reserved number 5 is used again by fresh", "never used"),
    ("forgotten_number", "reserved 5, 20 to 22;", "reserved 5, 20 to 21;",
     "the number 22 is no longer reserved", "for ever"),
    ("reused_name", '  reserved "weight";\n', "  uint32 weight = 12;\n",
     "the reserved name weight is used again", "another name"),
    ("forgotten_name", '  reserved "COLOUR_MAUVE";\n', "",
     "the name COLOUR_MAUVE is no longer reserved", "for ever"),
    ("removed_method", "  rpc Get(Other) returns (Thing) { option (role) = ROLE_OBSERVER; }\n", "",
     "xenmesh.v1.Things/Get: the method was removed", "xenmesh.v2"),
    ("removed_service", API[API.index("service"):], "", "xenmesh.v1.Things: the service was removed",
     "xenmesh.v2"),
    ("other_input", "rpc Get(Other)", "rpc Get(Thing)", "its input changed", "another method"),
    ("other_output", "rpc Set(Thing) returns (Other)", "rpc Set(Thing) returns (Thing)",
     "its output changed", "another method"),
    ("became_a_stream", "returns (Thing)", "returns (stream Thing)", "streams", "another method"),
    ("lower_role", "ROLE_ADMIN", "ROLE_OPERATOR",
     "needs a lower role than released (ROLE_OPERATOR, was ROLE_ADMIN)", "keep the role"),
    ("no_role", "option (role) = ROLE_ADMIN; ", "", "a lower role", "keep the role"),
    ("no_longer_mutating", " option (mutating) = true;", "", "no longer mutating", "mutating"),
]

ALLOWED = [
    ("comments", "message Other", "// Something else.\nmessage Other"),
    ("new_field", "string name = 1;\n  repeated", "string name = 1;\n string more = 7;\n repeated"),
    ("new_field_in_a_oneof", "Colour colour = 4;", "Colour colour = 4; bytes raw = 8;"),
    ("new_enum_value", "COLOUR_RED = 1;", "COLOUR_RED = 1; COLOUR_BLUE = 2;"),
    ("new_message_and_method", "service Things {", "message New { string a = 1; }\nservice Things {\n"
     "  rpc Make(New) returns (New) { option (role) = ROLE_OBSERVER; }"),
    ("more_reserved", "reserved 5,", "reserved 5, 13,"),
    ("higher_role", "ROLE_OBSERVER", "ROLE_OPERATOR"),
    ("became_mutating", "(role) = ROLE_OBSERVER;", "(role) = ROLE_OBSERVER; option (mutating) = true;"),
    ("deprecated", "uint32 sizes = 2", "uint32 sizes = 2 [deprecated = true]"),
    ("other_order", "  rpc Get", "  // first\n  rpc Get"),
]


class Tests:
    def __init__(self, build):
        self.current = os.path.join(build, "gen/xenmesh.desc")
        self.directory = tempfile.mkdtemp(prefix="xenmesh-proto-")
        shutil.copytree(os.path.join(ROOT, "proto/xenmesh/v1"),
                        os.path.join(self.directory, "xenmesh/v1"))

    def compile(self, text):
        import proto_check
        path = os.path.join(self.directory, "xenmesh/v1/api.proto")
        out = os.path.join(self.directory, "set")
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        subprocess.run(["protoc", "-I" + self.directory, "-I/usr/include",
                        "--descriptor_set_out=" + out, "xenmesh/v1/api.proto"], check=True)
        return proto_check.read_set(out)

    def findings(self, old, new):
        """Of api.proto with `old` replaced by `new`, whose first state was written and read."""
        import proto_check
        assert API.count(old) >= 1, "nothing to replace: %r" % old
        released = os.path.join(self.directory, "released")
        proto_check.write_released(self.compile(API), released)
        changed = self.compile(API.replace(old, new, 1))
        return proto_check.Check(proto_check.read_released(released), changed).run()

    def breaking(self, old, new, what, remedy):
        found = self.findings(old, new)
        assert len(found) >= 1, "not noticed"
        matching = [line for line in found if what in line]
        assert matching, "says %s" % found
        assert remedy in matching[0], "advises %s" % matching[0]

    def allowed(self, old, new):
        found = self.findings(old, new)
        assert not found, "%s" % found

    def released_is_kept(self):
        import proto_check
        found = proto_check.Check(proto_check.read_released(RELEASED),
                                  proto_check.read_set(self.current)).run()
        for line in found:
            print("   " + line)
        assert not found, "%d incompatible changes, first %s" % (len(found), found[0])

    def released_is_not_empty(self):
        import proto_check
        index = proto_check.Index(proto_check.read_released(RELEASED))
        assert {"xenmesh.v1.Bus", "xenmesh.v1.Ops"} <= set(index.services), str(index.services)
        roles = {method.options.Extensions[proto_check.options_pb2.role]
                 for service in index.services.values() for method in service.method}
        assert roles == {1, 2, 3}, "roles are %s" % roles

    def all(self):
        yield "released_is_kept", self.released_is_kept
        yield "released_is_not_empty", self.released_is_not_empty
        for name, *args in BREAKING:
            yield "sees_" + name, lambda args=args: self.breaking(*args)
        for name, *args in ALLOWED:
            yield "allows_" + name, lambda args=args: self.allowed(*args)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="build directory")
    args = parser.parse_args()
    sys.path[:0] = [os.path.join(ROOT, "tools"), os.path.join(args.bin, "gen")]
    tests = Tests(args.bin)
    passed = failed = 0
    try:
        for name, test in tests.all():
            try:
                test()
                print("ok %s" % name)
                passed += 1
            except Exception as e:
                if not isinstance(e, AssertionError):
                    traceback.print_exc(file=sys.stdout)
                print("FAIL %s: %s" % (name, str(e).replace("\n", " ") or type(e).__name__))
                failed += 1
    finally:
        shutil.rmtree(tests.directory)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


sys.exit(main())
