# SPDX-License-Identifier: LGPL-2.1-or-later
"""Test guests of the emulated host, and what xentop says about them."""

import re

DISK_MIB = 16
# Without the first line a guest spends seconds on self tests and on clearing memory twice. Without the second a PVH
# guest looks for a timer, buses and UARTs that it does not have, by a hundred thousand reads of I/O ports: each is an
# exit to Xen, which takes long in an emulated SVM and now and then goes wrong there.
KERNEL_WORDS = ("console=hvc0 quiet loglevel=3 mitigations=off init_on_alloc=0 cryptomgr.notests audit=0 "
                "tsc_early_khz=2500000 pci=off 8250.nr_uarts=0 idle=halt initcall_blacklist=init_kprobe_trace")
READY_TIMEOUT_S = 150


class Guest:
    """A guest with one vif on xenbr0 and one vbd; `number` makes its address, MAC and loop device."""

    def __init__(self, host, kind, name, number, memory_mib=96, words=""):
        self.host, self.kind, self.name, self.number = host, kind, name, number
        self.memory_mib = memory_mib
        self.address = f"192.168.77.{10 + number}"
        self.mac = f"00:16:3e:00:77:{number:02x}"
        self.device = f"/dev/loop{number}"
        self.cmdline = f"{KERNEL_WORDS} ip={self.address} disk {words}".strip()
        self.console = f"/var/log/xen/console/guest-{name}.log"
        self.console_at = 0

    def make_disk(self):
        image = f"/run/disks/{self.name}"
        self.host.check(f"truncate -s {DISK_MIB}M {image} && losetup {self.device} {image}")

    def drop_disk(self):
        self.host.check(f"losetup -d {self.device} && rm /run/disks/{self.name}")

    def xl_config(self):
        return (f'name = "{self.name}"\ntype = "{self.kind}"\nmemory = {self.memory_mib}\nvcpus = 1\n'
                f'kernel = "/images/vmlinux"\nramdisk = "/images/guest.cpio"\nextra = "{self.cmdline}"\n'
                f'disk = ["vdev=xvda,access=rw,format=raw,backendtype=phy,target={self.device}"]\n'
                f'vif = ["mac={self.mac},bridge=xenbr0"]\non_crash = "preserve"\n')

    def vm_file(self):
        """The same as xl_config() in our own format; keys of the vbd can be appended."""
        return (f"[vm]\nname = {self.name}\ntype = {self.kind}\nmemory = {self.memory_mib}M\nvcpus = 1\n"
                f"kernel = /images/vmlinux\nramdisk = /images/guest.cpio\ncmdline = {self.cmdline}\n"
                f"on_crash = preserve\n\n[vif 0]\nmac = {self.mac}\nbridge = xenbr0\n\n"
                f"[vbd xvda]\ntarget = {self.device}\nformat = raw\nbackendtype = phy\n")

    def xl_create(self, timeout=120):
        path = f"/root/{self.name}.cfg"
        self.mark_console()
        self.host.put(path, self.xl_config())
        self.host.check(f"xl create {path}", timeout)

    def mark_console(self):
        """wait_console() looks only at what the guest prints from here on."""
        self.console_at = self.host.size(self.console)

    def wait_console(self, text, timeout=READY_TIMEOUT_S):
        self.console_at = self.host.expect(self.console, text, timeout, self.console_at)

    def wait_ready(self, timeout=READY_TIMEOUT_S):
        self.wait_console(f"GUEST-READY {self.address}", timeout)

    def ping(self, count=2):
        self.host.check(f"ping -c {count} -w 15 {self.address}")

    def wait_gone(self, timeout=20):
        self.host.wait_for(f"! xl domid {self.name} 2>/dev/null", timeout)

    def domid(self):
        rc, out = self.host.run(f"xl domid {self.name}")
        return int(out) if rc == 0 else None


def xentop(host):
    """One reading: domain name -> column -> text. Columns as xentop heads them."""
    rows = {}
    header = None
    for line in host.check("xentop -b -f -i 1").splitlines():
        fields = line.replace("no limit", "nolimit").split()
        if fields[:2] == ["NAME", "STATE"]:
            header, rows = fields, {}
        elif header and len(fields) == len(header):
            rows[fields[0]] = dict(zip(header, fields))
    return rows


def backends(host, domid):
    """What is left in xenstore of a domain's backends, as a list of paths."""
    _, out = host.run(f"for kind in vif vbd; do xenstore-list -p backend/$kind/{domid} 2>/dev/null; done")
    return re.findall(r"\S+", out)
