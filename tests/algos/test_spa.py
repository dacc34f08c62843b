"""SPA: what each way of dealing out a return sums to, what the released code adds, and PPO underneath."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import PPO, RLOO, SPA, get_algorithm
from agentgym.batch import StepBatch
from agentgym.contracts import LearnerSpec
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.learners import ProgressEstimator
from agentgym.testing import check_algorithm, make_batch
from agentgym.testing.strategies import EIGHTHS, step_batches
from tests.algos.test_ppo import played

REWARDS = st.one_of(EIGHTHS, st.integers(0, 60).map(lambda k: 10 * 0.95**k))
BATCHES = step_batches(REWARDS, columns=SPA().columns)


def estimated(seed: int = 0) -> StepBatch:
    """Three episodes of 3, 1 and 2 turns with values and progress, in any order."""
    batch = played(seed)
    rng = np.random.default_rng(seed)
    return batch.with_columns(progress=rng.integers(-4, 5, 6) / 8).with_columns()


def sums(column: npt.NDArray[Any], batch: StepBatch) -> npt.NDArray[np.float64]:
    return np.bincount(batch.episode, column)


@given(BATCHES)
def test_progress_sums_to_the_predicted_return(batch: StepBatch) -> None:
    predicted = sums(batch.columns["progress"], batch)
    np.testing.assert_allclose(sums(SPA().rewards(batch), batch), predicted, atol=1e-12)


@given(BATCHES)
def test_with_the_residual_it_sums_to_the_return(batch: StepBatch) -> None:
    algorithm = SPA(residual=True)
    np.testing.assert_allclose(sums(algorithm.rewards(batch), batch), sums(batch.reward, batch), atol=1e-9)
    # What is added is the same at each turn of an episode: it is (R - sum c) / T.
    added = algorithm.rewards(batch) - batch.columns["progress"]
    spread = [np.ptp(added[batch.episode == episode]) for episode in np.unique(batch.episode)]
    assert max(spread) < 1e-9


@given(BATCHES)
def test_uniform_sums_to_the_return(batch: StepBatch) -> None:
    rewards = SPA(redistribution="uniform").rewards(batch)
    np.testing.assert_allclose(sums(rewards, batch), sums(batch.reward, batch), atol=1e-9)
    assert all(np.ptp(rewards[batch.episode == episode]) == 0 for episode in np.unique(batch.episode))


@given(BATCHES)
def test_loo_sums_to_turns_times_the_return_less_the_mean_of_the_others(batch: StepBatch) -> None:
    dealt, returns = sums(SPA(redistribution="loo").rewards(batch), batch), sums(batch.reward, batch)
    for episode in np.unique(batch.episode):
        rows = batch.episode == episode
        others = np.setdiff1d(np.unique(batch.episode[batch.group == batch.group[rows][0]]), [episode])
        baseline = returns[others].mean() if len(others) else 0.0  # a lone one keeps its return, as released
        assert dealt[episode] == pytest.approx(rows.sum() * (returns[episode] - baseline), abs=1e-9)


@given(BATCHES)
def test_loo_is_the_credit_of_rloo(batch: StepBatch) -> None:
    rewards = SPA(redistribution="loo").rewards(batch)
    np.testing.assert_array_equal(rewards.astype(np.float32), RLOO(lone="raw").credit(batch).advantage)


def test_equal_returns_deal_out_exactly_nothing() -> None:
    batch = estimated()
    returns = {0: 0.9 * 0.95, 1: 0.9 * 0.95, 2: 0.9 * 0.95}
    last = np.array([batch.t[batch.episode == e].max() for e in batch.episode]) == batch.t
    even = replace(batch, reward=np.where(last, [returns[int(e)] for e in batch.episode], 0.0))
    assert not SPA(redistribution="loo").rewards(even).any()


def test_grounding_pays_each_turn_that_was_understood() -> None:
    batch = replace(estimated(), valid=np.array([True, False, False, True, False, True]))
    plain = SPA().rewards(batch)
    np.testing.assert_array_equal(SPA(beta=0.5).rewards(batch), plain + 0.5 * batch.valid)
    np.testing.assert_array_equal(SPA(alpha=0.0, beta=0.5).rewards(batch), 0.5 * batch.valid)
    last = batch.t == np.array([batch.t[batch.episode == e].max() for e in batch.episode])
    assert (last & ~batch.valid).any()
    expected = plain + 0.5 * (batch.valid | last)
    np.testing.assert_array_equal(SPA(beta=0.5, ground_last=True).rewards(batch), expected)
    assert SPA(beta=0.5).credit(batch).diagnostics["grounded_share"] == 0.5


def test_grounding_can_pay_more_for_wandering_than_for_success() -> None:
    """The counter-example to using it online, as the page has it: 20 legal turns in vain against a success in 8."""
    turns = [20, 8]
    batch = make_batch(
        group=[0] * 28,
        episode=np.repeat([0, 1], turns),
        t=np.concatenate([np.arange(n) for n in turns]),
        reward=[0.0] * 27 + [1.0],
    )
    assert sums(SPA(redistribution="uniform", beta=0.5).rewards(batch), batch).tolist() == [10.0, 5.0]
    assert sums(SPA(redistribution="uniform").rewards(batch), batch).tolist() == [0.0, 1.0]


def test_the_released_weight_leaves_nothing_for_the_last_turn() -> None:
    batch = estimated(1)
    plain = SPA(beta=0.5).rewards(batch)
    turns = np.bincount(batch.episode)[batch.episode]
    weighted = SPA(beta=0.5, legacy_horizon_weight=True).rewards(batch)
    np.testing.assert_array_equal(weighted, plain * (turns - 1 - batch.t))
    assert not weighted[batch.t == turns - 1].any()
    assert weighted.any()


def test_the_released_code_by_hand() -> None:
    """Two rollouts of a task, of three turns and two, the first won: 1 and -1, plus 0.5, times 2, 1, 0 and 1, 0."""
    batch = make_batch(
        group=[0] * 5,
        episode=[0, 0, 0, 1, 1],
        t=[0, 1, 2, 0, 1],
        reward=[0, 0, 1, 0, 0],
        valid=[True, False, True, True, False],
        terminated=[False, False, True, False, True],
    )
    expected = [1.5 * 2, 1.0 * 1, 0.0, -0.5 * 1, 0.0]
    assert get_algorithm("spa_released").rewards(batch).tolist() == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize("settings", [{}, {"level": "token"}, {"gamma": 0.5, "lam": 0.5, "whiten": False}], ids=str)
def test_underneath_it_is_ppo(settings: dict[str, Any]) -> None:
    batch = estimated(2)
    algorithm = SPA(beta=0.25, residual=True, **settings)
    expected = PPO(**settings).credit(replace(batch, reward=algorithm.rewards(batch)))
    credit = algorithm.credit(batch)
    np.testing.assert_array_equal(credit.advantage, expected.advantage)
    assert credit.returns is not None
    assert expected.returns is not None
    np.testing.assert_array_equal(credit.returns, expected.returns)
    assert credit.level == expected.level


def test_where_progress_is_the_reward_it_is_ppo() -> None:
    """As long as the estimator is not to be trusted, the learner hands over the rewards themselves."""
    batch = estimated(3)
    same = batch.with_columns(progress=batch.reward)
    np.testing.assert_array_equal(SPA().credit(same).advantage, PPO().credit(batch).advantage)


@pytest.mark.parametrize(
    "settings",
    [
        {"redistribution": "loo"},
        {"redistribution": "uniform", "level": "token"},
        {"residual": True, "gamma": 0.9, "lam": 0.8, "whiten": False},
        {"beta": 0.5, "ground_last": True, "legacy_horizon_weight": True, "invalid_penalty": 0.1},
    ],
    ids=str,
)
def test_settings_keep_the_laws(settings: dict[str, Any]) -> None:
    check_algorithm(SPA(**settings), max_examples=5)


def test_an_empty_batch_gets_empty_credit() -> None:
    empty = estimated().take(np.zeros(0, np.int64))
    for how in ("progress", "loo", "uniform"):
        credit = SPA(redistribution=how).credit(empty)
        assert credit.advantage.shape == (0,)
        assert credit.diagnostics == {}


def test_who_is_asked_depends_on_where_progress_comes_from() -> None:
    critic, estimator = SPA(estimator={"every": 3, "min_r2": None}).learners()
    assert critic == PPO().learners()[0]
    assert estimator == LearnerSpec("agentgym.learners:ProgressEstimator", {"every": 3, "min_r2": None})
    ProgressEstimator(**estimator.options)
    for how in ("loo", "uniform"):
        assert SPA(redistribution=how).learners() == PPO().learners()
        assert set(SPA(redistribution=how).columns) == {"value", "next_value"}
    with pytest.raises(AlgorithmError, match=r"row column 'progress'.*agentgym\.learners:ProgressEstimator"):
        SPA().credit(played())


def test_the_estimators_defaults_are_those_of_the_learner() -> None:
    import inspect

    settings = SPA().config.estimator
    given = {name: p.default for name, p in inspect.signature(ProgressEstimator).parameters.items()}
    assert settings.model_dump() == given


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="each response the whole return"):
        SPA(level="token", scope="row")
    with pytest.raises(ConfigError, match=r"residual=True corrects estimates; redistribution='loo'"):
        SPA(redistribution="loo", residual=True)
    with pytest.raises(ConfigError, match="estimator"):
        SPA(estimator={"every": 0})
