"""Sampling from the arrays gives what the environments give."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agentgym import Group, Recorder, StepBatch
from agentgym.batch import encode
from agentgym.envs.finite import FiniteMDP, FiniteTextEnv, build, occupancy, return_distribution, solve
from agentgym.envs.finite.worlds import DistractorShop, KeyRoom
from agentgym.errors import ConfigError
from agentgym.evaluation.creditbench import Sample, sample_groups
from agentgym.evaluation.creditbench.sampling import fork_means
from agentgym.identity import text_hash
from agentgym.policies import ScriptedPolicy
from agentgym.rollouts import EnvPool, Start, run_branches
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


@pytest.mark.parametrize("forks", [1, 9])
def test_means_of_forks_are_unbiased_and_as_scattered_as_they_must_be(forks: int) -> None:
    """Given the state and the steps left; and apart from what the credited episode went on to earn."""
    mdp = build(DistractorShop())
    policy, horizon = some_policy(mdp), 6
    sample = sample_groups(
        mdp, policy, horizon=horizon, group_size=4, groups=20, batches=20, rng=np.random.default_rng(0)
    )
    means = fork_means(mdp, policy, horizon, sample, forks, np.random.default_rng(1))
    returns, chance = return_distribution(mdp, policy, horizon)
    exact = solve(mdp, policy, horizon).v[sample.left, sample.batch.state]
    variance = (chance @ returns**2 - (chance @ returns) ** 2)[sample.left, sample.batch.state] / forks
    error = means - exact
    rows = len(error)
    assert rows > 3000
    assert abs(error.mean()) < 4 * np.sqrt(variance.mean() / rows)
    assert (error**2).mean() == pytest.approx(variance.mean(), rel=0.1)
    earned = np.bincount(sample.batch.episode, sample.batch.reward)[sample.batch.episode]
    assert abs(np.corrcoef(error, earned - exact)[0, 1]) < 4 / np.sqrt(rows)
    assert abs(np.corrcoef(error[1:], error[:-1])[0, 1]) < 4 / np.sqrt(rows)


@pytest.mark.parametrize("name", ["KeyRoom-v0", "DistractorShop-v0"])
def test_forks_of_the_environment_have_the_distribution_that_means_are_drawn_from(name: str) -> None:
    """Restored, reseeded and played on, from a moment whose outcome is open."""
    world = gym.make(name).unwrapped
    assert isinstance(world, FiniteTextEnv)
    mdp, forks, depth = world.mdp, 400, 2
    table = some_policy(mdp, seed=2)
    rows = dict(zip(mdp.texts, table, strict=True))
    policy = ScriptedPolicy(
        lambda turn: mdp.actions[int(turn.chance.choice(len(mdp.actions), p=rows[turn.observation]))]
    )
    pool = EnvPool(lambda: gym.make(name, max_episode_steps=HORIZON, disable_env_checker=True))
    returns, chance = return_distribution(mdp, table, HORIZON)
    numbers = {text_hash(text): number for number, text in enumerate(mdp.states)}
    begun = run_branches(pool, policy, [Start(f"g{i}", seed=i, noise=(i,)) for i in range(20)], decisions=depth)
    moments = [
        (branch.point, chance[HORIZON - depth, numbers[branch.point.info["state_hash"]]])
        for branch in begun
        if branch.point is not None
    ]
    point, expected = min(moments, key=lambda moment: moment[1].max())
    starts = [Start("g", point=point, fork=fork, noise=(fork,)) for fork in range(forks)]
    earned = [sum(s.reward for s in b.episode.steps[depth:]) for b in run_branches(pool, policy, starts)]
    seen = np.array([np.isclose(earned, value).mean() for value in returns])
    assert seen.sum() == pytest.approx(1)
    assert (np.abs(seen - expected) <= 4 * np.sqrt(expected * (1 - expected) / forks) + 1e-9).all()
    assert expected.max() < 0.97


@pytest.mark.parametrize("name", ["horizon", "group_size", "groups", "batches"])
def test_sizes_below_one_are_refused(name: str) -> None:
    mdp = build(KeyRoom())
    sizes = {"horizon": 5, "group_size": 3, "groups": 4, "batches": 6, name: 0}
    with pytest.raises(ConfigError, match=f"{name}=0"):
        sample_groups(mdp, mdp.uniform(), rng=np.random.default_rng(0), **sizes)
