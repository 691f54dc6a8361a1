/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What has stopped is remembered by (domid, UUID) until its time has come.
 */
#include "services/simhost/xl.h"

#include <stdio.h>

#include "libcommon/err.h"
#include "libcommon/list.h"
#include "libcommon/log.h"
#include "libcommon/loop.h"

#define REACT_MS 100 /* between a domain's end and what is done about it */

struct ended {
	struct list list;
	struct sim_xl *xl;
	sd_event_source *timer;
	uint32_t domid;
	char uuid[37];
};

struct sim_xl {
	struct machine *machine;
	struct list ended;
};

int sim_xl_new(struct sim_xl **out, struct machine *machine)
{
	struct sim_xl *x = calloc(1, sizeof(*x));

	if (!x) {
		return -ENOMEM;
	}
	x->machine = machine;
	list_init(&x->ended);
	*out = x;
	return 0;
}

static void ended_free(struct ended *e)
{
	list_unlink(&e->list);
	sd_event_source_disable_unref(e->timer);
	free(e);
}

struct sim_xl *sim_xl_free(struct sim_xl *x)
{
	if (x) {
		list_for_each_safe (i, &x->ended) {
			ended_free(list_entry(i, struct ended, list));
		}
		free(x);
	}
	return NULL;
}

int sim_xl_create(struct sim_xl *x, const Xenmesh__V1__VmConfig *config, char *why, size_t why_size,
		  struct machine_domain **out)
{
	int r = machine_build(x->machine, config, true, why, why_size, out);

	if (r < 0) {
		return r;
	}
	r = machine_attach(*out);
	if (r == 0) {
		r = machine_unpause(*out);
	}
	if (r < 0) {
		snprintf(why, why_size, "%s", err_text(r));
		machine_remove(*out);
	}
	return r;
}

/* The configuration outlives its domain. */
static int restart(struct sim_xl *x, struct machine_domain *d)
{
	size_t len = xenmesh__v1__vm_config__get_packed_size(d->config);
	_cleanup_(xfreep) uint8_t *packed = malloc(len);
	struct machine_domain *made;
	Xenmesh__V1__VmConfig *config;
	char why[256] = "out of memory";
	int r = -ENOMEM;

	if (packed) {
		xenmesh__v1__vm_config__pack(d->config, packed);
	}
	machine_remove(d);
	config = packed ? xenmesh__v1__vm_config__unpack(NULL, len, packed) : NULL;
	if (config) {
		r = sim_xl_create(x, config, why, sizeof(why), &made);
		xenmesh__v1__vm_config__free_unpacked(config, NULL);
	}
	if (r < 0) {
		log_error("the simulated xl cannot make a domain anew: %s", why);
	}
	return r;
}

static int on_react(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
	struct ended *e = userdata;
	struct sim_xl *x = e->xl;
	struct machine_domain *d = machine_find_exactly(x->machine, e->domid, e->uuid);

	ended_free(e);
	if (!d || d->is_dying) {
		return 0;
	}
	if (d->state.shutdown_reason == XENMESH__V1__SHUTDOWN_REASON__SHUTDOWN_REASON_REBOOT) {
		restart(x, d);
	} else {
		machine_remove(d);
	}
	return 0;
}

void sim_xl_on_stopped(struct sim_xl *x, const struct machine_domain *d)
{
	struct ended *e = d->is_xl ? calloc(1, sizeof(*e)) : NULL;

	if (!e) {
		return;
	}
	e->xl = x;
	e->domid = d->state.domid;
	snprintf(e->uuid, sizeof(e->uuid), "%s", d->state.uuid);
	list_append(&x->ended, &e->list);
	if (loop_after(machine_loop(x->machine), &e->timer, REACT_MS * USEC_PER_MSEC, on_react, e) <
	    0) {
		ended_free(e);
	}
}
