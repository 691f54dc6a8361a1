/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules are kept in the order in which they came; the first that fits counts.
 */
#include "services/simhost/faults.h"

#include <stdio.h>

#include "libcommon/parse.h"

#define RULE_MAX 512
#define VM_SIZE	 64

struct rule {
	struct list list;
	enum fault_operation operation;
	char vm[VM_SIZE];
	uint64_t left; /* 0 = without end */
	bool is_endless;
	struct fault fault;
};

static const char *const operations[] = {
	[FAULT_ANY] = "any",	       [FAULT_CREATE] = "create", [FAULT_DESTROY] = "destroy",
	[FAULT_SHUTDOWN] = "shutdown", [FAULT_REBOOT] = "reboot", [FAULT_PAUSE] = "pause",
	[FAULT_UNPAUSE] = "unpause",   [FAULT_SPAWN] = "spawn",	  [FAULT_GUEST] = "guest",
};

void faults_init(struct faults *f)
{
	list_init(&f->rules);
}

void faults_clear(struct faults *f)
{
	list_for_each_safe (i, &f->rules) {
		list_unlink(i);
		free(list_entry(i, struct rule, list));
	}
}

static bool parse_operation(const char *text, enum fault_operation *out)
{
	for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
		if (streq(text, operations[i])) {
			*out = (enum fault_operation)i;
			return true;
		}
	}
	return false;
}

static bool parse_effect(struct rule *rule, const char *word)
{
	struct fault *f = &rule->fault;
	bool is_guest = rule->operation == FAULT_GUEST;

	if (!is_guest && streq(word, "fail")) {
		f->effect = FAULT_FAIL;
	} else if (!is_guest && rule->operation != FAULT_SPAWN && streq(word, "die")) {
		f->effect = FAULT_DIE;
	} else if (!is_guest && rule->operation != FAULT_SPAWN && streq(word, "hang")) {
		f->effect = FAULT_HANG;
	} else if (is_guest && streq(word, "ignore-shutdown")) {
		f->ignores_shutdown = true;
	} else if (is_guest && streq(word, "never-ends")) {
		f->never_ends = true;
	} else if (is_guest && streq(word, "no-agent")) {
		f->has_no_agent = true;
	} else {
		return false;
	}
	return true;
}

static bool parse_value(struct rule *rule, const char *word)
{
	const char *value = strchr(word, '=');
	bool is_guest = rule->operation == FAULT_GUEST;
	struct fault *f = &rule->fault;

	if (!value) {
		return false;
	}
	value++;
	if (str_starts(word, "count=")) {
		int r = parse_u64(value, strlen(value), UINT32_MAX, &rule->left);

		rule->is_endless = rule->left == 0;
		return r == 0;
	}
	if (!is_guest && str_starts(word, "delay=")) {
		return parse_duration_ms(value, &f->delay_ms) == 0;
	}
	if (is_guest && str_starts(word, "boot=")) {
		return parse_duration_ms(value, &f->boot_ms) == 0;
	}
	if (is_guest && str_starts(word, "stop=")) {
		return parse_duration_ms(value, &f->stop_ms) == 0;
	}
	return is_guest && str_starts(word, "crash-after=") &&
	       parse_duration_ms(value, &f->crash_after_ms) == 0;
}

static int parse_rule(struct rule *rule, char *text, char *why, size_t why_size)
{
	char *rest = NULL;
	const char *operation = strtok_r(text, " ", &rest);
	const char *vm = strtok_r(NULL, " ", &rest);
	const char *word;

	if (!operation || !parse_operation(operation, &rule->operation)) {
		snprintf(why, why_size,
			 "\"%s\" is no operation: create, destroy, shutdown, reboot, pause, "
			 "unpause, any, spawn or guest",
			 operation ? operation : "");
		return 1;
	}
	if (!vm || strlen(vm) >= sizeof(rule->vm)) {
		snprintf(why, why_size, "after \"%s\" comes a VM's name, its UUID, or *",
			 operation);
		return 1;
	}
	snprintf(rule->vm, sizeof(rule->vm), "%s", vm);
	while ((word = strtok_r(NULL, " ", &rest))) {
		if (!parse_effect(rule, word) && !parse_value(rule, word)) {
			snprintf(why, why_size, "\"%s\" is nothing that \"%s\" can do", word,
				 operation);
			return 1;
		}
	}
	return 0;
}

int faults_add(struct faults *f, const char *rule_text, char *why, size_t why_size)
{
	char text[RULE_MAX];
	struct rule *rule;
	int r;

	if (strlen(rule_text) >= sizeof(text)) {
		snprintf(why, why_size, "the rule is longer than %zu bytes", sizeof(text) - 1);
		return 1;
	}
	memcpy(text, rule_text, strlen(rule_text) + 1);
	rule = calloc(1, sizeof(*rule));
	if (!rule) {
		return -ENOMEM;
	}
	rule->fault = FAULT_NULL;
	rule->left = 1;
	r = parse_rule(rule, text, why, why_size);
	if (r != 0) {
		free(rule);
		return r;
	}
	list_append(&f->rules, &rule->list);
	return 0;
}

static bool fits(const struct rule *rule, enum fault_operation operation, const char *name,
		 const char *uuid)
{
	bool is_workers = operation != FAULT_SPAWN && operation != FAULT_GUEST;

	if (rule->operation != operation && !(rule->operation == FAULT_ANY && is_workers)) {
		return false;
	}
	return streq(rule->vm, "*") || streq(rule->vm, name) || streq(rule->vm, uuid);
}

struct fault faults_take(struct faults *f, enum fault_operation operation, const char *name,
			 const char *uuid)
{
	list_for_each_safe (i, &f->rules) {
		struct rule *rule = list_entry(i, struct rule, list);
		struct fault fault = rule->fault;

		if (!fits(rule, operation, name, uuid)) {
			continue;
		}
		if (!rule->is_endless && --rule->left == 0) {
			list_unlink(&rule->list);
			free(rule);
		}
		return fault;
	}
	return FAULT_NULL;
}
