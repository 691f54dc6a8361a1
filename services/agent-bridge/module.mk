# SPDX-License-Identifier: LGPL-2.1-or-later

$(BUILD)/tests/unit/test_bridge_mirror: | $(BUILD)/xenmesh-simxen.so
