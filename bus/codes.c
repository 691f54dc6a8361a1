/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of the generated enums for people: without the prefix that proto style asks for.
 */
#include "bus/codes.h"

#include <stdio.h>

#include "libcommon/base.h"

const char *bus_code_name(int code)
{
	static _Thread_local char other[24];
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(
		&xenmesh__v1__code__descriptor, code);

	if (v) {
		return v->name + strlen("CODE_");
	}
	snprintf(other, sizeof(other), "CODE_%d", code);
	return other;
}

const char *bus_role_name(int role)
{
	switch (role) {
	case ROLE_OBSERVER:
		return "observer";
	case ROLE_OPERATOR:
		return "operator";
	case ROLE_ADMIN:
		return "admin";
	default:
		return "none";
	}
}
