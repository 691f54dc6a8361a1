#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Is the public API still that of the last release, and more?  (docs/protocol.md, section 6)

proto_check.py check SET RELEASED     compare the FileDescriptorSet SET with the file RELEASED
proto_check.py freeze SET RELEASED    write RELEASED anew: at a release, by `make proto-release`

RELEASED is a FileDescriptorSet as text, so that its changes can be read in a review.  The
options of xenmesh.v1 must be importable (PYTHONPATH=BUILD/gen).
"""
import sys

from google.protobuf import descriptor_pb2, text_format
from xenmesh.v1 import options_pb2

F = descriptor_pb2.FieldDescriptorProto
PACKAGE = "xenmesh.v1"
HEAD = "# The public API as released; made by `make proto-release`, compared by tests/proto.\n"

ADD_FIELD = "keep it, mark it `deprecated = true`, and add a new field under a new number"
NEW_PACKAGE = "keep it, and add what is new beside it or in a package xenmesh.v2"


def public(files):
    """Only our package, and without comments."""
    out = descriptor_pb2.FileDescriptorSet()
    for file in files.file:
        if file.package == PACKAGE:
            out.file.add().CopyFrom(file)
            out.file[-1].ClearField("source_code_info")
    return out


def walk(prefix, messages):
    """(full name, descriptor) of messages and those inside them."""
    for message in messages:
        name = "%s.%s" % (prefix, message.name)
        yield name, message
        yield from walk(name, message.nested_type)


class Index:
    """What a set has, by full names."""

    def __init__(self, files):
        self.messages, self.enums, self.services = {}, {}, {}
        for file in files.file:
            self.messages.update(walk(file.package, file.message_type))
            for enum in file.enum_type:
                self.enums["%s.%s" % (file.package, enum.name)] = enum
            for service in file.service:
                self.services["%s.%s" % (file.package, service.name)] = service
        for name, message in self.messages.items():
            for enum in message.enum_type:
                self.enums["%s.%s" % (name, enum.name)] = enum


class Check:
    def __init__(self, released, current):
        self.old, self.new = Index(public(released)), Index(public(current))
        self.findings = []

    def fail(self, where, what, remedy):
        self.findings.append("%s: %s; %s" % (where, what, remedy))

    def run(self):
        for kind, old, new, compare in (
                ("message", self.old.messages, self.new.messages, self.message),
                ("enum", self.old.enums, self.new.enums, self.enum),
                ("service", self.old.services, self.new.services, self.service)):
            for name, item in old.items():
                if name in new:
                    compare(name, item, new[name])
                else:
                    self.fail(name, "the %s was removed or renamed" % kind, NEW_PACKAGE)
        return self.findings

    # ---- messages ----

    @staticmethod
    def type_of(field):
        return field.type_name.lstrip(".") or F.Type.Name(field.type)[len("TYPE_"):].lower()

    @staticmethod
    def oneof_of(message, field):
        if not field.HasField("oneof_index") or field.proto3_optional:
            return ""
        return message.oneof_decl[field.oneof_index].name

    def message(self, name, old, new):
        by_number = {field.number: field for field in new.field}
        by_name = {field.name: field for field in new.field}
        for field in old.field:
            where = "%s.%s = %d" % (name, field.name, field.number)
            now = by_number.get(field.number)
            moved = by_name.get(field.name)
            if now is None or now.name != field.name:
                if moved is not None and moved.number != field.number:
                    self.fail(where, "the field was renumbered to %d" % moved.number, ADD_FIELD)
                elif now is not None:
                    self.fail(where, "the field was renamed to %s, or its number was given to "
                              "another" % now.name, ADD_FIELD)
                else:
                    self.fail(where, "the field was removed", ADD_FIELD)
                continue
            self.field(where, old, field, new, now)
        self.reserved(name, old, new, {field.number: field.name for field in new.field}, 0)

    def field(self, where, old_message, old, new_message, new):
        if self.type_of(old) != self.type_of(new):
            self.fail(where, "its type changed from %s to %s" % (
                self.type_of(old), self.type_of(new)), ADD_FIELD)
        if old.label != new.label or old.proto3_optional != new.proto3_optional:
            self.fail(where, "its label (repeated, optional) changed", ADD_FIELD)
        if self.oneof_of(old_message, old) != self.oneof_of(new_message, new):
            self.fail(where, "it was moved into or out of a oneof", ADD_FIELD)
        if old.json_name != new.json_name:
            self.fail(where, "its JSON name changed", ADD_FIELD)

    # ---- enums, and what both have ----

    def enum(self, name, old, new):
        numbers = {value.name: value.number for value in new.value}
        names = {}
        for value in new.value:
            names.setdefault(value.number, value.name)
        for value in old.value:
            where = "%s.%s = %d" % (name, value.name, value.number)
            if value.name not in numbers:
                self.fail(where, "the value was removed or renamed",
                          "keep it, and add a new value under a new number")
            elif numbers[value.name] != value.number:
                self.fail(where, "the value was renumbered to %d" % numbers[value.name],
                          "give it back its number, and add a new value under a new number")
        # Ranges of enums include their end.
        self.reserved(name, old, new, names, 1)

    def reserved(self, name, old, new, used, end_offset):
        kept = {n for r in new.reserved_range for n in self.numbers(r, end_offset)}
        for numbers in old.reserved_range:
            for number in self.numbers(numbers, end_offset):
                if number in used:
                    self.fail(name, "the reserved number %d is used again by %s" % (
                        number, used[number]), "take a number that was never used")
                elif number not in kept:
                    self.fail(name, "the number %d is no longer reserved" % number,
                              "a number that was given up stays `reserved` for ever")
        fields = set(used.values())
        for text in old.reserved_name:
            if text in fields:
                self.fail(name, "the reserved name %s is used again" % text, "take another name")
            elif text not in new.reserved_name:
                self.fail(name, "the name %s is no longer reserved" % text,
                          "a name that was given up stays `reserved` for ever")

    @staticmethod
    def numbers(reserved, end_offset):
        # `reserved 100 to max` must not take an hour.
        return range(reserved.start, min(reserved.end + end_offset, reserved.start + 100000))

    # ---- services ----

    def service(self, name, old, new):
        methods = {method.name: method for method in new.method}
        for method in old.method:
            where = "%s/%s" % (name, method.name)
            if method.name in methods:
                self.method(where, method, methods[method.name])
            else:
                self.fail(where, "the method was removed or renamed", NEW_PACKAGE)

    def method(self, where, old, new):
        for what, before, now in (("input", old.input_type, new.input_type),
                                  ("output", old.output_type, new.output_type)):
            if before != now:
                self.fail(where, "its %s changed from %s to %s" % (
                    what, before.lstrip("."), now.lstrip(".")),
                    "add fields to the message it has, or add another method")
        if (old.client_streaming, old.server_streaming) != (
                new.client_streaming, new.server_streaming):
            self.fail(where, "it streams now, or no longer", "add another method")
        before = old.options.Extensions[options_pb2.role]
        now = new.options.Extensions[options_pb2.role]
        if now < before:
            self.fail(where, "it needs a lower role than released (%s, was %s)" % (
                self.role(now), self.role(before)),
                "keep the role; give what may be shown to more people a method of its own")
        if old.options.Extensions[options_pb2.mutating] and not (
                new.options.Extensions[options_pb2.mutating]):
            self.fail(where, "it is no longer mutating, so a repeat would be executed again",
                      "keep `option (mutating) = true`, or add another method")

    @staticmethod
    def role(number):
        return options_pb2.role.enum_type.values_by_number[number].name


def read_set(path):
    with open(path, "rb") as f:
        return descriptor_pb2.FileDescriptorSet.FromString(f.read())


def read_released(path):
    with open(path, encoding="utf-8") as f:
        return text_format.Parse(f.read(), descriptor_pb2.FileDescriptorSet())


def write_released(files, path):
    with open(path, "w", encoding="utf-8") as f:
        f.write(HEAD + text_format.MessageToString(public(files)))


def main():
    command, current, released = sys.argv[1:]
    files = read_set(current)
    try:
        findings = Check(read_released(released), files).run()
    except FileNotFoundError:
        if command != "freeze":
            raise
        findings = []
    for line in findings:
        print(line)
    if findings:
        print("%d incompatible changes of %s since its release" % (len(findings), PACKAGE))
        return 1
    if command == "freeze":
        write_released(files, released)
        print("%s holds the API as it is now; commit it with the release" % released)
    return 0


if __name__ == "__main__":
    sys.exit(main())
