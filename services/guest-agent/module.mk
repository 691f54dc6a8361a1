# SPDX-License-Identifier: LGPL-2.1-or-later

$(BUILD)/tests/unit/test_guest_agent: | $(BUILD)/xenmesh-guest-agent $(BUILD)/xenmesh-simxen.so

# Debian has neither libxenstore nor libmnl for musl.  So this shows that our sources compile
# against musl's headers without a warning and link with musl's libc, that nothing but these two
# libraries is needed besides, and that the program starts under musl's loader.  The libraries
# are replaced by stubs that only have their functions' names: talking to xenstored and netlink
# on musl is not shown.

MUSL := $(BUILD)/musl
MUSL_SRC := $(guestagent_SRC) services/guest-agent/main.c \
	$(addprefix libcommon/,err.c log.c map.c parse.c uuid.c xenstore.c)
MUSL_OBJ := $(MUSL_SRC:%.c=$(MUSL)/%.o)
MUSL_LIBS := $(MUSL)/lib/libxenstore.so $(MUSL)/lib/libmnl.so
ALL_OBJ += $(MUSL_OBJ)

# Only these of the system's headers: all others must be musl's.
$(MUSL)/include/stamp:
	@command -v musl-gcc >/dev/null || \
		{ echo 'musl-gcc is missing; as root: apt-get install musl-tools'; exit 1; }
	@mkdir -p $(@D)
	$(Q)for h in xenstore.h xenstore_lib.h xen libmnl linux asm-generic; do \
		ln -sfn /usr/include/$$h $(@D)/$$h; done
	$(Q)ln -sfn /usr/include/$$(gcc -print-multiarch)/asm $(@D)/asm
	@touch $@

$(MUSL)/%.o: %.c $(MUSL)/include/stamp
	$(call say,MUSL,$@)
	@mkdir -p $(@D)
	$(Q)musl-gcc -I. -isystem $(MUSL)/include -D_GNU_SOURCE -DXENMESH_VERSION='"$(VERSION)"' \
		-std=gnu11 -O2 -g $(WARN) -Werror -fPIE -MMD -MP -c -o $@ $<

$(MUSL_LIBS): $(MUSL)/lib/%.so: $(MUSL)/include/stamp
	@mkdir -p $(@D)
	$(Q)nm -D --defined-only $$(gcc -print-file-name=$(@F)) | \
		sed -n 's/@.*//; s/.* T \([a-z_0-9]*\)$$/void \1(void); void \1(void) { __builtin_trap(); }/p' \
		>$(@:.so=.c)
	$(Q)musl-gcc -shared -fPIC -o $@ $(@:.so=.c)

$(MUSL)/xenmesh-guest-agent: $(MUSL_OBJ) $(MUSL_LIBS)
	$(call say,LD,$@)
	$(Q)musl-gcc -pie -Wl,-z,defs -o $@ $(MUSL_OBJ) -L$(MUSL)/lib -lxenstore -lmnl

check-musl: $(MUSL)/xenmesh-guest-agent
	@mkdir -p $(MUSL)/empty
	@LD_LIBRARY_PATH=$(MUSL)/lib $< --version
	@LD_LIBRARY_PATH=$(MUSL)/lib $< --once --root $(MUSL)/empty 2>$(MUSL)/log; [ $$? = 69 ] || \
		{ cat $(MUSL)/log; echo 'FAIL check-musl: not the exit status of no Xen guest'; exit 1; }
	@echo 'ok check-musl: compiles and starts on musl (libxenstore and libmnl are stubs)'

.PHONY: check-musl
