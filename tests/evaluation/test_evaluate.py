from __future__ import annotations

import json
from collections import Counter

import pytest

from agentgym.errors import ConfigError, DataError
from agentgym.evaluation import Evaluation, compare, evaluate
from agentgym.evaluation.evaluate import plan_starts
from agentgym.policies import RandomPolicy, ScriptedPolicy
from tests.training.small import corridor_expert, make_corridor, small_policy
from tests.worlds import Dice


class TestPlan:
    def test_a_finite_split_is_played_once(self) -> None:
        for episodes in (None, 3, 100):
            starts = plan_starts(["a", "b", "c"], episodes=episodes)
            assert [start.options for start in starts] == [{"task": name} for name in "abc"]

    def test_a_sample_of_a_finite_split_has_no_task_twice(self) -> None:
        split = [f"task/{i}" for i in range(50)]
        chosen = [start.options["task"] for start in plan_starts(split, episodes=20) if start.options]
        assert len(chosen) == len(set(chosen)) == 20
        assert chosen != split[:20]
        assert plan_starts(split, episodes=20) == plan_starts(split, episodes=20)
        assert plan_starts(split, episodes=20) != plan_starts(split, episodes=20, seed=1)

    def test_an_endless_split_is_played_from_seeds(self) -> None:
        starts = plan_starts(None)
        assert len({start.seed for start in starts}) == 200
        assert {start.options is None for start in starts} == {True}
        assert plan_starts(None, episodes=5) == starts[:5]

    def test_contradictions_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="not both"):
            plan_starts(None, episodes=2, tasks=["a"])
        with pytest.raises(ConfigError, match="nothing to evaluate"):
            plan_starts([])


def test_the_expert_wins_and_each_task_is_played_once() -> None:
    result = evaluate(make_corridor, ScriptedPolicy(corridor_expert))
    assert Counter(o.task_id for o in result.outcomes) == {f"corridor/{n}": 1 for n in (3, 4, 5, 6)}
    assert [o.won for o in result.outcomes] == [True, True, True, False]  # seven steps do not suffice for the longest
    assert [o.length for o in result.outcomes] == [5, 6, 7, 7]
    assert result.success.value == 0.75
    assert result.source == "corridor"


def test_equal_arguments_give_equal_outcomes_whatever_runs_together() -> None:
    results = [evaluate(Dice, _thrower(), episodes=12, max_live=live, seed=4) for live in (1, 5, 64)]
    assert results[0].outcomes == results[1].outcomes == results[2].outcomes
    assert evaluate(Dice, _thrower(), episodes=12, seed=5).outcomes != results[0].outcomes


def _thrower() -> ScriptedPolicy:
    return ScriptedPolicy(lambda turn: "throw" if turn.chance.random() < 0.9 else "wait")


def test_named_tasks_are_played_in_their_order() -> None:
    result = evaluate(make_corridor, RandomPolicy(), tasks=["corridor/5", "corridor/3"])
    assert [o.task_id for o in result.outcomes] == ["corridor/5", "corridor/3"]


def test_greedy_play_and_other_temperatures_leave_the_policy_as_it_was() -> None:
    policy = small_policy()
    greedy = [evaluate(make_corridor, policy, temperature=0) for _ in range(2)]
    assert greedy[0].outcomes == greedy[1].outcomes
    assert greedy[0].temperature == 0
    assert evaluate(make_corridor, policy, temperature=0.01).temperature == 0.01
    assert evaluate(make_corridor, policy).temperature == 1.0
    assert policy.temperature == 1.0
    with pytest.raises(ConfigError, match="temperature -1"):
        evaluate(make_corridor, policy, temperature=-1)


def test_an_evaluation_goes_through_json() -> None:
    result = evaluate(make_corridor, RandomPolicy())
    back = Evaluation.from_dict(json.loads(json.dumps(result.to_dict())))
    assert back.outcomes == result.outcomes
    assert back.metrics() == result.metrics()
    with pytest.raises(DataError, match="not the results of an evaluation"):
        Evaluation.from_dict({"outcomes": [{"won": True}], "temperature": 1, "seconds": 2})


def test_a_gain_needs_the_same_games() -> None:
    expert, player = evaluate(make_corridor, ScriptedPolicy(corridor_expert)), evaluate(make_corridor, RandomPolicy())
    assert compare(player, expert).value == expert.success.value - player.success.value
    with pytest.raises(ConfigError, match="different tasks"):
        compare(player, evaluate(make_corridor, RandomPolicy(), tasks=["corridor/3"]))


def test_the_metrics_name_every_kind_of_task() -> None:
    metrics = evaluate(make_corridor, ScriptedPolicy(corridor_expert)).metrics()
    assert metrics["val/success_rate"] == metrics["val/success_rate/corridor"] == 0.75
    assert metrics["val/success_rate/low"] < 0.75 < metrics["val/success_rate/high"]
