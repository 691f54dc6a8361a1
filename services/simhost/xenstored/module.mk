# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The preload shim goes into a foreign program: libc only, never a sanitizer.

SIMXEN_SO := $(BUILD)/xenmesh-simxen.so
SIMXEN_SRC := services/simhost/xenstored/shim/shim.c

$(SIMXEN_SO): $(SIMXEN_SRC) services/simhost/xenstored/sim_table.h
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -D_GNU_SOURCE -std=gnu11 $(OPT) $(WARN) $(if $(WERROR),-Werror) $(HARDEN) -fPIC \
		-shared -Wl,-z,relro,-z,now -o $@ $(SIMXEN_SRC)

programs: $(SIMXEN_SO)
$(addprefix $(BUILD)/tests/unit/,test_guest_ring test_sim_xenstored): | $(SIMXEN_SO)
