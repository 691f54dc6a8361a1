# SPDX-License-Identifier: LGPL-2.1-or-later
# The Python client: PYTHONPATH=$(BUILD)/python

PYTHON_CLIENT := $(BUILD)/python/stamp
PYTHON_SRC := $(wildcard clients/python/xenmesh/*.py) clients/python/xenmesh/py.typed

$(PYTHON_CLIENT): $(PYTHON_SRC) clients/python/tools/generate.py $(filter proto/xenmesh/v1/%,$(PROTOS))
	$(call say,GEN,python)
	$(Q)mkdir -p $(@D)/xenmesh
	$(Q)$(PYTHON) clients/python/tools/generate.py proto $(@D)
	$(Q)cp $(PYTHON_SRC) $(@D)/xenmesh/
	$(Q)touch $@

python-client: $(PYTHON_CLIENT)
programs: $(PYTHON_CLIENT)

.PHONY: python-client
