"""What a list of measured times says: its median, how sure that is, and whether two medians really differ."""

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np

CONFIDENCE = 0.95
BLOCK, FEWEST_BLOCKS, MOST_BLOCKS = 5, 3, 8  # runs in a row that a block holds at least; blocks of a series
# Student's t, 97.5 %, by number of blocks.
_T = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
_NORMAL = 1.96


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The interval between two of the values that covers the median with 95 % probability or more: low, high, coverage.

    From order statistics alone: of n independent values the number below the median follows the binomial distribution
    of n fair coins, whatever the values' own distribution is. Fewer than 6 values cannot reach 95 %; for them the
    interval is from the smallest to the largest, and the coverage says how little that is.
    """
    ordered = sorted(values)
    n = len(ordered)
    if not n:
        raise ValueError("no values; expected at least one")
    outside, skipped = 0.0, 0  # values left out at either end, and the probability that the median lies beyond them
    tail = 0.0
    while 2 * (skipped + 1) < n:
        tail += comb(n, skipped) / 2**n
        if 2 * tail > 1 - CONFIDENCE:
            break
        outside = 2 * tail
        skipped += 1
    if not skipped:
        return ordered[0], ordered[-1], 1 - 2 / 2**n
    return ordered[skipped - 1], ordered[n - skipped], 1 - outside


def drift_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The interval of the median of values that were measured in this order, wider where they drift: low, high,
    coverage.

    What slows a machine for a while slows many values in a row, so they are not independent, and `median_interval` is
    too narrow. Cut into up to 8 blocks in a row, such a series has block medians that differ by more than independent
    values' would; that excess, as a variance, is added to the squares of the interval's two arms, with Student's t for
    so few blocks. Drift slower than the whole series is in none of its blocks, and in no interval. Fewer than 15 values
    are too few for blocks: their interval is `median_interval`.
    """
    low, high, coverage = median_interval(values)
    blocks = min(len(values) // BLOCK, MOST_BLOCKS)
    if blocks < FEWEST_BLOCKS:
        return low, high, coverage
    medians = [np.median(block) for block in np.array_split(np.asarray(values), blocks)]
    independent = blocks * ((high - low) / 2 / _NORMAL) ** 2  # the variance of a block's median, if they were
    arm = _T[blocks] * max(float(np.var(medians, ddof=1)) - independent, 0.0) ** 0.5
    median = float(np.median(values))
    return median - float(np.hypot(median - low, arm)), median + float(np.hypot(high - median, arm)), coverage


def summary(values: Sequence[float]) -> dict[str, float]:
    """median (p50), low and high (its `drift_interval`), coverage, spread, p10, p90, p99, min and max of the values,
    which are in the order in which they were measured.

    spread: half the distance between the quartiles, divided by the median.
    """
    low, high, coverage = drift_interval(values)
    points = {"min": 0, "p10": 10, "median": 50, "p90": 90, "p99": 99, "max": 100}
    found = {name: float(np.percentile(values, point)) for name, point in points.items()}
    quarter, three_quarters = np.percentile(values, (25, 75))
    spread = float((three_quarters - quarter) / 2 / found["median"])
    return found | {"low": low, "high": high, "coverage": coverage, "spread": spread}


def change(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """How much longer or shorter the median became, from two summaries of times.

    change: new ÷ old − 1; low and high: the same between the ends of both intervals that are nearest and farthest;
    more_than_noise: the two intervals have nothing in common.
    """
    return {
        "change": new["median"] / old["median"] - 1,
        "low": new["low"] / old["high"] - 1,
        "high": new["high"] / old["low"] - 1,
        "more_than_noise": new["low"] > old["high"] or new["high"] < old["low"],
    }
