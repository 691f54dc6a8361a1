/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * arena_unpack() with the messages of the private links: honest ones fit into
 * what a link allows, hostile ones end in NULL or in a message that can be
 * walked, and never take more than the limit.
 */
#include <stdio.h>

#include "bus/envelope.h"
#include "libcommon/arena.h"
#include "libcommon/link.h"
#include "tests/unit/unit.h"
#include "xenmesh/host/host.pb-c.h"

#define N_VCPUS 512

struct packed {
	uint8_t *data;
	size_t len;
};

static struct packed pack(const ProtobufCMessage *m)
{
	struct packed p = { .len = protobuf_c_message_get_packed_size(m) };

	p.data = malloc(p.len);
	if (!p.data || protobuf_c_message_pack(m, p.data) != p.len) {
		abort();
	}
	return p;
}

/* A sample of like domains, of which every `every`th has its vCPUs in it; for a link, or as an
 * event. Counters of 0 are the worst: nothing on the wire, 8 bytes in memory. */
static struct packed pack_as(bool is_event, size_t n_domains, size_t n_vcpus, size_t every,
			     uint64_t counter)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__DomainSample without = XENMESH__V1__DOMAIN_SAMPLE__INIT;
	Xenmesh__V1__HostSample host = XENMESH__V1__HOST_SAMPLE__INIT;
	Xenmesh__V1__DomainSample domain = XENMESH__V1__DOMAIN_SAMPLE__INIT;
	Xenmesh__V1__VcpuSample vcpu[N_VCPUS];
	Xenmesh__V1__VifSample vif = XENMESH__V1__VIF_SAMPLE__INIT;
	Xenmesh__V1__VcpuSample *vcpus[N_VCPUS];
	Xenmesh__V1__VifSample *vifs[] = { &vif, &vif };
	Xenmesh__V1__DomainSample **domains = calloc(n_domains, sizeof(domains[0]));
	Xenmesh__Host__FromHost message = XENMESH__HOST__FROM_HOST__INIT;
	struct packed p;

	for (size_t i = 0; i < n_vcpus; i++) {
		xenmesh__v1__vcpu_sample__init(&vcpu[i]);
		vcpu[i].vcpu = (uint32_t)i;
		vcpu[i].online = counter > 0;
		vcpu[i].cpu_ns = counter;
		vcpus[i] = &vcpu[i];
	}
	for (size_t i = 0; i < n_domains; i++) {
		domains[i] = i % every == 0 ? &domain : &without;
	}
	vif.rx_bytes = vif.tx_bytes = domain.cpu_ns = counter;
	domain.uuid = (char *)"00000000-0000-4000-8000-000000000000";
	domain.name = (char *)"vm";
	without.uuid = domain.uuid;
	without.name = domain.name;
	domain.n_vcpus = n_vcpus;
	domain.vcpus = vcpus;
	domain.n_vifs = ARRAY_LEN(vifs);
	domain.vifs = vifs;
	host.n_domains = n_domains;
	host.domains = domains;
	message.body_case = XENMESH__HOST__FROM_HOST__BODY_SAMPLE;
	message.sample = &host;
	event.body_case = XENMESH__V1__EVENT__BODY_HOST_SAMPLE;
	event.host_sample = &host;
	event.topic = (char *)"host/sample";
	p = pack(is_event ? &event.base : &message.base);
	free(domains);
	return p;
}

static struct packed pack_sample(size_t n_domains, size_t n_vcpus, uint64_t counter)
{
	return pack_as(false, n_domains, n_vcpus, 1, counter);
}

/* Of the largest hosts: 512 vCPUs each, all of them, or as ops sends them, in turns. */
static void test_samples_fit_an_event(void)
{
	static const struct {
		size_t n_domains, every;
		uint64_t counter;
	} cases[] = {
		{ 1000, 1, 0 },		 { 1000, 5, 0 }, { 1000, 5, 1000 },
		{ 1000, 5, UINT64_MAX }, { 1, 1, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct packed p = pack_as(true, cases[i].n_domains, N_VCPUS, cases[i].every,
					  cases[i].counter);
		_cleanup_(arena_deinit) struct arena a;
		const Xenmesh__V1__Event *e;

		arena_init(&a, envelope_memory_max(p.len));
		e = (const void *)arena_unpack(&a, &xenmesh__v1__event__descriptor, p.data, p.len);
		CU_ASSERT(p.len <= BUS_EVENT_MAX);
		CU_ASSERT_PTR_NOT_NULL(e);
		CU_ASSERT(e && e->host_sample->n_domains == cases[i].n_domains);
		CU_ASSERT(e && e->host_sample->domains[0]->n_vcpus == N_VCPUS);
		CU_ASSERT(a.used < a.limit / 4 * 3); /* room for fields to come */
		printf("   %zu bytes take %.1f times as much\n", p.len,
		       (double)a.used / (double)p.len);
		free(p.data);
	}
}

static void test_samples_fit_a_link(void)
{
	static const struct {
		size_t n_domains, n_vcpus;
		uint64_t counter;
	} cases[] = {
		{ 0, 0, 0 },
		{ 1, 1, 0 },
		{ 1, 32, 0 },
		{ 5000, 1, 0 },
		{ 5000, 8, 0 },
		{ 5000, 8, 1000 },
		{ 5000, 8, UINT64_MAX },
		{ 1000, 32, 0 },
		{ 1000, 128, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct packed p = pack_sample(cases[i].n_domains, cases[i].n_vcpus,
					      cases[i].counter);
		_cleanup_(arena_deinit) struct arena a;
		const Xenmesh__Host__FromHost *m;

		arena_init(&a, link_memory_max(p.len));
		m = (const void *)arena_unpack(&a, &xenmesh__host__from_host__descriptor, p.data,
					       p.len);
		CU_ASSERT_PTR_NOT_NULL(m);
		if (m) {
			CU_ASSERT_EQUAL(m->body_case, XENMESH__HOST__FROM_HOST__BODY_SAMPLE);
			CU_ASSERT_EQUAL(m->sample->n_domains, cases[i].n_domains);
		}
		/* Room for fields to come. */
		CU_ASSERT_TRUE(a.used < a.limit / 4 * 3);
		free(p.data);
	}
}

/* Any limit: the message comes whole or not at all. */
static void test_every_limit(void)
{
	struct packed p = pack_sample(3, 3, 7);
	_cleanup_(arena_deinit) struct arena a;
	bool fits = false;

	for (size_t limit = 0; !fits && limit < 65536; limit += 16) {
		arena_init(&a, limit);
		fits = arena_unpack(&a, &xenmesh__host__from_host__descriptor, p.data, p.len);
		CU_ASSERT_TRUE(a.used <= limit);
		CU_ASSERT_TRUE(!fits || a.used == limit); /* the first that fits fits exactly */
		arena_deinit(&a);
	}
	CU_ASSERT_TRUE(fits);
	free(p.data);
}

/* Reads all of a message; counts. */
static size_t walk(const ProtobufCMessage *m);

static size_t walk_field(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	const char *at = (const char *)m + f->offset;
	const char *quantifier = (const char *)m + f->quantifier_offset;
	size_t n = 1, sum = 0;
	uint32_t chosen = 0;

	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		memcpy(&n, quantifier, sizeof(n));
		memcpy(&at, at, sizeof(at));
	} else if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		memcpy(&chosen, quantifier, sizeof(chosen));
		n = chosen == f->id;
	}
	for (size_t i = 0; i < n; i++) {
		const void *p = NULL;

		if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE) {
			memcpy(&p, at + i * sizeof(p), sizeof(p));
		}
		if (f->type == PROTOBUF_C_TYPE_STRING) {
			sum += strlen(p);
		} else if (f->type == PROTOBUF_C_TYPE_MESSAGE && p) {
			sum += walk(p);
		} else {
			sum++;
		}
	}
	return sum;
}

static size_t walk(const ProtobufCMessage *m)
{
	size_t sum = 0;

	for (unsigned int i = 0; i < m->descriptor->n_fields; i++) {
		sum += walk_field(m, &m->descriptor->fields[i]);
	}
	return sum;
}

/* A generator of its own, so that a failure comes again. */
static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*state >> 33);
}

static void test_damaged_messages(void)
{
	struct packed p = pack_sample(4, 4, 1000000);
	_cleanup_(xfreep) uint8_t *damaged = malloc(p.len);
	uint64_t random = 1;
	size_t n_decoded = 0, n_refused = 0;

	for (int i = 0; damaged && i < 20000; i++) {
		size_t len = i % 3 ? p.len : next_random(&random) % (p.len + 1);
		_cleanup_(arena_deinit) struct arena a;
		const ProtobufCMessage *m;

		memcpy(damaged, p.data, p.len);
		for (uint32_t k = next_random(&random) % 4; k > 0; k--) {
			damaged[next_random(&random) % p.len] = (uint8_t)next_random(&random);
		}
		arena_init(&a, link_memory_max(len));
		m = arena_unpack(&a, &xenmesh__host__from_host__descriptor, damaged, len);
		CU_ASSERT_TRUE(a.used <= a.limit);
		if (m) {
			CU_ASSERT_TRUE(walk(m) < 1 << 20);
		}
		n_decoded += m != NULL;
		n_refused += m == NULL;
	}
	CU_ASSERT_TRUE(n_decoded > 1000);
	CU_ASSERT_TRUE(n_refused > 1000);
	free(p.data);
}

UNIT_MAIN("protobuf", UNIT_TEST(test_samples_fit_a_link), UNIT_TEST(test_samples_fit_an_event),
	  UNIT_TEST(test_every_limit), UNIT_TEST(test_damaged_messages))
