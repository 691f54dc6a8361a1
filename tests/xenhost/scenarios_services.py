# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our services on the real hypervisor, seen through the command line and xl's own tools."""

import re
import tempfile
import time

from guests import Guest, backends, xentop
from host import HostTimeout
from runner import expect, scenario
from services import BUS_NAMES, PROCESSES, START_TIMEOUT_S, Events, Services, wait_until

KIB = 1024
SECTOR = 512
SEEN_WITHIN_S = 1.0
MOVING = ("tx_kib", "rd_req", "rd_sect")
EXIT_DENIED = 5


@scenario
def services_answer(context):
    """All services come up and answer `xenmesh bus ping`; ops has found its host process."""
    services = Services(context.host)
    services.start()
    _, took = wait_until(services.ping_all, START_TIMEOUT_S, "every service answers a ping")
    context.note(f"all of {', '.join(BUS_NAMES)} answer after {took:.1f} s")

    def connected():
        (host,) = services.ask("host show")
        return host["state"] if host["state"] and host["state"]["connected"] else None

    state, _ = wait_until(connected, START_TIMEOUT_S, "ops has a host process")
    expect(state["xen_version"].startswith("4.17.") and state["pcpus"] == context.host.cpus and not state["simulated"],
           f"host show says {state}")
    directory = context.keep(tempfile.TemporaryDirectory(prefix="xenhost-"))
    services.reach_from_here(directory.name)
    (ping,) = services.ask_here("bus ping ops")
    context.note(f"bus ping through the relay: {ping}")
    context.shared["services"] = services


@scenario
def only_the_host_process_is_root(context):
    """Each service runs as its own user, and a user without a role may look but not act."""
    services, host = context.need("services"), context.host
    for name, user, _ in PROCESSES:
        uid, gid = host.check(f"id -u {user}; id -g {user}").split()
        pid = services.pid(name)
        status = host.check(f"grep -E '^(Name|Uid|Gid|CapEff):' /proc/{pid}/status")
        found = dict(line.split(":\t", 1) for line in status.splitlines())
        expect(found["Name"].startswith("xenmesh-"), f"{name} is {found}")
        expect(found["Uid"].split() == [uid] * 4 and found["Gid"].split() == [gid] * 4, f"{name} runs as {found}")
        expect((uid == "0") == (name == "ops-host"), f"{name} is uid {uid}")
        expect(name == "ops-host" or int(found["CapEff"], 16) == 0, f"{name} has capabilities: {found}")
    as_nobody = "su -s /bin/sh nobody -c '%s'"
    expect("Domain-0" in host.check(as_nobody % "xenmesh vm list"), "nobody cannot look")
    rc, out = host.run(as_nobody % "xenmesh vm pause Domain-0")
    expect(rc == EXIT_DENIED, f"nobody may pause: exit {rc}, {out}")
    expect(host.run(as_nobody % "test -w /run/xenmesh/ops-host/link")[0] == 1, "nobody may connect to the host process")


@scenario
def vm_start_boots_pv_and_pvh(context):
    """`vm define` from an xl.cfg and from a .vm file, `vm start` boots a PV and a PVH guest with vif and vbd."""
    services, host = context.need("services"), context.host
    pv = Guest(host, "pv", "mesh-pv", 3, words="load=disk load=send")
    pvh = Guest(host, "pvh", "mesh-pvh", 4, words="load=disk load=send")
    host.put("/root/mesh-pv.cfg", pv.xl_config())
    host.put("/root/mesh-pvh.vm", pvh.vm_file())
    services.cli("vm define /root/mesh-pv.cfg")
    services.cli("vm define /root/mesh-pvh.vm")
    for guest in (pv, pvh):
        guest.make_disk()
        guest.mark_console()
    began = time.monotonic()
    services.cli(f"vm start {pv.name} {pvh.name}", 150)
    context.note(f"vm start of both took {time.monotonic() - began:.1f} s")
    for guest in (pv, pvh):
        guest.wait_ready()
        context.note(f"{guest.name} was ready {time.monotonic() - began:.1f} s after vm start")
        guest.ping()
        vm = services.vm(guest.name)
        expect(vm["managed"] and vm["power_state"] == "POWER_STATE_RUNNING", f"vm show says {vm}")
        expect(vm["type"] == f"VM_TYPE_{guest.kind.upper()}", f"vm show says {vm}")
        expect(vm["domid"] == guest.domid(), f"domid {vm['domid']}, xl says {guest.domid()}")
        expect([(vif["mac"], vif["bridge"], vif["xenbus_state"]) for vif in vm["vifs"]] == [(guest.mac, "xenbr0", 4)],
               f"vifs: {vm['vifs']}")
        expect([(vbd["vdev"], vbd["target"], vbd["xenbus_state"]) for vbd in vm["vbds"]] == [("xvda", guest.device, 4)],
               f"vbds: {vm['vbds']}")
        context.shared[guest.name] = guest


def reports(info, guest):
    """Whether the guest's report is complete: that the agent is installed comes in the end."""
    addresses = [address["address"] for vif in info["vifs"] for address in vif["addresses"]]
    agent = info["agent"]
    return bool(info["os"] and info["os"]["uname"] and guest.address in addresses and agent and agent["installed"])


def wait_report(services, guest, domid):
    """Waits for a complete report from the domain; returns it and the seconds that took."""
    def complete():
        info = services.guest(guest.name)
        return info if info["domid"] == domid and reports(info, guest) else None

    return wait_until(complete, 30, f"{guest.name} reports {guest.address}")


@scenario
def guest_agent_reports(context):
    """`guest show` has OS, kernel and the address of the vif, of both guests."""
    services, host = context.need("services"), context.host
    kernel = host.check("uname -r").strip()
    for name in ("mesh-pv", "mesh-pvh"):
        guest = context.need(name)
        info, took = wait_report(services, guest, guest.domid())
        context.note(f"{name} had reported after {took:.1f} s")
        expect("Debian" in info["os"]["name"], f"OS: {info['os']}")
        expect(info["os"]["uname"] == kernel, f"kernel: {info['os']}, it boots {kernel}")
        expect(info["hostname"] == "xenguest", f"hostname: {info['hostname']}")
        (vif,) = info["vifs"]
        expect(vif["devid"] == 0 and vif["mac"].lower() == guest.mac and vif["name"] == "eth0", f"vif: {vif}")
        expect(0 < info["memory_free_kib"] < info["memory_total_kib"] < guest.memory_mib * KIB, f"memory: {info}")


def _from_xentop(row):
    """Cumulative values with the coarseness xentop prints them in: name -> (value, unit size).
    xentop's RX is what dom0's end of the vif received, so what the guest sent; ours is the guest's view."""
    return {"cpu_s": (int(row["CPU(sec)"]), 1), "memory_kib": (int(row["MEM(k)"]), 1),
            "tx_kib": (int(row["NETRX(k)"]), 1), "rx_kib": (int(row["NETTX(k)"]), 1),
            "rd_req": (int(row["VBD_RD"]), 0), "wr_req": (int(row["VBD_WR"]), 0),
            "rd_sect": (int(row["VBD_RSECT"]), 0), "wr_sect": (int(row["VBD_WSECT"]), 0)}


def _wait_traffic(host, guest, row):
    """Waits until a guest has sent and read more than a reading of xentop says."""
    domid = guest.domid()
    host.wait_for(f"[ $(cat /sys/class/net/vif{domid}.0/statistics/rx_bytes) -gt {(int(row['NETRX(k)']) + 2) * KIB} ] "
                  f"&& [ $(cat /sys/bus/xen-backend/devices/vbd-{domid}-51712/statistics/rd_req) -gt {row['VBD_RD']} ]",
                  30)


def _expect_between(name, ours, before, after, moved=()):
    """That each value is between two readings of xentop, and newer than the first where it has moved on."""
    low, high = _from_xentop(before[name]), _from_xentop(after[name])
    for key, value in ours.items():
        expect(low[key][0] <= value < high[key][0] + (high[key][1] or 1),
               f"{name}: {key} is {value}, xentop {low[key][0]} before and {high[key][0]} after")
    for key in moved:
        expect(ours[key] > low[key][0], f"{name}: {key} is still {low[key][0]}")
    # With equal traffic both ways nothing would tell received from sent.
    expect(not moved or ours["tx_kib"] > 2 * ours["rx_kib"] + 64, f"{name} has not sent more than it received")


@scenario
def top_agrees_with_xentop(context):
    """CPU time, memory, vif and vbd counters of `top -b` lie between xentop's before and after its sample."""
    services, host = context.need("services"), context.host
    guests = [context.need(name) for name in ("mesh-pv", "mesh-pvh")]
    before = xentop(host)
    for guest in guests:
        _wait_traffic(host, guest, before[guest.name])
    # The last frame's sample was taken after the first frame was shown, so after `before`.
    frames = services.ask("top -b -n 2 -d 1", 60)
    after = xentop(host)
    first, last = ({domain["name"]: domain for domain in frame["domains"]} for frame in frames)
    seconds = (frames[1]["realtime_ns"] - frames[0]["realtime_ns"]) / 1e9
    for name in [guest.name for guest in guests] + ["Domain-0"]:
        row = last[name]
        ours = {"cpu_s": row["cpu_ns"] / 1e9, "memory_kib": row["memory_kib"],
                "tx_kib": row["net_tx_bytes"] / KIB, "rx_kib": row["net_rx_bytes"] / KIB,
                "rd_req": row["vbd_rd_req"], "wr_req": row["vbd_wr_req"],
                "rd_sect": row["vbd_rd_sect"], "wr_sect": row["vbd_wr_sect"]}
        _expect_between(name, ours, before, after, () if name == "Domain-0" else MOVING)
        context.note(f"{name}: " + " ".join(f"{key} {value:.6g}" for key, value in ours.items()))
        rates = {"cpu_percent": (row["cpu_ns"] - first[name]["cpu_ns"]) / 1e7 / seconds,
                 "net_tx_bytes_per_s": (row["net_tx_bytes"] - first[name]["net_tx_bytes"]) / seconds,
                 "vbd_rd_bytes_per_s": (row["vbd_rd_sect"] - first[name]["vbd_rd_sect"]) * SECTOR / seconds}
        for key, rate in rates.items():
            expect(abs(row[key] - rate) <= 0.02 * rate + 1, f"{name}: {key} is {row[key]}, the counters say {rate}")
    table = services.cli("top -b -n 1", 60)
    expect(all(guest.name in table for guest in guests), f"the table of top lacks a guest:\n{table}")


def series(page, uuid):
    """Samples of a domain on a page of OpenMetrics: name -> value, devices added up."""
    values = {}
    for line in page.splitlines():
        match = re.fullmatch(r"(\w+)\{uuid=\"([^\"]*)\"[^}]*\} (\S+)", line)
        if match and match.group(2) == uuid:
            values[match.group(1)] = values.get(match.group(1), 0) + float(match.group(3))
    return values


@scenario
def metrics_agree_with_xentop(context):
    """CPU time, memory, vif and vbd series of /metrics lie between two readings of xentop."""
    services, host = context.need("services"), context.host
    guests = [context.need(name) for name in ("mesh-pv", "mesh-pvh")]
    uuids = {guest.name: services.vm(guest.name)["uuid"] for guest in guests}
    before = xentop(host)
    for guest in guests:
        _wait_traffic(host, guest, before[guest.name])
    # Two samples later the page is of one that was taken after the traffic.
    services.cli("events host/sample --service ops --live --count 2", 30)
    page = services.scrape()
    after = xentop(host)
    for name, uuid in uuids.items():
        got = series(page, uuid)
        ours = {"cpu_s": got["xen_domain_cpu_seconds_total"], "memory_kib": got["xen_domain_memory_bytes"] / KIB,
                "tx_kib": got["xen_domain_vif_transmit_bytes_total"] / KIB,
                "rx_kib": got["xen_domain_vif_receive_bytes_total"] / KIB,
                "rd_req": got["xen_domain_vbd_read_requests_total"],
                "wr_req": got["xen_domain_vbd_write_requests_total"],
                "rd_sect": got["xen_domain_vbd_read_bytes_total"] / SECTOR,
                "wr_sect": got["xen_domain_vbd_written_bytes_total"] / SECTOR}
        _expect_between(name, ours, before, after, MOVING)
        expect(got["xen_domain_guest_memory_free_bytes"] > 0, f"{name}: nothing of what the guest reports: {got}")
    bad = [line for line in page.splitlines() if not re.match(r"# |[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? \S+$", line)]
    expect(not bad and page.rstrip().endswith("# EOF"), f"these lines are no OpenMetrics: {bad[:3]}")
    context.note(f"{len(page.splitlines())} lines")


@scenario
def xl_domain_is_unmanaged(context):
    """A domain made by `xl create` shows as unmanaged within a second, `xl destroy` removes it."""
    services, host = context.need("services"), context.host
    guest = Guest(host, "pv", "foreign", 5)
    guest.make_disk()
    host.put("/root/foreign.cfg", guest.xl_config())
    events = Events(services, "vm/")
    returned = float(host.check("xl create -q /root/foreign.cfg && echo $EPOCHREALTIME", 60).split()[-1])
    domid = guest.domid()
    events.wait('"name":"foreign"', SEEN_WITHIN_S)
    vm = services.vms()[guest.name]
    expect(not vm["managed"] and vm["domid"] == domid and "config" not in vm, f"vm list says {vm}")
    topic = f"vm/{vm['uuid']}/state"
    # libxl's own record of when it made the domain, on the same clock as our events.
    made = float(host.check(f"xenstore-read /vm/{vm['uuid']}/start_time"))
    first = next(event for event in events.all() if event.get("topic") == topic)
    expect(first["event"]["vm_state"]["domid"] == domid, f"first event: {first}")
    seen = first["event"]["time_ns"] / 1e9 - made
    context.note(f"seen {seen:.2f} s after libxl made the domain; xl create returned after {returned - made:.2f} s")
    expect(seen <= SEEN_WITHIN_S, f"seen only {seen:.2f} s after libxl made the domain")
    began = float(host.check("echo $EPOCHREALTIME"))
    ended = float(host.check("xl destroy foreign && echo $EPOCHREALTIME", 60).split()[-1])
    try:
        events.wait('"kind":"removed"', SEEN_WITHIN_S)
    except HostTimeout:
        expect(False, f"no removal within {SEEN_WITHIN_S} s of xl destroy; the last events: {events.all()[-3:]}")
    gone = next(event for event in events.all() if event["kind"] == "removed")
    expect(gone["topic"] == topic, f"{gone} was removed, not {topic}")
    expect(guest.name not in services.vms(), "vm list still has it")
    context.note(f"xl destroy took {ended - began:.2f} s, the removal was told "
                 f"{gone['event']['time_ns'] / 1e9 - ended:+.2f} s after it")
    events.close()
    guest.drop_disk()


@scenario
def vm_pause_and_unpause(context):
    """`vm pause` and `vm unpause` show in `xl list` and in `vm show`."""
    services, host = context.need("services"), context.host
    guest = context.need("mesh-pvh")
    state = "xl list %s | awk 'NR == 2 { print $5 }'" % guest.name
    for command, flag, power_state in (("pause", "p", "POWER_STATE_PAUSED"), ("unpause", "-", "POWER_STATE_RUNNING")):
        began = time.monotonic()
        services.cli(f"vm {command} {guest.name}", 60)
        took = time.monotonic() - began
        flags = host.check(state).strip()
        expect(flags[2] == flag, f"after vm {command} xl list says {flags}")
        vm, _ = wait_until(lambda: services.vm(guest.name), 5, "vm show")
        expect(vm["power_state"] == power_state, f"after vm {command} vm show says {vm['power_state']}")
        context.note(f"vm {command} took {took:.1f} s, xl list says {flags}")
    guest.ping()


@scenario
def vm_reboot_gives_a_new_domain(context):
    """`vm reboot` lets the guest end and makes a new domain of it, whose agent reports again."""
    services = context.need("services")
    guest = context.need("mesh-pv")
    old = guest.domid()
    uuid = services.vm(guest.name)["uuid"]
    guest.mark_console()
    began = time.monotonic()
    services.cli(f"vm reboot {guest.name}", 150)
    context.note(f"vm reboot took {time.monotonic() - began:.1f} s")
    guest.wait_console("GUEST-reboot", 5)
    new = guest.domid()
    expect(new is not None and new != old, f"it was domain {old} and is domain {new}")
    vm = services.vm(guest.name)
    expect((vm["uuid"], vm["domid"], vm["power_state"]) == (uuid, new, "POWER_STATE_RUNNING"), f"vm show says {vm}")
    guest.wait_ready()
    wait_report(services, guest, new)
    context.note(f"ready and reporting {time.monotonic() - began:.1f} s after vm reboot")
    guest.ping()
    expect(not backends(context.host, old), "backends of the old domain are still there")
