/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * data/ first, attr/PVAddons last: whoever is woken by attr/ then finds the
 * rest in place.  Below ipv4/ and ipv6/ there are numbers only, because XAPI
 * drops all addresses of a vif that has anything else; so the prefix length is
 * a child of its address.
 */
#include "services/guest-agent/logic/keys.h"

#include <inttypes.h>
#include <stdio.h>

#include "services/guest-agent/logic/address.h"

#define NUMBER_SIZE 24

/* attr/PVAddons/BuildVersion: which agent this is. */
#define BUILD_NAME "xenmesh"

const char *const guest_keys_owned[] = {
	"data/os_name",
	"data/os_distro",
	"data/os_majorver",
	"data/os_minorver",
	"data/os_uname",
	"data/host_name_dns",
	"data/meminfo_total",
	"data/meminfo_free",
	"control/feature-balloon",
	"feature/hotplug/vif",
	"feature/hotplug/vbd",
	"attr/PVAddons/MajorVersion",
	"attr/PVAddons/MinorVersion",
	"attr/PVAddons/MicroVersion",
	"attr/PVAddons/BuildVersion",
	GUEST_KEY_LAST,
	NULL,
};

static void set_known(struct guest_tree *out, const char *path, const char *text)
{
	if (text[0] != '\0') {
		guest_tree_set(out, path, text);
	}
}

static void set_kib(struct guest_tree *out, const char *path, uint64_t kib)
{
	char text[NUMBER_SIZE];

	if (kib > 0) {
		snprintf(text, sizeof(text), "%" PRIu64, kib);
		guest_tree_set(out, path, text);
	}
}

static void set_true(struct guest_tree *out, const char *path, bool is_true)
{
	if (is_true) {
		guest_tree_set(out, path, "1");
	}
}

static void set_vif(struct guest_tree *out, const struct guest_vif *vif)
{
	guest_tree_setf(out, vif->name, "attr/vif/%" PRIu32 "/name", vif->devid);
	if (vif->mac[0] != '\0') {
		guest_tree_setf(out, vif->mac, "attr/vif/%" PRIu32 "/mac/0", vif->devid);
	}
	for (size_t i = 0; i < vif->n_addresses; i++) {
		const struct guest_address *a = &vif->addresses[i];
		const char *family = a->is_ipv6 ? "ipv6" : "ipv4";
		char text[GUEST_ADDRESS_TEXT_SIZE];
		char prefix[NUMBER_SIZE];

		guest_address_format(a, text);
		snprintf(prefix, sizeof(prefix), "%u", a->prefix);
		guest_tree_setf(out, text, "attr/vif/%" PRIu32 "/%s/%u", vif->devid, family,
				a->index);
		guest_tree_setf(out, prefix, "attr/vif/%" PRIu32 "/%s/%u/prefix", vif->devid,
				family, a->index);
	}
}

/* "1.2.3" becomes three keys. */
static void set_version(struct guest_tree *out, const char *version)
{
	static const char *const names[] = { "MajorVersion", "MinorVersion", "MicroVersion" };
	const char *text = version;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t len = strspn(text, "0123456789");
		char number[GUEST_WORD_SIZE] = "0";

		if (len > 0 && len < sizeof(number)) {
			memcpy(number, text, len);
			number[len] = '\0';
		}
		text += len;
		text += *text == '.';
		guest_tree_setf(out, number, "attr/PVAddons/%s", names[i]);
	}
	guest_tree_set(out, "attr/PVAddons/BuildVersion", BUILD_NAME);
}

int guest_keys_build(const struct guest_facts *facts, struct guest_tree *out)
{
	set_known(out, "data/os_name", facts->os.name);
	set_known(out, "data/os_distro", facts->os.distro);
	set_known(out, "data/os_majorver", facts->os.major);
	set_known(out, "data/os_minorver", facts->os.minor);
	set_known(out, "data/os_uname", facts->uname);
	set_known(out, "data/host_name_dns", facts->hostname);
	set_kib(out, "data/meminfo_total", facts->memory_total_kib);
	set_kib(out, "data/meminfo_free", facts->memory_free_kib);
	set_true(out, "control/feature-balloon", facts->has_balloon);
	set_true(out, "feature/hotplug/vif", facts->has_vif_hotplug);
	set_true(out, "feature/hotplug/vbd", facts->has_vbd_hotplug);
	for (size_t i = 0; i < facts->n_vifs; i++) {
		set_vif(out, &facts->vifs[i]);
	}
	set_version(out, facts->agent_version);
	guest_tree_set(out, GUEST_KEY_LAST, "1");
	return out->error;
}
