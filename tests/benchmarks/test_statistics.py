"""The median's interval and spread on known arrays, and which changes are more than noise."""

import numpy as np
import pytest

from infdet_deploy.benchmarks.comparison import compare_medians
from infdet_deploy.benchmarks.statistics import drift_interval, median_interval, summary


def test_interval_of_order_statistics():
    # The tables of the sign test: for n = 10 the 2nd and the 9th value (97.9 %), for n = 25 the 8th and the 18th.
    assert median_interval(range(1, 11)) == (2, 9, pytest.approx(1 - 22 / 1024))
    low, high, coverage = median_interval(range(1, 26))
    assert (low, high) == (8, 18)
    assert coverage == pytest.approx(0.9567, abs=1e-4)
    low, high, coverage = median_interval([*range(100, 0, -1)])
    assert (low, high) == (40, 61)
    assert coverage == pytest.approx(0.9648, abs=1e-4)


def test_coverage_of_few_values():
    assert median_interval([3.0]) == (3.0, 3.0, 0.0)
    assert median_interval([5.0, 1.0, 3.0]) == (1.0, 5.0, 0.75)
    assert median_interval(range(6)) == (0, 5, 1 - 2 / 64)
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


def drifting(runs, length, rng):
    """Times whose median is 100 in the long run: skewed noise, and a drift correlated over `length` runs."""
    noise = rng.gamma(4, 0.75, 2 * runs) - 2.754  # the median of this distribution
    drift = np.zeros(2 * runs)
    if length:
        keep = np.exp(-1 / length)
        for index, step in enumerate(rng.normal(0, 2 * np.sqrt(1 - keep**2), 2 * runs)):
            drift[index] = keep * drift[index - 1] * (index > 0) + step
    return (100 + noise + drift)[-runs:]


def share_covered(interval, runs, length, of=300):
    rng = np.random.default_rng(7)
    bounds = [interval(drifting(runs, length, rng))[:2] for _ in range(of)]
    return np.mean([low <= 100 <= high for low, high in bounds]), np.median([high - low for low, high in bounds])


@pytest.mark.parametrize(("runs", "length", "least"), [(100, 3, 0.93), (100, 10, 0.93), (40, 3, 0.9), (40, 10, 0.75)])
def test_interval_of_drifting_times_covers_the_median(runs, length, least):
    covered, _ = share_covered(drift_interval, runs, length)
    too_narrow, _ = share_covered(median_interval, runs, length)
    assert covered >= least
    assert too_narrow <= 0.8


@pytest.mark.parametrize("runs", [5, 20, 100])
def test_interval_of_independent_times_hardly_widens(runs):
    (covered, width), (_, narrow) = (share_covered(of, runs, 0) for of in (drift_interval, median_interval))
    assert covered >= 0.92  # of five the smallest and the largest cover 93.75 %
    assert narrow <= width <= 1.15 * narrow


def test_interval_of_two_levels():
    """A machine slower in the second half: the interval contains both levels."""
    low, high, _ = drift_interval([100.0 + i % 5 for i in range(20)] + [130.0 + i % 5 for i in range(20)])
    assert low <= 104
    assert high >= 130


def test_summary():
    found = summary([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.min, found.median, found.max) == (1, 3, 5)
    assert found.spread == pytest.approx(1 / 3)  # quartiles 2 and 4
    assert found.p90 == pytest.approx(4.6)


@pytest.mark.parametrize(("factor", "more"), [(1.0, False), (1.02, False), (1.5, True), (0.5, True)])
def test_compared_medians(factor, more):
    old = [100.0 + i for i in range(20)]
    found = compare_medians("x", summary(old), summary([factor * value for value in old]))
    assert found.change == pytest.approx(factor - 1)
    assert found.low <= found.change <= found.high
    assert found.more_than_noise is more
