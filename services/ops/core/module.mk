# SPDX-License-Identifier: LGPL-2.1-or-later

$(addprefix $(BUILD)/tests/unit/,test_ops_api test_ops_kill): | $(BUILD)/xenmesh-ops
