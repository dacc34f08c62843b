from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agentgym.algos import GRPO, TreeGRPO, get_algorithm
from agentgym.batch import StepBatch
from agentgym.testing import battery, check_algorithm, make_batch
from tests import reference
from tests.drawn import drawn_batch

TREES = [name for name in battery() if name.startswith("trees")]


def one_by_one(batch: StepBatch, base: str, std: str | None, weight: float) -> list[float]:
    """GRPO among the paths of a task, and once more with its trees for tasks, by the slow twin."""
    inter = reference.grpo(batch, base, std, 1e-3, "zero", [0.0] * len(batch))
    first = {int(e): int(n) for e, n, t in zip(batch.episode, batch.node, batch.t, strict=True) if t == 0}
    of_tree = replace(batch, group=np.array([first[int(episode)] for episode in batch.episode]))
    intra = reference.grpo(of_tree, base, std, 1e-3, "zero", [0.0] * len(batch))
    return [a + weight * b for a, b in zip(inter, intra, strict=True)]


@pytest.mark.parametrize(
    ("base", "std"), [("episodes", None), ("episodes", "sample"), ("episodes", "population"), ("rows", "sample")]
)
@pytest.mark.parametrize("name", TREES)
def test_equals_the_loop(name: str, base: Any, std: Any) -> None:
    batch = battery()[name]
    credit = TreeGRPO(base=base, std=std, eps=1e-3, intra_weight=0.5).credit(batch)
    np.testing.assert_allclose(credit.advantage, one_by_one(batch, base, std, 0.5), rtol=1e-5, atol=2e-6)
    assert (credit.components["intra"] != 0).any()


def two_trees() -> StepBatch:
    """Paths 0 and 1 part after their first decision, 2 and 3 after their second; 4 is a tree of its own."""
    return make_batch(
        group=[0] * 10,
        episode=[0, 0, 1, 1, 2, 2, 3, 3, 3, 4],
        t=[0, 1, 0, 1, 0, 1, 0, 1, 2, 0],
        reward=[0, 1, 0, 0, 0, 0.5, 0, 0, 1, 0],
        node=[0, 1, 0, 2, 3, 4, 3, 4, 5, 6],
    )


def test_every_path_gets_one_value() -> None:
    """Returns 1, 0, 0.5, 1.5, 0 less 0.6, a shared reward counting on each path; trees less 0.5 and 1; a lone path."""
    batch = replace(two_trees(), reward=np.array([0, 1, 0, 0, 0, 0.5, 0, 0.5, 1, 0]))
    credit = TreeGRPO(std=None).credit(batch)
    first = batch.t == 0
    np.testing.assert_allclose(credit.components["episode"][first], [0.4, -0.6, -0.1, 0.9, -0.6], rtol=1e-6)
    assert credit.components["intra"][first].tolist() == [0.5, -0.5, -0.5, 0.5, 0.0]
    for episode in range(5):
        assert np.unique(credit.advantage[batch.episode == episode]).size == 1
    assert credit.diagnostics["shared_row_share"] == 0.6
    assert credit.diagnostics["zero_variance_tree_share"] == pytest.approx(1 / 3)


def test_the_paper_settings_on_two_trees_of_two_paths() -> None:
    """Outcomes 1, 0 and 0, 0: mean 1/4 and std 1/2 of the task, mean 1/2 and std 0.7071 of the first tree."""
    batch = make_batch(
        group=[0] * 8,
        episode=[0, 0, 1, 1, 2, 2, 3, 3],
        t=[0, 1] * 4,
        reward=[0, 1] + [0] * 6,
        node=[0, 1, 0, 2, 3, 4, 3, 5],
    )
    advantage = get_algorithm("tree_grpo_paper").credit(batch).advantage
    assert advantage[::2] == pytest.approx([1.5 + 0.7071, -0.5 - 0.7071, -0.5, -0.5], abs=1e-4)


@pytest.mark.parametrize("base", ["episodes", "rows"])
@pytest.mark.parametrize("seed", range(3))
def test_on_straight_groups_it_is_grpo_bit_for_bit(seed: int, base: Any) -> None:
    batch = drawn_batch(seed)
    expected = GRPO(base=base).credit(batch).advantage.tolist()
    assert TreeGRPO(base=base, intra_weight=3.0).credit(batch).advantage.tolist() == expected


@pytest.mark.parametrize("name", TREES)
def test_without_weight_it_is_grpo_bit_for_bit(name: str) -> None:
    batch = battery()[name]
    expected = GRPO().credit(batch).advantage.tolist()
    assert TreeGRPO(intra_weight=0.0).credit(batch).advantage.tolist() == expected


def test_where_paths_of_each_tree_fared_alike_it_is_grpo() -> None:
    batch = replace(two_trees(), reward=np.array([0.7, 0, 0.7, 0, 0, 0.3, 0, 0.3, 0, 1.0]))
    assert TreeGRPO().credit(batch).advantage.tolist() == GRPO().credit(batch).advantage.tolist()


def test_a_task_with_one_tree_has_twice_grpos() -> None:
    batch = two_trees().take(np.arange(4))
    assert TreeGRPO().credit(batch).advantage.tolist() == (2 * GRPO().credit(batch).advantage).tolist()


def test_trees_of_different_groups_are_not_compared() -> None:
    batch = battery()["trees"]
    alone = np.flatnonzero(batch.group == 0)
    whole, part = TreeGRPO().credit(batch).advantage, TreeGRPO().credit(batch.take(alone)).advantage
    assert whole[alone].tolist() == part.tolist()


@pytest.mark.parametrize("name", TREES)
def test_each_tree_sums_to_zero_over_its_paths(name: str) -> None:
    batch, algorithm = battery()[name], TreeGRPO(std=None)
    part, units = algorithm.credit(batch).components["intra"], algorithm.zero_sum_units(batch)["intra"]
    assert len(set(units.tolist())) > 2
    for tree in set(units.tolist()) - {-1}:
        assert math.fsum(part[units == tree].tolist()) == pytest.approx(0, abs=1e-5)


def test_asks_for_trees() -> None:
    spec = get_algorithm("tree_grpo", trees=3, forking={"snapshots": "replay"}).collector()
    assert (spec.name, spec.options) == ("tree", {"trees": 3, "rounds": 1, "snapshots": "replay"})


def test_a_batch_without_rows_has_no_credit() -> None:
    assert TreeGRPO().credit(make_batch(group=[], episode=[], t=[], reward=[])).advantage.shape == (0,)


@pytest.mark.parametrize(
    "settings",
    [{"base": "rows", "std": "population", "format_penalty": 0.1}, {"std": None, "lone": "raw", "intra_weight": 0.5}],
    ids=str,
)
def test_other_settings_keep_the_laws(settings: dict[str, Any]) -> None:
    check_algorithm(get_algorithm("tree_grpo", **settings), max_examples=0)
