"""How sure a success rate is: the Wilson interval of a rate and the bootstrap interval of a paired difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from agentgym.errors import ConfigError

__all__ = ["Interval", "paired_bootstrap", "wilson"]

_BLOCK = 1 << 18  # values drawn at once; bounds the memory


@dataclass(frozen=True, slots=True)
class Interval:
    """A point estimate with its confidence interval.

    Attributes:
        value: The estimate.
        low: Lower bound.
        high: Upper bound.
        level: Confidence level, in (0, 1).
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    def percent(self) -> str:
        """Return the interval in percent.

        >>> Interval(0.5, 0.412, 0.588).percent()
        '50.0% [41.2, 58.8]'
        """
        return f"{100 * self.value:.1f}% [{100 * self.low:.1f}, {100 * self.high:.1f}]"

    def points(self) -> str:
        """Return a difference of rates in percentage points.

        >>> Interval(0.3, 0.251, 0.349).points()
        '+30.0 points [+25.1, +34.9]'
        """
        return f"{100 * self.value:+.1f} points [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Return the Wilson score interval of a success rate; it stays inside [0, 1] and is honest near its ends.

    Args:
        successes: Number of successes, 0 to ``trials``.
        trials: Number of trials, at least 1.
        level: Confidence level, in (0, 1).

    Raises:
        ConfigError: If the counts or the level make no sense.

    >>> wilson(50, 100).percent()
    '50.0% [40.4, 59.6]'
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ConfigError(f"{successes} successes of {trials} trials: need 0 <= successes <= trials and trials >= 1")
    _check_level(level)
    z2 = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    rate = successes / trials
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = np.sqrt(z2 * (rate * (1 - rate) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    # The ends are exact by algebra; rounding would leave 1e-17 there.
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == trials else float(centre + half)
    return Interval(rate, low, high, level)


def paired_bootstrap(
    before: Sequence[float], after: Sequence[float], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the mean of ``after - before`` over paired tasks, with its percentile bootstrap interval.

    Args:
        before: One outcome a task.
        after: Outcomes of the same tasks in the same order.
        level: Confidence level, in (0, 1).
        resamples: Number of bootstrap samples, at least 1.
        seed: Seed of the resampling.

    Raises:
        ConfigError: If the two differ in length or are empty.
    """
    if len(before) != len(after) or not before:
        raise ConfigError(f"cannot pair {len(before)} outcomes with {len(after)}: the same tasks must be in both")
    _check_level(level)
    difference = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    rng = np.random.default_rng(seed)
    size = len(difference)
    rows = max(1, _BLOCK // size)
    blocks = [min(rows, resamples - begun) for begun in range(0, resamples, rows)]
    means = np.concatenate([difference[rng.integers(0, size, (count, size))].mean(axis=1) for count in blocks])
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(difference.mean()), float(low), float(high), level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ConfigError(f"confidence level {level} must lie strictly between 0 and 1, such as 0.95")
