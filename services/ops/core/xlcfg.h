/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The common keys of xl.cfg(5) to VmConfig: name uuid type builder memory
 * maxmem vcpus maxvcpus kernel ramdisk cmdline root extra disk vif on_poweroff
 * on_reboot on_crash.
 */
#include "libcommon/strbuf.h"
#include "services/ops/core/names.h"

/* 0 and *out, which is not checked yet (vmconfig_check()); 1 = not usable, see errors;
 * -ENOMEM, also for a text that unfolds to more than 1 MiB. warnings gets one line for each key
 * and each device parameter that is left out. */
int xlcfg_parse(const char *text, size_t len, Xenmesh__V1__VmConfig **out, struct strbuf *warnings,
		struct strbuf *errors);

/* One DISKSPEC of xl-disk-configuration(5), deprecated prefixes included; fills vbd (heap).
 * 0; 1 after a line in errors, which begins with path ("disk[0]"); -ENOMEM. */
int xlcfg_parse_disk(const char *path, const char *spec, Xenmesh__V1__VbdConfig *vbd,
		     struct strbuf *warnings, struct strbuf *errors);
/* One vifspec of xl-network-configuration(5); likewise. */
int xlcfg_parse_vif(const char *path, const char *spec, Xenmesh__V1__VifConfig *vif,
		    struct strbuf *warnings, struct strbuf *errors);
