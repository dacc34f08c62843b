from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos.functional.returns import discounted_returns, episode_returns
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError
from agentgym.testing import make_batch
from agentgym.testing.strategies import step_batches
from tests import reference

NON_DYADIC = st.integers(0, 60).map(lambda k: 10 * 0.95**k)


def test_discounts_to_the_end_of_each_episode_in_any_row_order() -> None:
    # Episode 0: 0, 0, 10. Episode 1: 1, 2. Rows shuffled.
    episode, t, reward = np.array([1, 0, 0, 1, 0]), np.array([1, 2, 0, 0, 1]), np.array([2.0, 10, 0, 1, 0])
    returns = discounted_returns(reward, episode, t, 0.5)
    assert returns.tolist() == [2.0, 10.0, 2.5, 2.0, 5.0]
    assert episode_returns(reward, episode, t).tolist() == [3.0, 10.0, 10.0, 3.0, 10.0]


@given(step_batches(st.one_of(NON_DYADIC, st.just(0.0)), max_steps=20), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_equals_the_backward_recursion(batch: StepBatch, gamma: float) -> None:
    fast = discounted_returns(batch.reward, batch.episode, batch.t, gamma)
    np.testing.assert_allclose(fast, reference.discounted_returns(batch, gamma), rtol=1e-13)


@given(step_batches(max_steps=9))
def test_total_is_the_undiscounted_return_of_the_first_step(batch: StepBatch) -> None:
    totals = episode_returns(batch.reward, batch.episode, batch.t)
    from_start = discounted_returns(batch.reward, batch.episode, batch.t, 1.0)
    assert totals[batch.t == 0].tolist() == from_start[batch.t == 0].tolist()


@pytest.mark.parametrize("early", [0, 1, 7, 30])
def test_equal_rewards_ahead_give_the_same_return_to_the_last_bit(early: int) -> None:
    """A success k steps ahead is worth γᵏ exactly alike, however long the episode was before."""
    short, long = np.append(np.zeros(20), 1.0), np.append(np.zeros(20 + early), 1.0)
    ends = [discounted_returns(r, np.zeros(len(r), int), np.arange(len(r)), 0.95)[-21:] for r in (short, long)]
    assert ends[0].tolist() == ends[1].tolist()


def test_no_rows_give_no_returns() -> None:
    batch = make_batch(group=[], episode=[], t=[], reward=[])
    assert discounted_returns(batch.reward, batch.episode, batch.t, 0.9).shape == (0,)
    assert episode_returns(batch.reward, batch.episode, batch.t).shape == (0,)


@pytest.mark.parametrize("t", [[0, 0, 2], [0, 1, 3], [0, 1, 1], [-1, 0, 1]])
def test_missing_or_double_steps_are_refused_by_episode(t: list[int]) -> None:
    with pytest.raises(AlgorithmError, match=r"episode 4 has 3 rows but not the steps 0 to 2 once each"):
        episode_returns(np.zeros(4), np.array([4, 4, 4, 2]), np.array([*t, 0]))


@pytest.mark.parametrize("reward", [np.nan, np.inf])
def test_a_reward_that_is_not_finite_is_refused(reward: float) -> None:
    with pytest.raises(AlgorithmError, match=r"row 1 has reward (nan|inf)"):
        discounted_returns(np.array([0.0, reward]), np.array([0, 0]), np.array([0, 1]), 0.9)
