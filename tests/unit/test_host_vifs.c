/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's side of the netlink socket is played here, in place of libmnl's
 * functions that do input and output; one test asks the real kernel.
 */
#include "services/ops/host/vifs.h"

#include <dlfcn.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "tests/unit/host_fixture.h"

#define N_LINKS 4

struct fake_link {
	unsigned int index; /* 0 = none */
	const char *name;
	struct rtnl_link_stats64 stats;
};

static struct {
	bool is_real;
	struct fake_link links[N_LINKS];
	unsigned int sequence;
	size_t next; /* link to tell; N_LINKS = the end */
	int error;   /* the kernel's answer in place of links */
	bool is_interrupted;
	bool has_stale_answer;
	int fd;
	unsigned int n_names; /* asked for */
} kernel;

/* The library's own function behind one of ours. */
#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	if (kernel.is_real) {
		return REAL(mnl_socket_open2)(bus, flags);
	}
	CU_ASSERT(flags & SOCK_NONBLOCK);
	return (struct mnl_socket *)(void *)&kernel;
}

int mnl_socket_bind(struct mnl_socket *nl, unsigned int groups, pid_t pid)
{
	return kernel.is_real ? REAL(mnl_socket_bind)(nl, groups, pid) : 0;
}

int mnl_socket_close(struct mnl_socket *nl)
{
	return kernel.is_real ? REAL(mnl_socket_close)(nl) : 0;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *data, size_t len)
{
	const struct nlmsghdr *header = data;

	if (kernel.is_real) {
		return REAL(mnl_socket_sendto)(nl, data, len);
	}
	CU_ASSERT_EQUAL(header->nlmsg_type, RTM_GETSTATS);
	kernel.sequence = header->nlmsg_seq;
	kernel.next = 0;
	return (ssize_t)len;
}

static void put_link(struct nlmsghdr *header, const struct fake_link *link)
{
	struct if_stats_msg *message;

	header->nlmsg_type = RTM_NEWSTATS;
	message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	message->ifindex = link->index;
	mnl_attr_put(header, IFLA_STATS_LINK_64, sizeof(link->stats), &link->stats);
}

/* One message a call, so that an answer has several parts. */
ssize_t mnl_socket_recvfrom(const struct mnl_socket *nl, void *buffer, size_t size)
{
	struct nlmsghdr *header;

	if (kernel.is_real) {
		return REAL(mnl_socket_recvfrom)(nl, buffer, size);
	}
	header = mnl_nlmsg_put_header(buffer);
	header->nlmsg_flags = (uint16_t)(NLM_F_MULTI |
					 (kernel.is_interrupted ? NLM_F_DUMP_INTR : 0));
	header->nlmsg_seq = kernel.sequence;
	if (kernel.has_stale_answer) {
		kernel.has_stale_answer = false;
		header->nlmsg_seq--;
		header->nlmsg_type = NLMSG_DONE;
	} else if (kernel.error) {
		struct nlmsgerr *error = mnl_nlmsg_put_extra_header(header, sizeof(*error));

		header->nlmsg_type = NLMSG_ERROR;
		error->error = kernel.error;
	} else if (kernel.next < N_LINKS && kernel.links[kernel.next].index != 0) {
		put_link(header, &kernel.links[kernel.next++]);
	} else {
		header->nlmsg_type = NLMSG_DONE;
	}
	return header->nlmsg_len;
}

char *if_indextoname(unsigned int index, char name[IF_NAMESIZE])
{
	if (kernel.is_real) {
		return REAL(if_indextoname)(index, name);
	}
	kernel.n_names++;
	for (size_t i = 0; i < N_LINKS; i++) {
		if (kernel.links[i].index == index) {
			snprintf(name, IF_NAMESIZE, "%s", kernel.links[i].name);
			return name;
		}
	}
	errno = ENXIO;
	return NULL;
}

struct fixture {
	struct fixture_dir dir;
	struct host_vifs *vifs;
};

static void setup(struct fixture *f)
{
	memset(&kernel, 0, sizeof(kernel));
	f->vifs = NULL;
	fixture_dir_make(&f->dir);
	CU_ASSERT_EQUAL(host_vifs_new(&f->vifs, f->dir.path), 0);
}

static void teardown(struct fixture *f)
{
	host_vifs_free(f->vifs);
	fixture_dir_remove(&f->dir, "");
}

static const struct rtnl_link_stats64 dom0_view = {
	.rx_bytes = 1,
	.tx_bytes = 2,
	.rx_packets = 3,
	.tx_packets = 4,
	.rx_errors = 5,
	.tx_errors = 6,
	.rx_dropped = 7,
	.tx_dropped = 8,
};

static void test_the_guests_view(void)
{
	const struct host_vif_counters *c;
	struct fixture f;
	size_t n;

	setup(&f);
	fixture_write(&f.dir, "class/net/vif1.0/device/nodename", "backend/vif/1/0\n");
	fixture_write(&f.dir, "class/net/lo/mtu", "65536\n");
	kernel.links[0] = (struct fake_link){ 1, "lo", { .rx_bytes = 99 } };
	kernel.links[1] = (struct fake_link){ 5, "vif1.0", dom0_view };
	CU_ASSERT_EQUAL(host_vifs_read(f.vifs), 0);
	c = host_vifs_of(f.vifs, 1, &n);
	CU_ASSERT_EQUAL(n, 1);
	if (n == 1) {
		CU_ASSERT_EQUAL(c->device.devid, 0);
		CU_ASSERT_EQUAL(c->tx_bytes, 1);
		CU_ASSERT_EQUAL(c->rx_bytes, 2);
		CU_ASSERT_EQUAL(c->tx_packets, 3);
		CU_ASSERT_EQUAL(c->rx_packets, 4);
		CU_ASSERT_EQUAL(c->tx_errors, 5);
		CU_ASSERT_EQUAL(c->rx_errors, 6);
		CU_ASSERT_EQUAL(c->tx_dropped, 7);
		CU_ASSERT_EQUAL(c->rx_dropped, 8);
	}
	host_vifs_of(f.vifs, 0, &n);
	CU_ASSERT_EQUAL(n, 0);
	teardown(&f);
}

static void test_remembers_what_an_index_is(void)
{
	struct fixture f;
	size_t n;

	setup(&f);
	fixture_write(&f.dir, "class/net/vif1.0/device/nodename", "backend/vif/1/0\n");
	kernel.links[0] = (struct fake_link){ 1, "lo", dom0_view };
	kernel.links[1] = (struct fake_link){ 5, "vif1.0", dom0_view };
	CU_ASSERT_EQUAL(host_vifs_read(f.vifs), 0);
	CU_ASSERT_EQUAL(kernel.n_names, 2);
	kernel.links[1].name = "uplink"; /* renamed */
	CU_ASSERT_EQUAL(host_vifs_read(f.vifs), 0);
	CU_ASSERT_EQUAL(kernel.n_names, 2);
	host_vifs_of(f.vifs, 1, &n);
	CU_ASSERT_EQUAL(n, 1);
	/* Gone, then the name belongs to a vif of another domain. */
	kernel.links[1].index = 0;
	CU_ASSERT_EQUAL(host_vifs_read(f.vifs), 0);
	host_vifs_of(f.vifs, 1, &n);
	CU_ASSERT_EQUAL(n, 0);
	fixture_write(&f.dir, "class/net/uplink/device/nodename", "backend/vif/2/3\n");
	kernel.links[1].index = 5;
	CU_ASSERT_EQUAL(host_vifs_read(f.vifs), 0);
	CU_ASSERT_EQUAL(kernel.n_names, 3);
	host_vifs_of(f.vifs, 1, &n);
	CU_ASSERT_EQUAL(n, 0);
	host_vifs_of(f.vifs, 2, &n);
	CU_ASSERT_EQUAL(n, 1);
	teardown(&f);
}

static void test_what_is_no_vif(void)
{
	static const char *const nodes[] = { "backend/vif/1", "backend/vbd/1/0",
					     "backend/vif/1/0/2", "", "device/vif/1/0" };
	struct fixture f;
	size_t n;

	for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
		setup(&f);
		fixture_write(&f.dir, "class/net/eth0/device/nodename", nodes[i]);
		kernel.links[0] = (struct fake_link){ 2, "eth0", dom0_view };
		CU_ASSERT_EQUAL(host_vifs_read(f.vifs), 0);
		host_vifs_of(f.vifs, 1, &n);
		CU_ASSERT_EQUAL(n, 0);
		teardown(&f);
	}
}

static void test_answers_that_are_not_plain(void)
{
	struct fixture f;
	size_t n;

	setup(&f);
	fixture_write(&f.dir, "class/net/vif1.0/device/nodename", "backend/vif/1/0\n");
	kernel.links[0] = (struct fake_link){ 5, "vif1.0", dom0_view };
	kernel.error = -ENOBUFS;
	CU_ASSERT_EQUAL(host_vifs_read(f.vifs), -ENOBUFS);
	host_vifs_of(f.vifs, 1, &n);
	CU_ASSERT_EQUAL(n, 0);
	/* The rest of that answer comes first. */
	kernel.error = 0;
	kernel.has_stale_answer = true;
	CU_ASSERT_EQUAL(host_vifs_read(f.vifs), 0);
	host_vifs_of(f.vifs, 1, &n);
	CU_ASSERT_EQUAL(n, 1);
	/* Interfaces came or went during the dump. */
	kernel.is_interrupted = true;
	CU_ASSERT_EQUAL(host_vifs_read(f.vifs), 0);
	host_vifs_of(f.vifs, 1, &n);
	CU_ASSERT_EQUAL(n, 1);
	teardown(&f);
}

/* The loopback interface in the place of a vif: its counters are the same in both directions. */
static void test_the_real_kernel(void)
{
	const struct host_vif_counters *c;
	struct fixture f;
	size_t n;

	memset(&kernel, 0, sizeof(kernel));
	kernel.is_real = true;
	f.vifs = NULL;
	fixture_dir_make(&f.dir);
	fixture_write(&f.dir, "class/net/lo/device/nodename", "backend/vif/7/2\n");
	CU_ASSERT_EQUAL(host_vifs_new(&f.vifs, f.dir.path), 0);
	CU_ASSERT_EQUAL(host_vifs_read(f.vifs), 0);
	CU_ASSERT_EQUAL(host_vifs_read(f.vifs), 0);
	c = host_vifs_of(f.vifs, 7, &n);
	CU_ASSERT_EQUAL(n, 1);
	if (n == 1) {
		CU_ASSERT_EQUAL(c->device.devid, 2);
		CU_ASSERT_EQUAL(c->rx_bytes, c->tx_bytes);
		CU_ASSERT_EQUAL(c->rx_packets, c->tx_packets);
	}
	teardown(&f);
}

UNIT_MAIN("host_vifs", UNIT_TEST(test_the_guests_view), UNIT_TEST(test_remembers_what_an_index_is),
	  UNIT_TEST(test_what_is_no_vif), UNIT_TEST(test_answers_that_are_not_plain),
	  UNIT_TEST(test_the_real_kernel))
