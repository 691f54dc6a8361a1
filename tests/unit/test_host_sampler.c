/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/host/sampler.h"

#include "libcommon/clock.h"
#include "services/ops/host/state.h"
#include "tests/unit/host_fixture.h"

struct fixture {
	struct fixture_dir dir;
	struct fake_hv *hv;
	struct xenstore *xs;
	struct host_domains *domains;
	struct host_vifs *vifs;
	struct host_vbds *vbds;
	struct host_sampler *sampler;
	struct arena arena;
};

static void on_domain(const struct host_domain *domain _unused_, void *userdata _unused_)
{
}

static void on_marked(void *userdata _unused_)
{
}

static void setup(struct fixture *f)
{
	static const struct host_domains_events events = { on_domain, on_domain, on_marked };
	struct host_sampler_sources sources;

	*f = (struct fixture){ .hv = fake_hv_new(), .xs = calloc(1, sizeof(struct xenstore)) };
	fixture_dir_make(&f->dir);
	CU_ASSERT_EQUAL(host_domains_new(&f->domains, &f->hv->hv, f->xs, &events, f), 0);
	CU_ASSERT_EQUAL(host_vifs_new(&f->vifs, f->dir.path), 0);
	CU_ASSERT_EQUAL(host_vbds_new(&f->vbds, f->dir.path), 0);
	sources = (struct host_sampler_sources){ &f->hv->hv, f->domains, f->vifs, f->vbds };
	CU_ASSERT_EQUAL(host_sampler_new(&f->sampler, &sources), 0);
	arena_init(&f->arena, 64U << 20);
}

static void teardown(struct fixture *f)
{
	arena_deinit(&f->arena);
	host_sampler_free(f->sampler);
	host_vbds_free(f->vbds);
	host_vifs_free(f->vifs);
	host_domains_free(f->domains);
	free(f->xs);
	free(f->hv);
	fixture_dir_remove(&f->dir, "");
}

/* All domains that there are have been told. */
static void tell_all(struct fixture *f)
{
	CU_ASSERT_EQUAL(host_domains_scan(f->domains), 0);
	CU_ASSERT_FALSE(host_domains_refresh(f->domains, 600 * USEC_PER_SEC));
}

static Xenmesh__V1__HostSample *take(struct fixture *f)
{
	static Xenmesh__V1__HostSample none = XENMESH__V1__HOST_SAMPLE__INIT;
	Xenmesh__V1__HostSample *sample = NULL;

	arena_reset(&f->arena);
	CU_ASSERT_EQUAL(host_sampler_take(f->sampler, &f->arena, &sample), 0);
	CU_ASSERT(sample && protobuf_c_message_check(&sample->base));
	return sample ? sample : &none;
}

static void test_all_parts(void)
{
	const Xenmesh__V1__HostSample *sample;
	const Xenmesh__V1__DomainSample *domain;
	uint64_t before_ns = clock_boot_ns();
	struct fixture f;

	setup(&f);
	fake_add(f.hv, 0, 0);
	fake_add(f.hv, 1, 1);
	fake_guest(f.xs, 1, "g1");
	fixture_write(&f.dir, "class/net/lo/device/nodename", "backend/vif/1/0\n");
	fixture_write(&f.dir, "bus/xen-backend/devices/vbd-1-51712/statistics/rd_req", "36\n");
	fixture_write(&f.dir, "bus/xen-backend/devices/vbd-1-51728/statistics/rd_req", "37\n");
	tell_all(&f);
	sample = take(&f);
	CU_ASSERT(sample->monotonic_ns >= before_ns && sample->monotonic_ns <= clock_boot_ns());
	CU_ASSERT(sample->realtime_ns > 0);
	CU_ASSERT_EQUAL(sample->free_memory_kib, 1 << 20);
	CU_ASSERT_EQUAL(sample->claimed_memory_kib, 1 << 12);
	CU_ASSERT_EQUAL(sample->n_pcpus, 8);
	CU_ASSERT_EQUAL(sample->n_domains, 2);
	if (sample->n_pcpus == 8 && sample->n_domains == 2) {
		CU_ASSERT_EQUAL(sample->pcpus[7]->pcpu, 7);
		CU_ASSERT_EQUAL(sample->pcpus[7]->idle_ns, 1007);
		domain = sample->domains[1];
		CU_ASSERT_EQUAL(domain->domid, 1);
		CU_ASSERT_STRING_EQUAL(domain->uuid, "00000000-0000-0000-0000-000000000001");
		CU_ASSERT_STRING_EQUAL(domain->name, "g1");
		CU_ASSERT_EQUAL(domain->cpu_ns, 5001); /* without bit 63 */
		CU_ASSERT_EQUAL(domain->vcpus_online, 1);
		CU_ASSERT_EQUAL(domain->memory_kib, 131072);
		CU_ASSERT_EQUAL(domain->max_memory_kib, 132096);
		CU_ASSERT_EQUAL(domain->power_state, XENMESH__V1__POWER_STATE__POWER_STATE_RUNNING);
		CU_ASSERT(domain->running && !domain->blocked);
		CU_ASSERT_EQUAL(domain->n_vcpus, 2);
		CU_ASSERT_EQUAL(domain->vcpus[1]->vcpu, 1);
		CU_ASSERT_EQUAL(domain->vcpus[1]->cpu_ns, 1000001);
		CU_ASSERT(domain->vcpus[1]->online && domain->vcpus[1]->blocked);
		CU_ASSERT_EQUAL(domain->n_vifs, 1);
		CU_ASSERT_EQUAL(domain->n_vbds, 2);
		CU_ASSERT_EQUAL(domain->vbds[0]->rd_req, 36);
		CU_ASSERT_STRING_EQUAL(domain->vbds[0]->vdev, "xvda");
		CU_ASSERT_EQUAL(domain->vbds[1]->devid, 51728);
		CU_ASSERT_STRING_EQUAL(domain->vbds[1]->vdev, ""); /* not in /libxl */
		CU_ASSERT_EQUAL(sample->domains[0]->n_vifs, 0);
	}
	teardown(&f);
}

/* What was not told of cannot be understood by who gets the sample. */
static void test_only_what_was_told(void)
{
	struct fixture f;

	setup(&f);
	fake_add(f.hv, 1, 1);
	tell_all(&f);
	fake_add(f.hv, 2, 2);
	CU_ASSERT_EQUAL(take(&f)->n_domains, 1);
	tell_all(&f);
	CU_ASSERT_EQUAL(take(&f)->n_domains, 2);
	fake_drop(f.hv, 1);
	fake_drop(f.hv, 2);
	CU_ASSERT_EQUAL(take(&f)->n_domains, 0);
	teardown(&f);
}

static void test_vcpus_take_turns(void)
{
	struct fixture f;
	size_t n_seen[100] = { 0 };

	setup(&f);
	for (unsigned int i = 0; i < 100; i++) {
		fake_add(f.hv, i, i)->max_vcpu_id = 15;
	}
	tell_all(&f);
	for (int look = 0; look < 10; look++) {
		const Xenmesh__V1__HostSample *sample;

		f.hv->n_vcpu_calls = 0;
		sample = take(&f);
		CU_ASSERT_EQUAL(f.hv->n_vcpu_calls, 320);
		for (size_t i = 0; i < sample->n_domains && i < 100; i++) {
			n_seen[i] += sample->domains[i]->n_vcpus == 16;
		}
	}
	for (size_t i = 0; i < 100; i++) {
		CU_ASSERT_EQUAL(n_seen[i], 2);
	}
	/* Few enough: all in each look. */
	f.hv->n = 16;
	for (int look = 0; look < 3; look++) {
		f.hv->n_vcpu_calls = 0;
		take(&f);
		CU_ASSERT_EQUAL(f.hv->n_vcpu_calls, 256);
	}
	teardown(&f);
}

/* A domain larger than a turn has its turn too, without the vCPUs that Xen does not know. */
static void test_big_domain(void)
{
	const Xenmesh__V1__HostSample *sample;
	bool is_seen = false;
	struct fixture f;

	setup(&f);
	fake_add(f.hv, 1, 1);
	fake_add(f.hv, 2, 2)->max_vcpu_id = 511;
	fake_add(f.hv, 3, 3)->max_vcpu_id = XEN_INVALID_MAX_VCPU_ID;
	tell_all(&f);
	for (int look = 0; look < 5; look++) {
		sample = take(&f);
		if (sample->n_domains == 3) {
			is_seen |= sample->domains[1]->n_vcpus == 511;
			CU_ASSERT_EQUAL(sample->domains[2]->n_vcpus, 0);
		}
	}
	CU_ASSERT(is_seen);
	teardown(&f);
}

static void test_failures(void)
{
	Xenmesh__V1__HostSample *sample = NULL;
	struct fixture f;

	setup(&f);
	fake_add(f.hv, 1, 1);
	tell_all(&f);
	f.hv->pcpu_error = -ENOSYS;
	CU_ASSERT_EQUAL(take(&f)->n_pcpus, 0);
	CU_ASSERT_EQUAL(take(&f)->n_domains, 1);
	f.hv->error = -EPERM;
	arena_reset(&f.arena);
	CU_ASSERT_EQUAL(host_sampler_take(f.sampler, &f.arena, &sample), -EPERM);
	f.hv->error = 0;
	arena_deinit(&f.arena);
	arena_init(&f.arena, 100);
	CU_ASSERT_EQUAL(host_sampler_take(f.sampler, &f.arena, &sample), -ENOMEM);
	teardown(&f);
}

static void test_host_state(void)
{
	Xenmesh__V1__HostState *state = NULL;
	struct fixture f;

	setup(&f);
	CU_ASSERT_EQUAL(host_state_read(&f.arena, &f.hv->hv, &state), 0);
	if (state) {
		CU_ASSERT(protobuf_c_message_check(&state->base));
		CU_ASSERT_STRING_EQUAL(state->xen_version, "4.17.7");
		CU_ASSERT_STRING_EQUAL(state->xen_commandline, "console=com1 \\xff");
		CU_ASSERT_STRING_EQUAL(state->scheduler, "credit2");
		CU_ASSERT_EQUAL(state->pcpus, 8);
		CU_ASSERT_EQUAL(state->cores_per_socket, 4);
		CU_ASSERT_EQUAL(state->threads_per_core, 2);
		CU_ASSERT_EQUAL(state->nodes, 1);
		CU_ASSERT_EQUAL(state->cpu_khz, 2400000);
		CU_ASSERT_EQUAL(state->memory_kib, 4 << 20);
		CU_ASSERT(state->connected);
		CU_ASSERT_FALSE(state->simulated);
	}
	f.hv->error = -EPERM;
	CU_ASSERT_EQUAL(host_state_read(&f.arena, &f.hv->hv, &state), -EPERM);
	teardown(&f);
}

UNIT_MAIN("host_sampler", UNIT_TEST(test_all_parts), UNIT_TEST(test_only_what_was_told),
	  UNIT_TEST(test_vcpus_take_turns), UNIT_TEST(test_big_domain), UNIT_TEST(test_failures),
	  UNIT_TEST(test_host_state))
