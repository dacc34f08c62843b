from __future__ import annotations

import math

import numpy as np
import pytest

from agentgym.algos import GRPO, RLOO
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.testing import make_batch
from tests.drawn import drawn_batch


def leave_one_out(batch: StepBatch, base: str) -> list[float]:
    """Each row's episode against the mean of the other episodes, or of the other rows, of its group."""
    totals: dict[int, list[float]] = {}
    for episode, reward in zip(batch.episode.tolist(), batch.reward.tolist(), strict=True):
        totals.setdefault(episode, []).append(reward)
    total = {episode: math.fsum(rewards) for episode, rewards in totals.items()}
    answer = []
    for row in range(len(batch)):
        siblings = np.flatnonzero(batch.group == batch.group[row]).tolist()
        if base == "rows":
            others = [total[int(batch.episode[i])] for i in siblings if i != row]
        else:
            mine = int(batch.episode[row])
            others = [total[e] for e in {int(batch.episode[i]) for i in siblings} - {mine}]
        own = total[int(batch.episode[row])]
        answer.append(own - math.fsum(others) / len(others) if others else 0.0)
    return answer


@pytest.mark.parametrize("base", ["episodes", "rows"])
@pytest.mark.parametrize("seed", range(8))
def test_leaves_one_out(seed: int, base: str) -> None:
    batch = drawn_batch(seed)
    np.testing.assert_allclose(RLOO(base=base).credit(batch).advantage, leave_one_out(batch, base), atol=2e-6)


def test_three_episodes_of_different_length() -> None:
    batch = make_batch(group=[0] * 4, episode=[0, 1, 1, 2], t=[0, 0, 1, 0], reward=[1.0, 0, 0, 0.5])
    assert RLOO().credit(batch).advantage.tolist() == [0.75, -0.75, -0.75, 0.0]
    by_rows = RLOO(base="rows").credit(batch).advantage  # totals 1, 0, 0, 0.5; the twin row of episode 1 stays in
    np.testing.assert_allclose(by_rows, [1 - 0.5 / 3, -1.5 / 3, -1.5 / 3, 0.5 - 1 / 3], rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_is_the_centred_return_times_n_over_n_minus_one(seed: int) -> None:
    batch = drawn_batch(seed)
    centred = GRPO(std=None).credit(batch).advantage
    size = np.array([len(set(batch.episode[batch.group == g].tolist())) for g in batch.group])
    factor = np.where(size > 1, size / np.maximum(size - 1, 1), 1.0)
    np.testing.assert_allclose(RLOO().credit(batch).advantage, centred * factor, rtol=1e-6)


def test_equal_returns_give_literal_zeros() -> None:
    batch = make_batch(group=[0] * 3, episode=[0, 1, 2], t=[0] * 3, reward=[10 * 0.95**7] * 3)
    assert RLOO().credit(batch).advantage.tolist() == [0.0] * 3


def test_a_lone_episode() -> None:
    batch = make_batch(group=[0], episode=[0], t=[0], reward=[3.0])
    assert RLOO().credit(batch).advantage.tolist() == [0.0]
    assert RLOO(lone="raw").credit(batch).advantage.tolist() == [3.0]
    with pytest.raises(AlgorithmError, match="single member"):
        RLOO(lone="raise").credit(batch)


def test_has_no_standard_deviation() -> None:
    with pytest.raises(ConfigError, match="std"):
        RLOO(std="sample")  # type: ignore[arg-type]
