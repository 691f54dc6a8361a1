/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The cases every engine has to pass, with one engine as the server (REP, PUB)
 * and the same or another as the client.
 */
#include "bus/engine.h"
#include "bus/sp_address.h"

struct suite_pair {
	const struct bus_engine *server, *client;
	enum sp_scheme scheme;
};

void suite_request_and_reply(const struct suite_pair *pair);
void suite_largest_message(const struct suite_pair *pair);
void suite_publish(const struct suite_pair *pair);
void suite_nothing_is_sent_twice(const struct suite_pair *pair);
void suite_close_in_callback(const struct suite_pair *pair);
void suite_raw_peer(const struct suite_pair *pair);
void suite_hostile_bytes(const struct suite_pair *pair);
void suite_bare_connects(const struct suite_pair *pair);
void suite_half_frames(const struct suite_pair *pair);
void suite_lost_socket_file(const struct suite_pair *pair);
void suite_addresses(const struct suite_pair *pair);
void suite_server_comes_later(const struct suite_pair *pair);
void suite_slow_reader(const struct suite_pair *pair);
void suite_stalled_subscriber(const struct suite_pair *pair);

/* clang-format off */
/* Static functions name_CASE() for SUITE_TESTS(name). Each has a process of its own: a connection
 * that nng 1.5.2 cannot end would hinder it in all later ones. */
#define SUITE_CASE(name, function, server, client, scheme)               \
	static void name##_##function(void)                              \
	{                                                                \
		const struct suite_pair pair = { server, client, scheme }; \
		suite_##function(&pair);                                 \
	}
#define SUITE_PAIR(name, server, client, scheme) \
	SUITE_CASE(name, request_and_reply, server, client, scheme) \
	SUITE_CASE(name, largest_message, server, client, scheme) \
	SUITE_CASE(name, publish, server, client, scheme) \
	SUITE_CASE(name, nothing_is_sent_twice, server, client, scheme) \
	SUITE_CASE(name, close_in_callback, server, client, scheme) \
	SUITE_CASE(name, server_comes_later, server, client, scheme)
#define SUITE_TESTS(name) \
	UNIT_TEST_APART(name##_request_and_reply), \
	UNIT_TEST_APART(name##_largest_message), \
	UNIT_TEST_APART(name##_publish), \
	UNIT_TEST_APART(name##_nothing_is_sent_twice), \
	UNIT_TEST_APART(name##_close_in_callback), \
	UNIT_TEST_APART(name##_server_comes_later)
/* Those of an ipc server, with bare peers. */
#define SUITE_SERVER(name, server) \
	SUITE_CASE(name, hostile_bytes, server, server, SP_IPC) \
	SUITE_CASE(name, lost_socket_file, server, server, SP_IPC) \
	SUITE_CASE(name, raw_peer, server, server, SP_IPC) \
	SUITE_CASE(name, bare_connects, server, server, SP_IPC) \
	SUITE_CASE(name, half_frames, server, server, SP_IPC) \
	SUITE_CASE(name, addresses, server, server, SP_IPC) \
	SUITE_CASE(name, slow_reader, server, server, SP_IPC) \
	SUITE_CASE(name, stalled_subscriber, server, server, SP_IPC)
#define SUITE_SERVER_TESTS(name) \
	UNIT_TEST(name##_hostile_bytes), \
	UNIT_TEST(name##_lost_socket_file), \
	UNIT_TEST(name##_raw_peer), \
	UNIT_TEST(name##_bare_connects), \
	UNIT_TEST(name##_half_frames), \
	UNIT_TEST(name##_addresses), \
	UNIT_TEST(name##_slow_reader), \
	UNIT_TEST(name##_stalled_subscriber)
/* clang-format on */
