"""The median's interval and spread on known arrays, and which changes are more than noise."""

import pytest

from infdet_deploy.benchmarks.statistics import change, median_interval, summary


def test_interval_of_order_statistics():
    # The tables of the sign test: for n = 10 the 2nd and the 9th value (97.9 %), for n = 25 the 8th and the 18th.
    assert median_interval(range(1, 11)) == (2, 9, pytest.approx(1 - 22 / 1024))
    low, high, coverage = median_interval(range(1, 26))
    assert (low, high) == (8, 18)
    assert coverage == pytest.approx(0.9567, abs=1e-4)
    low, high, coverage = median_interval([*range(100, 0, -1)])
    assert (low, high) == (40, 61)
    assert coverage == pytest.approx(0.9648, abs=1e-4)


def test_few_values_say_how_little_they_cover():
    assert median_interval([3.0]) == (3.0, 3.0, 0.0)
    assert median_interval([5.0, 1.0, 3.0]) == (1.0, 5.0, 0.75)
    assert median_interval(range(6)) == (0, 5, 1 - 2 / 64)
    with pytest.raises(ValueError, match="no values"):
        median_interval([])


def test_summary():
    found = summary([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found["min"], found["median"], found["max"]) == (1, 3, 5)
    assert found["spread"] == pytest.approx(1 / 3)  # quartiles 2 and 4
    assert found["p90"] == pytest.approx(4.6)


@pytest.mark.parametrize(("factor", "more"), [(1.0, False), (1.02, False), (1.5, True), (0.5, True)])
def test_change_both_ways(factor, more):
    old = [100.0 + i for i in range(20)]
    found = change(summary(old), summary([factor * value for value in old]))
    assert found["change"] == pytest.approx(factor - 1)
    assert found["low"] <= found["change"] <= found["high"]
    assert found["more_than_noise"] is more
