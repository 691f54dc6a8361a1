# SPDX-License-Identifier: LGPL-2.1-or-later
"""The emulated host itself, without any program of ours: if one of these fails, the others say nothing."""

import os
import socket
import struct
import tempfile
import time

from guests import Guest, backends, xentop
from host import HostTimeout
from runner import expect, scenario

XS_READ = 2


@scenario
def host_is_xen(context):
    """Xen 4.17 with a dom0, xenstored and xenconsoled."""
    host = context.host
    info = dict(line.split(":", 1) for line in host.check("xl info").splitlines() if ":" in line)
    info = {key.strip(): value.strip() for key, value in info.items()}
    expect(info["xen_version"].startswith("4.17."), f"xl info says {info}")
    expect("hvm" in info["virt_caps"] and "hap" in info["virt_caps"], "no HVM with HAP, so no PVH guests")
    expect(host.check("xenstore-read /local/domain/0/name").strip() == "Domain-0", "dom0 is not initialised")
    host.check("kill -0 $(cat /run/xenconsoled.pid)")


@scenario
def control_channel_works(context):
    """Exit codes, files, time limits and socket relays of the harness are true."""
    host = context.host
    expect(host.run("echo out; echo err >&2; exit 7") == (7, "out\nerr\n"), "exit code or output is wrong")
    data = os.urandom(300000)
    host.put("/tmp/blob", data, 0o640)
    expect(host.get("/tmp/blob") == data, "a file came back changed")
    expect(host.check("stat -c %a /tmp/blob").strip() == "640", "a file got another mode")
    expect(host.run("kill -9 $$")[0] == 137, "a killed shell is not reported as such")
    try:
        host.run("echo $$ >/tmp/endless; while :; do usleep 50000; done", 1)
        expect(False, "a script without end ended")
    except HostTimeout:
        host.wait_for("! kill -0 $(cat /tmp/endless) 2>/dev/null", 10)
    host.spawn("echo first >/tmp/grows; usleep 300000; echo second >>/tmp/grows")
    end = host.expect("/tmp/grows", "second\n", 10)
    expect(end == len("first\nsecond\n"), f"text was found at {end}")
    with tempfile.TemporaryDirectory() as directory:
        local = os.path.join(directory, "xenstored")
        relay = host.relay("/run/xenstored/socket", local)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as store:
            store.settimeout(10)
            store.connect(local)
            path = b"/local/domain/0/name\0"
            store.sendall(struct.pack("<IIII", XS_READ, 1, 0, len(path)) + path)
            with store.makefile("rb") as answer:
                reply = answer.read(16 + len("Domain-0"))
        relay.close()
        host.relays.remove(relay)
    expect(reply[16:] == b"Domain-0", f"xenstored answered {reply!r} through the relay")


def _runs_well(context, guest):
    host = context.host
    guest.make_disk()
    began = time.monotonic()
    guest.xl_create()
    created = time.monotonic()
    guest.wait_ready()
    context.note(f"xl create {created - began:.1f} s, ready {time.monotonic() - created:.1f} s later")
    guest.ping()
    domid = guest.domid()
    rows = xentop(host)
    expect(guest.name in rows, f"xentop does not know {guest.name}: {rows}")
    row = rows[guest.name]
    # A PVH guest has some pages more: its special pages and what is left of the boot loader's.
    expect(0 <= int(row["MEM(k)"]) - guest.memory_mib * 1024 <= 256, f"memory: {row}")
    expect(row["NETS"] == "1" and row["VBDS"] == "1" and int(row["VBD_RD"]) > 0, f"devices: {row}")
    states = host.check(f"xenstore-read backend/vif/{domid}/0/state backend/vbd/{domid}/51712/state")
    expect(states.split() == ["4", "4"], f"backends are not connected: {states}")
    return domid


@scenario
def xl_pv_guest(context):
    """A PV guest made by xl has disk and network; xl shutdown ends it cleanly."""
    guest = Guest(context.host, "pv", "plain-pv", 1, words="load=disk load=send")
    domid = _runs_well(context, guest)
    moved = context.host.wait_for("[ $(cat /sys/class/net/vif%d.0/statistics/rx_bytes) -gt 300000 ] && "
                                  "cat /sys/bus/xen-backend/devices/vbd-%d-51712/statistics/rd_sect"
                                  % (domid, domid), 30)
    row = xentop(context.host)[guest.name]
    expect(int(row["VBD_RSECT"]) >= int(moved), f"disk: {row}")
    # xentop counts as dom0's end of the vif does: what the guest sends is RX.
    expect(int(row["NETRX(k)"]) >= 292 > 4 * int(row["NETTX(k)"]), f"network: {row}")
    context.host.check(f"xl shutdown -w {guest.name}", 60)
    guest.wait_console("GUEST-poweroff", 5)
    # xl's own daemon destroys it a moment later.
    guest.wait_gone()
    expect(not backends(context.host, domid), "its backends are still there")
    guest.drop_disk()


@scenario
def xl_pvh_guest(context):
    """A PVH guest made by xl has disk and network; xl destroy removes it."""
    guest = Guest(context.host, "pvh", "plain-pvh", 2)
    domid = _runs_well(context, guest)
    context.host.check(f"xl destroy {guest.name}", 60)
    expect(guest.domid() is None, "it is still there")
    expect(not backends(context.host, domid), "its backends are still there")
    guest.drop_disk()
