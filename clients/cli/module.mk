# SPDX-License-Identifier: LGPL-2.1-or-later
# The comments of the .proto files, for `xenmesh bus describe`.

$(GEN)/cli_docs.c: $(GEN)/stamp clients/cli/gen_docs.py
	$(call say,GEN,$@)
	$(Q)$(PYTHON) clients/cli/gen_docs.py $(GEN)/xenmesh.desc $@

$(BUILD)/libcli.a: $(GEN)/cli_docs.o
