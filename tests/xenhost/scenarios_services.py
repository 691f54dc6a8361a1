# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our services on the real hypervisor, seen through the command line and xl's own tools."""

import json
import re
import time

from guests import Guest, backends, xentop
from runner import expect, scenario
from services import BUS_NAMES, PROCESSES, START_TIMEOUT_S, Services, wait_until

KIB = 1024
CONVERGED_WITHIN_S = 5.0
SEEN_WITHIN_S = 1.0


@scenario
def services_answer(context):
    """All services come up and answer `xenmesh bus ping`."""
    services = Services(context.host)
    services.start()
    _, took = wait_until(services.ping_all, START_TIMEOUT_S, "every service answers a ping")
    context.note(f"all of {', '.join(BUS_NAMES)} answer after {took:.1f} s")
    def connected():
        (host,) = services.ask("host show")
        return host["state"] if host["state"] and host["state"]["connected"] else None

    state, _ = wait_until(connected, START_TIMEOUT_S, "ops has a host process")
    expect(state["xen_version"].startswith("4.17.") and state["pcpus"] == 2 and not state["simulated"],
           f"host show says {state}")
    context.shared["services"] = services


def _vm_config(guest):
    return {"name": guest.name, "type": f"VM_TYPE_{guest.kind.upper()}", "vcpus": 1,
            "memory_kib": guest.memory_mib * KIB, "kernel": "/images/vmlinux", "ramdisk": "/images/guest.cpio",
            "cmdline": guest.cmdline, "vifs": [{"devid": 0, "mac": guest.mac, "bridge": "xenbr0"}],
            "vbds": [{"vdev": "xvda", "target": guest.device, "format": "raw", "backendtype": "phy"}]}


@scenario
def vm_start_boots_pv_and_pvh(context):
    """`vm define` from an xl.cfg and from JSON, `vm start` boots a PV and a PVH guest with vif and vbd."""
    services, host = context.need("services"), context.host
    pv = Guest(host, "pv", "mesh-pv", 3, words="load=disk load=send")
    pvh = Guest(host, "pvh", "mesh-pvh", 4, words="load=disk load=send")
    host.put("/root/mesh-pv.cfg", pv.xl_config())
    host.put("/root/mesh-pvh.json", json.dumps(_vm_config(pvh)))
    services.cli("vm define /root/mesh-pv.cfg")
    services.cli("vm define /root/mesh-pvh.json")
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
        expect([vif["mac"] for vif in vm["vifs"]] == [guest.mac], f"vifs: {vm['vifs']}")
        expect([vbd["vdev"] for vbd in vm["vbds"]] == ["xvda"], f"vbds: {vm['vbds']}")
        context.shared[guest.name] = guest


def _reports(services, guest):
    """The guest's report if it is complete, else None."""
    info = services.guest(guest.name)
    addresses = [address["address"] for vif in info["vifs"] for address in vif["addresses"]]
    return info if info["os"] and guest.address in addresses else None


@scenario
def guest_agent_reports(context):
    """Both guests' agents report OS, kernel and the address of the vif."""
    services, host = context.need("services"), context.host
    release = host.check("uname -r").strip()
    for name in ("mesh-pv", "mesh-pvh"):
        guest = context.need(name)
        info, took = wait_until(lambda: _reports(services, guest), 30, f"{name} reports {guest.address}")
        context.note(f"{name} had reported after {took:.1f} s")
        expect("Debian" in info["os"]["name"], f"OS: {info['os']}")
        expect(info["os"]["uname"] == release, f"kernel: {info['os']}, it boots {release}")
        (vif,) = info["vifs"]
        expect(vif["devid"] == 0 and vif["mac"].lower() == guest.mac, f"vif: {vif}")
        expect(info["agent"]["installed"], f"agent: {info['agent']}")
        expect(info["memory_total_kib"] > 0, "no memory figure")


def _counters_from_xentop(row):
    """Cumulative values with the coarseness xentop prints them in: name -> (value, unit size).
    xentop's RX is what dom0's end of the vif received, so what the guest sent; ours is the guest's view."""
    return {"cpu_s": (int(row["CPU(sec)"]), 1), "memory_kib": (int(row["MEM(k)"]), 1),
            "tx_kib": (int(row["NETRX(k)"]), 1), "rx_kib": (int(row["NETTX(k)"]), 1),
            "rd_req": (int(row["VBD_RD"]), 0), "wr_req": (int(row["VBD_WR"]), 0),
            "rd_sect": (int(row["VBD_RSECT"]), 0), "wr_sect": (int(row["VBD_WSECT"]), 0)}


def _counters_from_top(row):
    return {"cpu_s": row["cpu_ns"] / 1e9, "memory_kib": row["memory_kib"],
            "tx_kib": row["net_tx_bytes"] / KIB, "rx_kib": row["net_rx_bytes"] / KIB,
            "rd_req": row["vbd_rd_req"], "wr_req": row["vbd_wr_req"],
            "rd_sect": row["vbd_rd_sect"], "wr_sect": row["vbd_wr_sect"]}


@scenario
def top_agrees_with_xentop(context):
    """Counters of `xenmesh top -b` lie between two readings of xentop taken before and after its sample."""
    services, host = context.need("services"), context.host
    names = [context.need(name).name for name in ("mesh-pv", "mesh-pvh")]
    before = xentop(host)
    # The last frame's sample was taken after the first frame was shown, so after `before`.
    frames = services.ask("top -b -n 2 -d 1", 60)
    after = xentop(host)
    domains = {domain["name"]: domain for domain in frames[-1]["domains"]}
    for name in names + ["Domain-0"]:
        low, high = _counters_from_xentop(before[name]), _counters_from_xentop(after[name])
        ours = _counters_from_top(domains[name])
        for key, value in ours.items():
            expect(low[key][0] <= value < high[key][0] + (high[key][1] or 1),
                   f"{name}: {key} is {value}, xentop {low[key][0]} before and {high[key][0]} after")
    for name in names:
        low, high = _counters_from_xentop(before[name]), _counters_from_xentop(after[name])
        # With equal traffic both ways nothing would tell received from sent.
        expect(low["tx_kib"][0] > 2 * low["rx_kib"][0] + 64, f"{name} has not sent more than it received: {low}")
        for key in ("rd_req", "rd_sect", "tx_kib"):
            expect(low[key][0] < high[key][0], f"{name}: {key} stood still, so nothing was compared")
        context.note(f"{name}: {_counters_from_top(domains[name])}")
    table = services.cli("top -b -n 1", 60)
    expect(all(name in table for name in names), f"the table of top lacks a guest:\n{table}")


@scenario
def metrics_have_the_domains(context):
    """GET /metrics has CPU, memory, vif and vbd series of both guests."""
    services = context.need("services")
    uuids = [services.vm(context.need(name).name)["uuid"] for name in ("mesh-pv", "mesh-pvh")]

    def complete():
        page = services.scrape()
        wanted = ("cpu", "memory", "vif", "vbd")
        lines = {uuid: [line for line in page.splitlines() if uuid in line and line[0] != "#"] for uuid in uuids}
        return page if all(any(word in line for line in found) for found in lines.values() for word in wanted) \
            else None

    page, took = wait_until(complete, 20, "/metrics has cpu, memory, vif and vbd of both guests")
    expect(page.rstrip().endswith("# EOF"), "the page is not closed by # EOF")
    bad = [line for line in page.splitlines() if not re.match(r"# |[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? \S+", line)]
    expect(not bad, f"these lines are no OpenMetrics: {bad[:3]}")
    context.note(f"{len(page.splitlines())} lines, complete after {took:.1f} s")


@scenario
def xl_domain_is_unmanaged(context):
    """A domain made by `xl create` shows as unmanaged within a second, `xl destroy` removes it."""
    services = context.need("services")
    guest = Guest(context.host, "pv", "foreign", 5)
    guest.make_disk()
    # What one question costs on this machine is no part of the second that the service has.
    began = time.monotonic()
    services.vms()
    call_s = time.monotonic() - began
    guest.xl_create()
    domid = guest.domid()
    vm, took = wait_until(lambda: services.vms().get(guest.name), SEEN_WITHIN_S + call_s, "the domain is listed")
    expect(not vm["managed"] and vm["domid"] == domid, f"vm list says {vm}")
    context.host.check(f"xl destroy {guest.name}", 60)
    _, gone = wait_until(lambda: guest.name not in services.vms(), SEEN_WITHIN_S + call_s, "the domain is unlisted")
    context.note(f"listed {took:.2f} s after xl create, unlisted {gone:.2f} s after xl destroy, "
                 f"a question takes {call_s:.2f} s")
    guest.drop_disk()


def _view(services, guests):
    """What must be the same after a service was killed: every VM with its domain, every guest's report."""
    services.ping_all()
    vms = {name: (vm["uuid"], vm["domid"], vm["managed"], vm["power_state"]) for name, vm in services.vms().items()}
    reports = {guest.name: bool(_reports(services, guest)) for guest in guests}
    page = services.scrape()
    series = {name: vm[0] in page for name, vm in vms.items() if vm[1] > 0}
    return vms, reports, series


@scenario
def kill_each_service(context):
    """SIGKILL of each service in turn: the guests run on and everything has converged within 5 s."""
    services, host = context.need("services"), context.host
    guests = [context.need(name) for name in ("mesh-pv", "mesh-pvh")]
    expected = _view(services, guests)
    expect(all(expected[1].values()) and all(expected[2].values()), f"not complete before: {expected}")
    late = []
    for name, _, _ in PROCESSES:
        old, killed = services.kill(name)

        def again():
            return services.pid(name) not in (None, old) and _view(services, guests) == expected

        wait_until(again, 30, f"everything is as before after SIGKILL of {name}")
        took = time.monotonic() - killed
        context.note(f"{name}: converged {took:.1f} s after SIGKILL")
        if took > CONVERGED_WITHIN_S:
            late.append(f"{name} {took:.1f} s")
        for guest in guests:
            guest.ping(1)
            expect(guest.domid() == expected[0][guest.name][1], f"{guest.name} is another domain now")
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
        wait_until(lambda: guest.domid() is None, 10, f"{name} is gone")
        vm, _ = wait_until(lambda: services.vms()[name], 5, f"{name} is listed")
        expect(vm["power_state"] == "POWER_STATE_HALTED" and vm["domid"] == -1, f"vm list says {vm}")
        expect(not backends(host, domid), f"{name}: backends are still there")
        services.cli(f"vm undefine {name}")
        expect(name not in services.vms(), f"{name} is listed after undefine")
        guest.drop_disk()
