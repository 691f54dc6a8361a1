/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Guests' rings against the distribution's real xenstored: permissions, quotas, watches, limits,
 * and what a hostile guest can do.  Each test has a state directory and a xenstored of its own.
 */

#include "services/simhost/xenstored/guest_ring.h"

#include <sys/wait.h>

#include "tests/unit/simxen_util.h"

static void test_guest_has_its_permissions(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		CU_ASSERT(add_domain(&host, 6));
		CU_ASSERT(guest_write(&host, ring, &heard, "data/os", "minix") == 0);
		CU_ASSERT(dom0_reads(&host, "/local/domain/5/data/os", "minix"));
		CU_ASSERT(guest_read(&host, ring, &heard, "data/os") == 0);
		CU_ASSERT(heard.last_len == 5);
		CU_ASSERT(streq(heard.last_data, "minix"));
		CU_ASSERT(guest_read(&host, ring, &heard, "name") == 0);
		CU_ASSERT(guest_read(&host, ring, &heard, "data/none") == -ENOENT);
		CU_ASSERT(guest_write(&host, ring, &heard, "name", "dom0") == -EACCES);
		CU_ASSERT(guest_write(&host, ring, &heard, "new", "x") == -EACCES);
		CU_ASSERT(guest_write(&host, ring, &heard, "/local/domain/6/data/x", "x") ==
			  -EACCES);
		CU_ASSERT(guest_read(&host, ring, &heard, "/local/domain/6/data") == -EACCES);
		CU_ASSERT(guest_ring_rm(ring, "data/os", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 9));
		CU_ASSERT(heard.last_error == 0);
		CU_ASSERT(guest_read(&host, ring, &heard, "data/os") == -ENOENT);
		CU_ASSERT(guest_ring_domid(ring) == 5);
		CU_ASSERT(guest_ring_in_flight(ring) == 0);
	}
	host_end(&host);
}

static void test_quotas_are_errno(void)
{
	static const char *const args[] = { "-E", "20", NULL };
	char path[64], value[2100];
	struct guest_ring *ring;
	struct heard heard;
	struct host host;
	int r = 0;
	int n = 0;

	if (host_start(&host, args) && (ring = add_guest(&host, 5, &heard))) {
		memset(value, 'v', sizeof(value) - 1);
		value[sizeof(value) - 1] = '\0';
		CU_ASSERT(guest_write(&host, ring, &heard, "data/big", value) == -ENOSPC);
		for (; n < 40 && r == 0; n++) {
			snprintf(path, sizeof(path), "data/%d", n);
			r = guest_write(&host, ring, &heard, path, "x");
		}
		CU_ASSERT(r == -ENOSPC);
		/* data/ itself is its first node. */
		CU_ASSERT(n == 20);
	}
	host_end(&host);
}

static void test_watches_reach_the_guest(void)
{
	struct guest_ring *ring;
	struct heard heard;
	unsigned int n;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		CU_ASSERT(guest_ring_watch(ring, "data", "token 1", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_watches, 1));
		CU_ASSERT(wait_for(&host, &heard.n_replies, 1));
		CU_ASSERT(heard.last_error == 0);
		CU_ASSERT(streq(heard.last_path, "data"));
		CU_ASSERT(streq(heard.last_token, "token 1"));
		dom0_write(&host, "/local/domain/5/data/request", "now");
		CU_ASSERT(wait_for(&host, &heard.n_watches, 2));
		CU_ASSERT(streq(heard.last_path, "data/request"));
		CU_ASSERT(guest_ring_unwatch(ring, "data", "token 1", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 2));
		CU_ASSERT(heard.last_error == 0);
		n = heard.n_watches;
		dom0_write(&host, "/local/domain/5/data/request", "later");
		/* A round trip: an event would have come before the reply. */
		CU_ASSERT(guest_read(&host, ring, &heard, "name") == 0);
		CU_ASSERT(heard.n_watches == n);
	}
	host_end(&host);
}

static void test_replies_larger_than_the_ring(void)
{
	char path[256], value[2000];
	struct guest_ring *ring;
	size_t pos = 0, n = 0;
	struct heard heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		memset(value, 'v', sizeof(value) - 1);
		value[sizeof(value) - 1] = '\0';
		CU_ASSERT(guest_write(&host, ring, &heard, "data/big", value) == 0);
		CU_ASSERT(guest_read(&host, ring, &heard, "data/big") == 0);
		CU_ASSERT(heard.last_len == sizeof(value) - 1);
		CU_ASSERT(memcmp(heard.last_data, value, sizeof(value)) == 0);
		for (int i = 0; i < 8; i++) {
			snprintf(path, sizeof(path), "data/dir/%d-%0200d", i, i);
			CU_ASSERT(guest_write(&host, ring, &heard, path, "") == 0);
		}
		CU_ASSERT(guest_ring_directory(ring, "data/dir", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 11));
		CU_ASSERT(heard.last_error == 0);
		while (guest_ring_next_string(heard.last_data, heard.last_len, &pos)) {
			n++;
		}
		CU_ASSERT(n == 8);
		CU_ASSERT(guest_ring_mkdir(ring, "data/d", on_reply, &heard) == 0);
		CU_ASSERT(guest_ring_directory(ring, "data/d", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 13));
		CU_ASSERT(heard.last_error == 0);
		CU_ASSERT(heard.last_len == 0);
	}
	host_end(&host);
}

static void test_transactions(void)
{
	static const char payload[] = "data/t\0value";
	struct guest_ring *ring;
	uint32_t tx_id = 0;
	struct heard heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		CU_ASSERT(guest_ring_request(ring, XS_TRANSACTION_START, 0, "", 1, on_reply,
					     &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 1));
		CU_ASSERT(sscanf(heard.last_data, "%u", &tx_id) == 1);
		CU_ASSERT(guest_ring_request(ring, XS_WRITE, tx_id, payload, sizeof(payload) - 1,
					     on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 2));
		CU_ASSERT(heard.last_error == 0);
		CU_ASSERT(dom0_reads(&host, "/local/domain/5/data/t", NULL));
		CU_ASSERT(guest_ring_request(ring, XS_TRANSACTION_END, tx_id, "T", 2, on_reply,
					     &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, 3));
		CU_ASSERT(heard.last_error == 0);
		CU_ASSERT(dom0_reads(&host, "/local/domain/5/data/t", "value"));
	}
	host_end(&host);
}

static void test_requests_are_bounded(void)
{
	char value[4000] = { 0 };
	struct guest_ring *ring;
	unsigned int n = 0;
	struct heard heard;
	struct host host;
	int r = 0;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		kill(sim_xenstored_pid(host.xs), SIGSTOP);
		while (r == 0 && n <= GUEST_RING_MAX_REQUESTS) {
			r = guest_ring_read(ring, "name", on_reply, &heard);
			n += r == 0;
		}
		CU_ASSERT(r == -ENOBUFS);
		CU_ASSERT(n == GUEST_RING_MAX_REQUESTS);
		CU_ASSERT(guest_ring_in_flight(ring) == n);
		CU_ASSERT(heard.n_replies == 0);
		kill(sim_xenstored_pid(host.xs), SIGCONT);
		CU_ASSERT(wait_for(&host, &heard.n_replies, n));
		CU_ASSERT(guest_ring_in_flight(ring) == 0);

		/* Bytes fill before requests do. */
		kill(sim_xenstored_pid(host.xs), SIGSTOP);
		for (n = 0, r = 0; r == 0 && n <= GUEST_RING_MAX_REQUESTS; n += r == 0) {
			r = guest_ring_write(ring, "data/x", value, sizeof(value), NULL, NULL);
		}
		CU_ASSERT(r == -ENOBUFS);
		CU_ASSERT(n == (GUEST_RING_MAX_UNSENT_BYTES + XENSTORE_RING_SIZE) / 4023);
		CU_ASSERT(guest_ring_write(ring, "data/x", value, XENSTORE_PAYLOAD_MAX, NULL,
					   NULL) == -E2BIG);
		kill(sim_xenstored_pid(host.xs), SIGCONT);
		/* Behind them all. */
		for (n = 0, r = -ENOBUFS; r == -ENOBUFS && n < PATIENCE_MS; n++) {
			CU_ASSERT(sd_event_run(host.event, USEC_PER_MSEC) >= 0);
			r = guest_ring_read(ring, "name", on_reply, &heard);
		}
		CU_ASSERT(r == 0);
		CU_ASSERT(wait_for(&host, &heard.n_replies, GUEST_RING_MAX_REQUESTS + 1));
		CU_ASSERT(guest_ring_in_flight(ring) == 0);
	}
	host_end(&host);
}

static void test_two_hubs(void)
{
	struct guest_ring_hub *other = NULL;
	struct guest_ring *ring, *second;
	struct heard heard, heard2;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard))) {
		CU_ASSERT(guest_ring_hub_new(&other, host.event, host.dir) == 0);
		CU_ASSERT(guest_ring_new(&second, host.hub, 5, &callbacks, &heard2) == -EBUSY);
		CU_ASSERT(guest_ring_new(&second, other, 5, &callbacks, &heard2) == -EBUSY);
		CU_ASSERT(add_domain(&host, 6));
		memset(&heard2, 0, sizeof(heard2));
		CU_ASSERT(guest_ring_new(&second, other, 6, &callbacks, &heard2) == 0);
		CU_ASSERT(guest_write(&host, ring, &heard, "data/x", "5") == 0);
		CU_ASSERT(guest_write(&host, second, &heard2, "data/x", "6") == 0);
		ring = guest_ring_free(ring);
		CU_ASSERT(guest_ring_new(&ring, other, 5, &callbacks, &heard) == 0);
		CU_ASSERT(guest_write(&host, ring, &heard, "data/x", "7") == 0);
		guest_ring_hub_free(other);
	}
	CU_ASSERT(guest_ring_hub_new(&other, host.event, "/nonexistent") == -ENOENT);
	host_end(&host);
}

static void test_hubs_are_limited(void)
{
	struct guest_ring_hub *hubs[SIM_MAX_HUBS] = { NULL };
	struct host host;
	size_t n = 0;
	int r = 0;

	if (host_start(&host, NULL)) {
		while (r == 0 && n < ARRAY_LEN(hubs)) {
			r = guest_ring_hub_new(&hubs[n], host.event, host.dir);
			n += r == 0;
		}
		CU_ASSERT(r == -EUSERS);
		CU_ASSERT(n == SIM_MAX_HUBS - 1);
		while (n > 0) {
			guest_ring_hub_free(hubs[--n]);
		}
	}
	host_end(&host);
}

/* Keep the ring as full of requests and replies as it gets, until killed. */
static void write_for_ever(const char *dir, uint32_t domid, int ready_fd)
{
	struct guest_ring_hub *hub = NULL;
	struct guest_ring *ring = NULL;
	struct heard heard = { 0 };
	sd_event *event = NULL;
	char value[300];
	unsigned int n = 0;

	memset(value, 'v', sizeof(value));
	if (sd_event_new(&event) < 0 || guest_ring_hub_new(&hub, event, dir) < 0 ||
	    guest_ring_new(&ring, hub, domid, &callbacks, &heard) < 0) {
		return;
	}
	for (;;) {
		while (guest_ring_write(ring, "data/x", value, ++n % sizeof(value), on_reply,
					&heard) == 0 &&
		       guest_ring_read(ring, "data/x", on_reply, &heard) == 0) {
		}
		sd_event_run(event, UINT64_MAX);
		if (heard.n_replies > 1000) {
			(void)!write(ready_fd, "", 1);
			heard.n_replies = 0;
		}
	}
}

static void test_ring_survives_a_killed_user(void)
{
	struct guest_ring *ring = NULL;
	struct heard heard = { 0 };
	struct host host;
	char byte;
	pid_t child;
	int fds[2];

	if (!host_start(&host, NULL) || pipe(fds) < 0) {
		host_end(&host);
		return;
	}
	CU_ASSERT(add_domain(&host, 5));
	for (int i = 0; i < 10; i++) {
		child = fork();
		if (child == 0) {
			write_for_ever(host.dir, 5, fds[1]);
			_exit(1);
		}
		CU_ASSERT(poll(&(struct pollfd){ .fd = fds[0], .events = POLLIN }, 1,
			       PATIENCE_MS) == 1 &&
			  read(fds[0], &byte, 1) == 1);
		kill(child, SIGKILL);
		CU_ASSERT(waitpid(child, NULL, 0) == child);
		CU_ASSERT(guest_ring_new(&ring, host.hub, 5, &callbacks, &heard) == 0);
		CU_ASSERT(guest_write(&host, ring, &heard, "data/y", "mine") == 0);
		CU_ASSERT(guest_read(&host, ring, &heard, "data/y") == 0);
		CU_ASSERT(streq(heard.last_data, "mine"));
		CU_ASSERT(heard.n_broken == 0);
		ring = guest_ring_free(ring);
	}
	close(fds[0]);
	close(fds[1]);
	host_end(&host);
}

static void test_free_inside_callbacks(void)
{
	struct guest_ring *ring, *other;
	struct heard heard, other_heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard)) &&
	    (other = add_guest(&host, 6, &other_heard))) {
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == 0);
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == 0);
		heard.free_on_reply = &ring;
		CU_ASSERT(wait_for(&host, &heard.n_replies, 2));
		CU_ASSERT(ring == NULL);
		CU_ASSERT(heard.n_replies == 2);
		CU_ASSERT(heard.last_error == -ECANCELED);
		CU_ASSERT(guest_ring_watch(other, "data", "t", on_reply, &other_heard) == 0);
		other_heard.free_on_watch = &other;
		CU_ASSERT(wait_for(&host, &other_heard.n_watches, 1));
		CU_ASSERT(other == NULL);
		/* Without a peer the requests in flight are given back too. */
		ring = add_guest(&host, 7, &heard);
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == 0);
		guest_ring_free(ring);
		CU_ASSERT(heard.n_replies == 1);
		CU_ASSERT(heard.last_error == -ECANCELED);
	}
	host_end(&host);
}

static void test_hostile_bytes(void)
{
	struct xsd_sockmsg bad = { .type = 9999, .req_id = 77, .len = 1 };
	struct guest_ring *ring, *good;
	struct heard heard, good_heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard)) &&
	    (good = add_guest(&host, 6, &good_heard))) {
		/* An unknown type is only refused. */
		CU_ASSERT(guest_ring_send_raw(ring, &bad, sizeof(bad)) == 0);
		CU_ASSERT(guest_ring_send_raw(ring, "", 1) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_strays, 1));
		CU_ASSERT(heard.last_stray.req_id == 77);
		CU_ASSERT(heard.last_stray.type == XS_ERROR);
		CU_ASSERT(streq(heard.last_data, "ENOSYS"));
		CU_ASSERT(guest_write(&host, ring, &heard, "data/x", "1") == 0);
		/* A length over the limit ends the connection. */
		bad.len = XENSTORE_PAYLOAD_MAX + 1;
		CU_ASSERT(guest_ring_send_raw(ring, &bad, sizeof(bad)) == 0);
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == 0);
		CU_ASSERT(wait_for(&host, &heard.n_broken, 1));
		CU_ASSERT(heard.broken_error == -EPROTO);
		CU_ASSERT(heard.last_error == -ECONNRESET);
		CU_ASSERT(guest_ring_read(ring, "name", on_reply, &heard) == -ECONNRESET);
		CU_ASSERT(guest_write(&host, good, &good_heard, "data/x", "1") == 0);
	}
	host_end(&host);
}

static void test_hostile_indexes(void)
{
	struct xenstore_domain_interface *page;
	struct guest_ring *ring, *good;
	struct heard heard, good_heard;
	struct host host;

	if (host_start(&host, NULL) && (ring = add_guest(&host, 5, &heard)) &&
	    (good = add_guest(&host, 6, &good_heard))) {
		page = guest_ring_page(ring);
		page->req_prod = page->req_cons + 5000;
		guest_ring_kick(ring);
		CU_ASSERT(wait_for(&host, &heard.n_broken, 1));
		CU_ASSERT(heard.broken_error == -EIO);
		CU_ASSERT(guest_write(&host, good, &good_heard, "data/x", "1") == 0);

		/* Our own side does not trust the page either. */
		page = guest_ring_page(good);
		page->rsp_prod = page->rsp_cons + 5000;
		CU_ASSERT(guest_ring_read(good, "name", on_reply, &good_heard) == 0);
		CU_ASSERT(wait_for(&host, &good_heard.n_broken, 1));
		CU_ASSERT(good_heard.broken_error == -EIO);
		CU_ASSERT(good_heard.last_error == -ECONNRESET);
		CU_ASSERT(dom0_reads(&host, "/local/domain/0/domid", "0"));
	}
	host_end(&host);
}

UNIT_MAIN("guest_ring", UNIT_TEST(test_guest_has_its_permissions), UNIT_TEST(test_quotas_are_errno),
	  UNIT_TEST(test_watches_reach_the_guest), UNIT_TEST(test_replies_larger_than_the_ring),
	  UNIT_TEST(test_transactions), UNIT_TEST(test_requests_are_bounded),
	  UNIT_TEST(test_two_hubs), UNIT_TEST(test_hubs_are_limited),
	  UNIT_TEST(test_ring_survives_a_killed_user), UNIT_TEST(test_free_inside_callbacks),
	  UNIT_TEST(test_hostile_bytes), UNIT_TEST(test_hostile_indexes))
