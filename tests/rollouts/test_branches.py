"""Episodes that fork: what branches share, what they do not, and what happens to points that cannot be restored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agentgym.episodes import Group, Recorder
from agentgym.policies import RandomPolicy, ScriptedPolicy, Transcript, Window
from agentgym.rollouts import Branch, EnvPool, Moment, Start, run_branches
from agentgym.wrappers import ReplaySnapshot
from tests.policies.models import random_policy
from tests.policies.test_hf import rescore
from tests.training.small import small_policy
from tests.worlds import Corridor, Dice


def make_env() -> gym.Env[str, str]:
    return gym.wrappers.TimeLimit(Corridor(), max_episode_steps=6)


def start(member: int = 0, **values: Any) -> Start:
    return Start(**{"group": "g", "seed": 4, "noise": (member,), **values})


def play(policy: Any, starts: list[Start], **options: Any) -> list[Branch]:
    pool = EnvPool(options.pop("make_env", make_env))
    try:
        return run_branches(pool, policy, starts, **options)
    finally:
        pool.close()


def fork_at(depth: int, copies: int, fork: bool = False) -> Callable[[Moment], Iterable[Start]]:
    """Return a hook that forks the first episode before its decision number ``depth``."""

    def hook(moment: Moment) -> list[Start]:
        if moment.start.point is not None or moment.depth != depth:
            return []
        point = moment.point()
        return [
            start(point=point, noise=(*moment.start.noise, depth, copy), fork=copy if fork else None)
            for copy in range(copies)
        ]

    return hook


def test_branches_share_the_past_and_decide_for_themselves() -> None:
    [trunk, *branches] = play(RandomPolicy(), [start()], on_decision=fork_at(2, 5))
    assert [b.start.noise for b in branches] == [(0, 2, copy) for copy in range(5)]
    for branch in branches:
        assert branch.episode.steps[0] is trunk.episode.steps[0]
        assert branch.episode.steps[1] is trunk.episode.steps[1]
        assert branch.episode.steps[2].observation == trunk.episode.steps[2].observation
        assert len(branch.episode) <= 6, "the limit counts the steps before the fork"
    assert len({tuple(s.action for s in b.episode.steps) for b in branches}) > 1
    group = Group.of_paths("g", [b.episode for b in (trunk, *branches)])
    assert len({s.node for e in group.episodes for s in e.steps}) == 2 + sum(len(e) - 2 for e in group.episodes)


@pytest.mark.parametrize("context", [Transcript(instruction=None), Window(2, instruction=None, show_admissible=False)])
@pytest.mark.parametrize("max_live", [2, 64])
def test_what_branches_sample_does_not_depend_on_who_runs_beside_them(context: Any, max_live: int) -> None:
    policy = small_policy(context=context)
    starts = [start(member) for member in range(3)]
    together = play(policy, starts, on_decision=fork_at(1, 2), max_live=max_live)
    for number, alone in enumerate(play(policy, [s])[0] for s in starts):
        assert [s.response_ids for s in together[number].episode.steps] == [s.response_ids for s in alone.episode.steps]
    by_noise = {b.start.noise: [s.response_ids for s in b.episode.steps] for b in together}
    again = play(policy, starts[::-1], on_decision=fork_at(1, 2))
    assert by_noise == {b.start.noise: [s.response_ids for s in b.episode.steps] for b in again}


def test_fresh_and_resumed_episodes_share_a_batch_at_the_limit_of_the_context() -> None:
    policy = small_policy(constrain="admissible")
    [branch] = play(policy, [start()], decisions=3)
    assert branch.point is not None
    # The resumed episodes do not fit any more and leave the batch, whose last rows were only just begun.
    policy.max_tokens = sum(len(s.prompt_ids or ()) + len(s.response_ids or ()) for s in branch.episode.steps)
    mixed = play(policy, [*(start(point=branch.point, noise=(9, i)) for i in range(3)), *(start(i) for i in range(3))])
    assert [b.episode.end for b in mixed[:3]] == ["token_limit"] * 3
    alone = [play(policy, [start(i)])[0] for i in range(3)]
    actions = [[[s.action for s in b.episode.steps] for b in branches] for branches in (mixed[3:], alone)]
    assert actions[0] == actions[1]


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("context", [Transcript(instruction=None), Window(2, instruction=None, show_admissible=False)])
def test_recorded_logprobs_of_branches_are_those_of_the_model(architecture: str, context: Any) -> None:
    import torch

    policy = random_policy(architecture, context=context, temperature=0.7)
    branches = play(policy, [start(0), start(1)], on_decision=fork_at(2, 3))
    assert len(branches) == 8
    for branch in branches:
        recorded, scored = rescore(policy, list(branch.episode.steps), context.kind == "transcript")  # type: ignore[arg-type]
        torch.testing.assert_close(recorded, scored, atol=2e-4, rtol=1e-4)


def test_one_decision_at_a_time_is_the_whole_episode_in_the_end() -> None:
    policy = small_policy(constrain="admissible")
    [whole] = play(policy, [start()])
    [branch] = play(policy, [start()], decisions=1)
    steps = 1
    while branch.point is not None:
        assert branch.point.depth == steps
        assert branch.point.steps == branch.episode.steps
        [branch] = play(policy, [start(point=branch.point, noise=(9, steps))], decisions=1)
        steps += 1
    assert branch.episode.end in ("success", "step_limit")
    assert len(branch.episode) == steps <= 6
    assert branch.episode.steps[0] == whole.episode.steps[0]


def test_a_transcript_that_is_resumed_goes_on_as_if_it_had_not_stopped() -> None:
    policy = small_policy(constrain="admissible")

    def turns(decisions: int | None) -> list[Any]:
        [branch] = play(policy, [start()], decisions=decisions, greedy=True)
        while branch.point is not None:
            [branch] = play(policy, [start(point=branch.point)], decisions=decisions, greedy=True)
        return [(s.prompt_ids, s.response_ids, np.round(s.logprobs or (), 4).tolist()) for s in branch.episode.steps]

    assert turns(None) == turns(1) == turns(2)


def test_entropies_are_told_where_asked_for() -> None:
    policy = small_policy()
    seen: list[Any] = []

    def hook(moment: Moment) -> list[Start]:
        seen.append(moment.decision)
        return []

    play(policy, [start()], on_decision=hook, entropies=True)
    size = len(policy.tokenizer)
    for decision in seen:
        assert len(decision.entropies) == len(decision.response_ids)
        assert all(0 <= h <= np.log(size) + 1e-6 for h in decision.entropies)
    play(policy, [start()], on_decision=hook)
    assert seen[-1].entropies is None


def test_chance_of_the_world_is_repeated_unless_the_branch_is_reseeded() -> None:
    throw = ScriptedPolicy(lambda turn: "throw")

    def make_dice() -> gym.Env[str, str]:
        return gym.wrappers.TimeLimit(Dice(), max_episode_steps=12)

    def faces(fork: bool) -> list[tuple[str, ...]]:
        found = play(throw, [start()], make_env=make_dice, on_decision=fork_at(2, 4, fork))
        return [tuple(s.observation for s in b.episode.steps[3:]) for b in found]

    assert len(set(faces(False))) == 1
    assert len(set(faces(True))) == 5


class Shaky(Corridor):
    """Answers differently after its first episodes: what was done cannot be done again."""

    made = 0

    def _look(self) -> str:
        Shaky.made += 1
        return f"{super()._look()} {Shaky.made}"


def test_a_point_that_cannot_be_restored_is_lost_and_the_others_go_on() -> None:
    def make_shaky() -> gym.Env[str, str]:
        return ReplaySnapshot(gym.wrappers.TimeLimit(Shaky(), max_episode_steps=4))

    [trunk, lost] = play(RandomPolicy(), [start()], make_env=make_shaky, on_decision=fork_at(1, 1))
    assert trunk.lost is None
    assert len(trunk.episode) == 4
    assert lost.lost is not None
    assert "replay" in lost.lost
    assert lost.episode.steps == ()


def test_a_world_that_cannot_save_itself_forks_by_replay() -> None:
    def make_replayed() -> gym.Env[str, str]:
        return ReplaySnapshot(gym.wrappers.TimeLimit(Corridor(), max_episode_steps=6))

    native = play(RandomPolicy(), [start()], on_decision=fork_at(2, 3))
    replayed = play(RandomPolicy(), [start()], make_env=make_replayed, on_decision=fork_at(2, 3))
    assert [b.episode for b in native] == [b.episode for b in replayed]


def test_the_recorder_of_the_run_knows_every_branch() -> None:
    recorder = Recorder()
    play(RandomPolicy(), [start()], on_decision=fork_at(1, 2), recorder=recorder)
    [group] = recorder.groups()
    assert [e.index for e in group.episodes] == [0, 1, 2]
