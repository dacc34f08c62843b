"""Sampling from the arrays gives what the environments give."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agentgym import Group, Recorder, StepBatch
from agentgym.batch import encode
from agentgym.envs.finite import FiniteMDP, FiniteTextEnv, build, occupancy
from agentgym.envs.finite.worlds import KeyRoom
from agentgym.errors import ConfigError
from agentgym.evaluation.creditbench import Sample, sample_groups
from tests.trajectories import some_policy

IDS = ("AliasedCorridor-v0", "Chain-v0", "DistractorShop-v0", "KeyRoom-v0", "MiniHousehold-v0")
HORIZON = 9


class Told:
    """A generator that gives out the numbers it was told."""

    def __init__(self) -> None:
        self.numbers: list[float] = []

    def random(self) -> float:
        return self.numbers.pop(0)


def chance(mdp: FiniteMDP, sample: Sample, row: int) -> float:
    """Return a number that leads from a row's state to its successor."""
    s, a = int(sample.batch.state[row]), int(sample.action[row])
    ends = np.cumsum(mdp.probability[s, a])
    fitting = (mdp.successor[s, a] == sample.successor[row]) & (mdp.probability[s, a] > 0)
    k = int(np.flatnonzero(fitting)[0])
    return float(ends[k] - mdp.probability[s, a, k] / 2)


def played(name: str, mdp: FiniteMDP, sample: Sample) -> StepBatch:
    """Play the sample's actions in the environment, with the chance that the sample had, and record it."""
    env = gym.make(name, max_episode_steps=HORIZON)
    env.reset(seed=0)
    told = Told()
    env.unwrapped.np_random = told  # type: ignore[assignment]
    recorder, groups = Recorder(), defaultdict(list)
    for episode in range(sample.batch.episode.max() + 1):
        rows = np.flatnonzero(sample.batch.episode == episode)
        told.numbers = [chance(mdp, sample, int(row)) for row in rows]
        group = int(sample.batch.group[rows[0]])
        text, info = env.reset(options={"task": mdp.tasks[sample.task[group]]})
        recording = recorder.start(str(group), text, info)
        for row in rows:
            action = mdp.actions[sample.action[row]]
            recording.step(action, *env.step(action))
        assert recording.over, "the sample ends an episode where the environment does"
        groups[str(group)].append(recording.finish())
    return StepBatch.from_groups([Group(name, tuple(episodes)) for name, episodes in groups.items()])


@pytest.mark.parametrize("name", IDS)
def test_sample_is_the_batch_that_the_environment_records(name: str) -> None:
    world = gym.make(name).unwrapped
    assert isinstance(world, FiniteTextEnv)
    sizes: dict[str, Any] = {"horizon": HORIZON, "group_size": 3, "groups": 2, "batches": 2}
    sample = sample_groups(world.mdp, some_policy(world.mdp), rng=np.random.default_rng(3), **sizes)
    ours, theirs = sample.batch, played(name, world.mdp, sample)
    for column in ("group", "episode", "t", "reward", "env_reward", "terminated", "truncated", "valid", "format_ok"):
        assert np.array_equal(getattr(ours, column), getattr(theirs, column)), column
    assert np.array_equal(ours.won, theirs.won)
    assert np.array_equal(ours.score, theirs.score)
    assert np.array_equal(encode(ours.anchor.tolist()), theirs.anchor)
    assert np.array_equal(encode(ours.state.tolist()), theirs.state)
    assert (ours.observations, ours.actions) == (theirs.observations, theirs.actions)
    assert (ours.truncated | ours.terminated).sum() == 12


def test_frequencies_are_the_exact_ones() -> None:
    mdp = build(KeyRoom())
    policy = some_policy(mdp)
    sample = sample_groups(mdp, policy, horizon=6, group_size=4, groups=50, batches=50, rng=np.random.default_rng(0))
    d = occupancy(mdp, policy, 6)
    episodes = sample.batches * sample.episodes
    seen = np.zeros(d.shape)
    np.add.at(seen, (sample.left, sample.batch.state), 1 / episodes)
    running = ~mdp.terminal
    # Episodes of a group share their task, so that an error is as large as for a quarter of the episodes at worst.
    error = np.sqrt(d * (1 - d) / (episodes / 4)) + 1e-9
    assert (np.abs(seen - d) / error)[1:, running].max() < 4.5
    chosen = np.zeros(policy.shape)
    np.add.at(chosen, (sample.batch.anchor, sample.action), 1)
    counts = chosen.sum(1, keepdims=True)
    error = np.sqrt(policy * (1 - policy) / counts.clip(1)) + 1e-9
    assert (np.abs(chosen / counts.clip(1) - policy) / error)[counts[:, 0] > 0].max() < 4.5
    assert np.allclose(sample.batch.logprobs, np.log(policy[sample.batch.anchor, sample.action]), atol=1e-6)


def test_groups_share_their_start_and_batches_share_no_group() -> None:
    mdp = build(KeyRoom())
    sample = sample_groups(
        mdp, mdp.uniform(), horizon=5, group_size=3, groups=4, batches=6, rng=np.random.default_rng(0)
    )
    first = sample.batch.t == 0
    starts = sample.batch.state[first].reshape(24, 3)
    assert (starts == mdp.start[sample.task][:, None]).all()
    assert len(np.unique(starts)) == 3
    assert np.array_equal(sample.part, sample.batch.group // 4)
    assert np.array_equal(sample.left, 5 - sample.batch.t)


@pytest.mark.parametrize("name", ["horizon", "group_size", "groups", "batches"])
def test_sizes_below_one_are_refused(name: str) -> None:
    mdp = build(KeyRoom())
    sizes = {"horizon": 5, "group_size": 3, "groups": 4, "batches": 6, name: 0}
    with pytest.raises(ConfigError, match=f"{name}=0"):
        sample_groups(mdp, mdp.uniform(), rng=np.random.default_rng(0), **sizes)
