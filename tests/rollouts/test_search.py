"""The search of 3SPO: what is expanded when, what is learned from, what is written back, and how it goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentgym.algos import ThreeSPO
from agentgym.errors import ConfigError
from agentgym.policies import ScriptedPolicy
from tests.rollouts.boughs import LEAVES, known, place_of, remember, search, waves
from tests.worlds import Corridor

# The order of a search ------------------------------------------------------------------------------------------------


def test_the_best_child_goes_on_and_the_next_best_comes_next() -> None:
    """Against a walk of our own over the rewards that the waves report; equal rewards may come in any order."""
    collector = search(alpha=0.1)  # so slow that every state gets three samples
    remember(collector, "", False, 2)  # where nothing was finished yet, only novelty counts
    remember(collector, "0", True, 1)
    for won in (True, False):
        remember(collector, "1", won, 1)
    stack: list[dict[str, float]] = [{"at:": 0.0}]
    expanded = []
    for rollout in waves(collector, 13):
        [group] = rollout.groups
        while not stack[-1]:
            stack.pop()
        best = max(stack[-1].values())
        assert place_of(group) in {place for place, value in stack[-1].items() if value == best}
        expanded.append(place_of(group))
        del stack[-1][place_of(group)]
        if rollout.trees:
            break
        columns = {name: np.array(values[0]) for name, values in rollout.row_columns.items()}
        rewards = _rewards(columns)
        ends = [episode.final_observation for episode in group.episodes]
        stack.append({e: r for e, r in zip(ends, rewards, strict=True) if len(e) < len("at:") + LEAVES})
    assert expanded[:2] == ["at:", "at:0"]
    assert len(expanded) == len(set(expanded)), "nothing is expanded twice"
    assert len(expanded) == 13, "it comes back to every place that waits"
    assert expanded.index("at:1") < expanded.index("at:2")


def _rewards(columns: dict[str, Any]) -> list[float]:
    from agentgym.algos.three_spo import step_reward

    return [round(r, 9) for r in step_reward(**columns, omega=0.1).tolist()]


def test_the_whole_tree_is_searched_and_written_back() -> None:
    collector = search(budget={"samples": 10_000}, xi=None)
    found = next(rollout for rollout in waves(collector, 30) if rollout.trees)
    assert found.trees is not None
    [tree] = found.trees
    ends = [episode.end for episode in tree.episodes]
    assert sorted(ends) == ["failure"] * (len(ends) - 1) + ["success"]
    assert len(ends) == collector.store.finished == found.gauges["finished_trajectories"] == 27
    # Every leaf counts once in each state of its path.
    assert known(collector, "")[0] == len(ends)
    assert known(collector, "2")[0] == sum(e.steps[0].action == "2" for e in tree.episodes)
    assert known(collector, "20")[1] < 1e-3
    assert known(collector, "1")[1] == 1


def test_a_resolved_state_is_passed_and_a_hopeless_one_given_up() -> None:
    collector = search()
    remember(collector, "", True, 1)
    for place in "012":
        remember(collector, place, False, 10)
    first, second = waves(collector, 2)
    # One sample of the root, no update; then its child is given up, which is the end of the search.
    assert (first.groups, first.stats["n_1"], first.stats["samples"]) == ([], 3, 3)
    assert second.stats["n_0"] == second.stats["pruned"] == 3
    assert [e.end for tree in second.trees or () for e in tree.episodes] == ["pruned"] * 3
    assert known(collector, "")[0] == 1, "a branch that is given up is not written back"


def test_scores_are_those_before_the_wave() -> None:
    collector = search(groups=2)
    for rollout in waves(collector, 3):
        assert {v for values in rollout.row_columns["score"] for v in values} == {1.0}
        assert {v for values in rollout.row_columns["visits"] for v in values} == {0.0}
    assert known(collector, "")[0] == 6, "both places have reached three leaves, and only now it shows"
    assert rollout.stats["episodes"] == 6


@pytest.mark.parametrize(
    ("novelty", "expected"), [("changed", [0, 1]), ("unseen_on_path", [0, 1]), ("unseen_ever", [0, 0])]
)
def test_when_a_state_is_new(novelty: Any, expected: list[int]) -> None:
    policy = ScriptedPolicy(lambda turn: ("wait", "0")[turn.slot % 2])
    collector = search(policy=policy, novelty=novelty, group_size=2)
    remember(collector, "0", True, 1)
    [rollout] = waves(collector, 1)
    assert rollout.row_columns["novel"] == [expected]


def test_going_back_is_a_change_but_not_new_on_the_path() -> None:
    def back_and_forth(turn: Any) -> str:
        return "right" if "place 1" in turn.observation else "left"

    for novelty, expected in (("changed", 1.0), ("unseen_on_path", 0.0)):
        collector = search(Corridor, ScriptedPolicy(back_and_forth), novelty=novelty)
        _, second = waves(collector, 2)
        assert second.row_columns["novel"] == [[expected] * 3]


@pytest.mark.parametrize(("given_up", "expected"), [("resolved", 0.0), ("unresolved", 1.0)])
def test_what_a_next_state_counts_as_that_was_given_up(given_up: Any, expected: float) -> None:
    collector = search(policy=ScriptedPolicy(lambda turn: "1"), given_up=given_up)
    remember(collector, "1", False, 10)
    first, second = waves(collector, 2)
    assert first.row_columns["next_score"] == [[expected] * 3]
    assert second.stats["n_0"] > 0, "it is given up either way"


def test_success_ends_with_a_score_of_zero() -> None:
    collector = search()
    remember(collector, "2", True, 1)
    remember(collector, "1", False, 10)
    remember(collector, "0", False, 10)
    for rollout in waves(collector, 12):
        for group, success, after in zip(
            rollout.groups, rollout.row_columns["success"], rollout.row_columns["next_score"], strict=True
        ):
            won = [episode.final_observation == "at:201" for episode in group.episodes]
            assert [bool(value) for value in success] == won
            assert all(value == 0 for value, ended in zip(after, won, strict=True) if ended)
            if any(won):
                return
    pytest.fail("the winning leaf was never reached")


@pytest.mark.parametrize("common", ["0", "1", "2"])
def test_of_equals_the_one_sampled_most_often_can_go_on(common: str) -> None:
    """By its hash one word is ahead of the others, so not every word can win by it."""
    policy = ScriptedPolicy(lambda turn: common if turn.slot < 2 else str(turn.slot % LEAVES))
    _, second = waves(search(policy=policy, group_size=5, ties="frequency"), 2)
    assert place_of(second.groups[0]) == f"at:{common}"


def test_samples_that_are_alike_are_learned_from_and_expanded_once() -> None:
    collector = search(policy=ScriptedPolicy(lambda turn: "1"))
    first, second, third = waves(collector, 3)
    assert [len(r.groups[0]) for r in (first, second, third)] == [3, 3, 3]
    assert [place_of(r.groups[0]) for r in (first, second, third)] == ["at:", "at:1", "at:11"]
    assert third.trees is not None
    [tree] = third.trees
    assert sorted(e.end for e in tree.episodes) == ["failure", *["pruned"] * 6]
    assert known(collector, "11")[0] == 1, "one leaf, however often it was sampled"
    assert ThreeSPO().credit(third.batch()).advantage.tolist() == [0, 0, 0]


# What it may cost -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "samples"), [({"samples": 7}, [3, 3, 1]), ({"nodes": 2}, [3, 3]), ({"env_steps": 4}, [3, 3])]
)
def test_a_search_ends_at_its_budget(budget: dict[str, int], samples: list[int]) -> None:
    collector = search(budget=budget)
    played = []
    for rollout in waves(collector, 9):
        if any(tree.id == "0/0" for tree in rollout.trees or ()):
            break
        if rollout.stats["samples"]:
            played.append(int(rollout.stats["samples"]))
    # The wave that finds the budget spent begins the next search.
    tree = next(tree for tree in rollout.trees or () if tree.id == "0/0")
    assert len({step.node for episode in tree.episodes for step in episode.steps}) == sum(samples)
    assert "pruned" in {episode.end for episode in tree.episodes}


def test_the_depth_limit_is_a_failure() -> None:
    collector = search(budget={"depth": 2})
    list(waves(collector, 2))
    assert collector.store.finished == 3
    assert known(collector, "")[0] == 3


def test_replayed_steps_are_counted() -> None:
    for snapshots, replayed in (("native", 0), ("copy", 0), ("replay", 1)):
        rollouts = list(waves(search(snapshots=snapshots), 3))
        assert [rollout.stats["env_steps"] for rollout in rollouts] == [3, 3, 3]
        assert [rollout.stats["replayed_steps"] for rollout in rollouts] == [0, 3 * replayed, 6 * replayed]
    # A budget of environment steps knows of them: 3, then 3 and 3 replayed.
    [*_, last] = waves(search(snapshots="replay", budget={"env_steps": 9}), 3)
    assert [tree.id for tree in last.trees or ()] == ["0/0"]


def test_waves_are_full_however_few_samples_a_state_needs() -> None:
    collector = search(groups=2)
    remember(collector, "", True, 1)
    [rollout] = waves(collector, 1)
    assert rollout.stats["samples"] == 6, "three searches side by side in each place"
    assert rollout.stats["n_1"] == 6


def test_where_everything_is_given_up_the_batch_is_empty() -> None:
    collector = search(groups=2)
    remember(collector, "", False, 10)
    [rollout] = waves(collector, 1)
    assert (rollout.groups, len(rollout.batch())) == ([], 0)
    assert rollout.stats["n_0"] == len(rollout.trees or ()) == 6


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="waves"):
        search(waves=0)
    with pytest.raises(ConfigError, match="kind of snapshots"):
        search(snapshots="photo")
    with pytest.raises(ConfigError, match="batch for each wave"):
        search().collect(0)
