# SPDX-License-Identifier: LGPL-2.1-or-later
"""What our services do when something goes wrong on the real hypervisor, and the end of the guests."""

import time

from guests import Guest, backends
from runner import expect, scenario
from scenarios_services import reports, series
from services import BUS_NAMES, PROCESSES, wait_until

CONVERGED_WITHIN_S = 5.0
# Hotplug script of a vbd that says it was called and then waits, so that a test can act in the middle of a create.
WAITING_SCRIPT = """#!/bin/busybox sh
[ "$1" = add ] || exit 0
echo "called for $XENBUS_PATH" >>/tmp/hotplug
n=0
until [ -e /tmp/hotplug-go-on ] || [ $n = 150 ]; do
	n=$((n + 1))
	usleep 200000
done
exec /etc/xen/scripts/block "$@"
"""


def _domains(host):
    return host.check("xl list | awk 'NR > 1 { print $1 }'").split()


def _failed_start(context, guest, kernel):
    """Defines a guest with this kernel, starts it, undefines it; returns what the start said, and its task."""
    services, host = context.need("services"), context.host
    host.put(f"/root/{guest.name}.vm", guest.vm_file().replace("/images/vmlinux", kernel))
    services.cli(f"vm define /root/{guest.name}.vm")
    before = _domains(host)
    began = time.monotonic()
    rc, out = host.run(f"xenmesh vm start {guest.name}", 60)
    context.note(f"vm start failed after {time.monotonic() - began:.1f} s: {out.splitlines()[0]}")
    expect(rc == 1, f"vm start left with {rc}: {out}")
    (task,) = services.ask(f"task list {guest.name}")
    vm = services.vm(guest.name)
    expect(vm["power_state"] == "POWER_STATE_HALTED" and vm["last_error"] == task["error"]["message"],
           f"vm show says {vm}")
    expect(_domains(host) == before, f"domains before {before}, after {_domains(host)}")
    services.cli(f"vm undefine {guest.name}")
    return out, task


@scenario
def failed_start_tells_why(context):
    """A start without a kernel says so; one that libxl refuses says why in libxl's own words. Nothing is left."""
    guest = Guest(context.host, "pv", "broken", 6)
    guest.make_disk()
    out, task = _failed_start(context, guest, "/images/no-such-kernel")
    expect("/images/no-such-kernel" in out and "No such file" in out, f"vm start said {out}")
    out, task = _failed_start(context, guest, "/images/guest.cpio")
    lines = task["error"]["log"]
    expect(any(line.startswith("xc: ") for line in lines) and any(line.startswith("libxl: ") for line in lines),
           f"libxl's lines: {lines}")
    expect(all(line in out for line in lines), f"vm start said {out}, libxl {lines}")
    expect("kernel" in task["error"]["message"], f"message: {task['error']['message']}")
    guest.drop_disk()


def _prepare_slow(context):
    """Defines a VM whose create stops in a hotplug script."""
    services, host = context.need("services"), context.host
    guest = Guest(host, "pv", "slow", 7)
    guest.make_disk()
    host.put("/etc/xen/scripts/block-waiting", WAITING_SCRIPT, 0o755)
    host.put("/root/slow.vm", guest.vm_file() + "script = block-waiting\n")
    services.cli("vm define /root/slow.vm")
    return guest


def _start_slow(context):
    """Starts it up to the hotplug script; returns the task's id."""
    services, host = context.need("services"), context.host
    host.check("rm -f /tmp/hotplug /tmp/hotplug-go-on; : >/tmp/hotplug")
    (task,) = services.ask("vm start slow --no-wait")
    host.expect("/tmp/hotplug", "called", 60)
    return task["id"]


@scenario
def worker_killed_in_create(context):
    """SIGKILL of the worker in the middle of a create fails its task and nothing else; the VM can be started again."""
    services, host = context.need("services"), context.host
    guests = [context.need(name) for name in ("mesh-pv", "mesh-pvh")]
    domids = [guest.domid() for guest in guests]
    slow = _prepare_slow(context)
    task = _start_slow(context)
    host.check("kill -9 $(pidof xenmesh-ops-worker)")
    killed = time.monotonic()

    def failed():
        (now,) = services.ask_here(f"task show {task}")
        return now if now["state"] == "TASK_STATE_FAILED" else None

    now, _ = wait_until(failed, 30, "the task has failed")
    half = slow.domid()

    def converged():
        vms = {vm["name"]: vm for vm in services.ask_here("vm list")}
        return vms["slow"]["domid"] == (-1 if half is None else half) and not vms["slow"]["task"]

    wait_until(converged, 30, "ops sees what the worker left")
    took = time.monotonic() - killed
    context.note(f"converged {took:.1f} s after SIGKILL: {now['error']['message']}")
    expect(took <= CONVERGED_WITHIN_S, f"converged only after {took:.1f} s")
    expect("died" in now["error"]["message"], f"the task says {now['error']}")
    expect([guest.domid() for guest in guests] == domids, "other guests are other domains now")
    for guest in guests:
        guest.ping(1)
    expect(half is not None, "the worker had made no domain, so it was not killed in the middle")
    host.check("touch /tmp/hotplug-go-on")
    services.cli("vm destroy slow", 60)
    expect(slow.domid() is None and not backends(host, half), "something of the half made domain is left")
    services.cli("vm start slow", 60)
    expect(services.vm("slow")["power_state"] == "POWER_STATE_RUNNING", "it does not run")
    services.cli("vm destroy slow", 60)
    context.shared["slow"] = slow


@scenario
def ops_killed_in_create(context):
    """SIGKILL of ops and its host process in the middle of a create: the worker goes on, and the task is not lost."""
    services, host = context.need("services"), context.host
    slow = context.need("slow")
    task = _start_slow(context)
    domid = slow.domid()
    services.kill("ops-host")
    services.kill("ops")
    host.check("touch /tmp/hotplug-go-on")
    released = time.monotonic()

    def ended():
        (now,) = services.ask_here(f"task show {task}")
        return now if now["finished_ns"] else None

    now, _ = wait_until(ended, 60, "the task has ended")
    context.note(f"the task ended {time.monotonic() - released:.1f} s after both were killed: {now['state']}")
    expect(now["state"] == "TASK_STATE_DONE" and now["domid"] == domid, f"the task says {now}")
    vm = services.vm("slow")
    expect((vm["power_state"], vm["domid"]) == ("POWER_STATE_RUNNING", slow.domid()), f"vm show says {vm}")
    expect(slow.domid() == domid, "it was made twice")
    services.cli("vm destroy slow", 60)
    services.cli("vm undefine slow")
    slow.drop_disk()


def _view(services, guests):
    """What must be the same after a service was killed: every VM with its domain, what every guest reports, series
    of every domain. And when the newest sample was taken, in ns of dom0's uptime."""
    services.ask_here(f"bus ping {' '.join(BUS_NAMES)}")
    (host,) = services.ask_here("host show")
    vms = {vm["name"]: (vm["uuid"], vm["domid"], vm["managed"], vm["power_state"])
           for vm in services.ask_here("vm list")}
    told = {info["uuid"]: info for info in services.ask_here("guest list")}
    said = {guest.name: reports(told[vms[guest.name][0]], guest) for guest in guests}
    page = services.scrape()
    kept = {name: sorted(series(page, vm[0])) for name, vm in vms.items() if vm[1] >= 0}
    is_up = host["state"]["connected"] and "xenmesh_ops_up 1" in page.splitlines()
    return (is_up, vms, said, kept), host["sample"]["monotonic_ns"]


@scenario
def kill_each_service(context):
    """SIGKILL of each service in turn: the guests run on and everything has converged within 5 s."""
    services, host = context.need("services"), context.host
    guests = [context.need(name) for name in ("mesh-pv", "mesh-pvh")]
    expected, _ = _view(services, guests)
    expect(expected[0] and all(expected[2].values()) and all(expected[3].values()), f"not complete before: {expected}")
    late = []
    for name, _, _ in PROCESSES:
        old, killed, killed_ns = services.kill(name)

        def again():
            view, sampled_ns = _view(services, guests)
            return view == expected and sampled_ns > killed_ns and services.pid(name) not in (None, old)

        wait_until(again, 30, f"everything is as before after SIGKILL of {name}")
        took = time.monotonic() - killed
        context.note(f"{name}: converged {took:.1f} s after SIGKILL")
        if took > CONVERGED_WITHIN_S:
            late.append(f"{name} {took:.1f} s")
        for guest in guests:
            guest.ping(1)
            expect(guest.domid() == expected[1][guest.name][1], f"{guest.name} is another domain now")
    expect(not late, f"more than {CONVERGED_WITHIN_S:.0f} s: {', '.join(late)}")
    for guest in guests:
        expect("guest: the agent left" not in host.get(guest.console).decode("utf-8", "replace"),
               f"the agent of {guest.name} ended")


@scenario
def vm_shutdown_ends_guests(context):
    """`xenmesh vm shutdown` ends both guests cleanly; they stay defined, halted, with nothing left behind."""
    services, host = context.need("services"), context.host
    for name in ("mesh-pv", "mesh-pvh"):
        guest = context.need(name)
        domid = guest.domid()
        guest.mark_console()
        began = time.monotonic()
        services.cli(f"vm shutdown {name}", 90)
        context.note(f"{name}: {time.monotonic() - began:.1f} s")
        guest.wait_console("GUEST-poweroff", 5)
        expect(guest.domid() is None, f"xl still knows {name}")
        vm = services.vms()[name]
        expect(vm["power_state"] == "POWER_STATE_HALTED" and vm["domid"] == -1, f"vm list says {vm}")
        expect(not backends(host, domid), f"{name}: backends are still there")
        services.cli(f"vm undefine {name}")
        expect(name not in services.vms(), f"{name} is listed after undefine")
        guest.drop_disk()
