"""The search of 3SPO: what is expanded when, what is learned from, what is written back, and how it goes on."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agentgym.algos import ThreeSPO
from agentgym.episodes import Group, Step
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.identity import text_hash
from agentgym.policies import RandomPolicy, ScriptedPolicy, Transcript, Turn, Window
from agentgym.policies.base import Decision
from agentgym.rollouts import Rollout
from agentgym.rollouts.search import SearchCollector
from agentgym.storage import read_groups, write_groups
from agentgym.text_env import Status, TextEnv
from agentgym.training.checkpoint import read_checkpoint, write_checkpoint
from agentgym.wrappers import ReplaySnapshot
from tests.policies.test_hf import rescore
from tests.training.small import make_corridor, small_policy
from tests.worlds import Corridor, Dice, Fragile

LEAVES = 3


class Boughs(TextEnv):
    """A tree of known shape: three words at each fork, three forks; one leaf wins. The text names the place."""

    winner = "201"

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self._path = ""

    def _begin(self, task: str | None) -> str:
        self.task_id, self.task_type, self.goal = "boughs/0", "boughs", "find the fruit"
        self._path = ""
        return "at:"

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        if action not in ("0", "1", "2"):
            return f"at:{self._path}", 0.0, False, False
        self._path += action
        over = len(self._path) == LEAVES
        return f"at:{self._path}", float(self._path == self.winner), over, True

    def state_text(self) -> str:
        return self._path

    def _status(self) -> Status:
        won = self._path == self.winner
        return Status(("0", "1", "2"), won, float(won), text_hash(self.state_text()))

    def _get_state(self) -> Any:
        return self._path

    def _set_state(self, state: Any) -> None:
        self._path = state


# The samples of one state get slots in a row, so this tries every word once.
EVERY_WORD = ScriptedPolicy(lambda turn: str(turn.slot % LEAVES))


def search(make_env: Any = Boughs, policy: Any = EVERY_WORD, **options: Any) -> SearchCollector:
    return SearchCollector(make_env, policy, **{"groups": 1, "group_size": 3, "seed": 5, "waves": 1, **options})


def waves(collector: SearchCollector, count: int, first: int = 0) -> Iterator[Rollout]:
    """Yield single waves, an iteration each."""
    for iteration in range(first, first + count):
        [share] = collector.batches(iteration)
        yield collector.merge([share])


def place_of(group: Group) -> str:
    return group.episodes[0].steps[0].observation


def known(collector: SearchCollector, place: str) -> tuple[int, float]:
    """Return N and S of a place in the boughs."""
    key = collector.store.key("boughs/0", text_hash(f"at:{place}"))
    return int(collector.store.visits([key])[0]), float(collector.store.scores([key])[0])


def remember(collector: SearchCollector, place: str, won: bool, times: int) -> None:
    key = collector.store.key("boughs/0", text_hash(f"at:{place}"))
    collector.store.write([], [([key], won)] * times)


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


# Processes, checkpoints, policies -------------------------------------------------------------------------------------


def make_dice() -> gym.Env[str, str]:
    return gym.wrappers.TimeLimit(Dice(), max_episode_steps=6)


THROW = ScriptedPolicy(lambda turn: ("throw", "look")[int(turn.chance.integers(2))])


@pytest.mark.parametrize(("reseed", "faces"), [(True, 3), (False, 1)])
def test_samples_have_a_chance_of_their_own(reseed: bool, faces: int) -> None:
    collector = search(make_dice, ScriptedPolicy(lambda turn: "throw"), group_size=8, reseed=reseed)
    [rollout] = waves(collector, 1)
    seen = {episode.final_observation for episode in rollout.groups[0].episodes}
    assert len(seen) >= faces
    assert reseed or len(seen) == 1


WORLDS: dict[str, tuple[Any, Any]] = {
    "corridor": (make_corridor, RandomPolicy()),
    "dice": (make_dice, THROW),
    "replayed": (lambda: ReplaySnapshot(make_corridor()), RandomPolicy()),
}


def collected(
    world: str, iterations: Sequence[int], processes: int = 1, state: Any = None, **options: Any
) -> tuple[list[Rollout], list[SearchCollector]]:
    """Play iterations as ``processes`` processes would, from the start or from a state."""
    make_env, policy = WORLDS[world]
    options = {"groups": 4, "waves": 5, "revive_after": 40, "novelty": "unseen_ever", **options}
    built = [search(make_env, policy, rank=rank, world_size=processes, **options) for rank in range(processes)]
    merged = []
    for collector in built:
        if state is not None:
            collector.load_state_dict(copy.deepcopy(state))
    for iteration in iterations:
        for shares in zip(*(collector.batches(iteration) for collector in built), strict=True):
            [rollout, *others] = [collector.merge(shares) for collector in built]
            assert all(without_time(other) == without_time(rollout) for other in others)
            merged.append(without_time(rollout))
    return merged, built


def without_time(rollout: Rollout) -> Rollout:
    return replace(rollout, stats={name: value for name, value in rollout.stats.items() if name != "seconds"})


def test_a_pool_of_tasks_recurs_in_turn_on_any_number_of_processes() -> None:
    merged, _ = collected("corridor", range(8), pool=3)
    seeds: dict[int, set[int | None]] = {}
    for tree in (tree for rollout in merged for tree in rollout.trees or ()):
        place, number = map(int, tree.id.split("/"))
        seeds.setdefault((place + 4 * number) % 3, set()).update(e.seed for e in tree.episodes)
    assert sorted(seeds) == [0, 1, 2]
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set.union(*seeds.values())) == 3
    assert merged == collected("corridor", range(8), 2, pool=3)[0]
    with pytest.raises(ConfigError, match="pool must be at least 1"):
        collected("corridor", range(1), pool=0)


@pytest.mark.parametrize("world", WORLDS)
def test_a_batch_does_not_depend_on_the_number_of_processes(world: str) -> None:
    (one, [alone]), (two, pair) = collected(world, range(3)), collected(world, range(3), 2)
    assert one == two
    assert sum(len(r.groups) for r in one) > 20
    saved = [same(collector.state_dict()) for collector in (alone, *pair)]
    assert saved[0] == saved[1] == saved[2]


def same(value: Any) -> Any:
    """Return nested data as something that compares."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: same(item) for key, item in value.items()}
    return [same(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    ("world", "processes", "reseed"), [*((w, n, True) for w in WORLDS for n in (1, 2)), ("corridor", 1, False)]
)
def test_a_search_that_is_saved_goes_on_as_if_nothing_had_been(
    world: str, processes: int, reseed: bool, tmp_path: Path
) -> None:
    straight, [whole] = collected(world, range(5), reseed=reseed)
    first, [half] = collected(world, range(2), reseed=reseed)
    path = write_checkpoint(tmp_path, 1, lambda to: to.mkdir(), {"collector": half.state_dict()}, keep=1)
    state = read_checkpoint(path)["collector"]
    assert any(place["searches"] for place in state["places"].values()), "something is under way"
    rest, [again, *_] = collected(world, range(2, 5), processes, state, reseed=reseed)
    assert first + rest == straight
    assert same(again.state_dict()) == same(whole.state_dict())
    assert sum(rollout.stats["replay_mismatch"] for rollout in rest) == 0


@pytest.mark.parametrize("where", ["steps", "stack"])
def test_a_world_that_answers_otherwise_loses_the_state(where: str) -> None:
    _, [collector] = collected("corridor", range(2))
    state = copy.deepcopy(collector.state_dict())
    saved = next(s for place in state["places"].values() for s in place["searches"] if len(s["stack"]) > 1)
    waiting = len(saved["stack"])
    for moment in saved[where]:
        moment["obs_hash"] = "another text"
    rest, _ = collected("corridor", [2], state=state)
    assert rest[0].stats["replay_mismatch"] == waiting
    assert all(rollout.stats["replay_mismatch"] == 0 for rollout in rest[1:])


class Forgetful(Corridor):
    """Answers as before only for a while."""

    told = 0

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        observation, *rest = super()._act(action)
        Forgetful.told += 1
        return (observation if Forgetful.told < 30 else f"{observation} {Forgetful.told}", *rest)  # type: ignore[return-value]


def test_a_state_that_cannot_be_restored_is_dropped() -> None:
    Forgetful.told = 0
    collector = search(lambda: ReplaySnapshot(Forgetful()), RandomPolicy(), groups=2)
    stats = [rollout.stats for rollout in waves(collector, 8)]
    assert sum(s["replay_mismatch"] for s in stats) > 0
    assert sum(s["pruned"] for s in stats) >= sum(s["replay_mismatch"] for s in stats)


def test_a_broken_world_is_recorded_and_taught_nothing() -> None:
    policy = ScriptedPolicy(lambda turn: ("break", "right", "left")[turn.slot % 3])
    collector = search(lambda: gym.wrappers.TimeLimit(Fragile(), max_episode_steps=2), policy)
    rollouts = list(waves(collector, 12))
    assert sum(rollout.stats["faults"] for rollout in rollouts) > 0
    assert all(len(group) == 2 for rollout in rollouts for group in rollout.groups)
    ends = {e.end for rollout in rollouts for tree in rollout.trees or () for e in tree.episodes}
    assert "environment_fault" in ends
    assert collector.store.finished == sum(rollout.stats["episodes"] for rollout in rollouts)


class Absent(Corridor):
    """Cannot be reset."""

    def _begin(self, task: str | None) -> str:
        raise RuntimeError("no world today")


def test_a_world_that_cannot_be_reset_is_a_fault() -> None:
    [rollout] = waves(search(Absent), 1)
    assert rollout.stats["faults"] == len(rollout.trees or ()) == 3
    assert {e.fault for tree in rollout.trees or () for e in tree.episodes} == {"RuntimeError: no world today"}


def test_a_true_state_must_have_a_name() -> None:
    with pytest.raises(AlgorithmError, match="use state='obs'"):
        list(waves(search(Dice, THROW, state="state"), 1))
    [rollout] = waves(search(make_corridor, RandomPolicy(), state="state"), 1)
    assert rollout.groups


def _rescored(policy: Any, step: Step) -> tuple[Any, Any]:
    said = Decision(step.action, "", step.prompt_ids, step.response_ids, step.logprobs, step.allowed_ids)
    return rescore(policy, [said], transcript=False)


@pytest.mark.parametrize("context", [Transcript(instruction=None), Window(2, instruction=None, show_admissible=False)])
def test_samples_are_trained_on_with_their_whole_past(context: Any) -> None:
    policy = small_policy(constrain="admissible", context=context)
    collector = search(make_corridor, policy, groups=2)
    for rollout in waves(collector, 4):
        for group in rollout.groups:
            for episode in group.episodes:
                assert episode.context == "window"
                [sequence] = episode.sequences()
                recorded, scored = _rescored(policy, episode.steps[0])
                np.testing.assert_allclose(scored, recorded, atol=1e-4)
                assert sequence.loss_mask.sum() == len(recorded)


def test_a_full_context_is_a_failure() -> None:
    policy = small_policy(constrain="admissible", max_tokens=30)
    collector = search(make_corridor, policy)
    rollouts = list(waves(collector, 20))
    ends = {e.end for rollout in rollouts for tree in rollout.trees or () for e in tree.episodes}
    assert "token_limit" in ends
    assert collector.store.finished == sum(rollout.stats["episodes"] for rollout in rollouts) > 0


def test_trees_are_kept_in_files(tmp_path: Path) -> None:
    trees = [tree for rollout in collected("corridor", range(6))[0] for tree in rollout.trees or ()]
    assert trees
    write_groups(tmp_path / "trees.jsonl", trees)
    assert read_groups(tmp_path / "trees.jsonl") == trees


def test_the_figures_add_up() -> None:
    rollouts, [collector] = collected("corridor", range(8), budget={"samples": 40})
    total = {name: sum(rollout.stats[name] for rollout in rollouts) for name in rollouts[0].stats}
    assert total["samples"] == total["restores"] == total["env_steps"]
    asked = sum(total[f"n_{n}"] for n in range(1, 4))
    assert asked == total["nodes"]
    assert total["episodes"] == collector.store.finished
    searches = [s for place in collector.state_dict()["places"].values() for s in place["searches"]]
    under_way = sum(len(s["steps"]) for s in searches)
    ended = sum(len({step.node for e in tree.episodes for step in e.steps}) for r in rollouts for tree in r.trees or ())
    assert under_way + ended == total["samples"]
    assert rollouts[-1].gauges["known_states"] == len(collector.store)


def _knowing_expert(turn: Turn) -> str:
    """The other expert remembers what it saw, and a restored world does not know what that was."""
    assert turn.env is not None
    return str(turn.env.unwrapped.expert_action(searching=False))  # type: ignore[attr-defined]


@pytest.mark.parametrize("policy", [RandomPolicy(), ScriptedPolicy(_knowing_expert, "expert")])
def test_household_games(policy: Any) -> None:
    def make_env() -> gym.Env[str, str]:
        return gym.make("ALFWorld-v0", data="builtin", max_episode_steps=20)

    collector = search(make_env, policy, groups=2, group_size=4, waves=25, scope="task")
    rollouts = [collector.merge([share]) for share in collector.batches(0)]
    assert sum(rollout.stats["faults"] + rollout.stats["replay_mismatch"] for rollout in rollouts) == 0
    batch = next(rollout.batch() for rollout in rollouts if rollout.groups)
    assert np.isfinite(ThreeSPO().credit(batch).advantage).all()
    if policy.name == "expert":
        ended = [e for rollout in rollouts for tree in rollout.trees or () for e in tree.episodes if e.end != "pruned"]
        assert ended
        assert all(episode.won for episode in ended)
