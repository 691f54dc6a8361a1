/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The mark of a domain that a worker has made completely, its devices included,
 * before it lets it run: a file of libxl's userdata with the packed VmConfig.
 * libxl removes it with the domain.
 */
#define OPERATION_MARKS	   "/var/lib/xen" /* userdata-d.DOMID.UUID.xenmesh there */
#define OPERATION_USERDATA "xenmesh"
