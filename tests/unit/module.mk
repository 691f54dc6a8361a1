# SPDX-License-Identifier: LGPL-2.1-or-later

# The xenstored of the test needs the preload shim.
$(BUILD)/tests/unit/test_xenstore: | $(BUILD)/xenmesh-simxen.so

# The cases of all engines.
ALL_OBJ += $(BUILD)/tests/unit/engine_suite.o
$(BUILD)/tests/unit/test_engine_nng $(BUILD)/tests/unit/test_engine_sp \
	$(BUILD)/tests/unit/test_engine_tls: $(BUILD)/tests/unit/engine_suite.o

# One of its cases is short of memory.
$(BUILD)/tests/unit/test_sub: LDFLAGS_ALL += -Wl,--wrap=calloc
