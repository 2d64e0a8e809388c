"""Statistics of measured times: the median, its confidence interval, and whether two medians differ."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import comb

import numpy as np

CONFIDENCE = 0.95
MIN_BLOCK_RUNS, MIN_BLOCKS, MAX_BLOCKS = 5, 3, 8  # consecutive runs of a block; blocks of a series
# Student's t, 97.5 %, by number of blocks.
_T = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
_NORMAL = 1.96


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The interval between two of the values that covers the median with at least 95 % probability: low, high,
    coverage.

    It uses order statistics only: of n independent values, the number below the median is binomial (n, 1/2) for any
    distribution. Fewer than 6 values cannot reach 95 %; their interval is the whole range, and the
    coverage says how likely it contains the median.
    """
    ordered = sorted(values)
    n = len(ordered)
    if not n:
        raise ValueError("no values; expected at least one")
    # by number of values left out at each end: the probability that the median is among them
    outside = [2 * count / 2**n for count in accumulate(comb(n, k) for k in range((n - 1) // 2))]
    skipped = bisect_right(outside, 1 - CONFIDENCE)
    if not skipped:
        return ordered[0], ordered[-1], 1 - 2 / 2**n
    return ordered[skipped - 1], ordered[n - skipped], 1 - outside[skipped - 1]


def drift_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The interval of the median of values in the order of measurement, wider where they drift: low, high, coverage.

    A machine that slows down for a while slows many consecutive values, so they are not independent, and
    `median_interval` is too narrow. The medians of up to 8 consecutive blocks then differ by more than those of
    independent values. That excess variance, with Student's t for so few blocks, is added to the square of each arm of
    the interval. Drift slower than the whole series is not detected. Fewer than 15 values are too few for blocks: their
    interval is `median_interval`.
    """
    low, high, coverage = median_interval(values)
    blocks = min(len(values) // MIN_BLOCK_RUNS, MAX_BLOCKS)
    if blocks < MIN_BLOCKS:
        return low, high, coverage
    medians = [np.median(block) for block in np.array_split(np.asarray(values), blocks)]
    independent = blocks * ((high - low) / 2 / _NORMAL) ** 2  # variance of a block's median without drift
    arm = _T[blocks] * max(float(np.var(medians, ddof=1)) - independent, 0.0) ** 0.5
    median = float(np.median(values))
    return median - float(np.hypot(median - low, arm)), median + float(np.hypot(high - median, arm)), coverage


@dataclass(frozen=True)
class Summary:
    """Figures of a list of times. low, high: `drift_interval` of the median; coverage: its probability without drift.
    spread: half the interquartile range, divided by the median."""

    min: float
    p10: float
    median: float
    p90: float
    p99: float
    max: float
    low: float
    high: float
    coverage: float
    spread: float


def summary(values: Sequence[float]) -> Summary:
    """The summary of values in the order of measurement."""
    points = (0, 10, 25, 50, 75, 90, 99, 100)
    least, p10, quarter, median, three_quarters, p90, p99, most = map(float, np.percentile(values, points))
    low, high, coverage = drift_interval(values)
    spread = (three_quarters - quarter) / 2 / median
    return Summary(least, p10, median, p90, p99, most, low, high, coverage, spread)
