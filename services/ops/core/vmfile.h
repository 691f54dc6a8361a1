/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Our ini-like definition of a VM, xenmesh.vm(5), to VmConfig.
 */
#include "libcommon/strbuf.h"
#include "services/ops/core/names.h"

/* 0 and *out, which is not checked yet (vmconfig_check()); 1 = text is not of this form, see
 * errors ("vm_file:LINE: ..." lines); -ENOMEM. */
int vmfile_parse(const char *text, size_t len, Xenmesh__V1__VmConfig **out, struct strbuf *errors);
