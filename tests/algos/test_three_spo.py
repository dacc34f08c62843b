"""3SPO's formulas, against the figures that follow from them by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import ThreeSPO, get_algorithm
from agentgym.algos.three_spo import SearchBudget, rollout_count, state_score, step_reward
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.testing import check_algorithm, make_batch
from tests import reference

PAPER: dict[str, Any] = {"alpha": 50.0, "xi": 10.0, "zeta": 0.1}
COUNTS = st.tuples(st.integers(0, 400), st.integers(0, 400)).map(lambda pair: (min(pair), max(pair)))
UNIT = st.integers(0, 8).map(lambda n: n / 8)


def score_by_hand(successes: int, total: int, t: float) -> float:
    rate = successes / (total + 1e-6)
    if total - successes >= 10 and rate <= 0.1:
        return 0.0
    return math.exp(-50 * math.log(max(t, 2)) * rate)


@pytest.mark.parametrize(
    ("successes", "total", "kept"),
    [(0, 9, True), (0, 10, False), (1, 10, True), (1, 11, False), (2, 12, True), (1, 200, False)],
)
def test_what_is_given_up(successes: int, total: int, kept: bool) -> None:
    assert (state_score(successes, total, 100, **PAPER) > 0) == kept
    assert state_score(successes, total, 100, **{**PAPER, "xi": None}) > 0


@pytest.mark.parametrize(
    ("t", "rate", "count"),
    [
        *((100, rate, count) for rate, count in ((0.0, 8), (0.001, 7), (0.005, 3), (0.01, 1), (0.5, 1))),
        *((10_000, rate, count) for rate, count in ((0.001, 6), (0.005, 1), (0.1, 1))),
    ],
)
def test_how_many_samples_a_success_rate_asks_for_without_the_filter(t: int, rate: float, count: int) -> None:
    total = 100_000
    score = state_score(round(rate * total), total, t, alpha=50, xi=None, zeta=0.1)
    assert rollout_count(score, 8) == count


@given(counts=COUNTS, t=st.integers(-3, 10**9))
def test_with_the_published_settings_a_state_gets_eight_samples_or_one_or_none(counts: tuple[int, int], t: int) -> None:
    successes, total = counts
    score = float(state_score(successes, total, t, **PAPER))
    count = int(rollout_count(score, 8))
    given_up = total - successes >= 10 and successes / (total + 1e-6) <= 0.1
    assert count == (0 if given_up else 8 if successes == 0 else 1)
    assert score == pytest.approx(score_by_hand(successes, total, t), rel=1e-9, abs=1e-300)


def test_the_law_of_eight_needs_its_conditions() -> None:
    """A slower clock, a smaller α, or no filter give other counts."""
    assert rollout_count(state_score(1, 10, 100, alpha=5, xi=10, zeta=0.1), 8) == 1
    assert rollout_count(state_score(1, 10, 100, alpha=1, xi=10, zeta=0.1), 8) == 6
    assert rollout_count(state_score(1, 1000, 100, **{**PAPER, "xi": None}), 8) == 7
    # The example of a README, 10 visits, S = 0.3 and n = 3, needs a t below 2.
    t = math.exp(-math.log(0.3) / (50 * 0.1))
    assert 1 < t < 2
    assert rollout_count(0.3, 8) == 3


def test_unseen_states_are_unresolved_and_solved_ones_are_never_given_up() -> None:
    assert state_score(0, 0, 1, **PAPER) == 1
    late = state_score(10**6, 10**6, 10**12, **PAPER)
    assert late > 0, "exp(-1,381) is 0 in floating point, and 0 would give the state up"
    assert rollout_count(late, 8) == 1


@given(counts=COUNTS, more=st.integers(0, 50), t=st.integers(2, 10**6))
def test_scores_fall_with_successes_and_with_time(counts: tuple[int, int], more: int, t: int) -> None:
    settings = {**PAPER, "xi": None}
    successes, total = counts
    score = state_score(successes, total, t, **settings)
    assert 0 < score <= 1
    assert state_score(min(successes + more, total), total, t, **settings) <= score
    assert state_score(successes, total, t + more, **settings) <= score


@pytest.mark.parametrize(
    ("visits", "weight"), [(0, 0.5), (1, 0.4524), (5, 0.3033), (10, 0.1839), (20, 0.0677), (50, 0.0034)]
)
def test_the_weight_of_novelty(visits: int, weight: float) -> None:
    assert step_reward(0, 0, visits, 1, 0, omega=0.1) == pytest.approx(weight, abs=5e-5)
    assert step_reward(1, 0, visits, 0, 0, omega=0.1) == pytest.approx(0.5 - weight, abs=5e-5)


@given(score=UNIT, after=UNIT, visits=st.integers(0, 1000), novel=st.booleans(), success=st.booleans())
def test_rewards_lie_between_minus_a_half_and_one(
    score: float, after: float, visits: int, novel: bool, success: bool
) -> None:
    assert -0.5 <= step_reward(score, after, visits, novel, success, omega=0.1) <= 1
    assert step_reward(1, 1, 0, 1, 0, omega=0.1) == 0.5, "unseen to unseen"
    assert step_reward(1, 0, 0, 1, 1, omega=0.1) == 1
    assert step_reward(0, 1, 10**9, 0, 0, omega=0.1) == -0.5


def samples(rows: int = 6, **columns: Any) -> StepBatch:
    """Return the samples of two states, three each."""
    index = np.arange(rows)
    given = {"score": 1.0, "next_score": 1.0, "visits": 0.0, "novel": 1.0, "success": 0.0, **columns}
    batch = make_batch(group=index // 3, episode=index, t=0 * index, reward=0 * index)
    return batch.with_columns(**{name: np.broadcast_to(np.float64(v), rows) for name, v in given.items()})


@given(
    score=UNIT, after=st.lists(UNIT, min_size=3, max_size=3), success=st.lists(st.booleans(), min_size=3, max_size=3)
)
def test_among_siblings_only_the_difference_of_the_next_states_matters(
    score: float, after: list[float], success: list[bool]
) -> None:
    given: dict[str, Any] = {"next_score": np.tile(after, 2), "success": np.tile(success, 2), "visits": 5.0}
    one = ThreeSPO().credit(samples(score=0.25, **given)).advantage
    other = ThreeSPO().credit(samples(score=score, **given)).advantage
    np.testing.assert_allclose(one, other, atol=1e-7)
    weight = 0.5 * math.exp(-0.5)
    part = [weight - (0.5 - weight) * s + 0.5 * won for s, won in zip(after, success, strict=True)]
    np.testing.assert_allclose(one[:3], np.array(part) - np.mean(part), atol=1e-6)


@pytest.mark.parametrize("std", [None, "sample", "population"])
def test_equals_the_slow_normalisation(std: Any) -> None:
    rng = np.random.default_rng(3)
    batch = samples(next_score=rng.random(6), novel=rng.integers(0, 2, 6), success=rng.integers(0, 2, 6), visits=2.0)
    algorithm = ThreeSPO(std=std, eps=1e-3)
    columns = {name: batch.columns[name] for name in algorithm.columns}
    rewards = step_reward(**columns, omega=0.1).tolist()
    expected = reference.normalise(rewards, batch.group.tolist(), std, 1e-3, "zero")
    np.testing.assert_allclose(algorithm.credit(batch).advantage, expected, rtol=1e-5, atol=1e-6)


def test_a_malformed_response_is_fined() -> None:
    batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[0, 0], format_ok=[True, False])
    batch = batch.with_columns(**{name: np.ones(2) for name in ThreeSPO.columns})
    assert ThreeSPO(format_penalty=0.5).credit(batch).advantage.tolist() == [0.25, -0.25]
    assert ThreeSPO().credit(batch).advantage.tolist() == [0, 0]


def test_later_steps_of_a_straight_episode_have_no_siblings() -> None:
    batch = make_batch(group=[0] * 4, episode=[0, 0, 1, 1], t=[0, 1, 0, 1], reward=[0] * 4)
    columns = {name: np.array([0.0, 1, 1, 0]) for name in ThreeSPO.columns}
    assert ThreeSPO().credit(batch.with_columns(**columns)).advantage[[1, 3]].tolist() == [0, 0]


def test_without_the_search_it_says_what_is_missing() -> None:
    with pytest.raises(AlgorithmError, match=r"needs the row column 'score'.*collector 'search'"):
        ThreeSPO().credit(make_batch(group=[0], episode=[0], t=[0], reward=[0]))


def test_it_asks_for_the_search_with_its_settings() -> None:
    spec = get_algorithm("3spo:waves=3+scope=task+budget={samples: 64}").collector()
    assert spec.name == "search"
    assert spec.options["waves"] == 3
    assert spec.options["scope"] == "task"
    assert spec.options["budget"] == {"samples": 64, "nodes": None, "depth": None, "env_steps": None}
    assert get_algorithm("3spo_paper").collector().options["scope"] == "global"
    assert get_algorithm("3spo_task").collector().options["scope"] == "task"


@pytest.mark.parametrize(
    "settings",
    [{"alpha": 0}, {"waves": 0}, {"budget": {"samples": 0}}, {"budget": {"rollouts": 9}}, {"scope": "place"}],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ThreeSPO(**settings)


@pytest.mark.parametrize("std", [None, "sample", "population"])
def test_equal_step_rewards_give_literally_zero(std: Any) -> None:
    """On values that are not dyadic."""
    batch = samples(next_score=0.95**7, visits=3.0)
    assert ThreeSPO(std=std).credit(batch).advantage.tolist() == [0.0] * 6


def test_it_keeps_its_laws_with_a_penalty() -> None:
    check_algorithm(ThreeSPO(std="sample", format_penalty=0.25), max_examples=0)


def test_budgets_have_no_limits_by_default() -> None:
    assert set(SearchBudget().model_dump().values()) == {None}
