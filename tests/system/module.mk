# SPDX-License-Identifier: LGPL-2.1-or-later
# A service and a subscriber for the tests of the bus with whole processes.

SYSTEM_PROGRAMS := $(addprefix $(BUILD)/tests/system/,bus_testpub bus_testsub bus_flood)
ALL_OBJ += $(SYSTEM_PROGRAMS:=.o)

$(SYSTEM_PROGRAMS): %: %.o $(SERVICE:%=$(BUILD)/lib%.a)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< \
		-Wl,--start-group $(SERVICE:%=$(BUILD)/lib%.a) -Wl,--end-group $(BUS_LIBS)

programs: $(SYSTEM_PROGRAMS)
