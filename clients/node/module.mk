# SPDX-License-Identifier: LGPL-2.1-or-later
# The Node.js client: the whole package, ready to use, is made in $(BUILD)/node.

# Where npm is there already it may be of a packager whose nodejs conflicts with Debian's npm.
DEPS += $(if $(shell command -v node 2>/dev/null),,nodejs) \
	$(if $(shell command -v npm 2>/dev/null),,npm)

NODE_DIR := $(BUILD)/node
NODE_CLIENT := $(NODE_DIR)/stamp
NODE_PACKAGE := $(addprefix clients/node/,package.json package-lock.json .npmrc)
NODE_SRC := $(wildcard clients/node/*.js clients/node/lib/* clients/node/tools/* \
	clients/node/test/*.js clients/node/test/types/*)

# What it needs from the registry.  Without a way there the tests are skipped, and say why: any
# other failure is one.
$(NODE_DIR)/node_modules/stamp: $(NODE_PACKAGE)
	$(call say,NPM,$(NODE_DIR))
	$(Q)mkdir -p $(NODE_DIR) && cp $(NODE_PACKAGE) $(NODE_DIR)
	$(Q)rm -f $(NODE_DIR)/skip; cd $(NODE_DIR) && if npm ci >npm.log 2>&1; then \
		touch node_modules/stamp; \
	elif grep -qE 'E(NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|HOSTUNREACH|NETUNREACH|TIMEDOUT)' \
			npm.log; then \
		echo 'npm cannot reach its registry, see $(NODE_DIR)/npm.log' | tee skip; \
	else cat npm.log; exit 1; fi

$(NODE_CLIENT): $(NODE_DIR)/node_modules/stamp $(NODE_SRC) $(filter proto/xenmesh/v1/%,$(PROTOS))
	$(call say,GEN,node)
	$(Q)rm -rf $(addprefix $(NODE_DIR)/,lib gen tools test)
	$(Q)cd clients/node && cp --parents $(NODE_SRC:clients/node/%=%) $(abspath $(NODE_DIR))
	$(Q)if [ ! -e $(NODE_DIR)/skip ]; then \
		node $(NODE_DIR)/tools/generate.js proto $(NODE_DIR)/gen && touch $@; fi

node-client: $(NODE_CLIENT)

check-node: programs node-client
	@tests/run --bin $(BUILD) --logs $(LOGS) --groups node

.PHONY: node-client check-node
