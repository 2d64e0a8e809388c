"""What tests ask of the processor."""

import pytest

from infdet_deploy.runtime.backends.registry import get_backend

HAS_INT8 = get_backend("openvino").supports("int8")  # which elsewhere than on x86 needs no VNNI
WITHOUT = "this processor has no VNNI, so that OpenVINO's int8 is refused"

needs_vnni = pytest.mark.skipif(not HAS_INT8, reason=WITHOUT)
