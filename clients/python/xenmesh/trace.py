# SPDX-License-Identifier: LGPL-2.1-or-later
"""W3C trace context: which calls belong together, for the journals of the services."""
import os
import re
import typing

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def new_traceparent(parent: typing.Optional[str] = None) -> str:
    """A new span: of the trace of `parent`, or of a new trace."""
    trace = parent.split("-")[1] if parent else os.urandom(16).hex()
    return "00-%s-%s-01" % (trace, os.urandom(8).hex())


def check_traceparent(text):
    if not TRACEPARENT.fullmatch(text):
        raise ValueError("%r is no traceparent of version 00" % text)
    return text
