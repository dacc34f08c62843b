from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import ARPO, GRPO, get_algorithm
from agentgym.algos.arpo import malformed
from agentgym.contracts import CollectorSpec, LearnerSpec
from agentgym.errors import ConfigError
from agentgym.testing import make_batch
from tests.drawn import drawn_batch


@given(size=st.integers(2, 16))
def test_one_success_among_failures(size: int) -> None:
    """(G - 1)/√G for the success and -1/√G for each failure; 2.475 and -0.354 for a group of 8."""
    batch = make_batch(group=[0] * size, episode=range(size), t=[0] * size, reward=[1] + [0] * (size - 1))
    advantage = ARPO().credit(batch).advantage
    assert advantage[0] == pytest.approx((size - 1) / math.sqrt(size), rel=1e-4)
    assert advantage[1:] == pytest.approx([-1 / math.sqrt(size)] * (size - 1), rel=1e-4)
    assert advantage[0] > 0 > advantage[1:].max()
    assert advantage.sum() == pytest.approx(0, abs=1e-5)


def test_the_published_magnitudes() -> None:
    batch = make_batch(group=[0] * 8, episode=range(8), t=[0] * 8, reward=[0] * 7 + [1])
    assert ARPO().credit(batch).advantage[[7, 0]].tolist() == pytest.approx([2.475, -0.354], abs=1e-3)


def test_the_format_term_lowers_the_whole_episode_once() -> None:
    """Returns 1, 1, 0 become 0.5, 1, -0.5: mean 1/3, sample standard deviation √(7/12)."""
    batch = make_batch(
        group=[0] * 6,
        episode=[0, 0, 1, 1, 2, 2],
        t=[0, 1] * 3,
        reward=[0, 1, 0, 1, 0, 0],
        format_ok=[False, False, True, True, False, True],
    )
    assert malformed(batch.format_ok, batch.episode).tolist() == [True, True, False, False, True, True]
    expected = (np.array([0.5, 1, -0.5]) - 1 / 3) / math.sqrt(7 / 12)
    assert ARPO().credit(batch).advantage == pytest.approx(np.repeat(expected, 2), rel=1e-4)
    # Shuffled rows know their episode all the same.
    order = np.array([5, 0, 3, 2, 4, 1])
    assert ARPO().credit(batch.take(order)).advantage.tolist() == ARPO().credit(batch).advantage[order].tolist()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("base", ["episodes", "rows"])
def test_credit_is_that_of_grpo_without_the_format_term(seed: int, base: str) -> None:
    batch = drawn_batch(seed)
    credit, grpo = ARPO(format_weight=0, base=base).credit(batch), GRPO(base=base).credit(batch)
    assert credit.advantage.tolist() == grpo.advantage.tolist()
    assert ARPO(base=base).credit(batch).advantage.tolist() != grpo.advantage.tolist()


def test_settings_of_the_paper() -> None:
    config = get_algorithm("arpo_paper").config
    assert (config.clip_low, config.clip_high, config.std, config.eps, config.kl_coef) == (0.2, 0.3, "sample", 1e-6, 0)
    assert (config.capacity, config.threshold, config.max_std, config.max_mean) == (8, 0.1, 0.05, 0.2)
    assert (config.format_weight, config.old_logp, config.pool) == (0.5, "recompute", 128)
    assert (config.select, config.probes, config.rate_low, config.rate_high) == (True, 16, 0.0, 1.0)


def test_what_it_asks_for() -> None:
    asked = ARPO(pool=5, capacity=3).collector()
    assert (asked.name, asked.options["pool"], asked.options["capacity"], asked.options["probes"]) == (
        "replay",
        5,
        3,
        0,
    )
    assert ARPO(select=True, probes=7, rate_low=0.25).collector().options["probes"] == 7
    name = "agentgym.learners:ReplayedLogprobs"
    assert ARPO().learners() == [LearnerSpec(name)]
    assert ARPO(old_logp="stored_clipped").learners() == [LearnerSpec(name, {"clip_low": 0.2, "clip_high": 0.3})]
    assert ARPO(old_logp="stored").learners() == ARPO(replay=False).learners() == []
    assert isinstance(asked, CollectorSpec)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": None}, "replay=True and select=False need tasks that recur"),
        ({"pool": None, "replay": False, "select": True}, "select=True need tasks that recur"),
        ({"rate_low": 0.5, "rate_high": 0.5}, r"rate_low=0.5 must be below rate_high=0.5"),
        ({"old_logp": "fresh"}, "old_logp"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ARPO(**settings)
