"""Messages of errors in one line."""

import pytest

from infdet_deploy.errors import first_line

CONVERSION = """Exception from src/inference/src/cpp/core.cpp:84:
Check 'false' failed at src/frontends/unconverted_ops_report.cpp:151:
FrontEnd API failed with OpConversionFailure:
Model wasn't fully converted.
Summary:
-- No conversion rule found for operations: Blah-28
"""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("one\ntwo", "one"),
        ("", "RuntimeError"),
        (" \n", "RuntimeError"),
        (
            CONVERSION,
            "FrontEnd API failed with OpConversionFailure: Model wasn't fully converted. No conversion rule found for "
            "operations: Blah-28",
        ),
        ("Exception from src/core.cpp:84:\n", "Exception from src/core.cpp:84:"),
        ("Exception from a.cpp:1:\n" + "x" * 1000, "x" * 299 + "…"),
    ],
)
def test_first_line(message, expected):
    assert first_line(RuntimeError(message)) == expected
