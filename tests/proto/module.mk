# SPDX-License-Identifier: LGPL-2.1-or-later
# The API of the last release, which what is public now must keep.

PROTO_RELEASED := proto/released/xenmesh-v1.textproto

# At a release: what is public now is promised from now on.  Refused if a promise is broken.
proto-release: $(GEN)/stamp
	@PYTHONPATH=$(GEN) $(PYTHON) tools/proto_check.py freeze $(GEN)/xenmesh.desc $(PROTO_RELEASED)

.PHONY: proto-release
