/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mirror against the distribution's real xenstored, with guests that have
 * their own domid's permissions and quotas.
 */
#include "services/agent-bridge/mirror.h"

#include "libcommon/loop.h"
#include "services/agent-bridge/api.h"
#include "tests/unit/simxen_util.h"

#define UUID_A "0a0a0a0a-1111-4222-8333-444444444444"
#define UUID_B "0b0b0b0b-1111-4222-8333-444444444444"
#define NOBODY "deadbeef-dead-beef-dead-beef00000005"

#define TOPICS_MAX 16

/* What subscribers would know. */
struct topic {
	char uuid[37];
	bool is_there;
	unsigned int n_published;
	unsigned int n_removed;
	uint32_t domid;
	char os_name[256];
	size_t n_vifs;
	size_t n_other;
	bool is_truncated;
	uint64_t updated_ns;
};

struct fixture {
	struct host host;
	struct xenstore *xs;
	struct bridge_mirror *mirror;
	struct topic topics[TOPICS_MAX];
	size_t n_topics;
};

static struct topic *topic_of(struct fixture *f, const char *uuid)
{
	for (size_t i = 0; i < f->n_topics; i++) {
		if (streq(f->topics[i].uuid, uuid)) {
			return &f->topics[i];
		}
	}
	CU_ASSERT(f->n_topics < TOPICS_MAX);
	snprintf(f->topics[f->n_topics].uuid, sizeof(f->topics[0].uuid), "%s", uuid);
	return &f->topics[f->n_topics++];
}

static void on_publish(void *userdata, const Xenmesh__V1__GuestInfo *info)
{
	struct topic *t = topic_of(userdata, info->uuid);
	size_t len = MIN(info->os->name.len, sizeof(t->os_name) - 1);

	t->is_there = true;
	t->n_published++;
	t->domid = info->domid;
	if (len > 0) {
		memcpy(t->os_name, info->os->name.data, len);
	}
	t->os_name[len] = '\0';
	t->n_vifs = info->n_vifs;
	t->n_other = info->n_other;
	t->is_truncated = info->truncated;
	CU_ASSERT(info->first_seen_ns > 0 && info->updated_ns >= info->first_seen_ns);
	CU_ASSERT(info->updated_ns > t->updated_ns);
	t->updated_ns = info->updated_ns;
}

static void on_remove(void *userdata, const char *uuid, const char *reason)
{
	struct topic *t = topic_of(userdata, uuid);

	CU_ASSERT(t->is_there);
	CU_ASSERT(reason[0] != '\0');
	t->is_there = false;
	t->n_removed++;
}

/* ---- the host ---- */

static bool open_mirror(struct fixture *f)
{
	const struct bridge_sink sink = { on_publish, on_remove, f };

	CU_ASSERT_EQUAL(xenstore_open(&f->xs), 0);
	if (!f->xs) {
		return false;
	}
	CU_ASSERT_EQUAL(xenstore_attach(f->xs, f->host.event), 0);
	CU_ASSERT_EQUAL(bridge_mirror_new(&f->mirror, f->host.event, f->xs, &sink), 0);
	return f->mirror != NULL;
}

static bool start(struct fixture *f)
{
	*f = (struct fixture){ 0 };
	return host_start(&f->host, NULL) && open_mirror(f);
}

static void end(struct fixture *f)
{
	f->mirror = bridge_mirror_free(f->mirror);
	f->xs = xenstore_close(f->xs);
	host_end(&f->host);
}

static void set_uuid(struct fixture *f, uint32_t domid, const char *uuid)
{
	char path[64], value[64];

	snprintf(path, sizeof(path), "/local/domain/%u/vm", domid);
	snprintf(value, sizeof(value), "/vm/%s", uuid);
	dom0_write(&f->host, path, value);
}

/* What a toolstack gives a domain, as far as the bridge looks. */
static struct guest_ring *boot(struct fixture *f, uint32_t domid, const char *uuid,
			       struct heard *heard)
{
	static const char *const dirs[] = { "attr", "control", "feature", "drivers" };
	struct guest_ring *ring = add_guest(&f->host, domid, heard);
	char path[64];

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		snprintf(path, sizeof(path), "/local/domain/%u/%s", domid, dirs[i]);
		CU_ASSERT(xs_mkdir(f->host.dom0, XBT_NULL, path));
		dom0_set_owner(&f->host, path, domid);
	}
	set_uuid(f, domid, uuid);
	return ring;
}

static void destroy(struct fixture *f, uint32_t domid, struct guest_ring *ring)
{
	char path[64];

	guest_ring_free(ring);
	CU_ASSERT_EQUAL(sim_domain_remove(f->host.xs, domid), 0);
	snprintf(path, sizeof(path), "/local/domain/%u", domid);
	CU_ASSERT(xs_rm(f->host.dom0, XBT_NULL, path));
}

/* ---- waiting ---- */

#define WAIT(f, condition)                                                        \
	({                                                                        \
		uint64_t end_ns_ = clock_boot_ns() + PATIENCE_MS * NSEC_PER_MSEC; \
		while (!(condition) && clock_boot_ns() < end_ns_ &&               \
		       sd_event_run((f)->host.event, 100 * USEC_PER_MSEC) >= 0) { \
		}                                                                 \
		CU_ASSERT(condition);                                             \
		(condition);                                                      \
	})

static struct bridge_mirror_stats stats_of(struct fixture *f)
{
	struct bridge_mirror_stats s;

	bridge_mirror_stats(f->mirror, &s);
	return s;
}

/* ---- tests ---- */

static void test_mirror__follows_a_guest(void)
{
	struct guest_ring *ring;
	struct bridge_view view;
	struct heard heard;
	struct fixture f;
	struct topic *a;

	if (start(&f)) {
		ring = boot(&f, 5, UUID_A, &heard);
		a = topic_of(&f, UUID_A);
		WAIT(&f, a->is_there);
		CU_ASSERT_EQUAL(a->domid, 5);
		CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard, "data/os_name", "minix"), 0);
		CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard, "attr/vif/0/ipv4/0", "10.0.0.1"),
				0);
		WAIT(&f, streq(a->os_name, "minix") && a->n_vifs == 1);
		CU_ASSERT_EQUAL(guest_ring_rm(ring, "attr/vif", on_reply, &heard), 0);
		WAIT(&f, a->n_vifs == 0);
		CU_ASSERT(bridge_mirror_find(f.mirror, UUID_A, &view));
		CU_ASSERT(bridge_mirror_find(f.mirror, "5", &view));
		CU_ASSERT_EQUAL(view.domid, 5);
		CU_ASSERT_FALSE(bridge_mirror_find(f.mirror, "6", &view));
		CU_ASSERT_FALSE(bridge_mirror_find(f.mirror, "0", &view));
		CU_ASSERT_FALSE(bridge_mirror_find(f.mirror, UUID_B, &view));
		CU_ASSERT_FALSE(bridge_mirror_find(f.mirror, "junk", &view));
		destroy(&f, 5, ring);
		WAIT(&f, !a->is_there);
		CU_ASSERT_FALSE(bridge_mirror_find(f.mirror, UUID_A, &view));
		CU_ASSERT_EQUAL(stats_of(&f).domains, 0);
	}
	end(&f);
}

static void test_mirror__what_was_there_before_it_started(void)
{
	struct heard heard[2];
	struct guest_ring *ring, *other;
	struct fixture f = { 0 };

	if (host_start(&f.host, NULL)) {
		ring = boot(&f, 5, UUID_A, &heard[0]);
		CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard[0], "data/os_name", "qnx"), 0);
		other = boot(&f, 6, "not-a-uuid", &heard[1]);
		if (open_mirror(&f)) {
			WAIT(&f, streq(topic_of(&f, UUID_A)->os_name, "qnx"));
			/* Without an identity it is there, and nobody hears of it. */
			CU_ASSERT_EQUAL(stats_of(&f).domains, 2);
			CU_ASSERT_EQUAL(stats_of(&f).guests, 1);
			set_uuid(&f, 6, UUID_B);
			WAIT(&f, topic_of(&f, UUID_B)->is_there);
		}
		guest_ring_free(ring);
		guest_ring_free(other);
	}
	end(&f);
}

static void test_mirror__the_same_again_is_not_published(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct fixture f;
	struct topic *a;

	if (start(&f)) {
		ring = boot(&f, 5, UUID_A, &heard);
		a = topic_of(&f, UUID_A);
		CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard, "data/os_name", "minix"), 0);
		WAIT(&f, streq(a->os_name, "minix"));
		for (unsigned int i = 0; i < 3; i++) {
			unsigned int n = a->n_published;
			uint64_t n_unchanged = stats_of(&f).unchanged;

			CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard, "data/os_name", "minix"),
					0);
			CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard, "data/updated", "x"), 0);
			WAIT(&f, stats_of(&f).unchanged > n_unchanged);
			CU_ASSERT_EQUAL(a->n_published, n);
		}
		guest_ring_free(ring);
	}
	end(&f);
}

/* Writes as fast as its ring takes it. */
struct flood {
	struct guest_ring *ring;
	uint64_t n_writes;
	uint64_t end_ns;
	unsigned int n_in_flight;
};

static void on_flooded(struct guest_ring *ring, int error, const char *data _unused_,
		       size_t len _unused_, void *userdata)
{
	struct flood *flood = userdata;
	char path[64], value[64];

	flood->n_in_flight--;
	CU_ASSERT(error == 0 || error == -ENOSPC || error == -ECANCELED);
	while (error != -ECANCELED && flood->n_in_flight < 8 && clock_boot_ns() < flood->end_ns) {
		snprintf(path, sizeof(path), "%s/junk%llu",
			 flood->n_writes % 3 ? "data" : "attr/vif/0/ipv4",
			 (unsigned long long)(flood->n_writes % 200));
		snprintf(value, sizeof(value), "%llu", (unsigned long long)flood->n_writes);
		if (guest_ring_write(ring, path, value, strlen(value), on_flooded, flood) < 0) {
			break;
		}
		flood->n_in_flight++;
		flood->n_writes++;
	}
}

static void test_mirror__a_flood_is_two_publications_a_second(void)
{
	struct flood flood = { 0 };
	struct heard heard[2];
	struct guest_ring *other;
	struct topic *a, *b;
	struct fixture f;
	uint64_t start_ns, took_ns;
	unsigned int n_before;
	char text[32];

	if (start(&f)) {
		flood.ring = boot(&f, 5, UUID_A, &heard[0]);
		other = boot(&f, 6, UUID_B, &heard[1]);
		a = topic_of(&f, UUID_A);
		b = topic_of(&f, UUID_B);
		WAIT(&f, a->is_there && b->is_there);
		n_before = a->n_published;
		start_ns = clock_boot_ns();
		flood.end_ns = start_ns + 4 * NSEC_PER_SEC;
		flood.n_in_flight = 1;
		on_flooded(flood.ring, 0, NULL, 0, &flood);
		/* The honest guest is heard all the while. */
		for (unsigned int i = 0; i < 4; i++) {
			snprintf(text, sizeof(text), "os %u", i);
			CU_ASSERT_EQUAL(
				guest_write(&f.host, other, &heard[1], "data/os_name", text), 0);
			start_ns = i ? start_ns : clock_boot_ns();
			WAIT(&f, streq(b->os_name, text));
		}
		WAIT(&f, flood.n_in_flight == 0);
		took_ns = clock_boot_ns() - start_ns;
		printf("flood: %llu writes in %llu ms, %u publications, %llu looks, %llu "
		       "requests\n",
		       (unsigned long long)flood.n_writes,
		       (unsigned long long)(took_ns / NSEC_PER_MSEC), a->n_published - n_before,
		       (unsigned long long)stats_of(&f).looks,
		       (unsigned long long)stats_of(&f).requests);
		CU_ASSERT(flood.n_writes > 400);
		CU_ASSERT(a->n_published - n_before <= 2 * took_ns / NSEC_PER_SEC + 2);
		CU_ASSERT(a->n_published > n_before);
		guest_ring_free(flood.ring);
		guest_ring_free(other);
	}
	end(&f);
}

/* A guest that fills its quota sees ENOSPC; the bridge a part of it, and says so. */
static void test_mirror__a_full_tree_is_cut_off(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct fixture f;
	struct topic *a;
	char path[64];
	int r = 0;

	if (start(&f)) {
		ring = boot(&f, 5, UUID_A, &heard);
		a = topic_of(&f, UUID_A);
		CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard, "data/os_name", "minix"), 0);
		for (unsigned int i = 0; i < 2000 && r == 0; i++) {
			snprintf(path, sizeof(path), "data/%u/%u", i % 16, i);
			r = guest_write(&f.host, ring, &heard, path, "x");
		}
		CU_ASSERT_EQUAL(r, -ENOSPC);
		WAIT(&f, a->is_truncated);
		CU_ASSERT_STRING_EQUAL(a->os_name, "minix");
		CU_ASSERT(a->n_other <= 128);
		/* It comes to its senses. */
		CU_ASSERT_EQUAL(guest_ring_rm(ring, "data", on_reply, &heard), 0);
		WAIT(&f, !a->is_truncated && a->n_other == 0);
		guest_ring_free(ring);
	}
	end(&f);
}

static void test_mirror__a_new_domain_takes_over_its_uuid(void)
{
	struct guest_ring *old, *new;
	struct bridge_view view;
	struct heard heard[2];
	struct fixture f;
	struct topic *a;

	if (start(&f)) {
		old = boot(&f, 5, UUID_A, &heard[0]);
		a = topic_of(&f, UUID_A);
		WAIT(&f, a->is_there && a->domid == 5);
		/* Migration within the host: both are there for a while. */
		new = boot(&f, 9, UUID_A, &heard[1]);
		WAIT(&f, a->domid == 9);
		CU_ASSERT_EQUAL(guest_write(&f.host, old, &heard[0], "data/os_name", "old"), 0);
		CU_ASSERT_EQUAL(guest_write(&f.host, new, &heard[1], "data/os_name", "new"), 0);
		WAIT(&f, streq(a->os_name, "new"));
		WAIT(&f, stats_of(&f).waiting == 0);
		CU_ASSERT_EQUAL(a->domid, 9);
		CU_ASSERT(bridge_mirror_find(f.mirror, UUID_A, &view) && view.domid == 9);
		destroy(&f, 5, old);
		WAIT(&f, stats_of(&f).domains == 1);
		CU_ASSERT_EQUAL(a->n_removed, 0);
		CU_ASSERT_STRING_EQUAL(a->os_name, "new");
		destroy(&f, 9, new);
		WAIT(&f, !a->is_there);
		CU_ASSERT_EQUAL(a->n_removed, 1);
	}
	end(&f);
}

static void test_mirror__the_old_domain_speaks_again_when_the_new_one_fails(void)
{
	struct guest_ring *old, *new;
	struct heard heard[2];
	struct fixture f;
	struct topic *a;

	if (start(&f)) {
		old = boot(&f, 5, UUID_A, &heard[0]);
		a = topic_of(&f, UUID_A);
		CU_ASSERT_EQUAL(guest_write(&f.host, old, &heard[0], "data/os_name", "old"), 0);
		WAIT(&f, streq(a->os_name, "old"));
		new = boot(&f, 9, UUID_A, &heard[1]);
		WAIT(&f, a->domid == 9);
		destroy(&f, 9, new);
		WAIT(&f, a->domid == 5);
		CU_ASSERT_STRING_EQUAL(a->os_name, "old");
		CU_ASSERT_EQUAL(a->n_removed, 0);
		guest_ring_free(old);
	}
	end(&f);
}

static void test_mirror__a_domain_on_its_way_out_is_nobody(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct fixture f;
	struct topic *a;

	if (start(&f)) {
		ring = boot(&f, 5, UUID_A, &heard);
		a = topic_of(&f, UUID_A);
		WAIT(&f, a->is_there);
		set_uuid(&f, 5, NOBODY);
		WAIT(&f, !a->is_there);
		CU_ASSERT_EQUAL(stats_of(&f).domains, 1);
		CU_ASSERT_EQUAL(f.n_topics, 1);
		set_uuid(&f, 5, UUID_B);
		WAIT(&f, topic_of(&f, UUID_B)->is_there);
		guest_ring_free(ring);
	}
	end(&f);
}

static void test_mirror__survives_a_restart_of_xenstored(void)
{
	struct guest_ring *ring;
	struct heard heard;
	struct fixture f;
	struct topic *a, *b;

	if (start(&f)) {
		ring = boot(&f, 5, UUID_A, &heard);
		a = topic_of(&f, UUID_A);
		b = topic_of(&f, UUID_B);
		WAIT(&f, a->is_there);
		guest_ring_free(ring);
		/* Its database is in memory: the new one knows only what is made anew. */
		host_close(&f.host);
		if (host_open(&f.host, NULL, false)) {
			ring = boot(&f, 7, UUID_B, &heard);
			CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard, "data/os_name", "new"),
					0);
			WAIT(&f, streq(b->os_name, "new") && !a->is_there);
			CU_ASSERT_EQUAL(stats_of(&f).resets, 1);
			/* Watches work as before. */
			CU_ASSERT_EQUAL(guest_write(&f.host, ring, &heard, "data/os_name", "newer"),
					0);
			WAIT(&f, streq(b->os_name, "newer"));
			guest_ring_free(ring);
		}
	}
	end(&f);
}

static void test_mirror__pages(void)
{
	struct guest_ring *rings[5];
	struct heard heard[5];
	char after[37] = "";
	struct fixture f;
	size_t n_seen = 0;

	if (start(&f)) {
		for (uint32_t i = 0; i < 5; i++) {
			char uuid[37];

			snprintf(uuid, sizeof(uuid), "0a0a0a0a-1111-4222-8333-44444444444%u",
				 4 - i);
			rings[i] = boot(&f, 10 + i, uuid, &heard[i]);
		}
		WAIT(&f, stats_of(&f).looks >= 5 && f.n_topics == 5);
		for (unsigned int page = 0; page < 3; page++) {
			_cleanup_(xfreep) uint8_t *data = NULL;
			Xenmesh__V1__ListGuestsReply *reply;
			size_t len = 0;

			CU_ASSERT_EQUAL(bridge_api_page(f.mirror, after, page == 1 ? 500 : 2,
							page == 1 ? 1 : 1 << 20, &data, &len),
					0);
			reply = xenmesh__v1__list_guests_reply__unpack(NULL, len, data);
			CU_ASSERT(reply != NULL);
			if (!reply) {
				break;
			}
			CU_ASSERT_EQUAL(reply->n_guests, page == 1 ? 1 : 2);
			CU_ASSERT_EQUAL(reply->more, page < 2);
			for (size_t i = 0; i < reply->n_guests; i++) {
				CU_ASSERT(strcmp(reply->guests[i]->uuid, after) > 0);
				snprintf(after, sizeof(after), "%s", reply->guests[i]->uuid);
				n_seen++;
			}
			xenmesh__v1__list_guests_reply__free_unpacked(reply, NULL);
		}
		CU_ASSERT_EQUAL(n_seen, 5);
		for (size_t i = 0; i < 5; i++) {
			guest_ring_free(rings[i]);
		}
	}
	end(&f);
}

UNIT_MAIN("bridge mirror", UNIT_TEST(test_mirror__follows_a_guest),
	  UNIT_TEST(test_mirror__what_was_there_before_it_started),
	  UNIT_TEST(test_mirror__the_same_again_is_not_published),
	  UNIT_TEST(test_mirror__a_flood_is_two_publications_a_second),
	  UNIT_TEST(test_mirror__a_full_tree_is_cut_off),
	  UNIT_TEST(test_mirror__a_new_domain_takes_over_its_uuid),
	  UNIT_TEST(test_mirror__the_old_domain_speaks_again_when_the_new_one_fails),
	  UNIT_TEST(test_mirror__a_domain_on_its_way_out_is_nobody),
	  UNIT_TEST(test_mirror__survives_a_restart_of_xenstored), UNIT_TEST(test_mirror__pages))
