from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.errors import ConfigError
from agentgym.evaluation import paired_bootstrap, wilson


@given(trials=st.integers(1, 500), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.95, 0.99]))
def test_the_wilson_interval_holds_the_rate_and_solves_its_equation(trials: int, share: float, level: float) -> None:
    successes = round(share * trials)
    interval = wilson(successes, trials, level)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    z = {0.8: 1.2815515655446004, 0.95: 1.959963984540054, 0.99: 2.5758293035489004}[level]
    for bound in (interval.low, interval.high):
        # A bound p is where the observed rate lies z standard errors of p away.
        assert math.isclose((interval.value - bound) ** 2, z**2 * bound * (1 - bound) / trials, abs_tol=1e-9)


def test_the_wilson_interval_covers_the_truth_as_often_as_it_says() -> None:
    trials = 60
    intervals = [wilson(k, trials) for k in range(trials + 1)]
    coverage = []
    for truth in np.linspace(0.05, 0.95, 91):
        chance = [math.comb(trials, k) * truth**k * (1 - truth) ** (trials - k) for k in range(trials + 1)]
        coverage.append(sum(c for c, i in zip(chance, intervals, strict=True) if i.low <= truth <= i.high))
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.005)
    assert min(coverage) > 0.9


@given(st.integers(1, 300), st.integers(0, 300))
def test_more_successes_never_lower_the_wilson_bounds(trials: int, successes: int) -> None:
    successes = min(successes, trials - 1)
    fewer, more = wilson(successes, trials), wilson(successes + 1, trials)
    assert fewer.low < more.low or fewer.low == more.low == 0
    assert fewer.high < more.high or fewer.high == more.high == 1


def test_impossible_counts_and_levels_are_refused() -> None:
    for successes, trials in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ConfigError, match="successes"):
            wilson(successes, trials)
    with pytest.raises(ConfigError, match="confidence level 95"):
        wilson(1, 2, level=95)


def test_the_bootstrap_pairs_the_tasks() -> None:
    rng = np.random.default_rng(1)
    before = rng.random(200) < 0.5
    # Every lost game is won afterwards: paired, the gain is far more certain than two separate rates would say.
    after = before | (rng.random(200) < 0.2)
    gain = paired_bootstrap(before.tolist(), after.tolist())
    assert gain.value == pytest.approx(float(after.mean() - before.mean()))
    assert 0 < gain.low < gain.value < gain.high
    difference = after.astype(float) - before
    error = difference.std() / math.sqrt(200)
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert paired_bootstrap(before.tolist(), after.tolist()) == gain


def test_no_change_gives_no_interval() -> None:
    gain = paired_bootstrap([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_outcomes_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot pair 2 outcomes with 1"):
        paired_bootstrap([1.0, 0.0], [1.0])
