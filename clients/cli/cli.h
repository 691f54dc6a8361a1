/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What all commands of `xenmesh` share: the connection to the services,
 * waiting calls, error texts and exit codes.
 */
#include <json-c/json.h>

#include "bus/client.h"
#include "bus/sub.h"
#include "libcommon/arena.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILURE = 1,
	CLI_USAGE = 2,
	CLI_TIMEOUT = 3,
	CLI_UNREACHABLE = 4,
	CLI_DENIED = 5,
	CLI_INTERRUPTED = 130, /* as a shell reports SIGINT */
};

#define CLI_NAME "xenmesh-cli/" XENMESH_VERSION

struct cli {
	sd_event *loop;
	struct topology *topology;
	const char *topology_path; /* --topology or NULL */
	const char *socket_dir;	   /* --socket-dir or NULL */
	bool json;
	bool color;
	uint32_t timeout_ms;	/* --timeout, 0 = the default of each command */
	struct uuid request_id; /* --request-id */
	bool has_request_id;
	struct arena arena;	    /* of the running command */
	struct cli_client *clients; /* one per service, made on first use */
};

struct cli_client {
	struct cli_client *next;
	struct bus_client *bus;
	char name[];
};

/*
 * A command or group. `run` gets the arguments after the command's own words.
 *
 * Completion reads `args` and `help`: "--name" alone is a flag, "--name WHAT" takes a value.
 * Words of capitals say what may stand there (VM, SERVICE, METHOD, TOPIC, TASK, FILE ...; see
 * complete.c), other words are taken literally, `|` is between alternatives.
 */
struct cli_command {
	const char *words;   /* "vm list" */
	const char *args;    /* "[--all] VM..." */
	const char *summary; /* one line; NULL = not listed */
	int (*run)(struct cli *cli, int argc, char **argv);
	const char *help; /* more lines for --help, may be NULL */
};

/* All commands, ended by one without words. */
extern const struct cli_command cli_commands[];

/* The options that all commands have, as --help shows them. */
extern const char cli_global_options[];

/* One option of a command. Long options only take `--name value` and `--name=value`. */
struct cli_option {
	const char *name;   /* "force" */
	char letter;	    /* or 0 */
	const char **value; /* takes a value */
	bool *flag;	    /* or is a flag */
};
/* Takes options out of argv; the remaining arguments stay, their number in *argc.
 * Returns CLI_OK or CLI_USAGE after saying what is wrong. */
int cli_options(int *argc, char **argv, const struct cli_option *options, size_t n_options);
int cli_usage(const char *format, ...) _printf_(1, 2);
/* "xenmesh: text" on stderr. */
void cli_error(const char *format, ...) _printf_(1, 2);

/* Result of one waiting call. */
struct cli_reply {
	int code;
	const char *message;
	const ProtobufCMessage *payload; /* in cli->arena, NULL unless OK */
	const char *repeat_id;		 /* of a mutating call: its request id; else NULL */
	const char *details;		 /* "name=value name=value", empty when there are none */
	bool is_connected;		 /* the service took the call, or would have */
	/* Some of it may have reached the service, now or, with --request-id, in an earlier try. */
	bool may_be_done;
	uint64_t took_ns;
};

/* One of several calls that go on together. */
struct cli_pending {
	const char *service;
	const char *method;
	const ProtobufCMessage *request;
	struct cli_reply reply;
};

/* CLI_OK; CLI_USAGE when the topology has no such service, after saying which it has. */
int cli_check_service(struct cli *cli, const char *service);
/* NULL when it is not in the topology, or no connection can be made. */
struct bus_client *cli_client(struct cli *cli, const char *service);
/* Calls and waits; everything of the reply lives in cli->arena. timeout_ms 0 = default 5 s. */
void cli_call(struct cli *cli, const char *service, const char *method,
	      const ProtobufCMessage *request, uint32_t timeout_ms, struct cli_reply *reply);
/* All at once, each with the same deadline; returns when each has ended. A service that cannot be
 * connected to in a second ends sooner. */
void cli_call_all(struct cli *cli, struct cli_pending *calls, size_t n, uint32_t timeout_ms);
/* The same as cli_call(); on failure says so and returns the exit code, else CLI_OK and *payload.
 */
int cli_call_ok(struct cli *cli, const char *service, const char *method,
		const ProtobufCMessage *request, void *payload_out);
/* --timeout, else the default given. */
uint32_t cli_timeout_ms(const struct cli *cli, uint32_t default_ms);
/* Lets the loop run for a while. 0 or -errno. */
int cli_pause(struct cli *cli, uint64_t ms);
/* The message without the service's name in front, for where that is said already. */
const char *cli_bare_message(const char *service, const char *message);
/* Says why, returns the exit code for it. */
int cli_fail(const struct cli_reply *reply);
int cli_exit_code(int bus_code);

/* UUID for what the user typed (UUID, name or domid), asking ops unless it is a UUID. */
int cli_resolve_vm(struct cli *cli, const char *vm, const char **uuid);

/* Output. */
void cli_print_json(struct json_object *object); /* one line; consumes it */
void cli_print_message(const ProtobufCMessage *message);
/* A double with three decimals, which is all that is measured; null unless finite. */
struct json_object *cli_json_double(double value);
/* Enum value's name without its prefix, lower case: "running". In cli->arena. */
const char *cli_enum(struct cli *cli, const ProtobufCEnumDescriptor *type, int value,
		     const char *prefix);
/* Text a guest wrote, safe for a terminal. In cli->arena. */
const char *cli_text(struct cli *cli, const void *data, size_t len);
/* The same of a string that a service said: it is no more trusted with the terminal. */
const char *cli_plain(struct cli *cli, const char *text);
/* "2026-11-22T10:12:13+01:00", "-" for 0. In cli->arena. */
const char *cli_time(struct cli *cli, uint64_t real_ns);
/* "2d 3h", "4m 5s". In cli->arena. */
const char *cli_age(struct cli *cli, uint64_t since_real_ns);
/* "128 MiB". In cli->arena. */
const char *cli_kib(struct cli *cli, uint64_t kib);

/* The commands, one file per group. */
int cmd_vm_list(struct cli *cli, int argc, char **argv);
int cmd_vm_show(struct cli *cli, int argc, char **argv);
int cmd_vm_define(struct cli *cli, int argc, char **argv);
int cmd_vm_undefine(struct cli *cli, int argc, char **argv);
int cmd_vm_start(struct cli *cli, int argc, char **argv);
int cmd_vm_shutdown(struct cli *cli, int argc, char **argv);
int cmd_vm_reboot(struct cli *cli, int argc, char **argv);
int cmd_vm_destroy(struct cli *cli, int argc, char **argv);
int cmd_vm_pause(struct cli *cli, int argc, char **argv);
int cmd_vm_unpause(struct cli *cli, int argc, char **argv);
int cmd_host_show(struct cli *cli, int argc, char **argv);
int cmd_top(struct cli *cli, int argc, char **argv);
int cmd_events(struct cli *cli, int argc, char **argv);
int cmd_task_list(struct cli *cli, int argc, char **argv);
int cmd_task_show(struct cli *cli, int argc, char **argv);
int cmd_task_wait(struct cli *cli, int argc, char **argv);
int cmd_task_cancel(struct cli *cli, int argc, char **argv);
int cmd_metrics_list(struct cli *cli, int argc, char **argv);
int cmd_metrics_query(struct cli *cli, int argc, char **argv);
int cmd_guest_list(struct cli *cli, int argc, char **argv);
int cmd_guest_show(struct cli *cli, int argc, char **argv);
int cmd_bus_ls(struct cli *cli, int argc, char **argv);
int cmd_bus_ping(struct cli *cli, int argc, char **argv);
int cmd_bus_describe(struct cli *cli, int argc, char **argv);
int cmd_bus_call(struct cli *cli, int argc, char **argv);
int cmd_complete(struct cli *cli, int argc, char **argv);
int cmd_bus_bench(struct cli *cli, int argc, char **argv);
int cmd_bus_doctor(struct cli *cli, int argc, char **argv);
int cmd_bus_topology_check(struct cli *cli, int argc, char **argv);
int cmd_bus_topology_show(struct cli *cli, int argc, char **argv);
int cmd_bus_topology_dot(struct cli *cli, int argc, char **argv);
int cmd_bus_stats(struct cli *cli, int argc, char **argv);
int cmd_bus_log_level(struct cli *cli, int argc, char **argv);
