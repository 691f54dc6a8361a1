# SPDX-License-Identifier: LGPL-2.1-or-later
# The Python client: PYTHONPATH=$(BUILD)/python

PYTHON_CLIENT := $(BUILD)/python/stamp

$(PYTHON_CLIENT): $(wildcard clients/python/xenmesh/*.py) $(filter proto/xenmesh/v1/%,$(PROTOS))
	$(call say,GEN,python)
	$(Q)mkdir -p $(@D)/xenmesh
	$(Q)protoc $(PROTO_INC) --python_out=$(@D) $(patsubst proto/%,%,$(filter %.proto,$^))
	$(Q)cp $(filter %.py,$^) $(@D)/xenmesh/
	$(Q)touch $@

python-client: $(PYTHON_CLIENT)
programs: $(PYTHON_CLIENT)

.PHONY: python-client
