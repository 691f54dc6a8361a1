# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs scenarios one after another on one booted host and reports each."""

import contextlib
import os
import subprocess
import tarfile
import time
import traceback

from host import HostError

SCENARIOS = []


class Failure(Exception):
    """What a scenario expected is not so."""


def scenario(function):
    """Marks a function of one argument, the Context, as a scenario; its doc string says what it shows."""
    SCENARIOS.append(function)
    return function


def expect(condition, text):
    if not condition:
        raise Failure(text)


class Context:
    """What scenarios share: the host, and what earlier ones left running for later ones."""

    def __init__(self, host, log_dir):
        self.host, self.log_dir = host, log_dir
        self.shared = {}
        self.open = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.open.close()

    def keep(self, resource):
        """Something to be closed after the last scenario."""
        self.open.enter_context(resource)
        return resource

    def need(self, name):
        """Something an earlier scenario leaves behind; without it this one cannot run and fails."""
        if name not in self.shared:
            raise Failure(f"needs the {name} of an earlier scenario, which failed or was not run")
        return self.shared[name]

    def note(self, text):
        print(f"     {text}", flush=True)


SNAPSHOT = """date; cat /proc/uptime; xl list; xl dmesg | tail -n 40; dmesg | tail -n 40; ps; free
for log in /var/log/xenmesh/*.log /var/log/xen/console/*.log; do echo "==== $log"; tail -n 60 "$log"; done
echo "==== xenstore"; xenstore-ls -f -p"""


def _keep_failure(context, name, text):
    path = os.path.join(context.log_dir, f"failed-{name}.txt")
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
        try:
            out.write(context.host.run(SNAPSHOT, 60)[1])
        except HostError as error:
            out.write(f"no state of the host: {error}\n{context.host.console_tail(8000)}")
    return path


def _run_one(context, function):
    began = time.monotonic()
    try:
        function(context)
    except (Failure, HostError, subprocess.SubprocessError, OSError, ValueError, LookupError, TypeError,
            AttributeError) as error:
        expected = isinstance(error, (Failure, HostError))
        why = str(error) if expected else f"{type(error).__name__}: {error}"
        path = _keep_failure(context, function.__name__, traceback.format_exc() + "\n")
        print(f"FAIL {function.__name__}: {why} (see {path})", flush=True)
        return False
    print(f"ok   {function.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def run_all(context, functions):
    """Returns how many passed and how many failed."""
    results = [_run_one(context, function) for function in functions]
    return results.count(True), results.count(False)


def save_logs(context):
    """Copies dom0's logs (services, guests' consoles) into the log directory."""
    host = context.host
    host.check("tar cf /tmp/logs.tar -C /var/log .", 60)
    path = os.path.join(context.log_dir, "dom0-logs.tar")
    with open(path, "wb") as out:
        out.write(host.get("/tmp/logs.tar"))
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            if member.isfile():
                target = os.path.join(context.log_dir, os.path.basename(member.name))
                with open(target, "wb") as out:
                    out.write(tar.extractfile(member).read())
    os.unlink(path)
