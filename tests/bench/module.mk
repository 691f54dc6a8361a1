# SPDX-License-Identifier: LGPL-2.1-or-later
# The benchmark of the bus has a source file for each peer.  Peers that are not
# installed are left out of the build, and said so in the results.

BENCH_DEPS := libzmq3-dev nats-server dbus-broker librrd-dev

BENCH_BUS := $(BUILD)/tests/bench/bench_bus
BENCH_BUS_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/bench/bus_*.c tests/bench/peer_*.c))
ALL_OBJ += $(BENCH_BUS_OBJ)

$(BENCH_BUS): $(BENCH_BUS_OBJ)
$(BENCH_BUS): TEST_LIBS += $(if $(wildcard /usr/include/zmq.h),-lzmq)

# BENCH_ARGS="--quick --json --rounds N"
bench-bus: $(BENCH_BUS) $(BUILD)/xenmesh-ops $(BUILD)/xenmesh-metrics $(BUILD)/xenmesh-simhost
	@$(BENCH_BUS) $(BENCH_ARGS)

# What looks for the packages' headers is built again.
deps-bench:
	@$(MAKE) --no-print-directory deps DEPS="$(BENCH_DEPS)"
	@rm -f $(addprefix $(BUILD)/tests/bench/,peer_zmq.o bench_bus bench_metrics_tick.o bench_metrics_tick)

.PHONY: bench-bus deps-bench
