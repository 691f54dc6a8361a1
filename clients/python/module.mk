# SPDX-License-Identifier: LGPL-2.1-or-later
# The Python client: PYTHONPATH=$(BUILD)/python

# To build and install it as a package, which its tests do.
DEPS += python3-pip python3-setuptools python3-wheel openssl

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

check-python: python-client $(GEN)/stamp
	@tests/run --bin $(BUILD) --logs $(LOGS) --groups python

.PHONY: python-client check-python
