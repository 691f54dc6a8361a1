/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The guest's side of xenstore rings, many in one process.
 *
 * A request goes into the ring page when there is room for it; until then it waits in `unsent`.
 * Replies are taken out of the page only from the hub's event, so that no callback ever comes from
 * inside a request.  A message that fits into the ring enters and leaves it whole, by one change of
 * the index: killed at any moment, this process leaves a ring that its successor can go on with.
 * Longer ones go in pieces.  Whoever goes wrong is marked broken and told from the event.
 *
 * Callbacks may free their ring: hence `is_closed` and `is_busy`, and the memory goes last.
 */

#include "services/simhost/xenstored/guest_ring.h"

#include <sys/file.h>

#include "libcommon/base.h"
#include "libcommon/clock.h"
#include "libcommon/err.h"
#include "services/simhost/xenstored/sim_dir.h"

/* Messages of one ring before the others have their turn. */
#define MAX_MESSAGES_PER_TURN 64

struct guest_ring_hub {
	struct sim_dir dir;
	sd_event *event;
	sd_event_source *source;
	uint32_t index;
	int bell_fd;
	size_t n_rings;
	uint64_t own[SIM_PENDING_WORDS]; /* bit = domid with a ring here */
	struct guest_ring *rings[SIM_MAX_DOMAINS];
};

struct call {
	struct call *next;
	uint32_t id;
	uint32_t type;
	guest_ring_reply_fn fn;
	void *userdata;
};

/* Bytes on their way out: a request, or raw ones. */
struct chunk {
	struct chunk *next;
	size_t start; /* sent already */
	size_t len;
	char data[];
};

struct guest_ring {
	struct guest_ring_hub *hub;
	struct xenstore_domain_interface *page;
	const struct guest_ring_callbacks *callbacks;
	void *userdata;
	uint32_t domid;
	uint32_t last_id;
	int error;    /* why it is broken; 0 */
	bool is_told; /* its owner knows that it is broken */
	bool is_closed;
	bool is_busy; /* guest_ring_free() leaves the memory to turn() */

	struct call *calls; /* in the order of sending */
	struct call **calls_end;
	size_t n_calls;

	struct chunk *unsent; /* in the order of sending */
	struct chunk **unsent_end;
	size_t unsent_bytes;

	/* A message longer than the ring, under way: its header is out of the ring. */
	struct xsd_sockmsg header;
	char *payload;
	size_t payload_len;
};

/* --- hub -------------------------------------------------------------------------------- */

/* Have the hub's event look at the ring again. */
static void hub_raise(struct guest_ring_hub *hub, uint32_t domid)
{
	atomic_fetch_or(&hub->dir.table->guest_pending[domid / 64], UINT64_C(1) << (domid % 64));
	sim_dir_ring(&hub->dir.table->hub_rung[hub->index], hub->bell_fd);
}

static void turn(struct guest_ring *ring);

static int on_bell(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct guest_ring_hub *hub = userdata;
	struct sim_table *table = hub->dir.table;
	uint64_t bits, bit;

	(void)source;
	(void)events;
	sim_dir_drain_bell(fd);
	atomic_store(&table->hub_rung[hub->index], 0);
	for (uint32_t word = 0; word < SIM_PENDING_WORDS; word++) {
		if (!(atomic_load(&table->guest_pending[word]) & hub->own[word])) {
			continue;
		}
		bits = atomic_fetch_and(&table->guest_pending[word], ~hub->own[word]);
		/* A callback may have freed any ring: own[] and rings[] tell what is left. */
		for (uint32_t i = 0; i < 64; i++) {
			bit = UINT64_C(1) << i;
			if (bits & hub->own[word] & bit) {
				turn(hub->rings[word * 64 + i]);
			}
		}
	}
	return 0;
}

/* The first FIFO that nobody has locked. */
static int claim_bell(struct guest_ring_hub *hub)
{
	int fd;

	for (uint32_t i = 0; i < SIM_MAX_HUBS; i++) {
		fd = sim_dir_open_hub_bell(&hub->dir, i);
		if (fd < 0) {
			return err_trace(fd);
		}
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			hub->bell_fd = fd;
			hub->index = i;
			return 0;
		}
		xclose(fd);
	}
	return -EUSERS;
}

int guest_ring_hub_new(struct guest_ring_hub **out, sd_event *event, const char *state_dir)
{
	_cleanup_(guest_ring_hub_freep) struct guest_ring_hub *hub = NULL;
	int r;

	hub = calloc(1, sizeof(*hub));
	if (!hub) {
		return -ENOMEM;
	}
	hub->bell_fd = -1;
	r = sim_dir_attach(&hub->dir, state_dir);
	if (r < 0) {
		return r;
	}
	r = claim_bell(hub);
	if (r < 0) {
		return r;
	}
	r = sd_event_add_io(event, &hub->source, hub->bell_fd, EPOLLIN, on_bell, hub);
	if (r < 0) {
		return err_trace(r);
	}
	hub->event = sd_event_ref(event);
	/* What a dead predecessor with this number may have left half rung. */
	atomic_store(&hub->dir.table->hub_rung[hub->index], 0);
	*out = STEAL(hub);
	return 0;
}

struct guest_ring_hub *guest_ring_hub_free(struct guest_ring_hub *hub)
{
	if (!hub) {
		return NULL;
	}
	for (uint32_t i = 0; hub->n_rings > 0 && i < SIM_MAX_DOMAINS; i++) {
		guest_ring_free(hub->rings[i]);
	}
	sd_event_source_disable_unref(hub->source);
	sd_event_unref(hub->event);
	xclose(hub->bell_fd);
	sim_dir_detach(&hub->dir);
	free(hub);
	return NULL;
}

void guest_ring_hub_freep(struct guest_ring_hub **hub)
{
	*hub = guest_ring_hub_free(*hub);
}

/* Whether a hub of that number is there: another process, or another of this one. */
static bool hub_is_alive(const struct guest_ring_hub *hub, uint32_t index)
{
	_cleanup_(xclosep) int fd = -1;

	if (index >= SIM_MAX_HUBS) {
		return false;
	}
	fd = sim_dir_open_hub_bell(&hub->dir, index);
	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
}

/* --- ring page -------------------------------------------------------------------------- */

/* Bytes in a ring; false if there can't be so many: the indexes are anybody's. */
static bool ring_used(XENSTORE_RING_IDX prod, XENSTORE_RING_IDX cons, uint32_t *used)
{
	*used = prod - cons;
	return *used <= XENSTORE_RING_SIZE;
}

/*
 * Copy all of data into the request ring if it is not longer than that, else as much as there is
 * room for.  How much, or -EIO.
 */
static ssize_t page_put(struct guest_ring *ring, const char *data, size_t len)
{
	struct xenstore_domain_interface *page = ring->page;
	XENSTORE_RING_IDX prod = __atomic_load_n(&page->req_prod, __ATOMIC_RELAXED);
	XENSTORE_RING_IDX cons = __atomic_load_n(&page->req_cons, __ATOMIC_SEQ_CST);
	uint32_t used;
	size_t n, first;

	if (!ring_used(prod, cons, &used)) {
		return -EIO;
	}
	n = MIN(len, XENSTORE_RING_SIZE - used);
	if (n == 0 || (n < len && len <= XENSTORE_RING_SIZE)) {
		return 0;
	}
	first = MIN(n, XENSTORE_RING_SIZE - MASK_XENSTORE_IDX(prod));
	memcpy(page->req + MASK_XENSTORE_IDX(prod), data, first);
	memcpy(page->req, data + first, n - first);
	__atomic_store_n(&page->req_prod, prod + (XENSTORE_RING_IDX)n, __ATOMIC_SEQ_CST);
	guest_ring_kick(ring);
	return (ssize_t)n;
}

/* How much there is in the reply ring, or -EIO. */
static ssize_t page_available(const struct guest_ring *ring)
{
	uint32_t used;

	return ring_used(__atomic_load_n(&ring->page->rsp_prod, __ATOMIC_SEQ_CST),
			 __atomic_load_n(&ring->page->rsp_cons, __ATOMIC_RELAXED), &used)
		       ? (ssize_t)used
		       : -EIO;
}

/* Copy len available bytes, the first `skip` left out, and leave them in the ring. */
static void page_peek(const struct guest_ring *ring, size_t skip, char *data, size_t len)
{
	XENSTORE_RING_IDX cons = __atomic_load_n(&ring->page->rsp_cons, __ATOMIC_RELAXED) +
				 (XENSTORE_RING_IDX)skip;
	size_t first = MIN(len, XENSTORE_RING_SIZE - MASK_XENSTORE_IDX(cons));

	memcpy(data, ring->page->rsp + MASK_XENSTORE_IDX(cons), first);
	memcpy(data + first, ring->page->rsp, len - first);
}

static void page_consume(struct guest_ring *ring, size_t len)
{
	struct xenstore_domain_interface *page = ring->page;
	XENSTORE_RING_IDX cons = __atomic_load_n(&page->rsp_cons, __ATOMIC_RELAXED);

	__atomic_store_n(&page->rsp_cons, cons + (XENSTORE_RING_IDX)len, __ATOMIC_SEQ_CST);
	/* xenstored waits for room only if it has found the ring full. */
	if (__atomic_load_n(&page->rsp_prod, __ATOMIC_SEQ_CST) - cons >= XENSTORE_RING_SIZE) {
		guest_ring_kick(ring);
	}
}

void guest_ring_kick(struct guest_ring *ring)
{
	struct sim_table *table = ring->hub->dir.table;

	atomic_fetch_or(&table->xenstored_pending[ring->domid / 64], UINT64_C(1)
									     << (ring->domid % 64));
	sim_dir_ring_xenstored(&ring->hub->dir);
}

struct xenstore_domain_interface *guest_ring_page(struct guest_ring *ring)
{
	return ring->page;
}

/* --- sending ---------------------------------------------------------------------------- */

static void set_broken(struct guest_ring *ring, int error)
{
	if (ring->error == 0) {
		ring->error = error;
		hub_raise(ring->hub, ring->domid);
	}
}

static void drop_first_chunk(struct guest_ring *ring)
{
	struct chunk *chunk = ring->unsent;

	ring->unsent = chunk->next;
	if (!ring->unsent) {
		ring->unsent_end = &ring->unsent;
	}
	free(chunk);
}

static void flush_unsent(struct guest_ring *ring)
{
	struct chunk *chunk;
	ssize_t n;

	while (ring->error == 0 && ring->unsent) {
		chunk = ring->unsent;
		n = page_put(ring, chunk->data + chunk->start, chunk->len - chunk->start);
		if (n < 0) {
			set_broken(ring, (int)n);
		}
		if (n <= 0) {
			return;
		}
		chunk->start += (size_t)n;
		ring->unsent_bytes -= (size_t)n;
		if (chunk->start == chunk->len) {
			drop_first_chunk(ring);
		}
	}
}

struct piece {
	const void *data;
	size_t len;
};

static size_t pieces_len(const struct piece *pieces, size_t n_pieces)
{
	size_t len = 0;

	for (size_t i = 0; i < n_pieces; i++) {
		len += pieces[i].len;
	}
	return len;
}

/*
 * Queue a header (or NULL) and pieces as a whole, and send what goes.  0, -ECONNRESET, -ENOBUFS,
 * -ENOMEM.
 */
static int send_chunk(struct guest_ring *ring, const struct xsd_sockmsg *header,
		      const struct piece *pieces, size_t n_pieces)
{
	size_t header_len = header ? sizeof(*header) : 0;
	size_t len = header_len + pieces_len(pieces, n_pieces);
	struct chunk *chunk;

	if (ring->error != 0 || ring->is_closed) {
		return -ECONNRESET;
	}
	if (len > GUEST_RING_MAX_UNSENT_BYTES - ring->unsent_bytes) {
		return -ENOBUFS;
	}
	chunk = calloc(1, sizeof(*chunk) + len);
	if (!chunk) {
		return -ENOMEM;
	}
	if (header) {
		memcpy(chunk->data, header, header_len);
	}
	chunk->len = header_len;
	for (size_t i = 0; i < n_pieces; i++) {
		if (pieces[i].len > 0) {
			memcpy(chunk->data + chunk->len, pieces[i].data, pieces[i].len);
			chunk->len += pieces[i].len;
		}
	}
	*ring->unsent_end = chunk;
	ring->unsent_end = &chunk->next;
	ring->unsent_bytes += len;
	flush_unsent(ring);
	return 0;
}

int guest_ring_send_raw(struct guest_ring *ring, const void *data, size_t len)
{
	const struct piece piece = { data, len };

	return len == 0 ? 0 : send_chunk(ring, NULL, &piece, 1);
}

static int send_request(struct guest_ring *ring, uint32_t type, uint32_t tx_id,
			const struct piece *pieces, size_t n_pieces, guest_ring_reply_fn fn,
			void *userdata)
{
	size_t len = pieces_len(pieces, n_pieces);
	const struct xsd_sockmsg header = {
		.type = type,
		.req_id = ring->last_id + 1,
		.tx_id = tx_id,
		.len = (uint32_t)len,
	};
	struct call *call;
	int r;

	if (len > XENSTORE_PAYLOAD_MAX) {
		return -E2BIG;
	}
	if (ring->n_calls >= GUEST_RING_MAX_REQUESTS) {
		return -ENOBUFS;
	}
	call = calloc(1, sizeof(*call));
	if (!call) {
		return -ENOMEM;
	}
	r = send_chunk(ring, &header, pieces, n_pieces);
	if (r < 0) {
		free(call);
		return r;
	}
	call->id = ++ring->last_id;
	call->type = type;
	call->fn = fn;
	call->userdata = userdata;
	*ring->calls_end = call;
	ring->calls_end = &call->next;
	ring->n_calls++;
	return 0;
}

/* Requests of one or two strings, each with its NUL. */
static int send_strings(struct guest_ring *ring, uint32_t type, const char *a, const char *b,
			guest_ring_reply_fn fn, void *userdata)
{
	const struct piece pieces[] = { { a, strlen(a) + 1 }, { b, b ? strlen(b) + 1 : 0 } };

	return send_request(ring, type, 0, pieces, ARRAY_LEN(pieces), fn, userdata);
}

int guest_ring_request(struct guest_ring *ring, uint32_t type, uint32_t tx_id, const void *payload,
		       size_t len, guest_ring_reply_fn fn, void *userdata)
{
	const struct piece piece = { payload, len };

	return send_request(ring, type, tx_id, &piece, 1, fn, userdata);
}

int guest_ring_reset_watches(struct guest_ring *ring, guest_ring_reply_fn fn, void *userdata)
{
	return send_strings(ring, XS_RESET_WATCHES, "", NULL, fn, userdata);
}

int guest_ring_read(struct guest_ring *ring, const char *path, guest_ring_reply_fn fn,
		    void *userdata)
{
	return send_strings(ring, XS_READ, path, NULL, fn, userdata);
}

int guest_ring_write(struct guest_ring *ring, const char *path, const void *value, size_t len,
		     guest_ring_reply_fn fn, void *userdata)
{
	const struct piece pieces[] = { { path, strlen(path) + 1 }, { value, len } };

	return send_request(ring, XS_WRITE, 0, pieces, ARRAY_LEN(pieces), fn, userdata);
}

int guest_ring_mkdir(struct guest_ring *ring, const char *path, guest_ring_reply_fn fn,
		     void *userdata)
{
	return send_strings(ring, XS_MKDIR, path, NULL, fn, userdata);
}

int guest_ring_rm(struct guest_ring *ring, const char *path, guest_ring_reply_fn fn, void *userdata)
{
	return send_strings(ring, XS_RM, path, NULL, fn, userdata);
}

int guest_ring_directory(struct guest_ring *ring, const char *path, guest_ring_reply_fn fn,
			 void *userdata)
{
	return send_strings(ring, XS_DIRECTORY, path, NULL, fn, userdata);
}

int guest_ring_watch(struct guest_ring *ring, const char *path, const char *token,
		     guest_ring_reply_fn fn, void *userdata)
{
	return send_strings(ring, XS_WATCH, path, token, fn, userdata);
}

int guest_ring_unwatch(struct guest_ring *ring, const char *path, const char *token,
		       guest_ring_reply_fn fn, void *userdata)
{
	return send_strings(ring, XS_UNWATCH, path, token, fn, userdata);
}

/* --- receiving -------------------------------------------------------------------------- */

/* Take the call that *link points to out of the list, and answer it. */
static void finish_call(struct guest_ring *ring, struct call **link, int error, const char *data,
			size_t len)
{
	struct call *call = *link;

	*link = call->next;
	if (!*link) {
		ring->calls_end = link;
	}
	ring->n_calls--;
	if (call->fn) {
		call->fn(ring, error, error ? NULL : data, error ? 0 : len, call->userdata);
	}
	free(call);
}

/* Nothing is added meanwhile: the ring is broken or closed. */
static void fail_calls(struct guest_ring *ring, int error)
{
	while (ring->calls) {
		finish_call(ring, &ring->calls, error, NULL, 0);
	}
}

/* The name of an errno, as xenstored sends it, with a NUL. */
static int parse_error(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(xsd_errors); i++) {
		if (streq(name, xsd_errors[i].errstring)) {
			return -xsd_errors[i].errnum;
		}
	}
	/* The other xenstored's word for a full quota. */
	return streq(name, "EQUOTA") ? -EDQUOT : -EIO;
}

/* What points to the call that the reply belongs to, or NULL.  Nearly always it is the first. */
static struct call **find_call(struct guest_ring *ring, const struct xsd_sockmsg *header)
{
	struct call **link = &ring->calls;

	while (*link && (*link)->id != header->req_id) {
		link = &(*link)->next;
	}
	if (!*link || (header->type != (*link)->type && header->type != XS_ERROR)) {
		return NULL;
	}
	return link;
}

static void deliver_watch(struct guest_ring *ring, const char *payload, size_t len)
{
	size_t pos = 0;
	const char *path = guest_ring_next_string(payload, len, &pos);
	const char *token = guest_ring_next_string(payload, len, &pos);

	if (!path || !token) {
		set_broken(ring, -EBADMSG);
	} else if (ring->callbacks->watch) {
		ring->callbacks->watch(ring, path, token, ring->userdata);
	}
}

/* payload is complete and has a NUL after it. */
static void deliver(struct guest_ring *ring, const struct xsd_sockmsg *header, const char *payload)
{
	struct call **call;

	if (header->type == XS_WATCH_EVENT) {
		deliver_watch(ring, payload, header->len);
		return;
	}
	call = find_call(ring, header);
	if (call) {
		finish_call(ring, call, header->type == XS_ERROR ? parse_error(payload) : 0,
			    payload, header->len);
	} else if (ring->callbacks->stray) {
		ring->callbacks->stray(ring, header, payload, ring->userdata);
	}
}

/* Get more of a message longer than the ring: 1 it is complete, 0 not yet, -errno. */
static int continue_message(struct guest_ring *ring)
{
	ssize_t available;
	size_t n;

	while (ring->payload_len < ring->header.len) {
		available = page_available(ring);
		if (available <= 0) {
			return (int)available;
		}
		n = MIN((size_t)available, ring->header.len - ring->payload_len);
		page_peek(ring, 0, ring->payload + ring->payload_len, n);
		page_consume(ring, n);
		ring->payload_len += n;
	}
	return 1;
}

/* Get the next message into header and payload: 1 it is there, 0 not yet, -errno. */
static int receive_message(struct guest_ring *ring)
{
	ssize_t available;

	if (ring->payload) {
		return continue_message(ring);
	}
	available = page_available(ring);
	if (available < (ssize_t)sizeof(ring->header)) {
		return available < 0 ? (int)available : 0;
	}
	page_peek(ring, 0, (char *)&ring->header, sizeof(ring->header));
	if (ring->header.len > XENSTORE_PAYLOAD_MAX) {
		return -EBADMSG;
	}
	if (sizeof(ring->header) + ring->header.len <= XENSTORE_RING_SIZE &&
	    (size_t)available < sizeof(ring->header) + ring->header.len) {
		return 0;
	}
	ring->payload = calloc(1, (size_t)ring->header.len + 1);
	if (!ring->payload) {
		return -ENOMEM;
	}
	ring->payload_len = 0;
	if (sizeof(ring->header) + ring->header.len > XENSTORE_RING_SIZE) {
		page_consume(ring, sizeof(ring->header));
		return continue_message(ring);
	}
	page_peek(ring, sizeof(ring->header), ring->payload, ring->header.len);
	page_consume(ring, sizeof(ring->header) + ring->header.len);
	return 1;
}

/* What xenstored says of the connection in the page; 0 or the error to report. */
static int page_error(const struct guest_ring *ring)
{
	switch (__atomic_load_n(&ring->page->error, __ATOMIC_SEQ_CST)) {
	case XENSTORE_ERROR_NONE:
		return 0;
	case XENSTORE_ERROR_PROTO:
		return -EPROTO;
	default:
		return -EIO;
	}
}

static void receive_all(struct guest_ring *ring)
{
	int r;

	for (unsigned int i = 0; ring->error == 0 && !ring->is_closed; i++) {
		if (i == MAX_MESSAGES_PER_TURN) {
			hub_raise(ring->hub, ring->domid);
			return;
		}
		r = receive_message(ring);
		if (r < 0) {
			set_broken(ring, r);
		}
		if (r <= 0) {
			return;
		}

		_cleanup_(xfreep) char *payload = STEAL(ring->payload);
		const struct xsd_sockmsg header = ring->header;

		deliver(ring, &header, payload);
	}
}

static void tell_broken(struct guest_ring *ring)
{
	ring->is_told = true;
	fail_calls(ring, -ECONNRESET);
	if (!ring->is_closed && ring->callbacks->broken) {
		ring->callbacks->broken(ring, ring->error, ring->userdata);
	}
}

static void ring_destroy(struct guest_ring *ring)
{
	while (ring->unsent) {
		drop_first_chunk(ring);
	}
	free(ring->payload);
	free(ring);
}

/* One ring's share of an event. */
static void turn(struct guest_ring *ring)
{
	ring->is_busy = true;
	receive_all(ring);
	if (!ring->is_closed && ring->error == 0) {
		flush_unsent(ring);
		/* Looked at last: what was answered before the error is still worth having. */
		if (page_error(ring)) {
			set_broken(ring, page_error(ring));
		}
	}
	if (!ring->is_closed && ring->error != 0 && !ring->is_told) {
		tell_broken(ring);
	}
	ring->is_busy = false;
	if (ring->is_closed) {
		ring_destroy(ring);
	}
}

/* --- life ------------------------------------------------------------------------------- */

/* Make this hub the one that hears the domain's event channel. */
static int claim_domain(struct guest_ring_hub *hub, uint32_t domid)
{
	struct sim_domain_entry *entry;
	uint32_t owner;

	if (domid >= SIM_MAX_DOMAINS) {
		return -ESRCH;
	}
	entry = &hub->dir.table->domains[domid];
	if (!(atomic_load(&entry->flags) & SIM_DOMAIN_PRESENT)) {
		return -ESRCH;
	}
	if (!atomic_load(&entry->mapped)) {
		return -ENOTCONN;
	}
	owner = atomic_load(&entry->hub);
	if (hub->rings[domid] || (owner != hub->index && hub_is_alive(hub, owner)) ||
	    !atomic_compare_exchange_strong(&entry->hub, &owner, hub->index)) {
		return -EBUSY;
	}
	return 0;
}

int guest_ring_new(struct guest_ring **out, struct guest_ring_hub *hub, uint32_t domid,
		   const struct guest_ring_callbacks *callbacks, void *userdata)
{
	struct guest_ring *ring;
	int r;

	r = claim_domain(hub, domid);
	if (r < 0) {
		return r;
	}
	ring = calloc(1, sizeof(*ring));
	if (!ring) {
		atomic_store(&hub->dir.table->domains[domid].hub, SIM_NO_HUB);
		return -ENOMEM;
	}
	ring->hub = hub;
	ring->page = (struct xenstore_domain_interface *)(void *)sim_dir_page(&hub->dir, domid);
	ring->domid = domid;
	ring->callbacks = callbacks;
	ring->userdata = userdata;
	/* Not what a predecessor's unanswered requests had. */
	ring->last_id = (uint32_t)clock_boot_ns();
	ring->calls_end = &ring->calls;
	ring->unsent_end = &ring->unsent;
	hub->rings[domid] = ring;
	hub->own[domid / 64] |= UINT64_C(1) << (domid % 64);
	hub->n_rings++;
	/* What is in the page already came before there was anybody to be told. */
	hub_raise(hub, domid);
	*out = ring;
	return 0;
}

struct guest_ring *guest_ring_free(struct guest_ring *ring)
{
	struct guest_ring_hub *hub;

	if (!ring || ring->is_closed) {
		return NULL;
	}
	hub = ring->hub;
	ring->is_closed = true;
	hub->rings[ring->domid] = NULL;
	hub->own[ring->domid / 64] &= ~(UINT64_C(1) << (ring->domid % 64));
	hub->n_rings--;
	atomic_store(&hub->dir.table->domains[ring->domid].hub, SIM_NO_HUB);
	fail_calls(ring, -ECANCELED);
	if (!ring->is_busy) {
		ring_destroy(ring);
	}
	return NULL;
}

void guest_ring_freep(struct guest_ring **ring)
{
	*ring = guest_ring_free(*ring);
}

uint32_t guest_ring_domid(const struct guest_ring *ring)
{
	return ring->domid;
}

size_t guest_ring_in_flight(const struct guest_ring *ring)
{
	return ring->n_calls;
}

const char *guest_ring_next_string(const char *data, size_t len, size_t *pos)
{
	const char *string;

	if (!data || *pos >= len) {
		return NULL;
	}
	string = data + *pos;
	*pos += strnlen(string, len - *pos) + 1;
	return string;
}
