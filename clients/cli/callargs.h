/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * FIELD=VALUE words to the JSON of a request, checked against its descriptor.
 *
 *   name=web1            a field; numbers, booleans and enums as text
 *   config.memory.kib=5  of a message within; messages are made on the way
 *   vifs+=VALUE          one more element (also vifs[]=VALUE)
 *   vifs[].mac=VALUE     one more message with this field; vifs[0].mac=VALUE, an element there is
 *   data=hex:00ff        bytes: text:TEXT, hex:DIGITS, base64:TEXT; without prefix text, ids hex
 *   disks=[{"vdev":"xvda"}]  JSON for messages and repeated fields
 */
#include <json-c/json.h>
#include <protobuf-c/protobuf-c.h>

#include "libcommon/strbuf.h"

/* Puts one word into the object. 0; -EINVAL after telling in `error` what is wrong, with the names
 * that are near an unknown one; -ENOMEM. */
int callargs_add(struct json_object *o, const ProtobufCMessageDescriptor *type, const char *word,
		 struct strbuf *error);
/* "xenmesh.v1.Task has no field \"nmae\"; did you mean name?" */
void callargs_no_field(struct strbuf *error, const ProtobufCMessageDescriptor *type,
		       const char *name);
