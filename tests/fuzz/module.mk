# SPDX-License-Identifier: LGPL-2.1-or-later
#
# fuzz-corpus  run every fuzz target over its corpus (part of `make check`)
# fuzz         let libFuzzer search, FUZZ_SECONDS each, ONE=conf for one target; findings in build/fuzz

FUZZ_SECONDS ?= 60
FUZZ_BUILD := build/fuzz
FUZZ_NAMES := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=%)
FUZZ_SAN := address,undefined
FUZZ_CFLAGS := -fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined

fuzz-corpus: $(FUZZ_BIN)
	@r=0; for n in $(FUZZ_NAMES); do $(BUILD)/tests/fuzz/fuzz_$$n tests/fuzz/corpus/$$n || r=1; done; exit $$r

# A build of its own: all code with clang's coverage, linked with libFuzzer in place of driver.c.
fuzz:
	@$(MAKE) --no-print-directory BUILD=$(FUZZ_BUILD) CC=clang SAN=$(FUZZ_SAN) \
		CFLAGS='$(FUZZ_CFLAGS)' fuzz-run

FUZZ_SEARCH := $(FUZZ_NAMES:%=$(BUILD)/search_%)
$(FUZZ_SEARCH): $(BUILD)/search_%: $(BUILD)/tests/fuzz/fuzz_%.o $(TEST_ARCHIVES)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $< \
		-Wl,--start-group $(TEST_ARCHIVES) -Wl,--end-group $(TEST_LIBS)

# New inputs stay in the build folder; whoever finds a good one moves it to tests/fuzz/corpus.
fuzz-run: $(if $(ONE),$(BUILD)/search_$(ONE),$(FUZZ_SEARCH))
	@r=0; for n in $(or $(ONE),$(FUZZ_NAMES)); do \
		echo "fuzz_$$n: $(FUZZ_SECONDS) s"; \
		mkdir -p $(BUILD)/found/$$n; \
		$(BUILD)/search_$$n -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
			-print_final_stats=1 -artifact_prefix=$(BUILD)/crash_$${n}_ \
			$(BUILD)/found/$$n tests/fuzz/corpus/$$n >$(BUILD)/fuzz_$$n.log 2>&1 \
			&& echo "ok fuzz_$$n: $$(sed -n 's/^stat::number_of_executed_units: *//p' $(BUILD)/fuzz_$$n.log) inputs" \
			|| { echo "FAIL fuzz_$$n: see $(BUILD)/fuzz_$$n.log and $(BUILD)/crash_$${n}_*"; r=1; }; \
	done; exit $$r

.PHONY: fuzz fuzz-corpus fuzz-run
