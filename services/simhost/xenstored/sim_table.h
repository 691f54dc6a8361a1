/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The state directory: what simhost and the preload shim inside xenstored tell each other in
 * place of a hypervisor.  Layout only, no code: the shim links nothing of ours.
 *
 *	<dir>/domains          struct sim_table, mapped shared by everybody
 *	<dir>/rings            sparse; one xenstore ring page a domid, page number = domid
 *	<dir>/bell-xenstored   FIFO, the event channel device of xenstored
 *	<dir>/bell-guests-<n>  FIFO, the same for hub n of guests; flock()ed by its hub
 *	<dir>/xsd_port         text, dom0's event channel port ("1")
 *	<dir>/run/             XENSTORED_RUNDIR, holds "socket"
 *	<dir>/xenstored.log    standard error and syslog lines of xenstored
 *	<dir>/xenstored.pid    text; flock()ed by xenstored for as long as it lives
 *	<dir>/lock             flock()ed by the process whose sim_xenstored it is
 *
 * Event channels are a level in shared memory plus an edge through a FIFO.  To raise one: set the
 * pending bit, then exchange `rung` of the receiver to 1, and only if it was 0 write one byte to
 * the receiver's FIFO (EAGAIN is success: it is readable already).  The receiver drains its FIFO,
 * sets `rung` to 0, then takes the pending bits.  Thus nothing is lost however many domains ring
 * at once, equal events merge as they do in Xen, and an event costs a system call only if the
 * receiver sleeps.  A reader that starts or comes back rings its own bell once, which repairs
 * whatever its predecessor left half done.
 *
 * All fields that change are lock-free atomics with sequentially consistent access.
 */

#include <stdatomic.h>
#include <stdint.h>

#define SIM_TABLE_MAGIC	  UINT64_C(0x4e45584d49534d58) /* "XMSIMXEN" */
#define SIM_TABLE_VERSION 1u

/* Domids are below this: Xen's DOMID_FIRST_RESERVED. */
#define SIM_MAX_DOMAINS 0x7ff0u
#define SIM_PAGE_SIZE	4096u
#define SIM_RINGS_BYTES ((uint64_t)SIM_MAX_DOMAINS * SIM_PAGE_SIZE)

/* Processes (or loops) that play guests at the same time; simhost is one, a test another. */
#define SIM_MAX_HUBS 16u
#define SIM_NO_HUB   UINT32_MAX

#define SIM_PENDING_WORDS ((SIM_MAX_DOMAINS + 63u) / 64u)

/* xenstored's local event channel ports. */
#define SIM_PORT_VIRQ	 1u  /* VIRQ_DOM_EXC */
#define SIM_PORT_GUESTS	 2u  /* some ring has news; xenstored looks at all of them anyway */
#define SIM_PORT_DOMAIN0 16u /* SIM_PORT_DOMAIN0 + domid: to that domain */
#define SIM_GUEST_PORT	 1u  /* the port XS_INTRODUCE names; any value > 0 will do */

/* Names of the environment variable for the shim, and of the files above. */
#define SIM_ENV_DIR		"XENMESH_SIMXEN_DIR"
#define SIM_FILE_TABLE		"domains"
#define SIM_FILE_RINGS		"rings"
#define SIM_FILE_BELL_XENSTORED "bell-xenstored"
#define SIM_FILE_BELL_GUESTS	"bell-guests-%u"
#define SIM_FILE_XSD_PORT	"xsd_port"
#define SIM_FILE_RUN_DIR	"run"
#define SIM_FILE_SOCKET		"run/socket"
#define SIM_FILE_LOG		"xenstored.log"
#define SIM_FILE_PID		"xenstored.pid"
#define SIM_FILE_LOCK		"lock"

/* sim_domain_entry.flags */
#define SIM_DOMAIN_PRESENT	(1u << 0) /* the domain exists */
#define SIM_DOMAIN_DYING	(1u << 1) /* being torn down, still visible */
#define SIM_DOMAIN_SHUTDOWN	(1u << 2) /* stopped; the reason is in the bits below */
#define SIM_DOMAIN_REASON_SHIFT 8	  /* SHUTDOWN_* of xen/sched.h, 0..255 */
#define SIM_DOMAIN_REASON_MASK	(0xffu << SIM_DOMAIN_REASON_SHIFT)

struct sim_domain_entry {
	_Atomic uint32_t flags;	 /* written by simhost */
	_Atomic uint32_t mapped; /* written by the shim: 1 while xenstored holds the ring page */
	_Atomic uint32_t hub;	 /* written by the guest's hub; SIM_NO_HUB without one */
};

struct sim_table {
	uint64_t magic;
	uint32_t version;
	uint32_t size_bytes; /* sizeof(struct sim_table) */

	_Atomic uint32_t virq_pending;	 /* to xenstored: VIRQ_DOM_EXC */
	_Atomic uint32_t xenstored_rung; /* a byte is on its way through bell-xenstored */
	_Atomic uint32_t hub_rung[SIM_MAX_HUBS];

	/* To xenstored, bit = domid: that guest's side of the ring changed. */
	_Atomic uint64_t xenstored_pending[SIM_PENDING_WORDS];
	/* To the guests, bit = domid; each hub takes only the bits of its own domids. */
	_Atomic uint64_t guest_pending[SIM_PENDING_WORDS];

	struct sim_domain_entry domains[SIM_MAX_DOMAINS];
};
