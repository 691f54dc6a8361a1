/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One simulated guest's connection to xenstored: the client side of the shared ring page, with
 * that domid's permissions and quotas.
 *
 * A hub is the event channel device of all guests of one loop: one file descriptor however many
 * guests.  A ring costs some 200 bytes while nothing is in flight.  Nothing here blocks; all
 * callbacks come from the sd_event given to the hub, except those of guest_ring_free().  One
 * thread.
 *
 * Every accepted request has its callback called exactly once.  Requests of one ring are answered
 * in order.  Paths without leading '/' are relative to /local/domain/<domid>.
 */

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include <xen/io/xs_wire.h>

/* Requests a ring holds, unanswered or unsent; xenstored itself works on at most 20 a domain. */
#define GUEST_RING_MAX_REQUESTS 64u
/* Bytes a ring holds unsent, raw ones included. */
#define GUEST_RING_MAX_UNSENT_BYTES (64u * 1024u)

struct guest_ring_hub;
struct guest_ring;

/*
 * The answer to a request.  error: 0, or -errno: the name xenstored answered (-EACCES, -ENOENT,
 * -ENOSPC for a full quota, ...; a name this system lacks is -EIO); -ECANCELED: the ring was freed;
 * -ECONNRESET: the ring broke, see guest_ring_callbacks.broken.
 * data: len bytes and a NUL after them that is not counted; valid during the call; NULL on error.
 */
typedef void (*guest_ring_reply_fn)(struct guest_ring *ring, int error, const char *data,
				    size_t len, void *userdata);

struct guest_ring_callbacks {
	/* A watch fired.  Strings are valid during the call.  May be NULL. */
	void (*watch)(struct guest_ring *ring, const char *path, const char *token, void *userdata);
	/*
	 * The connection is unusable: xenstored flagged an error in the page (-EPROTO: it dislikes
	 * what we sent; -EIO: indexes) or answered nonsense (-EBADMSG, -EIO).  Called once, after
	 * the callbacks of all requests; from now on requests return -ECONNRESET.  xenstored 4.17
	 * does not take it back even by XS_INTRODUCE, only with a new domain.  May be NULL.
	 */
	void (*broken)(struct guest_ring *ring, int error, void *userdata);
	/* A reply to no request of this ring, as after guest_ring_send_raw().  May be NULL. */
	void (*stray)(struct guest_ring *ring, const struct xsd_sockmsg *header, const char *data,
		      void *userdata);
};

/*
 * Attach to a state directory made by sim_xenstored_open(), in this or another process, as one of
 * SIM_MAX_HUBS.  Takes a reference on event.  -ENOENT: no such directory or not a state directory;
 * -EPROTO: of another version; -EUSERS: too many hubs.
 */
int guest_ring_hub_new(struct guest_ring_hub **out, sd_event *event, const char *state_dir);

/* Frees the rings that are left as guest_ring_free() does.  Not from a callback.  NULL is fine.
 * Returns NULL. */
struct guest_ring_hub *guest_ring_hub_free(struct guest_ring_hub *hub);
void guest_ring_hub_freep(struct guest_ring_hub **hub);

/*
 * Connect as domid.  The domain must exist and be introduced (XS_INTRODUCE answered), else
 * -ESRCH or -ENOTCONN.  -EBUSY: a ring of a living hub has the domid.  callbacks is not copied.
 *
 * The connection goes on where its last user left it, even if that was killed: what it was still
 * to be told comes to `stray` and `watch`, and its watches stand until XS_RESET_WATCHES.  Only if
 * it was amid a message of more than XENSTORE_RING_SIZE bytes the ring breaks.
 */
int guest_ring_new(struct guest_ring **out, struct guest_ring_hub *hub, uint32_t domid,
		   const struct guest_ring_callbacks *callbacks, void *userdata);

/* Disconnect; requests without answer get -ECANCELED from inside.  Allowed in every callback.
 * Works in whatever order with the end of domain and of xenstored.  NULL is fine.  Returns NULL. */
struct guest_ring *guest_ring_free(struct guest_ring *ring);
void guest_ring_freep(struct guest_ring **ring);

uint32_t guest_ring_domid(const struct guest_ring *ring);
/* Requests whose callback was not yet called. */
size_t guest_ring_in_flight(const struct guest_ring *ring);

/*
 * Requests.  Return 0: accepted, fn (may be NULL) will be called later, never from inside.
 * -ENOBUFS: bounds above reached, try after some reply; -E2BIG: over XENSTORE_PAYLOAD_MAX (4096)
 * bytes; -ECONNRESET: ring is broken; -ENOMEM.  All arguments are copied.
 */

/* data = the value. */
int guest_ring_read(struct guest_ring *ring, const char *path, guest_ring_reply_fn fn,
		    void *userdata);
int guest_ring_write(struct guest_ring *ring, const char *path, const void *value, size_t len,
		     guest_ring_reply_fn fn, void *userdata);
int guest_ring_mkdir(struct guest_ring *ring, const char *path, guest_ring_reply_fn fn,
		     void *userdata);
int guest_ring_rm(struct guest_ring *ring, const char *path, guest_ring_reply_fn fn,
		  void *userdata);
/* data = names, each ended by a NUL; walk with guest_ring_next_string().  -E2BIG in the callback:
 * over 4096 bytes of names. */
int guest_ring_directory(struct guest_ring *ring, const char *path, guest_ring_reply_fn fn,
			 void *userdata);
/* xenstored fires it once at once. */
int guest_ring_watch(struct guest_ring *ring, const char *path, const char *token,
		     guest_ring_reply_fn fn, void *userdata);
int guest_ring_unwatch(struct guest_ring *ring, const char *path, const char *token,
		       guest_ring_reply_fn fn, void *userdata);

/* Drop all watches and transactions of the domain, those of a predecessor too. */
int guest_ring_reset_watches(struct guest_ring *ring, guest_ring_reply_fn fn, void *userdata);

/* Any request: an XS_* type, tx_id 0 or of XS_TRANSACTION_START, payload as on the wire. */
int guest_ring_request(struct guest_ring *ring, uint32_t type, uint32_t tx_id, const void *payload,
		       size_t len, guest_ring_reply_fn fn, void *userdata);

/* Step through NUL-ended strings: *pos = 0 at first; NULL at the end (a last string without NUL
 * counts). */
const char *guest_ring_next_string(const char *data, size_t len, size_t *pos);

/*
 * For playing a hostile guest.  Raw bytes go into the same stream as the requests, unchecked; what
 * is answered comes to `stray`.  The page may be scribbled on at will, then kicked.
 */
int guest_ring_send_raw(struct guest_ring *ring, const void *data, size_t len);
struct xenstore_domain_interface *guest_ring_page(struct guest_ring *ring);
void guest_ring_kick(struct guest_ring *ring);
