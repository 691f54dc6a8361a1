# SPDX-License-Identifier: LGPL-2.1-or-later

$(addprefix $(BUILD)/tests/unit/,test_bridge_mirror test_bridge_service): | $(BUILD)/xenmesh-simxen.so
$(BUILD)/tests/unit/test_bridge_service: | $(BUILD)/xenmesh-agent-bridge $(BUILD)/xenmesh-guest-agent
