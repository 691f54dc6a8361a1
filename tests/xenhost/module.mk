# SPDX-License-Identifier: LGPL-2.1-or-later
# Tests on a real Xen host in QEMU; what comes from Debian is cached in ~/.cache/xenmesh-xenhost.

XENHOST := $(BUILD)/xenhost

xenhost-images: programs
	@mkdir -p $(XENHOST)
	tests/xenhost/build-images --bindir $(BUILD) --out $(XENHOST)/images

# XENHOST_ARGS: more for run.py, as --only NAME or --keep
check-xen: xenhost-images
	$(PYTHON) tests/xenhost/run.py --images $(XENHOST)/images --log-dir $(XENHOST)/logs $(XENHOST_ARGS)

.PHONY: xenhost-images check-xen
