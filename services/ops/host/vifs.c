/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which interface is which vif is remembered by interface index: the kernel
 * never gives an index to another device while we look once a second, and a
 * renamed interface keeps it.  An index that a dump does not show is forgotten.
 *
 * Invariant: `counters` is sorted after each look.
 */
#include "services/ops/host/vifs.h"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <time.h>

#include "libcommon/err.h"
#include "libcommon/map.h"

#define DUMP_BUFFER (64 * 1024)

struct interface {
	uint32_t index;
	bool is_vif;
	uint32_t domid;
	uint32_t devid;
	unsigned int seen; /* number of the look */
};

struct host_vifs {
	char *sysfs_root;
	struct mnl_socket *netlink;
	struct map interfaces;	       /* index -> struct interface */
	struct host_counters counters; /* of struct host_vif_counters */
	unsigned int look;
	unsigned int sequence;
	void *buffer;
};

int host_vifs_new(struct host_vifs **out, const char *sysfs_root)
{
	struct host_vifs *v = calloc(1, sizeof(*v));
	int r;

	if (!v) {
		return -ENOMEM;
	}
	v->counters.item_size = sizeof(struct host_vif_counters);
	v->sysfs_root = strdup(sysfs_root);
	v->buffer = malloc(DUMP_BUFFER);
	if (!v->sysfs_root || !v->buffer) {
		host_vifs_free(v);
		return -ENOMEM;
	}
	v->netlink = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!v->netlink || mnl_socket_bind(v->netlink, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = err_errno();
		host_vifs_free(v);
		return err_trace(r);
	}
	*out = v;
	return 0;
}

struct host_vifs *host_vifs_free(struct host_vifs *v)
{
	if (!v) {
		return NULL;
	}
	for (struct map_iter i = map_begin(&v->interfaces); map_next(&v->interfaces, &i);) {
		free(i.value);
	}
	map_deinit(&v->interfaces);
	if (v->netlink) {
		mnl_socket_close(v->netlink);
	}
	free(v->buffer);
	host_counters_deinit(&v->counters);
	free(v->sysfs_root);
	free(v);
	return NULL;
}

/* Whether the interface is a vif, from sysfs. A name that changes meanwhile is seen next time. */
static int identify(const struct host_vifs *v, struct interface *i)
{
	char name[IF_NAMESIZE], path[512], node[64];
	_cleanup_(xclosep) int fd = -1;
	int end = -1;
	ssize_t n;

	if (!if_indextoname(i->index, name)) {
		return err_errno();
	}
	if ((size_t)snprintf(path, sizeof(path), "%s/class/net/%s/device/nodename", v->sysfs_root,
			     name) >= sizeof(path)) {
		return -ENAMETOOLONG;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_errno();
	}
	n = read(fd, node, sizeof(node) - 1);
	if (n < 0) {
		return err_errno();
	}
	node[n] = '\0';
	i->is_vif = sscanf(node, "backend/vif/%5u/%10u%n", &i->domid, &i->devid, &end) == 2 &&
		    end > 0 && (node[end] == '\0' || node[end] == '\n');
	return 0;
}

static struct interface *find_interface(struct host_vifs *v, uint32_t index)
{
	struct interface *i = map_get(&v->interfaces, &index, sizeof(index));

	if (i) {
		return i;
	}
	i = calloc(1, sizeof(*i));
	if (!i) {
		return NULL;
	}
	i->index = index;
	if (identify(v, i) < 0 || map_set(&v->interfaces, &index, sizeof(index), i, NULL) < 0) {
		free(i);
		return NULL;
	}
	return i;
}

/* dom0's view swapped to the guest's. */
static void copy_counters(struct host_vif_counters *c, const struct interface *i,
			  const struct rtnl_link_stats64 *s)
{
	*c = (struct host_vif_counters){
		.device = { i->domid, i->devid },
		.rx_bytes = s->tx_bytes,
		.tx_bytes = s->rx_bytes,
		.rx_packets = s->tx_packets,
		.tx_packets = s->rx_packets,
		.rx_errors = s->tx_errors,
		.tx_errors = s->rx_errors,
		.rx_dropped = s->tx_dropped,
		.tx_dropped = s->rx_dropped,
	};
}

static int on_attribute(const struct nlattr *attr, void *out)
{
	if (mnl_attr_get_type(attr) == IFLA_STATS_LINK_64) {
		*(const struct nlattr **)out = attr;
	}
	return MNL_CB_OK;
}

static int read_link(struct host_vifs *v, const struct nlmsghdr *header)
{
	const struct if_stats_msg *link = mnl_nlmsg_get_payload(header);
	struct rtnl_link_stats64 stats = { 0 }; /* older kernels give a shorter one */
	const struct nlattr *attr = NULL;
	struct host_vif_counters *c;
	struct interface *i;

	if (header->nlmsg_type != RTM_NEWSTATS ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*link)) {
		return 0;
	}
	i = find_interface(v, link->ifindex);
	if (!i) {
		return 0;
	}
	i->seen = v->look;
	mnl_attr_parse(header, sizeof(*link), on_attribute, &attr);
	if (!i->is_vif || !attr) {
		return 0;
	}
	c = host_counters_add(&v->counters);
	if (!c) {
		return -ENOMEM;
	}
	memcpy(&stats, mnl_attr_get_payload(attr),
	       MIN(sizeof(stats), mnl_attr_get_payload_len(attr)));
	copy_counters(c, i, &stats);
	return 0;
}

/* 0; 1 = that was the end of the dump. */
static int read_messages(struct host_vifs *v, int len)
{
	const struct nlmsghdr *header = (const void *)v->buffer;

	for (; mnl_nlmsg_ok(header, len); header = mnl_nlmsg_next(header, &len)) {
		int r;

		if (header->nlmsg_seq != v->sequence) {
			continue; /* rest of a dump that failed */
		}
		if (header->nlmsg_type == NLMSG_DONE) {
			return 1;
		}
		if (header->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *error = mnl_nlmsg_get_payload(header);

			return error->error < 0 ? error->error : -EPROTO;
		}
		r = read_link(v, header);
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

static int request_dump(struct host_vifs *v)
{
	char buffer[MNL_NLMSG_HDRLEN + sizeof(struct if_stats_msg)] = { 0 };
	struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);
	struct if_stats_msg *request = mnl_nlmsg_put_extra_header(header, sizeof(*request));

	header->nlmsg_type = RTM_GETSTATS;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	header->nlmsg_seq = ++v->sequence;
	request->filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
	return mnl_socket_sendto(v->netlink, header, header->nlmsg_len) < 0 ? err_errno() : 0;
}

static void forget_unseen(struct host_vifs *v)
{
	for (struct map_iter i = map_begin(&v->interfaces); map_next(&v->interfaces, &i);) {
		struct interface *interface = i.value;

		if (interface->seen != v->look) {
			map_remove(&v->interfaces, &interface->index, sizeof(interface->index));
			free(interface);
		}
	}
}

/* Does not block: the kernel makes each part of the answer while we take it. */
static int read_dump(struct host_vifs *v)
{
	int r = request_dump(v);

	while (r == 0) {
		ssize_t n = mnl_socket_recvfrom(v->netlink, v->buffer, DUMP_BUFFER);

		r = n < 0 ? err_errno() : read_messages(v, (int)n);
	}
	return MIN(r, 0);
}

int host_vifs_read(struct host_vifs *v)
{
	int r;

	v->look++;
	v->counters.n = 0;
	r = read_dump(v);
	if (r < 0) {
		v->counters.n = 0;
		return err_trace(r);
	}
	forget_unseen(v);
	host_counters_sort(&v->counters);
	return 0;
}

const struct host_vif_counters *host_vifs_of(const struct host_vifs *v, uint32_t domid, size_t *n)
{
	return host_counters_of(&v->counters, domid, n);
}
