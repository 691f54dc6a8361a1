/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each command does its work before it answers, so whoever has the answer
 * knows that the cores were told.
 */
#include "services/simhost/commands.h"

#include "libcommon/err.h"
#include "libcommon/parse.h"
#include "services/simhost/population.h"
#include "services/simhost/service.h"
#include "services/simhost/sim_guest.h"

#define ARENA_LIMIT  (64U << 10)
#define MEMORY_MIB   256
#define MIB_MOST     (16U << 20)
#define KIB_PER_MIB  1024
#define DEVICES_MOST 16
#define NAME_MOST    63

const char commands_help[] =
	"create name=NAME [uuid=UUID] [type=pv|pvh] [vcpus=N] [memory=MIB] [vifs=N] [vbds=N]\n"
	"destroy VM      as xl would\n"
	"pause VM        as xl would\n"
	"unpause VM      as xl would\n"
	"poweroff VM     the guest shuts down by itself\n"
	"reboot VM       the guest reboots by itself\n"
	"crash VM        the guest crashes\n"
	"deaf VM         the guest ignores control/shutdown\n"
	"obey VM         the guest obeys control/shutdown again\n"
	"fault RULE      OPERATION VM WORD..., see docs/simhost.md\n"
	"clear-faults    forget all rules\n"
	"list            all domains\n"
	"stats           numbers of this process\n";

/* ---- create ---- */

static bool number(const char *value, uint32_t least, uint32_t most, uint32_t *out)
{
	return parse_u32(value, strlen(value), most, out) == 0 && *out >= least;
}

static bool take_word(struct population_shape *shape, const char *key, const char *value)
{
	uint32_t mib;

	if (streq(key, "name")) {
		shape->name = value;
		return *value && strlen(value) <= NAME_MOST;
	}
	if (streq(key, "uuid")) {
		shape->uuid = value;
		return uuid_is_canonical(value);
	}
	if (streq(key, "type")) {
		shape->type = streq(value, "pv") ? XENMESH__V1__VM_TYPE__VM_TYPE_PV
						 : XENMESH__V1__VM_TYPE__VM_TYPE_PVH;
		return streq(value, "pv") || streq(value, "pvh");
	}
	if (streq(key, "memory")) {
		if (!number(value, 1, MIB_MOST, &mib)) {
			return false;
		}
		shape->memory_kib = (uint64_t)mib * KIB_PER_MIB;
		return true;
	}
	if (streq(key, "vcpus")) {
		return number(value, 1, MACHINE_VCPUS_MAX, &shape->vcpus);
	}
	if (streq(key, "vifs")) {
		return number(value, 0, DEVICES_MOST, &shape->vifs);
	}
	return streq(key, "vbds") && number(value, 0, DEVICES_MOST, &shape->vbds);
}

static int run_create(struct commands *c, char *words, struct strbuf *out)
{
	_cleanup_(arena_deinit) struct arena arena;
	const Xenmesh__V1__VmConfig *config;
	struct machine_domain *d;
	char uuid_text[37], why[256] = "out of memory", *rest = NULL;
	struct uuid uuid;
	struct population_shape shape = {
		.uuid = uuid_text,
		.type = XENMESH__V1__VM_TYPE__VM_TYPE_PVH,
		.vcpus = 1,
		.memory_kib = MEMORY_MIB * KIB_PER_MIB,
		.vifs = 1,
		.vbds = 1,
	};

	arena_init(&arena, ARENA_LIMIT);
	uuid_random(&uuid);
	uuid_format(&uuid, uuid_text);
	for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		char *value = strchr(word, '=');

		if (value) {
			*value++ = '\0';
		}
		if (!value || !take_word(&shape, word, value)) {
			strbuf_printf(out, "\"%s\": no such word, or its value is not acceptable",
				      word);
			return 1;
		}
	}
	if (!shape.name) {
		strbuf_puts(out, "name=NAME is missing");
		return 1;
	}
	config = population_config(&arena, &shape);
	if (!config || sim_xl_create(c->xl, config, why, sizeof(why), &d) < 0) {
		strbuf_puts(out, why);
		return 1;
	}
	strbuf_printf(out, "%u %s\n", d->state.domid, d->state.uuid);
	return 0;
}

/* ---- what happens to a domain ---- */

static int do_destroy(struct machine_domain *d)
{
	machine_set_dying(d);
	machine_remove(d);
	return 0;
}

static int do_pause(struct machine_domain *d)
{
	machine_pause(d);
	return 0;
}

static int do_poweroff(struct machine_domain *d)
{
	sim_guest_end(d->guest, XENMESH__V1__SHUTDOWN_REASON__SHUTDOWN_REASON_POWEROFF);
	return 0;
}

static int do_reboot(struct machine_domain *d)
{
	sim_guest_end(d->guest, XENMESH__V1__SHUTDOWN_REASON__SHUTDOWN_REASON_REBOOT);
	return 0;
}

static int do_crash(struct machine_domain *d)
{
	machine_stop(d, XENMESH__V1__SHUTDOWN_REASON__SHUTDOWN_REASON_CRASH);
	return 0;
}

static int do_deaf(struct machine_domain *d)
{
	sim_guest_set_ignores_shutdown(d->guest, true);
	return 0;
}

static int do_obey(struct machine_domain *d)
{
	sim_guest_set_ignores_shutdown(d->guest, false);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct machine_domain *d);
} on_domain[] = {
	{ "destroy", do_destroy },   { "pause", do_pause },   { "unpause", machine_unpause },
	{ "poweroff", do_poweroff }, { "reboot", do_reboot }, { "crash", do_crash },
	{ "deaf", do_deaf },	     { "obey", do_obey },
};

static int run_on_domain(struct commands *c, size_t which, const char *vm, struct strbuf *out)
{
	struct machine_domain *d = machine_find_named(c->machine, vm);
	int r;

	if (!d) {
		strbuf_printf(out, "there is no domain \"%s\"", vm);
		return 1;
	}
	r = on_domain[which].run(d);
	if (r < 0) {
		strbuf_puts(out, err_text(r));
	}
	return r < 0;
}

/* ---- looking ---- */

static const char *power_name(const struct machine_domain *d)
{
	return d->is_dying     ? "dying"
	       : d->is_stopped ? "shutdown"
	       : d->is_paused  ? "paused"
			       : "running";
}

static void run_list(const struct commands *c, struct strbuf *out)
{
	for (size_t i = 0; i < machine_count(c->machine); i++) {
		const struct machine_domain *d = machine_at(c->machine, i);

		strbuf_printf(out, "%u %s %s %s %s\n", d->state.domid, d->state.uuid, d->state.name,
			      power_name(d), d->is_xl ? "xl" : "core");
	}
}

static int run_fault(struct commands *c, const char *rule, struct strbuf *out)
{
	char why[256] = "out of memory";
	int r = faults_add(c->faults, rule, why, sizeof(why));

	if (r != 0) {
		strbuf_puts(out, why);
	}
	return r != 0;
}

int commands_run(char *line, struct strbuf *out, void *userdata)
{
	struct commands *c = userdata;
	char *rest = strchr(line, ' ');

	if (rest) {
		*rest++ = '\0';
	} else {
		rest = line + strlen(line);
	}
	for (size_t i = 0; i < ARRAY_LEN(on_domain); i++) {
		if (streq(line, on_domain[i].name)) {
			return run_on_domain(c, i, rest, out);
		}
	}
	if (streq(line, "create")) {
		return run_create(c, rest, out);
	}
	if (streq(line, "fault")) {
		return run_fault(c, rest, out);
	}
	if (streq(line, "clear-faults")) {
		faults_clear(c->faults);
	} else if (streq(line, "list")) {
		run_list(c, out);
	} else if (streq(line, "stats")) {
		sim_service_stats(c->service, out);
	} else if (streq(line, "help")) {
		strbuf_puts(out, commands_help);
	} else {
		strbuf_printf(out, "no such command: %s; try help", line);
		return 1;
	}
	return 0;
}
