from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentgym.algos.functional.matching import (
    Pairs,
    best_positions,
    greedy_matching,
    optimal_matching,
    soft_credit,
)
from tests import reference


def credits(seed: int, steps: int, episodes: int, positions: int) -> Any:
    """Return credits with zeros and ties: whole numbers of 0 to 4, then fractions."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 5, (steps, episodes, positions)) / 4.0
    return coarse if seed % 2 else np.where(coarse > 0.5, rng.random(coarse.shape), 0.0)


def pairs_of(matched: Any, episode: int) -> dict[int, int]:
    return {i: int(j) for i, j in enumerate(matched[:, episode]) if j >= 0}


def test_published_example_of_the_soft_credit() -> None:
    credit = soft_credit(np.array([0.95, 0.92, 0.88, 0.90, 0.40]), 0.5)
    np.testing.assert_allclose(credit, [0.90, 0.84, 0.76, 0.80, 0.0], atol=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_optimal_finds_the_greatest_total(seed: int) -> None:
    credit = credits(seed, 4, 6, 3 + seed % 3)
    matched = optimal_matching(Pairs.dense(credit))
    for f in range(6):
        own = pairs_of(matched, f)
        assert list(own.values()) == sorted(set(own.values()))
        total = sum(credit[i, f, j] for i, j in own.items())
        assert total == pytest.approx(reference.best_total(credit[:, f].tolist()), abs=1e-12)
        assert all(credit[i, f, j] > 0 for i, j in own.items())


@pytest.mark.parametrize("seed", range(1, 12, 2))
def test_optimal_prefers_earlier_steps_then_further_positions(seed: int) -> None:
    """Whole quarters tie often; among all matchings of the best total the one taken comes first."""
    credit = credits(seed, 4, 5, 4)
    matched = optimal_matching(Pairs.dense(credit))
    for f in range(5):
        grid = credit[:, f].tolist()
        best = reference.best_total(grid)
        ties = [
            m
            for m in reference.matchings(4, 4)
            if sum(grid[i][j] for i, j in m.items()) == best and all(grid[i][j] > 0 for i, j in m.items())
        ]
        # From the last step back: leaving it out comes first, then the furthest position.
        chosen = min(ties, key=lambda m: [(i in m, -m.get(i, 0)) for i in range(3, -1, -1)])
        assert pairs_of(matched, f) == chosen


@pytest.mark.parametrize("keep", ["order", "mark", "nothing"])
@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_greedy_equals_the_loop(seed: int, retry: bool, keep: Any) -> None:
    credit = credits(seed, 5, 4, 5)
    order = np.random.default_rng(seed).permutation(20).reshape(5, 4)
    pairs = Pairs.dense(credit)
    matched = greedy_matching(pairs, best_positions(pairs), order, np.arange(4) + 7, keep=keep, retry=retry)
    for f in range(4):
        visits = np.argsort(order[:, f]).tolist()
        assert pairs_of(matched, f) == reference.allocate(credit[:, f].tolist(), visits, keep, retry)


@pytest.mark.parametrize("retry", [False, True])
def test_episodes_of_one_pool_share_the_positions(retry: bool) -> None:
    credit = credits(4, 6, 6, 4)
    pool = np.array([0, 1, 0, 1, 1, 0])
    pairs = Pairs.dense(credit)
    order = np.arange(36).reshape(6, 6)
    matched = greedy_matching(pairs, best_positions(pairs), order, pool, keep="order", retry=retry)
    for p in (0, 1):
        taken = matched[:, pool == p]
        taken = taken[taken >= 0]
        assert len(taken) == len(set(taken.tolist())) > 1


def test_thresholds_and_shared_texts_are_looked_up() -> None:
    pairs = Pairs(np.array([0.5, 0.75, 1.0, 0.0]), np.array([[0], [2]]), np.array([[0, 1]]), threshold=0.5)
    assert pairs.shape == (2, 1, 2)
    assert [pairs.of(i).tolist() for i in (0, 1)] == [[[0.0, 0.5]], [[1.0, 0.0]]]
    assert optimal_matching(pairs).tolist() == [[-1], [0]]


def test_nothing_to_match() -> None:
    pairs = Pairs.dense(np.zeros((3, 2, 2)))
    assert set(optimal_matching(pairs).ravel().tolist()) == {-1}
    matched = greedy_matching(
        pairs, best_positions(pairs), np.arange(6).reshape(3, 2), np.arange(2), keep="order", retry=True
    )
    assert set(matched.ravel().tolist()) == {-1}
