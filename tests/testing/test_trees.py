"""Trees of the battery, of the strategies and of the shrinking are legal: paths that share a decision agree on it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings

from agentgym.batch import StepBatch
from agentgym.testing import battery, make_batch
from agentgym.testing.shrinking import shrink, table
from agentgym.testing.strategies import step_batches

TREES = [name for name in battery() if name.startswith("trees")]
OF_PATHS = ("episode", "won", "score", "tree_node")


def complaint(batch: StepBatch) -> str | None:
    """Return what is wrong with a batch of trees, None if nothing is."""
    columns = {item.name: getattr(batch, item.name) for item in fields(batch) if item.name not in OF_PATHS}
    rows = {name: np.array(column) for name, column in columns.items() if np.shape(column) == (len(batch),)}
    rows["parent"] = batch.parent
    tokens = [tuple(ids.tolist()) for ids in np.split(batch.token_ids, batch.token_offsets[1:-1])]
    for node in np.unique(batch.node):
        same = np.flatnonzero(batch.node == node)
        if np.unique(batch.episode[same]).size < len(same):
            return f"decision {node} is twice on one path"
        for name, column in rows.items():
            if np.unique(column[same]).size > 1:
                return f"rows of decision {node} differ in {name!r}: {column[same].tolist()}"
        if len({tokens[row] for row in same}) > 1:
            return f"rows of decision {node} differ in their tokens"
    for episode in np.unique(batch.episode):
        steps = np.sort(batch.t[batch.episode == episode])
        if steps.tolist() != list(range(len(steps))):
            return f"episode {episode} has the steps {steps.tolist()}"
    points = np.where(batch.parent < 0, -1 - batch.group, batch.parent)
    for point in np.unique(points):
        if np.unique(batch.anchor[points == point]).size > 1:
            return f"decisions taken at one point were not taken in one state: {point}"
    return None


@pytest.mark.parametrize("name", TREES)
def test_trees_of_the_battery(name: str) -> None:
    batch = battery()[name]
    assert complaint(batch) is None
    assert np.unique(batch.node).size < len(batch)
    assert batch.branch.max() >= 1


def test_the_battery_has_paths_that_stop_where_others_go_on() -> None:
    batch = battery()["trees with pruned branches"]
    last = {int(e): int(batch.t[batch.episode == e].max()) for e in batch.episode}
    ends = {int(n) for n, e, t in zip(batch.node, batch.episode, batch.t, strict=True) if t == last[int(e)]}
    assert ends & set(batch.parent.tolist())


@settings(max_examples=30)
@given(step_batches(trees=True))
def test_drawn_trees(batch: StepBatch) -> None:
    assert batch.tree_node is not None
    assert complaint(batch) is None


@pytest.mark.parametrize("name", TREES)
def test_smaller_trees_stay_trees(name: str) -> None:
    seen: list[StepBatch] = []

    def forks(batch: StepBatch) -> bool:
        """Whether three paths of a group share a decision, looking at every candidate on the way."""
        seen.append(batch)
        return batch.tree_node is not None and bool((np.unique(batch.node, return_counts=True)[1] >= 3).any())

    smallest = shrink(battery()[name], forks)
    assert [problem for batch in seen if (problem := complaint(batch))] == []
    assert np.unique(smallest.episode).size == 3
    assert len(smallest) <= 12


def test_a_shared_decision_goes_from_all_its_paths_and_its_reward_changes_on_all() -> None:
    batch = make_batch(
        group=[0] * 4,
        episode=[0, 0, 1, 1],
        t=[0, 1, 0, 1],
        reward=[0.5, 1, 0.5, 0],
        node=[0, 1, 0, 2],
        anchor=[7, 8, 7, 8],
    )
    tried: list[StepBatch] = []
    shrink(batch, lambda candidate: bool(tried.append(candidate)))
    halves = [candidate for candidate in tried if len(candidate) == 2 and (candidate.t == 0).all()]
    assert [(b.node.tolist(), b.anchor.tolist()) for b in halves] == [([1, 2], [7, 7])]
    assert [0.0, 1.0, 0.0, 0.0] in [candidate.reward.tolist() for candidate in tried]
    assert [0.0, 1.0, 0.5, 0.0] not in [candidate.reward.tolist() for candidate in tried]
    assert any(candidate.tree_node is None for candidate in tried)


def test_the_table_names_decisions_where_paths_share_them() -> None:
    straight = make_batch(group=[0], episode=[0], t=[0], reward=[1])
    assert "node" not in table(straight)
    tree = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 1], node=[5, 5])
    header, *lines = (line.split() for line in table(tree).splitlines())
    assert header[-1] == "node"
    assert [line[-1] for line in lines] == ["5", "5"]
