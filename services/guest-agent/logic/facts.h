/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a guest knows about itself.  Plain data without pointers: copied by
 * assignment, `= { 0 }` knows nothing.  Text is NUL-terminated, cut at a UTF-8
 * boundary and free of control characters; "" means not known.
 */
#include "libcommon/base.h"

/* A guest owns at most 1,000 nodes of xenstore (quota), and readers in dom0 look at fewer: at
 * these limits the agent's nodes stay below 500. */
#define GUEST_VIFS_MAX		   32
#define GUEST_FAMILY_ADDRESSES_MAX 16 /* of one vif, IPv4 and IPv6 each */
#define GUEST_VIF_ADDRESSES_MAX	   (2 * GUEST_FAMILY_ADDRESSES_MAX)
#define GUEST_TEXT_SIZE		   256
#define GUEST_WORD_SIZE		   64
#define GUEST_NUMBER_SIZE	   16
#define GUEST_IFNAME_SIZE	   16 /* IFNAMSIZ */
#define GUEST_MAC_SIZE		   18

struct guest_os {
	char name[GUEST_TEXT_SIZE];    /* "Debian GNU/Linux 12 (bookworm)" */
	char distro[GUEST_WORD_SIZE];  /* "debian": [a-z0-9._-]+ */
	char major[GUEST_NUMBER_SIZE]; /* decimal */
	char minor[GUEST_NUMBER_SIZE];
};

struct guest_address {
	uint8_t bytes[16]; /* network order; IPv4 uses the first four, the rest is zero */
	bool is_ipv6;
	uint8_t prefix; /* length in bits */
	uint8_t index;	/* number of its key below ipv4/ or ipv6/ */
};

struct guest_vif {
	uint32_t devid;
	char name[GUEST_IFNAME_SIZE];
	char mac[GUEST_MAC_SIZE]; /* "00:16:3e:01:02:03" */
	struct guest_address addresses[GUEST_VIF_ADDRESSES_MAX];
	size_t n_addresses;
	size_t n_left_out; /* addresses over the limit */
};

struct guest_facts {
	struct guest_os os;
	char uname[GUEST_TEXT_SIZE]; /* kernel release */
	char hostname[GUEST_TEXT_SIZE];
	char agent_version[GUEST_WORD_SIZE]; /* "1.2.3" */
	uint64_t memory_total_kib;	     /* 0 = not known */
	uint64_t memory_free_kib;	     /* what programs could still get; 0 = not known */
	bool has_balloon;		     /* the kernel follows memory/target */
	bool has_vif_hotplug;
	bool has_vbd_hotplug;
	struct guest_vif vifs[GUEST_VIFS_MAX]; /* ascending devid */
	size_t n_vifs;
};
