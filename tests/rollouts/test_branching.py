"""Collectors whose groups are trees: legal groups, budgets, costs, and nothing that depends on who runs beside whom."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import GRPO, GiGPO
from agentgym.batch import StepBatch
from agentgym.contracts import CollectorSpec
from agentgym.episodes import Group
from agentgym.errors import ConfigError, PolicyError, SnapshotError
from agentgym.policies import HFPolicy, RandomPolicy, ScriptedPolicy, Transcript, Turn, Window
from agentgym.policies.base import Decision, Session
from agentgym.policies.scoring import TokenScorer
from agentgym.rollouts import GroupCollector, MakeEnv, Rollout, build_collector
from agentgym.rollouts.entropy import global_share
from agentgym.rollouts.vine import segment_values
from agentgym.storage import read_groups, write_groups
from agentgym.wrappers import StateHash
from tests.training.small import corridor_expert, make_corridor, small_policy
from tests.worlds import Bare, Corridor, Dice

LIMIT = 7  # steps of make_corridor


class Unsure(ScriptedPolicy):
    """Walks left for ever, and is as unsure at each step as it is told to be."""

    def __init__(self, entropies: Sequence[float], tokens: int = 1) -> None:
        super().__init__(lambda turn: "left", "unsure")
        self.told = [(entropy, *(0.0,) * (tokens - 1)) for entropy in entropies]

    def session(self, *, greedy: bool = False, entropies: bool = False) -> Session:
        return _UnsureSession(self, entropies)


class _UnsureSession:
    def __init__(self, policy: Unsure, entropies: bool) -> None:
        self.policy = policy
        self.entropies = entropies

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        steps = [turn.env.get_wrapper_attr("_elapsed_steps") for turn in turns if turn.env is not None]
        return [Decision("left", entropies=self.policy.told[step] if self.entropies else None) for step in steps]

    def resume(self, slot: int, steps: Any) -> None:
        """Nothing is kept."""

    def drop(self, slot: int) -> None:
        """Nothing is kept."""


def collect(
    name: str,
    make_env: MakeEnv = make_corridor,
    policy: Any = None,
    *,
    processes: int = 1,
    groups: int = 2,
    group_size: int = 8,
    iteration: int = 0,
    max_live: int = 256,
    **options: Any,
) -> Rollout:
    """Collect as ``processes`` processes would, and merge."""
    settings: dict[str, Any] = {"groups": groups, "group_size": group_size, "seed": 3, "max_live": max_live}
    built = [
        build_collector(
            CollectorSpec(name, options), make_env, policy or RandomPolicy(), **settings, rank=r, world_size=processes
        )
        for r in range(processes)
    ]
    return built[0].merge([collector.collect(iteration) for collector in built])


def left() -> ScriptedPolicy:
    return ScriptedPolicy(lambda turn: "left")


def without_time(rollout: Rollout) -> dict[str, float]:
    return {name: value for name, value in rollout.stats.items() if name != "seconds"}


def paths(group: Group) -> list[list[int | None]]:
    return [[step.node for step in episode.steps] for episode in group.episodes]


def depths_of_forks(group: Group) -> list[int]:
    """Return how many decisions each path shares with an earlier one, in the order of the paths."""
    found = []
    seen: set[int | None] = set()
    for path in paths(group):
        found.append(sum(node in seen for node in path))
        seen.update(path)
    return found


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


class Sealed(Corridor):
    """A corridor that cannot save itself."""

    def _get_state(self) -> Any:
        raise SnapshotError("Sealed cannot save its state")


class Drifting(Corridor):
    """A corridor that answers differently each time: which step it is of all that were ever taken."""

    taken = 0

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        Drifting.taken += 1
        return f"Step {Drifting.taken}.", *super()._act(action)[1:]


def limited(world: type[gym.Env[str, str]], steps: int = LIMIT) -> MakeEnv:
    return lambda: gym.wrappers.TimeLimit(world(), steps)


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


class TestTree:
    @pytest.mark.parametrize(("trees", "rounds"), [(2, 1), (2, 3), (1, 1), (4, 1), (8, 1)])
    def test_the_trees_of_a_task_are_told_by_their_first_decision(self, trees: int, rounds: int) -> None:
        for group in collect("tree", policy=left(), trees=trees, rounds=rounds).groups:
            assert len(group) == 8
            firsts = [path[0] for path in paths(group)]
            assert {firsts.count(first) for first in firsts} == {8 // trees}
            assert min([d for d in depths_of_forks(group)[trees:]], default=1) >= 1

    def test_later_rounds_fork_what_earlier_ones_grew(self) -> None:
        group = collect("tree", policy=left(), groups=1, group_size=15, trees=1, rounds=7).groups[0]
        first = set(paths(group)[0])
        # Some fork shares more than the first path has: it leaves another fork.
        shared = [sum(node in first for node in path) for path in paths(group)]
        assert any(depth > common for depth, common in zip(depths_of_forks(group), shared, strict=True) if depth)

    def test_the_first_episodes_are_those_of_the_group_collector(self) -> None:
        policy = RandomPolicy()
        plain = GroupCollector(make_corridor, policy, groups=2, group_size=2, seed=3).collect(0)
        tree = collect("tree", policy=policy)
        for ours, theirs in zip(tree.groups, plain.groups, strict=True):
            actions = [[[step.action for step in e.steps] for e in group.episodes[:2]] for group in (ours, theirs)]
            assert actions[0] == actions[1]

    def test_without_inner_nodes_everything_starts_afresh(self) -> None:
        rollout = collect("tree", limited(Corridor, 1))
        assert (rollout.stats["forks"], rollout.stats["fresh_paths"]) == (0, 16)
        assert [len(group) for group in rollout.groups] == [8, 8]

    def test_forks_of_a_world_of_chance_repeat_it_unless_they_are_reseeded(self) -> None:
        throw = ScriptedPolicy(lambda turn: "throw")

        def seen(reseed: bool) -> list[set[tuple[str, ...]]]:
            rollout = collect("tree", limited(Dice, 9), throw, trees=1, reseed=reseed)
            return [{tuple(s.observation for s in e.steps) for e in group.episodes} for group in rollout.groups]

        assert [len(different) for different in seen(False)] == [1, 1]
        assert [len(different) > 4 for different in seen(True)] == [True, True]


class TestEntropy:
    # Higher than at the start before decisions 2, 3 and 5.
    TOLD = (1.0, 0.5, 2.0, 3.0, 1.0, 1.5, 0.0)

    def forks(self, told: Sequence[float] = TOLD, group_size: int = 8, **options: Any) -> list[int]:
        rollout = collect("entropy", policy=Unsure(told), groups=1, group_size=group_size, **options)
        assert len(rollout.groups[0]) == group_size
        return depths_of_forks(rollout.groups[0])

    def test_forks_are_where_the_entropy_rose_and_the_rest_of_the_budget_starts_afresh(self) -> None:
        assert self.forks(initial=1, group_size=4) == [0, 2, 3, 5]
        assert self.forks((1.0,) * LIMIT) == [0] * 8
        assert self.forks((9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)) == [0] * 8
        # What only rounding tells apart, with the size of the model's batch, is equal.
        assert self.forks((1.0, 1.0 + 1e-6, 1.0 - 1e-6, 1.0, 1.0 + 2e-5, 1.0, 1.0)) == [0] * 8

    def test_the_earliest_come_first_and_no_decision_is_forked_twice(self) -> None:
        assert self.forks(initial=2) == [0, 0, 2, 2, 3, 3, 5, 5]
        # A fork at 2 goes on to fork at 3 and 5, one at 3 at 5; then nothing is left but a fresh path, that may not.
        assert self.forks(initial=1, group_size=10) == [0, 2, 3, 5, 3, 5, 5, 5, 0, 0]

    def test_several_branches_at_once(self) -> None:
        assert self.forks(initial=1, group_size=6, branches=2) == [0, 2, 2, 3, 3, 5]

    def test_threshold_and_slope(self) -> None:
        assert self.forks(initial=1, group_size=2, beta=0.2, threshold=0.85) == [0, 3]
        assert self.forks(initial=1, group_size=2, beta=0.2, threshold=0.9) == [0, 0]
        # With a falling slope, it is where the policy had become surer.
        assert self.forks(initial=1, group_size=4, beta=-0.2) == [0, 1, 6, 6]

    def test_forks_in_succession_are_penalised(self) -> None:
        # At 3 the entropy gives 0.5 + 0.2 x 2 = 0.9; the fork at 2, directly before, takes half of it.
        assert self.forks(initial=1, group_size=3, penalty=0.5) == [0, 2, 5]
        assert self.forks(initial=1, group_size=3, penalty=0.4) == [0, 2, 3]

    def test_a_fork_inherits_what_was_forked_before_it(self) -> None:
        # Of the fork at 2, the decision at 3 comes directly after it too.
        assert self.forks(initial=1, group_size=5, penalty=0.5) == [0, 2, 5, 5, 0]

    @pytest.mark.parametrize("options", [{}, {"branches": 3, "penalty": 0.3}, {"sensitivity": 0.5}, {"rule": "chance"}])
    def test_forks_begin_while_others_play_and_are_those_of_waves_one_after_another(
        self, options: dict[str, Any]
    ) -> None:
        class Counted(Unsure):
            sizes: list[int]

            def session(self, *, greedy: bool = False, entropies: bool = False) -> Session:
                session = super().session(greedy=greedy, entropies=entropies)
                act = session.act

                def counted(turns: Sequence[Turn]) -> list[Decision]:
                    self.sizes.append(len(turns))
                    return act(turns)

                session.act = counted  # type: ignore[method-assign]
                return session

        found = []
        for budget in (None, 10**6):  # a budget needs lengths, so it waits for the end of a wave
            policy = Counted(self.TOLD)
            policy.sizes = []
            found.append((collect("entropy", policy=policy, groups=3, max_nodes=budget, **options), policy.sizes))
        (together, full), (apart, thin) = found
        assert together.groups == apart.groups
        assert without_time(together) == without_time(apart)
        assert sum(full) == sum(thin)
        assert len(full) < len(thin)

    def test_only_the_first_tokens_count(self) -> None:
        spread = Unsure(self.TOLD, tokens=4)
        for tokens, threshold, expected in ((1, 0.85, [0, 3]), (4, 0.85, [0, 0]), (4, 0.55, [0, 3])):
            rollout = collect(
                "entropy", policy=spread, groups=1, group_size=2, initial=1, tokens=tokens, threshold=threshold
            )
            assert depths_of_forks(rollout.groups[0]) == expected

    def test_by_chance_it_forks_as_often_as_the_probability_says(self) -> None:
        forks = 0
        for iteration in range(12):
            rollout = collect(
                "entropy", policy=Unsure((1.0,) * LIMIT), groups=8, group_size=2, initial=1, rule="chance",
                alpha=0.25, max_depth=1, iteration=iteration,
            )  # fmt: skip
            forks += sum(depths_of_forks(group)[1] == 1 for group in rollout.groups)
        # 96 first paths, each forked with probability 1/4: four standard deviations.
        assert abs(forks - 24) < 17
        assert forks > 0

    @pytest.mark.parametrize(
        ("told", "initial"),
        [((1.0,) * 7, 4), ((8.0, *(0.0,) * 6), 8), ((0.0, *(8.0,) * 6), 1), ((0.0, *(2.0,) * 6), 2)],
    )
    def test_the_first_path_divides_the_budget(self, told: Sequence[float], initial: int) -> None:
        entropies = told[1:]
        assert global_share(8, told[0], entropies, 0.5) == initial
        forks = self.forks(told, sensitivity=0.5)
        assert forks[:initial] == [0] * initial
        if told[-1] > told[0]:  # forks use up what is left
            assert 0 not in forks[initial:]
        assert global_share(8, 3.0, [], 1.0) == 4

    def test_a_policy_that_tells_no_entropies_is_refused(self) -> None:
        with pytest.raises(PolicyError, match="'random' does not tell"):
            collect("entropy")

    @pytest.mark.parametrize(
        "options",
        [
            {"initial": 9},
            {"tokens": 0},
            {"branches": 0},
            {"alpha": 1.5},
            {"penalty": -0.1},
            {"sensitivity": -1.0},
            {"threshold": -0.1},
            {"rule": "often"},
        ],
    )
    def test_impossible_settings_are_named(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(options))):
            collect("entropy", policy=Unsure(self.TOLD), **options)


class TestVine:
    def test_where_nothing_is_left_to_chance_values_are_what_is_still_to_come(self) -> None:
        rollout = collect("vine", policy=ScriptedPolicy(corridor_expert), group_size=2, forks=2)
        batch = rollout.batch()
        ahead = {
            (e, t): r for e, t, r in zip(batch.episode.tolist(), batch.t.tolist(), batch.reward.tolist(), strict=True)
        }
        for row, (e, t) in enumerate(zip(batch.episode.tolist(), batch.t.tolist(), strict=True)):
            rest = sum(reward for (f, u), reward in ahead.items() if f == e and u > t)
            assert batch.columns["mc_next_value"][row] == pytest.approx(rest)
            assert batch.columns["mc_value"][row] == pytest.approx(batch.reward[row] + rest)

    def test_forks_are_not_trained_on_and_their_costs_are_counted(self) -> None:
        rollout = collect("vine", policy=small_policy(constrain="admissible"), group_size=2, forks=3, every=2)
        plain = GroupCollector(
            make_corridor, small_policy(constrain="admissible"), groups=2, group_size=2, seed=3
        ).collect(0)
        assert rollout.groups == plain.groups
        assert rollout.batch().tree_node is None
        rows = rollout.batch().t
        assert rollout.stats["forks"] == 3 * np.sum(rows % 2 == 0)
        assert rollout.stats["generated_tokens"] > plain.stats["generated_tokens"]
        assert rollout.stats["episodes"] == 4 + rollout.stats["forks"]

    @pytest.mark.parametrize("processes", [1, 2])
    def test_columns_are_in_the_order_of_the_rows(self, processes: int) -> None:
        rollout = collect("vine", groups=4, group_size=2, forks=2, processes=processes)
        assert rollout.row_columns == collect("vine", groups=4, group_size=2, forks=2).row_columns
        batch = rollout.batch()
        after, before = batch.columns["mc_next_value"], batch.columns["mc_value"]
        for episode in np.unique(batch.episode):
            rows = np.flatnonzero(batch.episode == episode)[np.argsort(batch.t[batch.episode == episode])]
            assert after[rows[:-1]].tolist() == before[rows[1:]].tolist()
            assert after[rows[-1]] == 0

    def test_the_value_of_the_first_state_is_the_chance_to_win(self) -> None:
        throw, forks = ScriptedPolicy(lambda turn: "throw"), 400
        rollout = collect("vine", limited(Dice, 9), throw, groups=1, group_size=1, forks=forks, every=9)
        exact = 1 - sum(comb(9, k) * (1 / 6) ** k * (5 / 6) ** (9 - k) for k in range(3))
        error = (exact * (1 - exact) / forks) ** 0.5
        assert abs(rollout.batch().columns["mc_value"][0] - exact) < 4 * error

    def test_states_whose_forks_are_lost_go_without_a_value_of_their_own(self) -> None:
        rollout = collect("vine", limited(Drifting), left(), groups=1, group_size=2, snapshots="replay")
        # Nothing is replayed to reach the start, so deeper states alone are lost.
        assert (rollout.stats["forks"], rollout.stats["lost_branches"]) == (2 * 4, 2 * 4 * (LIMIT - 1))
        assert rollout.batch().columns["mc_value"].tolist() == [0.0] * 2 * LIMIT

    def test_a_start_that_lost_its_forks_is_worth_what_the_others_earned(self) -> None:
        def make() -> gym.Env[str, str]:
            return gym.wrappers.TimeLimit(StateHash(Bare()), 6)

        policy = ScriptedPolicy(lambda turn: "drink" if turn.chance.random() < 0.6 else "wait")
        rollout = collect("vine", make, policy, groups=1, group_size=5, snapshots="copy")  # it cannot be reseeded
        assert rollout.stats["forks"] == 0 < rollout.stats["lost_branches"]
        batch = rollout.batch()
        returns = np.bincount(batch.episode, weights=batch.reward)
        assert set(returns) == {0.0, 1.0}
        others = (returns.sum() - returns) / 4
        assert batch.columns["mc_value"][batch.t == 0].tolist() == others.tolist()

    @pytest.mark.parametrize("options", [{"forks": 0}, {"every": 0}])
    def test_impossible_settings_are_named(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(options))):
            collect("vine", **options)


@given(
    st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=1, max_size=9),
    st.dictionaries(st.integers(1, 8), st.integers(-8, 8).map(lambda n: n / 8)),
    st.integers(-8, 8).map(lambda n: n / 8),
)
def test_all_steps_of_a_segment_share_its_advantage(
    rewards: list[float], values: dict[int, float], first: float
) -> None:
    known = {t: v for t, v in {**values, 0: first}.items() if t < len(rewards)}
    before, after = segment_values(rewards, known)
    advantage = [r + v - u for r, u, v in zip(rewards, before, after, strict=True)]
    borders = [*sorted(known), len(rewards)]
    for start, end in itertools.pairwise(borders):
        whole = sum(rewards[start:end]) + known.get(end, 0.0) - known[start]
        assert advantage[start:end] == [whole] * (end - start)
        assert before[start] == known[start]
    assert after[-1] == 0.0
