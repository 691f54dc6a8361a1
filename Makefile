# SPDX-License-Identifier: LGPL-2.1-or-later
#
# xenmesh.  `make help` lists the targets.
#   V=1                          show the commands
#   SAN=address|undefined|thread build with a sanitizer
#   CC=clang                     another compiler
#   WERROR=1                     warnings are errors (as in CI)
#   BUILD=dir                    where everything goes

SHELL := /bin/bash
.DELETE_ON_ERROR:
.SECONDARY:

PYTHON ?= /usr/bin/python3
SAN ?=
VARIANT := $(if $(SAN),$(SAN),release)$(if $(filter clang%,$(notdir $(CC))),-clang)
BUILD ?= build/$(VARIANT)
PREFIX ?= /usr
VERSION := 0.1.0

# What a fresh Debian 12 needs, to build, to test and to run.
DEPS := gcc make pkg-config git python3 python3-protobuf protobuf-compiler libprotobuf-dev \
	protobuf-c-compiler libprotobuf-c-dev libnng-dev libxen-dev libsystemd-dev libinih-dev \
	libsqlite3-dev libmicrohttpd-dev libmnl-dev libjson-c-dev libncurses-dev zlib1g-dev libssl-dev \
	libcunit1-dev \
	xen-utils-4.17 qemu-system-x86 busybox-static socat cpio musl-tools openssl zsh groff-base

# ---- flags ----

WARN := -Wall -Wextra -Wshadow -Wundef -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wpointer-arith -Wwrite-strings -Wdate-time -Wformat=2 \
	-Wimplicit-fallthrough -Wnull-dereference -Wdouble-promotion -Wconversion -Wno-sign-conversion
HARDEN := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fno-common \
	-fvisibility=hidden -fmacro-prefix-map=$(CURDIR)/=
SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)$(if \
	$(filter undefined,$(SAN)), -fno-sanitize-recover=undefined)
FORTIFY := $(if $(SAN),,-D_FORTIFY_SOURCE=3)
OPT ?= -O2 -g

GEN := $(BUILD)/gen
CPPFLAGS += -I. -I$(GEN) -D_GNU_SOURCE -DXENMESH_VERSION='"$(VERSION)"' $(FORTIFY)
# gcc's -Wnull-dereference is only reliable without the sanitizers' code.
CFLAGS_ALL = -std=gnu11 $(OPT) $(WARN) $(if $(SAN),-Wno-null-dereference) \
	$(if $(WERROR),-Werror) $(HARDEN) $(SAN_FLAGS) -fPIE $(CFLAGS)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SAN_FLAGS) $(LDFLAGS)

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))

all: programs

# ---- modules: every folder is one static archive without its main.c ----

SYSTEMD_LIBS := -lsystemd
PB_LIBS := -lprotobuf-c
XS_LIBS := -lxenstore
BUS_LIBS := -lnng $(SYSTEMD_LIBS) $(PB_LIBS) -linih

# $(call module,name,folder...)
define module
$(1)_SRC := $$(filter-out %/main.c,$$(sort $$(wildcard $$(addsuffix /*.c,$(2)))))
$(1)_OBJ := $$($(1)_SRC:%.c=$(BUILD)/%.o)
ALL_OBJ += $$($(1)_OBJ)
ALL_ARCHIVES += $(BUILD)/lib$(1).a
$(BUILD)/lib$(1).a: $$($(1)_OBJ)
endef

# $(call program,binary,main.c,archives,libraries)
define program
PROGRAMS += $(BUILD)/$(1)
ALL_OBJ += $(BUILD)/$(2:.c=.o)
$(BUILD)/$(1): $(BUILD)/$(2:.c=.o) $(3:%=$(BUILD)/lib%.a)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(LDFLAGS_ALL) -o $$@ $$< -Wl,--start-group $(3:%=$(BUILD)/lib%.a) -Wl,--end-group $(4)
endef

$(eval $(call module,common,libcommon))
$(eval $(call module,bus,bus))
$(eval $(call module,opscore,services/ops/core))
$(eval $(call module,opshost,services/ops/host))
$(eval $(call module,opsworker,services/ops/worker))
$(eval $(call module,metrics,services/metrics))
$(eval $(call module,bridge,services/agent-bridge))
$(eval $(call module,guestagent,services/guest-agent/logic services/guest-agent/platform))
$(eval $(call module,simhost,services/simhost))
$(eval $(call module,simxen,services/simhost/xenstored))
$(eval $(call module,cli,clients/cli))

COMMON := common proto
SERVICE := bus common proto
$(eval $(call program,xenmesh-ops,services/ops/core/main.c,opscore $(SERVICE),$(BUS_LIBS) -lsqlite3))
$(eval $(call program,xenmesh-ops-host,services/ops/host/main.c,opshost $(COMMON),$(SYSTEMD_LIBS) $(PB_LIBS) -lxenctrl $(XS_LIBS) -lmnl -linih))
$(eval $(call program,xenmesh-ops-worker,services/ops/worker/main.c,opsworker opscore $(COMMON),$(SYSTEMD_LIBS) $(PB_LIBS) -lxenlight -lxlutil -lxentoollog -lxenctrl $(XS_LIBS)))
$(eval $(call program,xenmesh-metrics,services/metrics/main.c,metrics $(SERVICE),$(BUS_LIBS) -lmicrohttpd -lm -lz))
$(eval $(call program,xenmesh-agent-bridge,services/agent-bridge/main.c,bridge $(SERVICE),$(BUS_LIBS) $(XS_LIBS)))
$(eval $(call program,xenmesh-guest-agent,services/guest-agent/main.c,guestagent common,$(XS_LIBS) -lmnl))
$(eval $(call program,xenmesh-simhost,services/simhost/main.c,simhost simxen opshost guestagent $(COMMON),$(SYSTEMD_LIBS) $(PB_LIBS) $(XS_LIBS) -linih -lm))
$(eval $(call program,xenmesh,clients/cli/main.c,cli $(SERVICE),$(BUS_LIBS) -ljson-c -lncursesw -ltinfo -lm))

# ---- generated code ----

PROTOS := $(sort $(wildcard proto/xenmesh/v1/*.proto proto/xenmesh/host/*.proto))
PB_NAMES := google/protobuf/descriptor $(PROTOS:proto/%.proto=%)
PB_HDR := $(PB_NAMES:%=$(GEN)/%.pb-c.h)
PB_OBJ := $(PB_NAMES:%=$(GEN)/%.pb-c.o) $(GEN)/bus_methods.o
PROTO_INC := -Iproto -I/usr/include

$(GEN)/stamp: $(PROTOS) bus/gen_methods.py
	$(call say,GEN,proto)
	$(Q)mkdir -p $(GEN)
	$(Q)protoc-c $(PROTO_INC) --c_out=$(GEN) google/protobuf/descriptor.proto $(PROTOS:proto/%=%)
	$(Q)protoc $(PROTO_INC) --include_source_info --include_imports \
		--descriptor_set_out=$(GEN)/xenmesh.desc $(filter xenmesh/v1/%,$(PROTOS:proto/%=%))
	$(Q)protoc $(PROTO_INC) --python_out=$(GEN) xenmesh/v1/options.proto xenmesh/v1/common.proto
	$(Q)PYTHONPATH=$(GEN) $(PYTHON) bus/gen_methods.py $(GEN)/xenmesh.desc $(GEN)/bus_methods.c
	$(Q)touch $@

$(PB_HDR) $(PB_NAMES:%=$(GEN)/%.pb-c.c) $(GEN)/bus_methods.c: $(GEN)/stamp ;

$(GEN)/%.o: $(GEN)/%.c
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(filter-out -W%,$(CFLAGS_ALL)) -c -o $@ $<

ALL_ARCHIVES += $(BUILD)/libproto.a
$(BUILD)/libproto.a: $(PB_OBJ)

# ---- rules ----

$(BUILD)/%.o: %.c $(GEN)/stamp
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(ALL_ARCHIVES):
	$(call say,AR,$@)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

programs: $(PROGRAMS) $(EXTRA_PROGRAMS)

# ---- tests ----

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT_SRC:%.c=$(BUILD)/%)
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(FUZZ_SRC:%.c=$(BUILD)/%)
BENCH_SRC := $(sort $(wildcard tests/bench/bench_*.c))
BENCH_BIN := $(BENCH_SRC:%.c=$(BUILD)/%)
TEST_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(UNIT_SRC) $(FUZZ_SRC) $(BENCH_SRC)) \
	$(BUILD)/tests/unit/unit.o $(BUILD)/tests/fuzz/driver.o $(BUILD)/tests/bench/bench.o
ALL_OBJ += $(TEST_OBJ)
TEST_ARCHIVES := $(filter-out %/libcli.a,$(ALL_ARCHIVES)) $(BUILD)/libcli.a
TEST_LIBS := $(BUS_LIBS) $(XS_LIBS) -lxenlight -lxlutil -lxentoollog -lxenctrl -lsqlite3 \
	-lmicrohttpd -lmnl -ljson-c -lncursesw -ltinfo -lcunit -lz -lm

# A peer of the benchmarks, if it is there.
RRD_LIBS := $(if $(wildcard /usr/include/rrd.h),-lrrd)

define test_link
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(TEST_ARCHIVES) -Wl,--end-group $(TEST_LIBS)
endef
$(UNIT_BIN): $(BUILD)/tests/unit/test_%: $(BUILD)/tests/unit/test_%.o $(BUILD)/tests/unit/unit.o $(TEST_ARCHIVES)
	$(test_link)
$(FUZZ_BIN): $(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/driver.o $(TEST_ARCHIVES)
	$(test_link)
$(BENCH_BIN): TEST_LIBS += $(RRD_LIBS)
$(BENCH_BIN): $(BUILD)/tests/bench/bench_%: $(BUILD)/tests/bench/bench_%.o $(BUILD)/tests/bench/bench.o $(TEST_ARCHIVES)
	$(test_link)

test-programs: $(UNIT_BIN) $(FUZZ_BIN)

-include $(sort $(wildcard services/*/module.mk services/*/*/module.mk clients/*/module.mk tests/*/module.mk deploy/module.mk))
-include $(ALL_OBJ:.o=.d)

# ---- running them ----

LOGS := $(BUILD)/test-logs
# Sanitized programs do not fit into the emulated host; it tests the release build.
GROUPS := unit,fuzz,system,python,node$(if $(SAN),,,xenhost)
LEFT_OUT := $(if $(SAN),--left-out 'xenhost: SAN=$(SAN); the real Xen runs the release build')
export ASAN_OPTIONS ?= detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS ?= print_stacktrace=1

check: deps
	@$(MAKE) --no-print-directory -j$$(nproc) check-built
check-built: programs test-programs python-client node-client bench-programs \
		$(if $(SAN),,xenhost-images check-musl)
	@tests/run --bin $(BUILD) --logs $(LOGS) --groups $(GROUPS) $(LEFT_OUT)

# Without the real Xen and the long system tests.
check-fast: programs test-programs
	@tests/run --bin $(BUILD) --logs $(LOGS) --groups unit,fuzz \
		--left-out 'system, xenhost: not part of check-fast'
check-system: programs python-client
	@tests/run --bin $(BUILD) --logs $(LOGS) --groups system

demo: deps
	@$(MAKE) --no-print-directory -j$$(nproc) programs
	@tools/demo --bin $(BUILD) $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))
demo-xen: deps
	@$(MAKE) --no-print-directory -j$$(nproc) xenhost-images
	@tests/xenhost/demo --images $(XENHOST)/images --log-dir $(XENHOST)/demo-logs \
		$(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

lint: programs
	@tools/lint $(BUILD)

bench-programs: $(BENCH_BIN)

bench: bench-programs
	@for b in $(BENCH_BIN); do $$b || exit 1; done

help:
	@echo 'make demo           set up, build, start everything on a simulated host (DEMO_SECONDS=20 ends by itself)'
	@echo 'make check          set up, build, all tests'
	@echo 'make demo-xen       the same tour on a real Xen host in QEMU'
	@echo 'make check-fast     unit tests and fuzz corpora only'
	@echo 'make check-system   whole services on the simulated host only'
	@echo 'make check-node     the Node.js client only'
	@echo 'make check-python   the Python client, and whether the protos keep what was released'
	@echo 'make check-xen      scenarios on a real Xen host in QEMU only'
	@echo 'make fuzz           run the fuzz targets, FUZZ_SECONDS=60 each (clang)'
	@echo 'make bench          figures of speed and size, each beside a peer'
	@echo 'make bench-bus      the bus beside nng, ZeroMQ, D-Bus and NATS (make deps-bench; BENCH_ARGS=--quick)'
	@echo 'make lint           format, clang-tidy, cppcheck, size budgets'
	@echo 'make proto-release  at a release: promise what the protos have now'
	@echo 'make all            build the programs into $(BUILD)'
	@echo 'make format         rewrite the sources with clang-format'
	@echo 'make deps           install the Debian packages that are missing (root)'
	@echo 'make clean          remove build/'
	@echo 'Variables: V=1  SAN=address|undefined|thread  CC=clang  WERROR=1  BUILD=dir'

MISSING = $(shell for p in $(DEPS); do dpkg-query -W -f='$${db:Status-Status}\n' $$p 2>/dev/null | \
	grep -qx installed || echo $$p; done)
deps:
	@missing="$(MISSING)"; [ -z "$$missing" ] && exit 0; \
	if [ $$(id -u) != 0 ]; then \
		echo "These packages are missing; as root:"; echo "  apt-get install $$missing"; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -q && apt-get install -q -y --no-install-recommends $$missing

C_FILES = $(shell git ls-files '*.c' '*.h')
format:
	clang-format -i $(C_FILES)

clean:
	rm -rf build

.PHONY: all programs test-programs bench-programs bench check check-built check-fast check-system demo \
	demo-xen lint help deps format clean
