from __future__ import annotations

import math

import numpy as np
import pytest

from agentgym.algos import EMPG, GRPO
from agentgym.algos.empg import entropy_scales, next_rows
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError
from agentgym.testing import make_batch
from tests.drawn import drawn_batch


def one_by_one(batch: StepBatch, k: float, k_future: float, zeta: float) -> list[float]:
    entropy = batch.columns["entropy"].tolist()
    low, high = min(entropy), max(entropy)
    relative = [(h - low) / (high - low + 1e-8) for h in entropy]
    level = math.fsum(math.exp(-k * h) for h in relative) / len(relative)
    outcome = GRPO().credit(batch).advantage.tolist()
    place = {(e, t): i for i, (e, t) in enumerate(zip(batch.episode.tolist(), batch.t.tolist(), strict=True))}
    answer = []
    for (episode, t), row in place.items():
        following = place.get((episode, t + 1))
        bonus = 0.0 if following is None else zeta * math.exp(-k_future * relative[following])
        answer.append((row, math.exp(-k * relative[row]) / level * outcome[row] + bonus))
    mean = math.fsum(value for _, value in answer) / len(answer)
    return [value - mean for _, value in sorted(answer)]


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_loop(seed: int) -> None:
    batch = drawn_batch(seed)
    ours = EMPG(k=0.7, k_future=2.0, zeta=0.3).credit(batch).advantage
    np.testing.assert_allclose(ours, one_by_one(batch, 0.7, 2.0, 0.3), atol=2e-6)


def test_two_episodes_by_hand() -> None:
    """Entropies 0, 1, 0, 1 at k = ln 2 give scales 4/3, 2/3, 4/3, 2/3, and clarity 1 or 1/2."""
    batch = make_batch(group=[0] * 4, episode=[0, 0, 1, 1], t=[0, 1, 0, 1], reward=[0, 1, 0, 0]).with_columns(
        entropy=np.array([0.0, 1.0, 0.0, 1.0])
    )
    credit = EMPG(std=None, k=math.log(2), k_future=math.log(2), zeta=0.4).credit(batch)
    # ½ · 4/3 + 0.4 · ½, ½ · 2/3, the same with the signs of failure, less the mean 0.1
    expected = [2 / 3 + 0.2 - 0.1, 1 / 3 - 0.1, -2 / 3 + 0.2 - 0.1, -1 / 3 - 0.1]
    np.testing.assert_allclose(credit.advantage, expected, rtol=1e-6)
    np.testing.assert_allclose(credit.components["clarity"], [0.2, 0, 0.2, 0], atol=1e-7)
    np.testing.assert_allclose(credit.components["centre"], -0.1, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_without_entropy_terms_it_is_grpo_less_the_mean_over_rows(seed: int) -> None:
    batch = drawn_batch(seed)
    expected = GRPO().credit(batch).advantage
    np.testing.assert_allclose(EMPG(k=0, zeta=0).credit(batch).advantage, expected - expected.mean(), atol=1e-6)


def test_scales_are_one_on_average_and_equal_entropies_change_nothing() -> None:
    scale, clarity = entropy_scales(np.array([0.1, 0.4, 2.0]), 1.5, 1.0)
    assert scale.mean() == pytest.approx(1)
    assert scale[0] > scale[1] > scale[2]
    assert clarity[0] == 1.0
    assert clarity[2] == pytest.approx(math.exp(-1))
    assert entropy_scales(np.full(3, 0.7), 1.0, 1.0)[0].tolist() == [1.0] * 3


def test_next_rows_follow_the_steps_of_an_episode() -> None:
    assert next_rows(np.array([5, 2, 5, 5, 2]), np.array([1, 0, 0, 2, 1])).tolist() == [3, 4, 0, -1, -1]
    assert next_rows(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []


def test_without_entropies_it_says_who_brings_them() -> None:
    assert [spec.name for spec in EMPG().learners()] == ["agentgym.learners:EntropyColumn"]
    with pytest.raises(AlgorithmError, match=r"'entropy'.*EntropyColumn"):
        EMPG().credit(make_batch(group=[0], episode=[0], t=[0], reward=[1]))


def test_a_batch_without_rows_has_no_credit() -> None:
    batch = make_batch(group=[], episode=[], t=[], reward=[]).with_columns(entropy=np.zeros(0))
    assert EMPG().credit(batch).advantage.shape == (0,)
