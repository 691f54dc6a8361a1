/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "services/ops/core/vmconfig.h"
#include "services/ops/core/xlcfg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read can be checked, completed and, if accepted, read as accepted again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(vmconfig_freep) Xenmesh__V1__VmConfig *c = NULL;
	_cleanup_(strbuf_deinit) struct strbuf errors = STRBUF_NULL, warnings = STRBUF_NULL;
	int r = xlcfg_parse((const char *)data, size, &c, &warnings, &errors);

	if (r != 0) {
		if (c || (r == 1 && errors.len == 0)) {
			abort();
		}
		return 0;
	}
	if (vmconfig_check(c, &errors) == 0 &&
	    (vmconfig_complete(c) < 0 || vmconfig_check(c, &errors) != 0)) {
		abort();
	}
	return 0;
}
