/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two kinds of sockets: one for events, kept, and one for each dump, thrown
 * away with whatever is left in it.
 */
#include "services/guest-agent/platform/netlink.h"

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <sys/time.h>

#include "libcommon/err.h"
#include "libcommon/log.h"
#include "services/guest-agent/logic/text.h"

/* A guest with more is a container host; the vifs come early in the list. */
#define LINKS_MAX     16384
#define ADDRESSES_MAX 65536

#define BUFFER_SIZE	32768 /* what the kernel fills at most with one part of a dump */
#define DRAIN_READS_MAX 16
#define DUMP_TRIES	4
#define DUMP_TIMEOUT_S	2

struct agent_netlink {
	struct mnl_socket *events;
	agent_classify_fn classify;
	void *userdata;
	char *buffer;
};

/* While a dump runs. */
struct dump {
	struct agent_netlink *netlink;
	struct guest_netview *view;
	size_t links_size;
	size_t addresses_size;
};

static struct mnl_socket *close_socket(struct mnl_socket *s)
{
	if (s) {
		mnl_socket_close(s);
	}
	return NULL;
}

static void close_socketp(struct mnl_socket **s)
{
	*s = close_socket(*s);
}

int agent_netlink_new(struct agent_netlink **out, agent_classify_fn classify, void *userdata)
{
	_cleanup_(agent_netlink_freep) struct agent_netlink *n = calloc(1, sizeof(*n));

	if (!n) {
		return -ENOMEM;
	}
	n->classify = classify;
	n->userdata = userdata;
	n->buffer = malloc(BUFFER_SIZE);
	if (!n->buffer) {
		return -ENOMEM;
	}
	n->events = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!n->events) {
		return err_trace(err_errno());
	}
	if (mnl_socket_bind(n->events, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
			    MNL_SOCKET_AUTOPID) < 0) {
		return err_trace(err_errno());
	}
	*out = STEAL(n);
	return 0;
}

struct agent_netlink *agent_netlink_free(struct agent_netlink *n)
{
	if (n) {
		close_socket(n->events);
		free(n->buffer);
		free(n);
	}
	return NULL;
}

int agent_netlink_fd(const struct agent_netlink *n)
{
	return mnl_socket_get_fd(n->events);
}

/* Ports of a bridge come and go as RTM_NEWLINK and RTM_DELLINK of family AF_BRIDGE: the device
 * itself stays. */
static bool is_link(const struct nlmsghdr *m)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(m);

	return mnl_nlmsg_get_payload_len(m) >= sizeof(*info) && info->ifi_family == AF_UNSPEC;
}

static bool is_address(const struct nlmsghdr *m)
{
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(m);

	return mnl_nlmsg_get_payload_len(m) >= sizeof(*info) &&
	       (info->ifa_family == AF_INET || info->ifa_family == AF_INET6);
}

static int on_event(const struct nlmsghdr *m, void *userdata)
{
	bool *has_changed = userdata;

	switch (m->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		*has_changed |= is_link(m);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		*has_changed |= is_address(m);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

int agent_netlink_drain(struct agent_netlink *n)
{
	bool has_changed = false;

	for (size_t i = 0; i < DRAIN_READS_MAX; i++) {
		ssize_t len = mnl_socket_recvfrom(n->events, n->buffer, BUFFER_SIZE);

		if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			break;
		}
		/* Events were dropped, or one was larger than the buffer. */
		if (len < 0 && (errno == ENOBUFS || errno == ENOSPC || errno == EINTR)) {
			has_changed = true;
			continue;
		}
		if (len < 0) {
			return err_trace(err_errno());
		}
		mnl_cb_run(n->buffer, (size_t)len, 0, 0, on_event, &has_changed);
	}
	return has_changed;
}

/* The array with room for one more element; NULL when out of memory (array unchanged). */
static void *grow(void *array, size_t n, size_t *size, size_t element_size)
{
	size_t new_size = *size ? 2 * *size : 32;
	void *grown;

	if (n < *size) {
		return array;
	}
	grown = reallocarray(array, new_size, element_size);
	if (grown) {
		*size = new_size;
	}
	return grown;
}

/* One link while its attributes are being read. */
struct link_parse {
	struct guest_link *link;
	uint16_t arphrd;
	bool is_stacked;
	bool is_foreign; /* IFLA_LINK is an index in another network namespace */
};

/* Kinds whose IFLA_LINK is the device below. For others it may be a tunnel's way out or the
 * other end of a veth pair. */
static int on_linkinfo_attribute(const struct nlattr *a, void *userdata)
{
	static const char *const kinds[] = { "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap" };
	struct link_parse *parse = userdata;

	if (mnl_attr_get_type(a) == IFLA_INFO_KIND &&
	    mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0) {
		for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
			parse->is_stacked |= streq(mnl_attr_get_str(a), kinds[i]);
		}
	}
	return MNL_CB_OK;
}

static void take_text(const struct nlattr *a, char *out, size_t size)
{
	if (mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0) {
		guest_text_copy(out, size, mnl_attr_get_str(a), strlen(mnl_attr_get_str(a)));
	}
}

static void take_index(const struct nlattr *a, int32_t *out)
{
	if (mnl_attr_validate(a, MNL_TYPE_U32) == 0) {
		*out = (int32_t)mnl_attr_get_u32(a);
	}
}

static int on_link_attribute(const struct nlattr *a, void *userdata)
{
	struct link_parse *parse = userdata;
	struct guest_link *link = parse->link;

	switch (mnl_attr_get_type(a)) {
	case IFLA_IFNAME:
		take_text(a, link->name, sizeof(link->name));
		break;
	case IFLA_ADDRESS:
		if (parse->arphrd == ARPHRD_ETHER &&
		    mnl_attr_get_payload_len(a) == sizeof(link->mac)) {
			memcpy(link->mac, mnl_attr_get_payload(a), sizeof(link->mac));
			link->has_mac = true;
		}
		break;
	case IFLA_MASTER:
		take_index(a, &link->master);
		break;
	case IFLA_LINK:
		take_index(a, &link->lower);
		break;
	case IFLA_LINK_NETNSID:
		parse->is_foreign = true;
		break;
	case IFLA_LINKINFO:
		mnl_attr_parse_nested(a, on_linkinfo_attribute, parse);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static void parse_link(const struct nlmsghdr *m, struct guest_link *link)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(m);
	struct link_parse parse = { .link = link, .arphrd = info->ifi_type };

	*link = (struct guest_link){ .index = info->ifi_index };
	mnl_attr_parse(m, sizeof(*info), on_link_attribute, &parse);
	if (!parse.is_stacked || parse.is_foreign) {
		link->lower = 0;
	}
}

static int on_link(const struct nlmsghdr *m, void *userdata)
{
	struct dump *dump = userdata;
	struct guest_netview *view = dump->view;
	struct guest_link *links, *link;

	if (m->nlmsg_type != RTM_NEWLINK || !is_link(m)) {
		return MNL_CB_OK;
	}
	if (view->n_links == LINKS_MAX) {
		log_warning("more than %d network devices: the rest is not looked at", LINKS_MAX);
		return MNL_CB_OK;
	}
	links = grow(view->links, view->n_links, &dump->links_size, sizeof(*links));
	if (!links) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	view->links = links;
	link = &links[view->n_links++];
	parse_link(m, link);
	link->is_vif = link->name[0] != '\0' &&
		       dump->netlink->classify(link->name, &link->devid, dump->netlink->userdata) ==
			       0;
	return MNL_CB_OK;
}

/* One address while its attributes are being read. */
struct address_parse {
	size_t size;
	const void *bytes;
	uint32_t flags;
};

static int on_address_attribute(const struct nlattr *a, void *userdata)
{
	struct address_parse *parse = userdata;
	uint16_t type = mnl_attr_get_type(a);
	bool has_size = mnl_attr_get_payload_len(a) == parse->size;

	/* On a point-to-point link IFA_ADDRESS is the peer's. */
	if (has_size && (type == IFA_LOCAL || (type == IFA_ADDRESS && !parse->bytes))) {
		parse->bytes = mnl_attr_get_payload(a);
	} else if (type == IFA_FLAGS && mnl_attr_validate(a, MNL_TYPE_U32) == 0) {
		parse->flags = mnl_attr_get_u32(a);
	}
	return MNL_CB_OK;
}

/* False when there is no usable address in it. */
static bool parse_address(const struct nlmsghdr *m, struct guest_link_address *out)
{
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(m);
	bool is_ipv6 = info->ifa_family == AF_INET6;
	struct address_parse parse = { .size = is_ipv6 ? 16 : 4, .flags = info->ifa_flags };
	struct guest_candidate *c = &out->candidate;

	mnl_attr_parse(m, sizeof(*info), on_address_attribute, &parse);
	if (!parse.bytes || info->ifa_prefixlen > 8 * parse.size) {
		return false;
	}
	*out = (struct guest_link_address){ .link_index = (int32_t)info->ifa_index };
	memcpy(c->bytes, parse.bytes, parse.size);
	c->is_ipv6 = is_ipv6;
	c->prefix = info->ifa_prefixlen;
	c->is_tentative = parse.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED);
	c->is_deprecated = parse.flags & IFA_F_DEPRECATED;
	/* One bit with two meanings: IFA_F_SECONDARY == IFA_F_TEMPORARY. */
	c->is_temporary = is_ipv6 && (parse.flags & IFA_F_TEMPORARY);
	c->is_secondary = !is_ipv6 && (parse.flags & IFA_F_SECONDARY);
	return true;
}

static int on_address(const struct nlmsghdr *m, void *userdata)
{
	struct dump *dump = userdata;
	struct guest_netview *view = dump->view;
	struct guest_link_address *addresses;

	if (m->nlmsg_type != RTM_NEWADDR || !is_address(m)) {
		return MNL_CB_OK;
	}
	if (view->n_addresses == ADDRESSES_MAX) {
		log_warning("more than %d addresses: the rest is not looked at", ADDRESSES_MAX);
		return MNL_CB_OK;
	}
	addresses = grow(view->addresses, view->n_addresses, &dump->addresses_size,
			 sizeof(*addresses));
	if (!addresses) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	view->addresses = addresses;
	view->n_addresses += parse_address(m, &addresses[view->n_addresses]);
	return MNL_CB_OK;
}

/* Both kinds of dump: one request, then parts until the kernel says it is complete.
 * -EINTR: what was listed changed meanwhile, the list may lack something. */
static int run_dump(struct dump *dump, uint16_t type, mnl_cb_t fn)
{
	_cleanup_(close_socketp) struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE,
									 SOCK_CLOEXEC);
	struct timeval timeout = { .tv_sec = DUMP_TIMEOUT_S };
	char *buffer = dump->netlink->buffer;
	struct nlmsghdr *m;
	ssize_t len;
	int r = MNL_CB_OK;

	if (!s || mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0) {
		return err_trace(err_errno());
	}
	setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	m = mnl_nlmsg_put_header(buffer);
	m->nlmsg_type = type;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	m->nlmsg_seq = 1;
	if (type == RTM_GETLINK) {
		mnl_nlmsg_put_extra_header(m, sizeof(struct ifinfomsg));
		mnl_attr_put_u32(m, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	} else {
		mnl_nlmsg_put_extra_header(m, sizeof(struct ifaddrmsg));
	}
	if (mnl_socket_sendto(s, m, m->nlmsg_len) < 0) {
		return err_trace(err_errno());
	}
	while (r > MNL_CB_STOP) {
		len = mnl_socket_recvfrom(s, buffer, BUFFER_SIZE);
		if (len < 0) {
			return err_trace(err_errno());
		}
		r = mnl_cb_run(buffer, (size_t)len, 1, mnl_socket_get_portid(s), fn, dump);
	}
	return r < 0 ? err_errno() : 0;
}

static int dump_once(struct agent_netlink *n, struct guest_netview *view)
{
	struct dump dump = { .netlink = n, .view = view };
	int links, addresses;

	agent_netview_deinit(view);
	links = run_dump(&dump, RTM_GETLINK, on_link);
	if (links < 0 && links != -EINTR) {
		return links;
	}
	addresses = run_dump(&dump, RTM_GETADDR, on_address);
	return addresses < 0 ? addresses : links;
}

int agent_netlink_dump(struct agent_netlink *n, struct guest_netview *view)
{
	int r = -EINTR;

	for (size_t i = 0; i < DUMP_TRIES && r == -EINTR; i++) {
		r = dump_once(n, view);
	}
	return r == -EINTR ? 0 : err_trace(r);
}

void agent_netview_deinit(struct guest_netview *view)
{
	free(view->links);
	free(view->addresses);
	*view = (struct guest_netview){ 0 };
}
