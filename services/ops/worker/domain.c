/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libxl says about a destroy is not believed, the hypervisor's list is:
 * it has been seen to fail after the devices and before the domain.
 */
#include "services/ops/worker/domain.h"

#include "libcommon/clock.h"
#include "libcommon/uuid.h"

#define DESTROY_TRIES 3
#define LOOK_MS	      100
/* Each pause of a toolstack counts; so many at once nobody does. */
#define UNPAUSE_TRIES 16

int domain_look(struct xl *xl, uint32_t domid, const char *uuid, libxl_dominfo *info)
{
	struct uuid found;
	char text[37];
	int rc;

	libxl_dominfo_init(info);
	rc = libxl_domain_info(xl->ctx, info, domid);
	if (rc) {
		return rc;
	}
	memcpy(found.bytes, libxl_uuid_bytearray_const(&info->uuid), sizeof(found.bytes));
	uuid_format(&found, text);
	return streq(text, uuid) ? 0 : ERROR_DOMAIN_NOTFOUND;
}

/* domain_look() for its state only. */
static int look_state(struct xl *xl, uint32_t domid, const char *uuid, bool *is_dying,
		      bool *is_paused)
{
	libxl_dominfo info;
	int rc = domain_look(xl, domid, uuid, &info);

	*is_dying = info.dying;
	*is_paused = info.paused;
	libxl_dominfo_dispose(&info);
	return rc;
}

static int start_destroy(libxl_ctx *ctx, const libxl_asyncop_how *how, void *args)
{
	return libxl_domain_destroy(ctx, *(uint32_t *)args, how);
}

/* While it is dying there is only to wait. */
static int wait_dying(struct xl *xl, uint32_t domid, const char *uuid)
{
	uint64_t end_ns = clock_boot_ns() + DOMAIN_GONE_LIMIT_MS * NSEC_PER_MSEC;
	bool is_dying, is_paused;
	int rc;

	while ((rc = look_state(xl, domid, uuid, &is_dying, &is_paused)) == 0 && is_dying) {
		if (clock_boot_ns() >= end_ns) {
			return ERROR_TIMEDOUT;
		}
		xl_wait(xl, LOOK_MS);
	}
	return rc;
}

int domain_destroy(struct xl *xl, uint32_t domid, const char *uuid)
{
	int rc = wait_dying(xl, domid, uuid);

	for (int i = 0; rc == 0 && i < DESTROY_TRIES; i++) {
		int destroyed = xl_run(xl, false, start_destroy, &domid);

		rc = wait_dying(xl, domid, uuid);
		if (rc == 0 && destroyed != 0 && i + 1 == DESTROY_TRIES) {
			return destroyed;
		}
		if (rc == 0) {
			xl_wait(xl, LOOK_MS);
		}
	}
	if (rc == 0) {
		return ERROR_FAIL; /* libxl says it is destroyed, and there it is */
	}
	return rc == ERROR_DOMAIN_NOTFOUND ? 0 : rc;
}

static int start_unpause(libxl_ctx *ctx, const libxl_asyncop_how *how, void *args)
{
	return libxl_domain_unpause(ctx, *(uint32_t *)args, how);
}

int domain_unpause(struct xl *xl, uint32_t domid, const char *uuid)
{
	bool is_dying, is_paused;
	int rc = look_state(xl, domid, uuid, &is_dying, &is_paused);

	for (int i = 0; rc == 0 && is_paused && i < UNPAUSE_TRIES; i++) {
		rc = xl_run(xl, false, start_unpause, &domid);
		if (rc == 0) {
			rc = look_state(xl, domid, uuid, &is_dying, &is_paused);
		}
	}
	if (rc == 0 && is_paused) {
		return ERROR_NOT_READY;
	}
	return rc;
}
