/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Network devices for tests, made in a network namespace of the test's own.
 * Which kinds there are depends on the kernel.  Functions return 0 or -errno.
 */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>

#include "libcommon/base.h"

/* Send one request and wait for its answer: 0 or -errno. */
static inline int net_request(struct nlmsghdr *m)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	char buffer[8192];
	ssize_t len = -1;
	int r = -EIO;

	m->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	m->nlmsg_seq = 1;
	if (s && mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) == 0 &&
	    mnl_socket_sendto(s, m, m->nlmsg_len) >= 0) {
		len = mnl_socket_recvfrom(s, buffer, sizeof(buffer));
	}
	if (len >= 0) {
		r = mnl_cb_run(buffer, (size_t)len, 1, mnl_socket_get_portid(s), NULL, NULL);
		r = r < 0 ? -errno : 0;
	}
	if (s) {
		mnl_socket_close(s);
	}
	return r;
}

static inline uint32_t net_index(const char *name)
{
	return name ? if_nametoindex(name) : 0;
}

static inline int net_add_link(const char *name, const char *kind, const char *lower)
{
	char buffer[1024];
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct nlattr *info, *data;

	m->nlmsg_type = RTM_NEWLINK;
	m->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	mnl_nlmsg_put_extra_header(m, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	if (lower) {
		mnl_attr_put_u32(m, IFLA_LINK, net_index(lower));
	}
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_strz(m, IFLA_INFO_KIND, kind);
	if (streq(kind, "vlan")) {
		data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
		mnl_attr_put_u16(m, IFLA_VLAN_ID, 5);
		mnl_attr_nest_end(m, data);
	}
	mnl_attr_nest_end(m, info);
	return net_request(m);
}

static inline int net_change_link(uint16_t type, const char *name, const char *master,
				  const char *new_name)
{
	char buffer[1024];
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info;

	m->nlmsg_type = type;
	info = mnl_nlmsg_put_extra_header(m, sizeof(*info));
	info->ifi_index = (int)net_index(name);
	if (master) {
		mnl_attr_put_u32(m, IFLA_MASTER, net_index(master[0] ? master : NULL));
	}
	if (new_name) {
		mnl_attr_put_strz(m, IFLA_IFNAME, new_name);
	}
	return net_request(m);
}

static inline int net_set_up(const char *name)
{
	char buffer[1024];
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info;

	m->nlmsg_type = RTM_NEWLINK;
	info = mnl_nlmsg_put_extra_header(m, sizeof(*info));
	info->ifi_index = (int)net_index(name);
	info->ifi_flags = info->ifi_change = IFF_UP;
	return net_request(m);
}

static inline int net_change_address(uint16_t type, const char *name, const char *text,
				     uint8_t prefix, const char *peer)
{
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;
	size_t size = family == AF_INET6 ? 16 : 4;
	char buffer[1024];
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct ifaddrmsg *info;
	uint8_t bytes[16];

	m->nlmsg_type = type;
	m->nlmsg_flags = type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0;
	info = mnl_nlmsg_put_extra_header(m, sizeof(*info));
	info->ifa_family = (uint8_t)family;
	info->ifa_prefixlen = prefix;
	/* Not tentative: nobody else is in this network. */
	info->ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
	info->ifa_index = net_index(name);
	inet_pton(family, text, bytes);
	mnl_attr_put(m, IFA_LOCAL, size, bytes);
	if (peer) {
		inet_pton(family, peer, bytes);
	}
	mnl_attr_put(m, IFA_ADDRESS, size, bytes);
	return net_request(m);
}

static inline int net_add_address(const char *name, const char *text, uint8_t prefix)
{
	return net_change_address(RTM_NEWADDR, name, text, prefix, NULL);
}

static inline int net_enter(void)
{
	if (unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) {
		return 0;
	}
	return -errno;
}

static inline bool net_has_kind(const char *kind)
{
	if (net_add_link("probe", kind,
			 streq(kind, "vlan") || streq(kind, "macvlan") ? "base" : NULL) != 0) {
		return false;
	}
	net_change_link(RTM_DELLINK, "probe", NULL, NULL);
	return true;
}

/* A kind of device that needs no other; NULL when there is none. */
static inline const char *net_base_kind(void)
{
	return net_has_kind("veth") ? "veth" : net_has_kind("dummy") ? "dummy" : NULL;
}
