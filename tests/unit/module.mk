# SPDX-License-Identifier: LGPL-2.1-or-later

# The xenstored of the test needs the preload shim.
$(BUILD)/tests/unit/test_xenstore: | $(BUILD)/xenmesh-simxen.so
