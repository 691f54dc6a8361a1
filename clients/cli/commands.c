/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of contents of the command line.
 */
#include "clients/cli/bus_tools.h"
#include "clients/cli/cli.h"
#include "clients/cli/cmd_pki.h"

#define VM_HELP                                                           \
	"VM is a UUID, a name that is unique on the host, or a domid.\n"  \
	"  --no-wait       return as soon as the operation is accepted\n" \
	"  --request-id ID (global) repeat an earlier command safely: it is executed once\n"

#define SHOW_HELP                                                                           \
	"  --field PATH, -f   only this field; several give a line of CSV\n"                \
	"  --filter EXPR      only what this holds for: vm_state.domid>0 && name!=\"db\"\n" \
	"                     (== != < <= > >= contains, && || ! and parentheses)\n"        \
	"  --hex, --raw       the bytes of the publication\n"                               \
	"  --wide             do not cut lines at the width of the terminal\n"              \
	"  --no-colour        as with NO_COLOR (--no-color too)\n"

#define RATE_HELP                                                                      \
	"Live messages only, of all topics below each prefix together.\n"              \
	"  --window N, -w     over the last N messages (1000)\n"                       \
	"  --interval S, -i   seconds between reports (1)\n"                           \
	"  --count N, -n      end after N reports, 1 or more (no end)\n"               \
	"  --for S            end after S seconds, with a report\n"                    \
	"  --timeout T        (global) end with 3 when no message came in that time\n" \
	"  --service SERVICE  of one service only (all of the topology)\n"             \
	"Exit status 3 when not a single message came, 4 when no service was reached.\n"

const char cli_global_options[] =
	"  --json             one JSON document a line instead of tables\n"
	"  --timeout T        how long a call may take: 500ms, 5s, 2m (5s)\n"
	"  --topology FILE    where the services are ($XENMESH_TOPOLOGY, "
	"/etc/xenmesh/topology.conf)\n"
	"  --socket-dir DIR   look for the sockets of this host there instead of in run_dir\n"
	"  --request-id UUID  identify a mutating command, so that repeating it is safe\n"
	"  --debug            tell what happens on the bus\n"
	"  --help, --version\n";

const struct cli_command cli_commands[] = {
	{ "vm list", "", "list VMs: defined ones and every domain of the host", cmd_vm_list, NULL },
	{ "vm show", "VM", "everything about one VM", cmd_vm_show, NULL },
	{ "vm define", "FILE|- [--format vm|xl|json] [--dry-run] [--replace]",
	  "store a VM's definition", cmd_vm_define,
	  "FILE is in our .vm format, an xl.cfg (*.cfg) or a VmConfig in JSON (*.json).\n"
	  "Keys of an xl.cfg that have no effect are listed as warnings.\n"
	  "  --format vm|xl|json  what FILE is, whatever its name\n"
	  "  --dry-run            check only\n"
	  "  --replace            redefine a halted VM of the same UUID or name\n" },
	{ "vm undefine", "VM...", "forget a halted VM's definition", cmd_vm_undefine, NULL },
	{ "vm start", "VM... [--paused] [--no-wait]", "start VMs", cmd_vm_start,
	  VM_HELP "  --paused        leave them paused\n" },
	{ "vm shutdown", "VM... [--deadline S] [--force] [--no-wait]",
	  "ask guests to power off and wait", cmd_vm_shutdown,
	  VM_HELP "  --deadline S    seconds the guest has (120)\n"
		  "  --force         destroy it when the time is over\n" },
	{ "vm reboot", "VM... [--deadline S] [--force] [--no-wait]", "ask guests to reboot",
	  cmd_vm_reboot,
	  VM_HELP "  --deadline S    seconds the guest has (120)\n"
		  "  --force         destroy and start it when the time is over\n" },
	{ "vm destroy", "VM... [--no-wait]", "end domains at once, as pulling the plug",
	  cmd_vm_destroy, VM_HELP },
	{ "vm pause", "VM... [--no-wait]", "stop VMs' vCPUs", cmd_vm_pause, VM_HELP },
	{ "vm unpause", "VM... [--no-wait]", "let paused VMs run", cmd_vm_unpause, VM_HELP },
	{ "host show", "", "the host: Xen, CPUs, memory", cmd_host_show, NULL },
	{ "top", "[-b] [-n FRAMES] [-d SECONDS] [-s cpu|mem|net|vbd|name|domid]",
	  "load of the host and its domains", cmd_top,
	  "  -b, --batch         print frames, do not use the screen\n"
	  "  -n, --frames N      end after N frames, 1 or more (no end)\n"
	  "  -d, --delay S       seconds between frames (1)\n"
	  "  -s, --sort cpu|mem|net|vbd|name|domid  column to sort by (cpu)\n"
	  "Keys: c m n b a d choose the column to sort by, q quits.\n"
	  "Counters are seen from the guest: NETRX is what the guest received.\n" },
	{ "events", "[PREFIX...] [--service SERVICE] [--count N] [--for S] [--field PATH]",
	  "follow events, mark gaps", cmd_events,
	  "PREFIX limits topics: vm/, vm/UUID/state, task/, host/ ...\n"
	  "  --service SERVICE  of one service only (all of the topology)\n"
	  "  --count N          end after N events, 1 or more (no end)\n"
	  "  --for S            end after S seconds, exit status 3 unless --count was reached\n"
	  "                     (4 when no service was reached in that time)\n"
	  "  --live             leave out the state there is at the beginning\n" SHOW_HELP },
	{ "task list", "[VM] [--active]", "operations, newest first", cmd_task_list, NULL },
	{ "task show", "ID", "one operation", cmd_task_show, NULL },
	{ "task wait", "ID", "wait until it has ended; fails if it failed", cmd_task_wait, NULL },
	{ "task cancel", "ID", "cancel an operation", cmd_task_cancel, NULL },
	{ "metrics list", "[host|VM]", "data sources and their newest values", cmd_metrics_list,
	  NULL },
	{ "metrics query",
	  "host|VM [NAME...] [--start S] [--end S] [--interval 5|60|3600|86400] "
	  "[--cf avg|min|max]",
	  "values over time", cmd_metrics_query,
	  "  --start S     seconds since the epoch, or before now when negative (-600)\n"
	  "  --end S       likewise (now)\n"
	  "  --interval S  wanted resolution: 5, 60, 3600 or 86400 seconds (5)\n"
	  "  --cf CF       what a row of more than 5 s is: avg, min or max (avg)\n" },
	{ "guest list", "", "what the guests say of themselves, a line each", cmd_guest_list,
	  NULL },
	{ "guest show", "VM", "what a guest says of itself", cmd_guest_show, NULL },
	{ "bus ls", "[--sample T]", "services of the topology and how they are", cmd_bus_ls,
	  "A service that does not answer is listed as missing, down, deaf, denied or "
	  "unreachable,\n"
	  "with the command that starts it; then the exit status is 4 (5 if all are denied).\n"
	  "  --sample T  count messages/s for this time instead of since each start\n" },
	{ "bus ping", "[SERVICE...] [--count N] [--interval T] [--size BYTES]",
	  "full round trip to services", cmd_bus_ping,
	  "  -c, --count N     how often, 1 to 1000000 (1)\n"
	  "  -i, --interval T  pause in between; then a line for each (0)\n"
	  "  -s, --size BYTES  how much goes there and back, up to 65536 (8)\n" },
	{ "bus describe", "[SERVICE|METHOD|MESSAGE|ENUM|TOPIC]",
	  "what there is to call and to receive", cmd_bus_describe,
	  "Without a name: all methods and topics. Only a SERVICE is asked; the rest is compiled "
	  "in.\n" },
	{ "bus call",
	  "METHOD [FIELD=VALUE...|@FILE|-] [--data JSON] [--service SERVICE] [--dry-run]",
	  "call any method", cmd_bus_call,
	  "METHOD is StartVm, Ops/StartVm, the full name, or SERVICE.StartVm.\n"
	  "  FIELD=VALUE        name=web1 config.vcpus=2 prefixes+=vm/ vifs[].mac=... "
	  "vifs[0].bridge=...\n"
	  "                     bytes as text:TEXT, hex:DIGITS or base64:TEXT (text; ids hex)\n"
	  "  @FILE, -           the request as JSON in a file, or on standard input\n"
	  "  -j, --data JSON    the request; fields given as words are put into it\n"
	  "  -s, --service SERVICE  whom to call; for methods every service has, or another "
	  "host's\n"
	  "  --dry-run          check and print the request, send nothing\n"
	  "A failure tells the code, the reason, and whether a retry is safe.\n" },
	{ "bus bench",
	  "rtt|pub|fan [SERVICE] [--count N] [--size BYTES] [--outstanding N] [--subscribers N]",
	  "figures of this host: calls, publications", cmd_bus_bench,
	  "rtt calls Ping of a live SERVICE (ops). pub and fan publish on a private bus in a\n"
	  "temporary directory, one event after the other and then 256 at a time.\n"
	  "  -c, --count N        how many calls or events, 1 to 10000000; a tenth more warms up "
	  "(10000)\n"
	  "  -s, --size BYTES     payload of each (64)\n"
	  "  -o, --outstanding N  calls of rtt at the same time, up to 64 (1)\n"
	  "  -n, --subscribers N  of fan, up to 256 (10)\n" },
	{ "bus doctor", "", "what is wrong, and the commands that mend it", cmd_bus_doctor,
	  "Looks at the topology, directories, services, publications, versions, clocks of other\n"
	  "hosts, files of TLS, xenstored and the journal. Fails if there is a finding.\n" },
	{ "bus topology check", "[FILE]", "whether the topology is sound", cmd_bus_topology_check,
	  "FILE instead of the one that counts. Fails if there are errors; warnings are told.\n" },
	{ "bus topology show", "[--origin]", "all values that hold, as a topology",
	  cmd_bus_topology_show, "  --origin  with the file and line that each value is from\n" },
	{ "bus topology dot", "", "a picture of it, for graphviz", cmd_bus_topology_dot, NULL },
	{ "bus pki init", "[--dir DIR] [--name NAME]",
	  "make a certificate authority for tls+tcp:// addresses", cmd_bus_pki_init,
	  "  --dir DIR    where it is kept (/etc/xenmesh/pki), readable for its owner only\n"
	  "  --name NAME  of the authority (xenmesh)\n" },
	{ "bus pki issue",
	  "NAME --role observer|operator|admin [--server --host HOST] [--days N] [--dir DIR]",
	  "a key and a certificate for a host or a user", cmd_bus_pki_issue,
	  "Writes DIR/NAME/ with NAME.crt, NAME.key, ca.crt and crl.pem, to be copied there.\n"
	  "  --role ROLE  what it may do on other hosts: observer, operator or admin\n"
	  "  --server     services may listen with it too\n"
	  "  --host HOST  DNS name or address that others dial it by; may be given again\n"
	  "  --days N     how long it is valid (365)\n"
	  "  --renew      replace the one there is; that stays valid until it expires\n"
	  "  --dir DIR    of the authority (/etc/xenmesh/pki)\n" },
	{ "bus pki list", "[--dir DIR]", "the certificates that were issued", cmd_bus_pki_list,
	  "  --dir DIR    of the authority (/etc/xenmesh/pki)\n" },
	{ "bus pki revoke", "[NAME...] [--dir DIR]", "take back all certificates of a name",
	  cmd_bus_pki_revoke,
	  "Writes DIR/crl.pem, which has to be copied to all hosts; without a NAME only that.\n"
	  "  --dir DIR    of the authority (/etc/xenmesh/pki)\n" },
	{ "bus monitor",
	  "[TOPIC...] [--service SERVICE] [--filter EXPR] [--field PATH] [--count N]",
	  "every message as it comes, a line each; gaps in red", cmd_bus_monitor,
	  "TOPIC is the beginning of topics: vm/, vm/UUID/state, task/, host/ ...\n"
	  "  --service SERVICE  of one service only (all of the topology)\n"
	  "  --count N          end with 0 after N messages, 1 or more (no end)\n"
	  "  --timeout T        (global) end with 3 after that time\n"
	  "  --for S            end after S seconds, exit status 3 unless --count was reached\n"
	  "                     (4 when no service was reached in that time)\n"
	  "  --snapshot         first the state there is, marked =\n"
	  "  --since-start      first that and all removals since the service "
	  "started\n" SHOW_HELP },
	{ "bus hz",
	  "[TOPIC...] [--window N] [--interval S] [--count N] [--for S] [--service SERVICE]",
	  "how often messages come", cmd_bus_hz, RATE_HELP },
	{ "bus bw",
	  "[TOPIC...] [--window N] [--interval S] [--count N] [--for S] [--service SERVICE]",
	  "how much they are: bytes a second, sizes", cmd_bus_bw, RATE_HELP },
	{ "bus delay",
	  "[TOPIC...] [--window N] [--interval S] [--count N] [--for S] [--service SERVICE]",
	  "how late they come, by the time that they carry", cmd_bus_delay,
	  RATE_HELP
	  "Publisher and this host must have the same time: else the difference is in it.\n" },
	{ "bus trace", "SERVICE... [--for S] [--callers] [--count N]",
	  "calls as they end: method, result, time", cmd_bus_trace,
	  "Switches the trace of the services on, and off again at the end unless it was on.\n"
	  "  --for S            how long (1m), an hour at most\n"
	  "  --count N          end after N calls, 1 or more; with 3 when --for is over first\n"
	  "  --callers          also who calls; all who listen to the service are told "
	  "then\n" SHOW_HELP },
	{ "bus wait", "SERVICE|TOPIC [--timeout T] [--for EXPR] [--service SERVICE]",
	  "until a service answers, or a topic is there", cmd_bus_wait,
	  "TOPIC is a whole one, or ends in / for any below it.\n"
	  "  --timeout T        (global) end with 3 after that time (1m)\n"
	  "  --for EXPR         until this holds for the topic: vm_state.power_state=="
	  "POWER_STATE_RUNNING\n"
	  "  --service SERVICE  the topic of this service only\n" },
	{ "bus capture", "-o FILE [TOPIC...] [--count N] [--for S] | --show FILE",
	  "keep messages in a file, or show such a file", cmd_bus_capture,
	  "  --output FILE, -o  where to; - is standard output\n"
	  "  --force            replace a file that is there\n"
	  "  --live             leave out the state there is at the beginning, and repairs\n"
	  "  --service SERVICE  of one service only (all of the topology)\n"
	  "  --count N          end after N messages, 1 or more (no end)\n"
	  "  --for S            end after S seconds, exit status 3 unless --count was reached\n"
	  "                     (4 when no service was reached in that time)\n"
	  "  --show FILE        print what it has, as bus monitor does\n" SHOW_HELP },
	{ "bus replay", "FILE [--speed N|max] [--wait-subscribers N] [--keep]",
	  "publish a capture again, on a test bus", cmd_bus_replay,
	  "The test bus is that of --socket-dir or --topology: this program listens there in "
	  "place\n"
	  "of the services of the capture. Subscribers see one consistent history of a new\n"
	  "instance, with new sequence numbers and times.\n"
	  "  --speed N|max         as fast as it was (1), twice (2), as it goes (max)\n"
	  "  --wait-subscribers N  begin when there are so many\n"
	  "  --keep                stay there at the end, until interrupted\n"
	  "  --i-know              also in place of services of this host itself\n" },
	{ "bus pub", "SERVICE TOPIC -j JSON [--for S] [--i-know]",
	  "publish one event, on a test bus", cmd_bus_pub,
	  "This program listens in place of SERVICE, which must not run, for as long as --for "
	  "says:\n"
	  "nobody but a service itself can put an event among its own.\n"
	  "  --data JSON, -j  the event: {\"task\": {\"id\": \"1\"}}\n"
	  "  --for S          how long (2500ms)\n"
	  "  --i-know         also in place of a service of this host itself\n" },
	{ "bus top", "[-b] [-n FRAMES] [-d SECONDS] [-s rate|bytes|name]",
	  "traffic of topics, services and methods", cmd_bus_top,
	  "  -b, --batch         print frames, do not use the screen\n"
	  "  -n, --frames N      end after N frames, 1 or more (no end)\n"
	  "  -d, --delay S       seconds between frames (1)\n"
	  "  -s, --sort rate|bytes|name  column to sort by (rate)\n"
	  "Keys: r b n choose what to sort by, q quits.\n" },
	{ "bus snapshot", "[SERVICE...] [TOPIC...]", "the state that services hold, a line a topic",
	  cmd_bus_snapshot, NULL },
	{ "bus stats", "SERVICE [NAME] [--openmetrics]", "counters of a service", cmd_bus_stats,
	  "  --prefix NAME    those whose names begin so, as the second argument; fails if none "
	  "does\n"
	  "  --openmetrics    for Prometheus and the like\n" },
	{ "bus log-level", "SERVICE [error|warning|notice|info|debug]",
	  "show or change a service's log level", cmd_bus_log_level, NULL },
	{ "__complete", "-- WORD... CURRENT", NULL, cmd_complete, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};
