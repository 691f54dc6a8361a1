/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "clients/cli/table.h"
#include "clients/cli/task.h"
#include "libcommon/err.h"
#include "libcommon/traceparent.h"

#define TASK_WAIT_MS 3600000 /* the longest operation ops allows */

static const char *state_name(struct cli *cli, const Xenmesh__V1__Task *t)
{
	return cli_enum(cli, &xenmesh__v1__task_state__descriptor, (int)t->state, "TASK_STATE_");
}

static bool has_ended(const Xenmesh__V1__Task *t)
{
	return t->state >= XENMESH__V1__TASK_STATE__TASK_STATE_DONE;
}

int cli_task_report(struct cli *cli, const Xenmesh__V1__Task *t)
{
	const char *name = cli_plain(cli, *t->vm_name ? t->vm_name : t->vm);

	if (cli->json) {
		cli_print_message(&t->base);
	}
	if (t->state == XENMESH__V1__TASK_STATE__TASK_STATE_DONE) {
		if (!cli->json) {
			printf("%s: %s done", name, cli_plain(cli, t->method));
			printf(t->domid >= 0 ? ", domid %" PRId32 "\n" : "\n", t->domid);
		}
		return CLI_OK;
	}
	cli_error("%s: %s %s: %s", name, t->method, state_name(cli, t),
		  t->error ? t->error->message : "no reason given");
	for (size_t i = 0; t->error && i < t->error->n_log; i++) {
		fprintf(stderr, "    %s\n",
			cli_text(cli, t->error->log[i], strlen(t->error->log[i])));
	}
	return t->error ? cli_exit_code((int)t->error->code) : CLI_FAILURE;
}

/* Steps of a running task, one line that is written over. */
static void on_progress(struct bus_sub *s _unused_, const struct bus_sub_event *e, void *userdata)
{
	struct cli *cli = userdata;
	const Xenmesh__V1__Task *t = e->event ? e->event->task : NULL;

	if (e->what == BUS_SUB_STATE && t && !has_ended(t) &&
	    e->event->body_case == XENMESH__V1__EVENT__BODY_TASK) {
		fprintf(stderr, "\r\033[K%s: %s %3.0f%% %s", cli_plain(cli, t->vm_name),
			cli_plain(cli, t->method), t->progress * 100, cli_plain(cli, t->step));
		fflush(stderr);
	}
}

int cli_task_wait(struct cli *cli, const Xenmesh__V1__Task *task)
{
	Xenmesh__V1__WaitTaskRequest request = XENMESH__V1__WAIT_TASK_REQUEST__INIT;
	_cleanup_(bus_sub_freep) struct bus_sub *sub = NULL;
	const char *topic = arena_printf(&cli->arena, "task/%s", task->id);
	struct cli_reply reply;

	if (has_ended(task)) {
		return cli_task_report(cli, task);
	}
	if (isatty(STDERR_FILENO) && !cli->json && topic) {
		/* Progress is a courtesy: without it the wait goes on. */
		(void)bus_sub_new(&sub, cli->loop, cli->topology, "ops", &topic, 1, CLI_NAME,
				  on_progress, cli);
	}
	request.id = task->id;
	cli_call(cli, "ops", "xenmesh.v1.Ops/WaitTask", &request.base, TASK_WAIT_MS, &reply);
	if (sub) {
		fputs("\r\033[K", stderr);
	}
	if (reply.code != CODE_OK) {
		cli_fail(&reply);
		cli_error("the operation goes on; see: xenmesh task wait %s", task->id);
		return cli_exit_code(reply.code);
	}
	return cli_task_report(cli, (const Xenmesh__V1__Task *)(const void *)reply.payload);
}

static int print_tasks(struct cli *cli, const Xenmesh__V1__ListTasksReply *reply)
{
	static const char *const titles[] = {
		"ID", "VM", "METHOD", "STATE", ">DONE", "AGE", "ERROR"
	};
	_cleanup_(table_freep) struct table *table = table_new(titles, ARRAY_LEN(titles));

	for (size_t i = 0; i < reply->n_tasks; i++) {
		const Xenmesh__V1__Task *t = reply->tasks[i];

		table_cell(table, "%s", t->id);
		table_cell(table, "%s", *t->vm_name ? t->vm_name : t->vm);
		table_cell(table, "%s", t->method);
		table_cell(table, "%s", state_name(cli, t));
		table_cell(table, "%.0f%%", t->progress * 100);
		table_cell(table, "%s", cli_age(cli, t->created_ns));
		table_cell(table, "%s", t->error ? t->error->message : "");
	}
	table_print(table);
	return CLI_OK;
}

int cmd_task_list(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__ListTasksRequest request = XENMESH__V1__LIST_TASKS_REQUEST__INIT;
	bool active = false;
	const struct cli_option options[] = { { "active", 'a', NULL, &active } };
	const Xenmesh__V1__ListTasksReply *reply;
	int r = cli_options(&argc, argv, options, ARRAY_LEN(options));

	if (r) {
		return r;
	}
	if (argc > 1) {
		return cli_usage("task list takes one VM at most");
	}
	if (argc == 1) {
		r = cli_resolve_vm(cli, argv[0], (const char **)&request.vm);
		if (r) {
			return r;
		}
	}
	request.active_only = active;
	r = cli_call_ok(cli, "ops", "xenmesh.v1.Ops/ListTasks", &request.base, &reply);
	if (r) {
		return r;
	}
	if (!cli->json) {
		return print_tasks(cli, reply);
	}
	for (size_t i = 0; i < reply->n_tasks; i++) {
		cli_print_message(&reply->tasks[i]->base);
	}
	return CLI_OK;
}

static int get_task(struct cli *cli, int argc, char **argv, const Xenmesh__V1__Task **task)
{
	Xenmesh__V1__GetTaskRequest request = XENMESH__V1__GET_TASK_REQUEST__INIT;
	int r = cli_options(&argc, argv, NULL, 0);

	if (r) {
		return r;
	}
	if (argc != 1) {
		cli_usage("wants one task id");
		return CLI_USAGE;
	}
	request.id = argv[0];
	return cli_call_ok(cli, "ops", "xenmesh.v1.Ops/GetTask", &request.base, task);
}

int cmd_task_show(struct cli *cli, int argc, char **argv)
{
	const Xenmesh__V1__Task *t;
	char trace_id[TRACE_ID_SIZE];
	int r = get_task(cli, argc, argv, &t);

	if (r) {
		return r;
	}
	if (cli->json) {
		cli_print_message(&t->base);
		return CLI_OK;
	}
	printf("id        %s\nmethod    %s\nvm        %s %s\nstate     %s %.0f%%%s%s\n",
	       cli_plain(cli, t->id), cli_plain(cli, t->method), cli_plain(cli, t->vm),
	       cli_plain(cli, t->vm_name), state_name(cli, t), t->progress * 100,
	       *t->step ? " " : "", cli_plain(cli, t->step));
	printf("created   %s by %s\nstarted   %s\nfinished  %s\n", cli_time(cli, t->created_ns),
	       cli_plain(cli, t->client), cli_time(cli, t->started_ns),
	       cli_time(cli, t->finished_ns));
	traceparent_trace_id(t->traceparent, trace_id);
	if (trace_id[0]) {
		printf("trace     %s\n", trace_id);
	}
	if (t->error) {
		printf("error     %s: %s\n", bus_code_name((int)t->error->code),
		       cli_plain(cli, t->error->message));
		for (size_t i = 0; i < t->error->n_log; i++) {
			printf("          %s\n",
			       cli_text(cli, t->error->log[i], strlen(t->error->log[i])));
		}
	}
	return CLI_OK;
}

int cmd_task_wait(struct cli *cli, int argc, char **argv)
{
	const Xenmesh__V1__Task *t;
	int r = get_task(cli, argc, argv, &t);

	return r ? r : cli_task_wait(cli, t);
}

int cmd_task_cancel(struct cli *cli, int argc, char **argv)
{
	Xenmesh__V1__CancelTaskRequest request = XENMESH__V1__CANCEL_TASK_REQUEST__INIT;
	const Xenmesh__V1__Task *t;
	int r = get_task(cli, argc, argv, &t);

	if (r) {
		return r;
	}
	request.id = t->id;
	r = cli_call_ok(cli, "ops", "xenmesh.v1.Ops/CancelTask", &request.base, &t);
	if (r) {
		return r;
	}
	if (cli->json) {
		cli_print_message(&t->base);
	} else {
		printf("%s: %s %s\n", cli_plain(cli, t->id), cli_plain(cli, t->method),
		       has_ended(t) ? state_name(cli, t) : "is being cancelled");
	}
	return CLI_OK;
}
