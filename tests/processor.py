"""What tests ask of the processor."""

import pytest

from infdet_deploy.runtime.backends.base import takes

needs_vnni = pytest.mark.skipif(
    not takes("openvino", "int8"), reason="this processor has no VNNI, so that OpenVINO's int8 is refused"
)
