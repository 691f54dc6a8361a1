/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * VM definitions: what is acceptable, and how one is built on the heap.  The
 * limits are those that the comments of VmConfig promise.
 */
#include "libcommon/strbuf.h"
#include "services/ops/core/names.h"

#define VMCONFIG_NAME_MAX 63

/* All heap, empty; NULL when out of memory. Free with vmconfig_free(). */
Xenmesh__V1__VmConfig *vmconfig_new(void);
Xenmesh__V1__VmConfig *vmconfig_copy(const Xenmesh__V1__VmConfig *c);
Xenmesh__V1__VmConfig *vmconfig_free(Xenmesh__V1__VmConfig *c);
static inline void vmconfig_freep(Xenmesh__V1__VmConfig **c)
{
	*c = vmconfig_free(*c);
}
/* The new element, zeroed, owned by c; NULL when out of memory. */
Xenmesh__V1__VifConfig *vmconfig_add_vif(Xenmesh__V1__VmConfig *c);
Xenmesh__V1__VbdConfig *vmconfig_add_vbd(Xenmesh__V1__VmConfig *c);

/* Everything that is wrong, one line each with the field's path in front
 * ("vifs[1].mac: ..."). 0 = acceptable; 1 = it is not, see errors. An empty uuid is acceptable. */
int vmconfig_check(const Xenmesh__V1__VmConfig *c, struct strbuf *errors);
/* Give an accepted definition its final form: a random UUID if it has none, lower case,
 * a MAC for each vif that has none. 0 or -ENOMEM. */
int vmconfig_complete(Xenmesh__V1__VmConfig *c);

/* Xen's OUI and 24 bits made from the VM's UUID and the devid. */
void vmconfig_mac(const char *uuid, uint32_t devid, char out[static 18]);
/* What a create takes from the host's free memory, KiB: memory, shadow or HAP pool, and
 * libxl's slack; not less than libxl_domain_need_memory() tells. */
uint64_t vmconfig_need_kib(const Xenmesh__V1__VmConfig *c);
/* "pv" | "pvh" | "hvm"; <0 for others. */
int vmconfig_parse_type(const char *text);
/* "destroy" | "restart" | "preserve"; <0 for others. */
int vmconfig_parse_action(const char *text);
