/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Publisher: sends each new state of an object and remembers it in the change
 * table, from which Snapshot and Changes are answered.  A heartbeat goes out
 * each second.  Nothing here blocks; what a slow subscriber loses it repairs.
 */
#include <systemd/sd-event.h>

#include "bus/topology.h"
#include "libcommon/uuid.h"
#include "xenmesh/v1/bus.pb-c.h"

struct bus_pub;

/* Binds the service's pub endpoints. Local processes whose user is no observer in `topology` are
 * hung up on; NULL = everybody may listen. It must outlive the publisher. */
int bus_pub_new(struct bus_pub **out, sd_event *loop, const struct topology_service *service,
		struct topology *topology);
struct bus_pub *bus_pub_free(struct bus_pub *p);

/* Publish the whole new state of topic, or one event of a transient one (bus/transient.h), which
 * is not kept. The caller has set only event->body_case and body.
 * Equal bodies are not suppressed: the caller publishes changes.
 * 0; -EINVAL for a bad topic; -EMSGSIZE; -ENOMEM. */
int bus_pub_publish(struct bus_pub *p, const char *topic, Xenmesh__V1__Event *event);
/* The object is no more: a tombstone stays in the change table. Unknown topic: nothing. */
int bus_pub_remove(struct bus_pub *p, const char *topic, const char *reason);

const struct uuid *bus_pub_instance(const struct bus_pub *p);
uint64_t bus_pub_seq(const struct bus_pub *p);
size_t bus_pub_n_topics(const struct bus_pub *p);

/* One page of changes (see ChangesReply), serialized into *out (malloc'ed). instance NULL or
 * another's, or since_seq older than the tombstones reach: pages of a full snapshot, of which
 * after_seq is the position. */
int bus_pub_changes(struct bus_pub *p, const void *instance, size_t instance_len,
		    uint64_t since_seq, char *const *prefixes, size_t n_prefixes, uint8_t **out,
		    size_t *len);
int bus_pub_snapshot(struct bus_pub *p, uint64_t after_seq, char *const *prefixes,
		     size_t n_prefixes, uint8_t **out, size_t *len);

/* "pub.events", "pub.bytes", "pub.topics", ...; of at most BUS_STATS_PEERS subscribers, of those
 * that are behind first, "pub.peer.PID.dropped", ".queued", ".queued_bytes" and ".high_bytes" (most
 * that ever waited): what a process with several connections has on all of them. */
typedef void (*bus_stat_fn)(const char *name, uint64_t value, void *userdata);
void bus_pub_stats(const struct bus_pub *p, bus_stat_fn fn, void *userdata);
