/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clients/cli/pages.h"

#define PAGE_TIMEOUT_MS 5000
#define RESTARTS_MAX	3 /* of the service, while it is asked */

struct question {
	bool is_changes;
	uint64_t since; /* or after */
};

static int ask(struct cli *cli, const struct pages *p, const struct question *q,
	       const Xenmesh__V1__ChangesReply **out)
{
	Xenmesh__V1__SnapshotRequest snapshot = XENMESH__V1__SNAPSHOT_REQUEST__INIT;
	Xenmesh__V1__ChangesRequest changes = XENMESH__V1__CHANGES_REQUEST__INIT;
	struct cli_pending call = { .service = p->service };
	int r;

	if (q->is_changes) {
		changes.instance.data = (uint8_t *)p->instance;
		changes.instance.len = sizeof(p->instance);
		changes.since_seq = q->since;
		changes.prefixes = (char **)p->prefixes;
		changes.n_prefixes = p->n_prefixes;
		call.method = "xenmesh.v1.Bus/Changes";
		call.request = &changes.base;
	} else {
		snapshot.after_seq = q->since;
		snapshot.prefixes = (char **)p->prefixes;
		snapshot.n_prefixes = p->n_prefixes;
		call.method = "xenmesh.v1.Bus/Snapshot";
		call.request = &snapshot.base;
	}
	/* Not cli_call(): one that is away is not waited for. */
	cli_call_all(cli, &call, 1, cli_timeout_ms(cli, PAGE_TIMEOUT_MS));
	r = cli_fail(&call.reply);
	*out = (const Xenmesh__V1__ChangesReply *)(const void *)call.reply.payload;
	if (!r && (*out)->instance.len != sizeof(p->instance)) {
		cli_error("%s: its answer has no instance", p->service);
		return CLI_FAILURE;
	}
	return r;
}

/* Which instance it is: a snapshot of no topic at all. */
static int ask_instance(struct cli *cli, struct pages *p)
{
	static char nothing[] = "\x01";
	char *const prefixes[] = { nothing };
	const struct pages none = { .service = p->service, .prefixes = prefixes, .n_prefixes = 1 };
	const Xenmesh__V1__ChangesReply *page;
	int r = ask(cli, &none, &(struct question){ 0 }, &page);

	if (!r) {
		memcpy(p->instance, page->instance.data, sizeof(p->instance));
	}
	return r;
}

/* All pages of one instance. CLI_OK, an exit code, or -EAGAIN: it was restarted. */
static int fetch(struct cli *cli, struct pages *p)
{
	struct question q = { .is_changes = p->since_start };
	const Xenmesh__V1__ChangesReply *page;
	uint64_t first_seq = 0;
	size_t n_full = 0;

	for (;;) {
		int r = ask(cli, p, &q, &page);

		if (r) {
			return r;
		}
		if (memcmp(page->instance.data, p->instance, sizeof(p->instance)) != 0) {
			return -EAGAIN;
		}
		p->is_cut = p->is_cut || (q.is_changes && page->full);
		first_seq = n_full ? first_seq : page->seq;
		n_full += page->full;
		p->seq = page->seq;
		for (size_t i = 0; i < page->n_events; i++) {
			p->fn(page->events[i], p->userdata);
		}
		if (page->more && page->resume_seq <= q.since && q.is_changes == !page->full) {
			cli_error("%s: its pages do not advance", p->service);
			return CLI_FAILURE;
		}
		if (page->more) {
			q = (struct question){ !page->full, page->resume_seq };
		} else if (page->full && n_full > 1) {
			/* A topic of an early page may have been removed since. */
			q = (struct question){ true, first_seq };
		} else {
			return CLI_OK;
		}
	}
}

int pages_fetch(struct cli *cli, struct pages *p)
{
	for (int i = 0; i <= RESTARTS_MAX; i++) {
		int r = ask_instance(cli, p);

		if (!r) {
			p->is_cut = false;
			r = fetch(cli, p);
		}
		if (r != -EAGAIN) {
			return r;
		}
		p->fn(NULL, p->userdata);
	}
	cli_error("%s is restarted again and again", p->service);
	return CLI_FAILURE;
}
