"""`in_processes`: all results, and the first error."""

import math

import pytest

from infdet_deploy.processes import in_processes


def test_every_job_once():
    assert dict(in_processes(math.gcd, [(12, 18), (7, 5), (9, 27)], workers=2)) == {0: 6, 1: 1, 2: 9}
    assert list(in_processes(math.gcd, [])) == []


def test_an_error_cancels_the_other_jobs():
    with pytest.raises(ValueError, match="nonnegative"):
        list(in_processes(math.isqrt, [(4,), (-1,), (9,)], workers=1))
