"""Collectors whose groups are trees: legal groups, budgets, costs, and nothing that depends on who runs beside whom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agentgym.algos import GRPO, GiGPO
from agentgym.batch import StepBatch
from agentgym.episodes import Group
from agentgym.errors import ConfigError, SnapshotError
from agentgym.policies import HFPolicy, RandomPolicy, ScriptedPolicy, Transcript, Window
from agentgym.policies.scoring import TokenScorer
from agentgym.rollouts import Rollout
from agentgym.storage import read_groups, write_groups
from agentgym.wrappers import StateHash
from tests.rollouts.forking import (
    LIMIT,
    Drifting,
    Sealed,
    Unsure,
    collect,
    depths_of_forks,
    left,
    limited,
    paths,
    without_time,
)
from tests.training.small import small_policy
from tests.worlds import Bare, Corridor

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("tree", {}),
    ("tree", {"trees": 1, "rounds": 7}),
    ("entropy", {"rule": "chance"}),
    ("entropy", {"rule": "chance", "sensitivity": 0.5, "penalty": 0.2, "branches": 2}),
]
every_kind = pytest.mark.parametrize(("name", "options"), KINDS)


@pytest.mark.parametrize("context", [Transcript(instruction=None), Window(2, instruction=None)])
@every_kind
def test_paths_of_a_tree_share_what_they_share_and_nothing_else(name: str, options: Any, context: Any) -> None:
    policy = small_policy(constrain="admissible", context=context)
    rollout = collect(name, policy=policy, **options)
    shared = 0
    for group in rollout.groups:
        assert [episode.index for episode in group.episodes] == list(range(8))
        steps = {step.node: step for episode in group.episodes for step in episode.steps}
        assert set(steps) == set(range(len(steps)))
        for path, episode in zip(paths(group), group.episodes, strict=True):
            # Two paths agree up to where they part, and never meet again.
            for other in paths(group):
                common = sum(a == b for a, b in zip(path, other, strict=False))
                assert path[:common] == other[:common]
                assert not set(path[common:]) & set(other[common:])
            assert [steps[node] for node in path] == list(episode.steps)
            assert episode.end in ("success", "failure", "step_limit")
        shared += sum(map(len, group.episodes)) - len(steps)
    assert shared > 0
    assert_logprobs_are_the_models(policy, rollout.groups)


def assert_logprobs_are_the_models(policy: HFPolicy, groups: Sequence[Group]) -> None:
    """Score the ids anew: what branches recorded after going on from a prefix is what the model says of the whole."""
    scorer = TokenScorer(policy.model, policy.temperature)
    for group in groups:
        for sequence in (s for episode in group.episodes[-3:] for s in episode.sequences()):
            select = torch.from_numpy(np.flatnonzero(sequence.loss_mask))
            ids = torch.from_numpy(sequence.ids)[None]
            allowed = None if sequence.allowed is None else list(sequence.allowed)
            scored, _ = scorer(ids, torch.tensor([ids.shape[1]]), select, False, allowed)
            recorded = torch.from_numpy(sequence.logprobs[sequence.loss_mask])
            torch.testing.assert_close(scored.detach(), recorded, atol=2e-4, rtol=1e-4)


def what_was_said(rollout: Rollout) -> list[Any]:
    """Return ids and nodes: log-probabilities differ in their last bits with the size of the model's batch."""
    episodes = [episode for group in rollout.groups for episode in group.episodes]
    return [[(step.node, step.action, step.response_ids) for step in episode.steps] for episode in episodes]


@every_kind
def test_a_tree_depends_on_neither_processes_nor_on_what_runs_at_once(name: str, options: Any) -> None:
    wavering = Unsure((1.0, 2.0, 0.5, 1.5, 1.0, 3.0, 1.2))
    for policy in (small_policy(constrain="admissible"), RandomPolicy() if name == "tree" else wavering):
        one, two, few = (
            collect(name, policy=policy, processes=processes, iteration=1, max_live=live, **options)
            for processes, live in ((1, 256), (2, 256), (1, 3))
        )
        assert what_was_said(one) == what_was_said(two) == what_was_said(few)
        assert without_time(one) == without_time(two) == without_time(few)
        if not isinstance(policy, HFPolicy):
            assert one.groups == two.groups == few.groups
        assert one.groups != collect(name, policy=policy, iteration=2, **options).groups


@every_kind
def test_a_shared_decision_is_counted_once(name: str, options: Any) -> None:
    rollout = collect(name, policy=small_policy(constrain="admissible"), **options)
    stats = rollout.stats
    steps = [step for group in rollout.groups for step in {s.node: s for e in group.episodes for s in e.steps}.values()]
    assert stats["nodes"] == stats["env_steps"] == len(steps)
    assert stats["generated_tokens"] == sum(len(step.response_ids or ()) for step in steps)
    assert stats["nodes"] + stats["restored_steps"] == len(rollout.batch())
    assert stats["fresh_paths"] + stats["forks"] == stats["episodes"] == 16
    assert stats["restores"] == stats["forks"] > 0
    assert stats["lost_branches"] == stats["replayed_steps"] == 0


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_tree_is_stored_and_read_back(suffix: str, tmp_path: Path) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    rollout = collect("tree", policy=small_policy(constrain="admissible"))
    write_groups(tmp_path / f"tree.{suffix}", rollout.groups)
    read = read_groups(tmp_path / f"tree.{suffix}")
    assert read == rollout.groups
    batch = StepBatch.from_groups(read)
    for column in ("node", "parent", "branch"):
        assert getattr(batch, column).tolist() == getattr(rollout.batch(), column).tolist()


def test_plain_methods_credit_a_tree_path_by_path() -> None:
    rollout = collect("tree", group_size=8)
    tree = rollout.batch()
    straight = StepBatch.from_groups(rollout.groups)
    assert len(set(tree.node.tolist())) < len(tree)
    for method in (GRPO(), GiGPO(), GiGPO(anchor="state")):
        advantage = method.credit(tree).advantage
        assert np.isfinite(advantage).all()
        assert np.any(advantage != 0)
        assert advantage.tolist() == method.credit(straight).advantage.tolist()


class TestBudgets:
    """Every path of these worlds has the full length, so what is expected of a fork is what it takes."""

    def test_no_fork_is_deeper_than_allowed(self) -> None:
        for limit in (1, 3):
            forks = [d for g in collect("tree", policy=left(), max_depth=limit).groups for d in depths_of_forks(g) if d]
            assert max(forks) == limit

    @pytest.mark.parametrize("budget", [14, 15, 20, 30, 45, 100])
    def test_decisions(self, budget: int) -> None:
        rollout = collect("tree", policy=left(), max_nodes=budget)
        for group in rollout.groups:
            nodes = len({node for path in paths(group) for node in path})
            assert nodes <= budget
            # The first wave always plays; the dearest forks take six decisions each.
            assert len(group) >= 2
            assert len(group) <= 2 + budget - 14
            assert len(group) == 8 or budget < 50

    @pytest.mark.parametrize("budget", [16, 30, 60])
    def test_environment_steps_with_those_that_a_replay_takes_again(self, budget: int) -> None:
        rollout = collect("tree", policy=left(), groups=1, max_env_steps=budget, snapshots="replay")
        assert 2 <= len(rollout.groups[0]) <= 1 + budget // LIMIT
        assert rollout.stats["replayed_steps"] == rollout.stats["restored_steps"]
        # A fork by replay takes as many steps as a fresh path.
        assert rollout.stats["env_steps"] + rollout.stats["replayed_steps"] == LIMIT * len(rollout.groups[0]) <= budget

    def test_values_are_sought_from_the_start_on(self) -> None:
        rollout = collect("vine", policy=left(), groups=1, group_size=1, forks=2, max_nodes=LIMIT * 3)
        assert rollout.stats["forks"] == 2
        assert rollout.stats["nodes"] == LIMIT * 3

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ({"max_nodes": 0}, "max_nodes"),
            ({"max_depth": -1}, "max_depth"),
            ({"snapshots": "deep"}, "kind of snapshots 'deep'.*Allowed: copy, native, replay"),
            ({"trees": 0}, "trees"),
            ({"trees": 3}, r"group_size \(8\) must be trees \(3\)"),
            ({"rounds": 4}, "such as 10 or 18"),
        ],
    )
    def test_impossible_settings_are_named(self, options: dict[str, Any], word: str) -> None:
        with pytest.raises(ConfigError, match=word):
            collect("tree", **options)


class TestWaysOfSaving:
    def test_all_ways_grow_the_same_tree(self) -> None:
        policy = small_policy(constrain="admissible")
        native, copied, replayed = (
            collect("tree", policy=policy, snapshots=way) for way in ("native", "copy", "replay")
        )
        assert native.groups == copied.groups == replayed.groups
        assert replayed.stats["replayed_steps"] == replayed.stats["restored_steps"] > 0
        assert copied.stats["replayed_steps"] == 0

    def test_a_world_that_cannot_save_itself_forks_by_replay(self) -> None:
        with pytest.raises(SnapshotError, match=r"cannot save its state.*snapshots='replay'"):
            collect("tree", limited(Sealed))
        replayed = collect("tree", limited(Sealed), snapshots="replay")
        assert replayed.stats["lost_branches"] == 0
        assert replayed.groups == collect("tree", limited(Corridor)).groups

    @pytest.mark.parametrize("way", ["copy", "replay"])
    def test_a_foreign_world_without_a_reseed_forks_if_told_that_it_has_no_chance(self, way: str) -> None:
        def make() -> gym.Env[str, str]:
            return gym.wrappers.TimeLimit(StateHash(Bare()), 4)

        policy = ScriptedPolicy(lambda turn: "drink")
        kept = collect("tree", make, policy, snapshots=way, reseed=False)
        assert kept.stats["lost_branches"] == 0
        assert kept.stats["forks"] == 12
        lost = collect("tree", make, policy, snapshots=way)
        assert (lost.stats["forks"], lost.stats["lost_branches"], lost.stats["restores"]) == (0, 12, 12)

    def test_a_world_that_is_no_function_of_its_seed_loses_branches_and_says_so(self) -> None:
        rollout = collect("tree", limited(Drifting), left(), snapshots="replay")
        assert rollout.stats["lost_branches"] == rollout.stats["restores"] == 12
        assert rollout.stats["forks"] == rollout.stats["restored_steps"] == 0
        assert rollout.stats["replayed_steps"] > 0
        # Fresh paths take the place of the lost ones, so that the batch keeps its size.
        assert [len(group) for group in rollout.groups] == [8, 8]
        assert rollout.stats["fresh_paths"] == 16
        assert all(depth == 0 for group in rollout.groups for depth in depths_of_forks(group))
