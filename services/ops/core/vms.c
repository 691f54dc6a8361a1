/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A change is first made completely, then published, then told: whoever is told
 * sees the table as it will stay.
 */
#include "services/ops/core/vms.h"

#include <ctype.h>
#include <stdio.h>

#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "libcommon/log.h"
#include "libcommon/parse.h"
#include "libcommon/uuid.h"
#include "services/ops/core/pb.h"
#include "services/ops/core/vmconfig.h"

#define CANDIDATES_TOLD 8 /* of an ambiguous name */

/* ---- one VM ---- */

static bool is_dying(const Xenmesh__Host__Domain *d)
{
	return d->power_state == POWER_DYING;
}

const Xenmesh__Host__Domain *vm_domain(const struct vm *vm)
{
	const Xenmesh__Host__Domain *best = NULL;

	list_for_each (i, &vm->domains) {
		const Xenmesh__Host__Domain *d = list_entry(i, struct vm_domain, list)->facts;

		if (d->domid == 0) {
			return d; /* others with dom0's zero UUID never hide it */
		}
		if (!best || is_dying(best) > is_dying(d) ||
		    (is_dying(best) == is_dying(d) && d->domid > best->domid)) {
			best = d;
		}
	}
	return best;
}

const Xenmesh__Host__Domain *vm_dying(const struct vm *vm)
{
	list_for_each (i, &vm->domains) {
		const Xenmesh__Host__Domain *d = list_entry(i, struct vm_domain, list)->facts;

		if (is_dying(d)) {
			return d;
		}
	}
	return NULL;
}

const Xenmesh__Host__Domain *vm_domain_by_id(const struct vm *vm, int32_t domid)
{
	list_for_each (i, &vm->domains) {
		const Xenmesh__Host__Domain *d = list_entry(i, struct vm_domain, list)->facts;

		if (domid >= 0 && d->domid == (uint32_t)domid) {
			return d;
		}
	}
	return NULL;
}

uint64_t vm_clock_ns(const struct vm *vm)
{
	const Xenmesh__Host__Domain *facts = vm_domain(vm);
	const struct vm_domain *d = facts ? map_get(&vm->vms->by_domid, &facts->domid,
						    sizeof(facts->domid))
					  : NULL;

	if (!d) {
		return clock_real_ns();
	}
	return d->clock_ns + (d->ended_ns ? d->ended_ns : clock_boot_ns());
}

int vm_power_state(const struct vm *vm)
{
	const Xenmesh__Host__Domain *d = vm_domain(vm);

	if (d) {
		return (int)d->power_state;
	}
	return vm->vms->is_known ? POWER_HALTED : POWER_UNKNOWN;
}

int32_t vm_domid(const struct vm *vm)
{
	const Xenmesh__Host__Domain *d = vm_domain(vm);

	return d ? (int32_t)d->domid : -1;
}

const char *vm_name(const struct vm *vm)
{
	const Xenmesh__Host__Domain *d = vm_domain(vm);

	return vm->config ? vm->config->name : d ? d->name : "";
}

bool vm_is_dom0(const struct vm *vm)
{
	return vm_domid(vm) == 0;
}

void vm_fill_state(const struct vm *vm, const Xenmesh__V1__VmConfig *config,
		   Xenmesh__V1__VmState *out)
{
	const Xenmesh__Host__Domain *d = vm_domain(vm);
	const Xenmesh__V1__VmConfig *c = config ? config : vm->config;

	xenmesh__v1__vm_state__init(out);
	out->uuid = (char *)vm->uuid;
	out->name = c ? c->name : (char *)vm_name(vm);
	out->managed = c != NULL;
	out->power_state = (Xenmesh__V1__PowerState)vm_power_state(vm);
	out->domid = vm_domid(vm);
	out->task = (char *)vm->task_id;
	out->config = (Xenmesh__V1__VmConfig *)c;
	if (vm->last_error) {
		out->last_error = vm->last_error;
	}
	if (!d) {
		if (c) {
			out->type = c->type;
			out->max_vcpus = c->max_vcpus ? c->max_vcpus : c->vcpus;
		}
		return;
	}
	out->type = d->type;
	out->shutdown_reason = d->shutdown_reason;
	out->vcpus_online = d->vcpus_online;
	out->max_vcpus = d->max_vcpus;
	out->memory_kib = d->memory_kib;
	out->max_memory_kib = d->max_memory_kib;
	out->n_vifs = d->n_vifs;
	out->vifs = d->vifs;
	out->n_vbds = d->n_vbds;
	out->vbds = d->vbds;
	out->started_ns = d->started_ns;
}

static void topic_of(const struct vm *vm, char out[static 48])
{
	snprintf(out, 48, "vm/%.36s/state", vm->uuid);
}

/* ---- the table ---- */

void vms_init(struct vms *vms, const struct events *events,
	      void (*on_change)(struct vm *vm, void *userdata), void *userdata)
{
	*vms = (struct vms){
		.by_uuid = MAP_NULL,
		.by_domid = MAP_NULL,
		.events = *events,
		.on_change = on_change,
		.userdata = userdata,
	};
}

static void free_domain(struct vms *vms, struct vm_domain *d)
{
	map_remove(&vms->by_domid, &d->facts->domid, sizeof(d->facts->domid));
	if (d->vm->policy_domid == (int32_t)d->facts->domid) {
		d->vm->policy_domid = -1; /* the domid may come again */
	}
	list_unlink(&d->list);
	pb_free((ProtobufCMessage *)d->facts);
	free(d);
}

static void free_vm(struct vm *vm)
{
	for (struct vm_domain *d; (d = list_first(&vm->domains, struct vm_domain, list));) {
		free_domain(vm->vms, d);
	}
	map_remove_str(&vm->vms->by_uuid, vm->uuid);
	vmconfig_free(vm->config);
	free(vm->last_error);
	free(vm->published);
	free(vm);
}

void vms_deinit(struct vms *vms)
{
	for (struct map_iter i = map_begin(&vms->by_uuid); map_next(&vms->by_uuid, &i);) {
		free_vm(i.value);
	}
	map_deinit(&vms->by_uuid);
	map_deinit(&vms->by_domid);
}

static struct vm *get_or_make(struct vms *vms, const char *uuid)
{
	struct vm *vm = vms_get(vms, uuid);

	if (vm) {
		return vm;
	}
	vm = calloc(1, sizeof(*vm));
	if (!vm) {
		return NULL;
	}
	snprintf(vm->uuid, sizeof(vm->uuid), "%s", uuid);
	vm->vms = vms;
	vm->policy_domid = -1;
	list_init(&vm->domains);
	if (map_set_str(&vms->by_uuid, vm->uuid, vm, NULL) < 0) {
		free(vm);
		return NULL;
	}
	return vm;
}

/* Publish the state if it is another than before. */
static void publish(struct vm *vm)
{
	Xenmesh__V1__Event event = XENMESH__V1__EVENT__INIT;
	Xenmesh__V1__VmState state;
	uint8_t *bytes = NULL;
	char topic[48];
	size_t len;
	int r;

	vm_fill_state(vm, NULL, &state);
	r = pb_pack(&state.base, &bytes, &len);
	if (r == 0 && vm->published && len == vm->published_len &&
	    memcmp(bytes, vm->published, len) == 0) {
		free(bytes);
		return;
	}
	free(vm->published);
	vm->published = bytes;
	vm->published_len = r == 0 ? len : 0;
	event.body_case = XENMESH__V1__EVENT__BODY_VM_STATE;
	event.vm_state = &state;
	topic_of(vm, topic);
	r = r < 0 ? r : vm->vms->events.publish(vm->vms->events.userdata, topic, &event);
	if (r < 0) {
		log_warning("state of VM %s cannot be published: %s", vm->uuid, err_text(r));
		free(vm->published); /* to be tried again with the next change */
		vm->published = NULL;
	}
}

/* After a change: publish, or let go of a VM that is no more. */
static void settle(struct vm *vm)
{
	struct events events = vm->vms->events;
	char topic[48];

	if (vm->config || vm->queue || !list_is_empty(&vm->domains)) {
		publish(vm);
		return;
	}
	topic_of(vm, topic);
	free_vm(vm);
	events.remove(events.userdata, topic, "there is no such VM any more");
}

/* After a change of facts: tell it, too. */
static void settle_facts(struct vm *vm)
{
	struct vms *vms = vm->vms;
	char uuid[37];

	memcpy(uuid, vm->uuid, sizeof(uuid));
	vm->is_changed = false;
	if (vm->config || vm->queue || !list_is_empty(&vm->domains)) {
		publish(vm);
	}
	if (vms->on_change) {
		vms->on_change(vm, vms->userdata);
		vm = vms_get(vms, uuid); /* the end of an operation may have freed it */
	}
	if (vm) {
		settle(vm);
	}
}

struct vm *vms_get(const struct vms *vms, const char *uuid)
{
	return map_get_str(&vms->by_uuid, uuid);
}

static int by_uuid(const void *a, const void *b)
{
	const struct vm *const *x = a, *const *y = b;

	return strcmp((*x)->uuid, (*y)->uuid);
}

int vms_sorted(const struct vms *vms, struct vm ***out, size_t *n)
{
	size_t i = 0;

	*out = calloc(map_size(&vms->by_uuid) + 1, sizeof(**out));
	if (!*out) {
		return -ENOMEM;
	}
	for (struct map_iter it = map_begin(&vms->by_uuid); map_next(&vms->by_uuid, &it);) {
		(*out)[i++] = it.value;
	}
	qsort(*out, i, sizeof(**out), by_uuid);
	*n = i;
	return 0;
}

size_t vms_n_defined(const struct vms *vms)
{
	size_t n = 0;

	for (struct map_iter i = map_begin(&vms->by_uuid); map_next(&vms->by_uuid, &i);) {
		n += ((struct vm *)i.value)->config ? 1 : 0;
	}
	return n;
}

size_t vms_n_domains(const struct vms *vms)
{
	return map_size(&vms->by_domid);
}

struct vm *vms_defined_by_name(const struct vms *vms, const char *name)
{
	for (struct map_iter i = map_begin(&vms->by_uuid); map_next(&vms->by_uuid, &i);) {
		struct vm *vm = i.value;

		if (vm->config && streq(vm->config->name, name)) {
			return vm;
		}
	}
	return NULL;
}

/* ---- names ---- */

struct search {
	struct vm *first;
	size_t n;
	struct strbuf candidates;
};

static void found(struct search *s, struct vm *vm)
{
	if (vm == s->first) {
		return; /* its name is also its domid */
	}
	if (s->n++ == 0) {
		s->first = vm;
	}
	if (s->n <= CANDIDATES_TOLD) {
		strbuf_printf(&s->candidates, "%s%s (%s", s->n > 1 ? ", " : "", vm->uuid,
			      text_quote(vm_name(vm)).text);
		if (vm_domid(vm) >= 0) {
			strbuf_printf(&s->candidates, ", domid %d", vm_domid(vm));
		}
		strbuf_puts(&s->candidates, ")");
	} else if (s->n == CANDIDATES_TOLD + 1) {
		strbuf_puts(&s->candidates, ", ...");
	}
}

static void search(const struct vms *vms, const char *ref, struct search *s)
{
	struct vm_domain *d = NULL;
	uint32_t domid;

	if (parse_u32(ref, strlen(ref), 65535, &domid) == 0) {
		d = map_get(&vms->by_domid, &domid, sizeof(domid));
	}
	if (d) {
		found(s, d->vm);
	}
	for (struct map_iter i = map_begin(&vms->by_uuid); map_next(&vms->by_uuid, &i);) {
		if (streq(vm_name(i.value), ref)) {
			found(s, i.value);
		}
	}
}

int vms_find(const struct vms *vms, const char *ref, struct vm **out, struct strbuf *error)
{
	struct search s = { 0 };
	struct uuid u;
	char uuid[37];
	int r = 0;

	*out = NULL;
	if (ref[0] == '\0') {
		strbuf_puts(error, "no VM is named: give a UUID, a name or a domid");
		return 1;
	}
	if (uuid_parse(ref, &u) == 0) {
		uuid_format(&u, uuid);
		*out = vms_get(vms, uuid);
	} else {
		search(vms, ref, &s);
		*out = s.first;
	}
	if (!*out) {
		strbuf_printf(error, "there is no VM \"%s\"; see: xenmesh vm list",
			      text_quote(ref).text);
		r = 1;
	} else if (s.n > 1) {
		strbuf_printf(error, "\"%s\" stands for more than one VM, use a UUID: %s",
			      text_quote(ref).text, strbuf_str(&s.candidates));
		*out = NULL;
		r = 2;
	}
	strbuf_deinit(&s.candidates);
	return r;
}

/* ---- definitions and operations ---- */

int vms_define(struct vms *vms, Xenmesh__V1__VmConfig *config, enum store_desired desired)
{
	struct vm *vm = get_or_make(vms, config->uuid);

	if (!vm) {
		vmconfig_free(config);
		return -ENOMEM;
	}
	vmconfig_free(vm->config);
	vm->config = config;
	vm->desired = desired;
	settle(vm);
	return 0;
}

void vms_undefine(struct vm *vm)
{
	vm->config = vmconfig_free(vm->config);
	vm->desired = STORE_DESIRED_UNKNOWN;
	settle(vm);
}

void vms_set_operation(struct vm *vm, void *queue, const char *task_id, const char *last_error)
{
	if (last_error != vm->last_error) {
		free(vm->last_error);
		vm->last_error = last_error ? strdup(last_error) : NULL;
	}
	snprintf(vm->task_id, sizeof(vm->task_id), "%s", task_id);
	vm->queue = queue;
	settle(vm);
}

struct vm *vms_hold(struct vms *vms, const char *uuid)
{
	return get_or_make(vms, uuid);
}

/* ---- facts ---- */

/* A copy of what was said, in canonical form; NULL when it is unusable or memory is short. */
static Xenmesh__Host__Domain *take(const Xenmesh__Host__Domain *said, int *r)
{
	Xenmesh__Host__Domain *copy;
	struct uuid u = { 0 };
	char uuid[37];

	*r = 0;
	if (said->uuid[0] && uuid_parse(said->uuid, &u) < 0) {
		log_warning("the host process tells a domain %u with a bad UUID", said->domid);
		return NULL;
	}
	copy = (Xenmesh__Host__Domain *)pb_copy(&said->base);
	uuid_format(&u, uuid);
	if (!copy || pb_set(&copy->uuid, uuid) < 0) {
		pb_free((ProtobufCMessage *)copy);
		*r = -ENOMEM;
		return NULL;
	}
	pb_scrub(&copy->base);
	return copy;
}

static void note_end(struct vm_domain *d)
{
	if (d->facts->power_state != POWER_SHUTDOWN) {
		d->ended_ns = 0;
	} else if (d->ended_ns == 0) {
		d->ended_ns = clock_boot_ns();
	}
}

static int add_domain(struct vms *vms, Xenmesh__Host__Domain *facts)
{
	struct vm *vm = get_or_make(vms, facts->uuid);
	struct vm_domain *d = vm ? calloc(1, sizeof(*d)) : NULL;

	if (!d || map_set(&vms->by_domid, &facts->domid, sizeof(facts->domid), d, NULL) < 0) {
		free(d);
		pb_free((ProtobufCMessage *)facts);
		if (vm) {
			settle(vm); /* an empty one goes */
		}
		return -ENOMEM;
	}
	d->vm = vm;
	d->facts = facts;
	d->clock_ns = clock_real_ns() - clock_boot_ns();
	d->is_seen = true;
	note_end(d);
	list_append(&vm->domains, &d->list);
	vm->is_changed = true;
	return 0;
}

/* Enter one domain; the VMs concerned are marked as changed. *other is one that lost its domain
 * because the domid belongs to somebody else now. */
static int enter(struct vms *vms, const Xenmesh__Host__Domain *said, struct vm **other)
{
	Xenmesh__Host__Domain *facts;
	struct vm_domain *d;
	int r;

	*other = NULL;
	facts = take(said, &r);
	if (!facts) {
		return r;
	}
	d = map_get(&vms->by_domid, &facts->domid, sizeof(facts->domid));
	if (d && !streq(d->vm->uuid, facts->uuid)) {
		*other = d->vm;
		d->vm->is_changed = true;
		free_domain(vms, d);
		d = NULL;
	}
	if (!d) {
		return add_domain(vms, facts);
	}
	if (d->facts->started_ns) {
		facts->started_ns = d->facts->started_ns;
	}
	pb_free((ProtobufCMessage *)d->facts);
	d->facts = facts;
	d->is_seen = true;
	note_end(d);
	d->vm->is_changed = true;
	return 0;
}

static void settle_changed(struct vms *vms)
{
	_cleanup_(xfreep) char(*uuids)[37] = calloc(map_size(&vms->by_uuid) + 1, sizeof(*uuids));
	size_t n = 0;

	/* By name: telling one change may make or free any VM. */
	for (struct map_iter i = map_begin(&vms->by_uuid); uuids && map_next(&vms->by_uuid, &i);) {
		struct vm *vm = i.value;

		if (vm->is_changed) {
			memcpy(uuids[n++], vm->uuid, sizeof(*uuids));
		}
	}
	for (size_t i = 0; i < n; i++) {
		struct vm *vm = vms_get(vms, uuids[i]);

		if (vm && vm->is_changed) {
			settle_facts(vm);
		}
	}
}

int vms_merge_table(struct vms *vms, const Xenmesh__Host__DomainTable *table)
{
	struct vm *other;
	int r = 0;

	for (struct map_iter i = map_begin(&vms->by_domid); map_next(&vms->by_domid, &i);) {
		((struct vm_domain *)i.value)->is_seen = false;
	}
	for (size_t i = 0; r == 0 && i < table->n_domains; i++) {
		r = enter(vms, table->domains[i], &other);
	}
	if (r < 0) {
		return err_trace(r);
	}
	for (struct map_iter i = map_begin(&vms->by_domid); map_next(&vms->by_domid, &i);) {
		struct vm_domain *d = i.value;

		if (!d->is_seen) {
			d->vm->is_changed = true;
			free_domain(vms, d);
		}
	}
	if (!vms->is_known) { /* those without a domain are halted now */
		vms->is_known = true;
		for (struct map_iter i = map_begin(&vms->by_uuid); map_next(&vms->by_uuid, &i);) {
			((struct vm *)i.value)->is_changed = true;
		}
	}
	settle_changed(vms);
	return 0;
}

int vms_merge_domain(struct vms *vms, const Xenmesh__Host__Domain *domain)
{
	struct vm_domain *d;
	struct vm *other;
	int r = enter(vms, domain, &other);

	if (r < 0) {
		return err_trace(r);
	}
	if (other) {
		settle_facts(other);
	}
	d = map_get(&vms->by_domid, &domain->domid, sizeof(domain->domid));
	if (d && d->vm->is_changed) {
		settle_facts(d->vm);
	}
	return 0;
}

void vms_merge_gone(struct vms *vms, const Xenmesh__Host__DomainGone *gone)
{
	struct vm_domain *d = map_get(&vms->by_domid, &gone->domid, sizeof(gone->domid));
	struct vm *vm = d ? d->vm : NULL;

	if (vm && (gone->uuid[0] == '\0' || strcasecmp(gone->uuid, vm->uuid) == 0)) {
		free_domain(vms, d);
		settle_facts(vm);
	}
}
