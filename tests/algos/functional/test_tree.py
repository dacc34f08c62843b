from __future__ import annotations

import numpy as np
import pytest

from agentgym.algos.functional.tree import paths_through, tree_codes
from agentgym.errors import AlgorithmError
from agentgym.testing import battery

# Three paths: two share their first two decisions, the third has its own.
NODE = np.array([4, 5, 6, 4, 5, 9, 2])
EPISODE = np.array([0, 0, 0, 1, 1, 1, 3])
T = np.array([0, 1, 2, 0, 1, 2, 0])


def test_a_path_belongs_to_the_tree_of_its_first_decision() -> None:
    assert tree_codes(NODE, EPISODE, T).tolist() == [4, 4, 4, 4, 4, 4, 2]
    order = np.random.default_rng(0).permutation(7)
    assert tree_codes(NODE[order], EPISODE[order], T[order]).tolist() == tree_codes(NODE, EPISODE, T)[order].tolist()


def test_paths_through_a_decision() -> None:
    assert paths_through(NODE).tolist() == [2, 2, 1, 2, 2, 1, 1]


def test_straight_episodes_are_trees_of_their_own() -> None:
    batch = battery()["many real rewards"]
    trees = tree_codes(batch.node, batch.episode, batch.t)
    assert len(set(zip(trees.tolist(), batch.episode.tolist(), strict=True))) == np.unique(batch.episode).size
    assert np.unique(trees).size == np.unique(batch.episode).size
    assert (paths_through(batch.node) == 1).all()


def test_a_path_without_its_first_step_is_refused() -> None:
    with pytest.raises(AlgorithmError, match="episode 1 has no row with t = 0"):
        tree_codes(NODE[4:], EPISODE[4:], T[4:])


def test_nothing_gives_nothing() -> None:
    none = np.zeros(0, np.int64)
    assert tree_codes(none, none, none).shape == paths_through(none).shape == (0,)
