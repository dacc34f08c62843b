"""Designed rewards and potentials are paid in the thesis's worlds as text what they are as arrays."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import agentgym
from agentgym.algos.functional.design_programmes import design_adaptive
from agentgym.algos.functional.discounted import optimal_values
from agentgym.algos.functional.reward_design import find_target, keeps_target
from agentgym.errors import ConfigError
from agentgym.evaluation.tabular_learners import process_of, reward_table
from agentgym.identity import text_hash
from agentgym.wrappers import DesignedReward, GroupRecorder, PotentialShaping

GAMMA = 0.95
WORLDS: dict[str, dict[str, Any]] = {
    "FourRooms-v0": {"size": 5},
    "LineKey-v0": {"length": 6},
    "LongChain-v0": {"ahead": 5, "behind": 7},
}


def made(name: str) -> gym.Env[str, str]:
    return gym.make(name, max_episode_steps=15, **WORLDS[name])


@pytest.mark.parametrize("name", WORLDS)
def test_text_is_paid_what_the_arrays_say(name: str) -> None:
    """EXPADARD's reward and shaping by V*, over random walks; the world's own reward and chances stay as they were."""
    mdp: Any = made(name).get_wrapper_attr("mdp")
    process = process_of(mdp, GAMMA)
    target = find_target(process)
    reward = design_adaptive(process, target, np.zeros(process.legal.shape)).reward
    assert keeps_target(process, target, reward)
    values = np.where(process.ends, 0.0, optimal_values(process, process.reward).max(1))
    phi = {text_hash(state): float(value) for state, value in zip(mdp.states, values, strict=True)}
    designed, shaped, plain = (
        DesignedReward(made(name), reward_table(mdp, reward)),
        PotentialShaping(made(name), phi, GAMMA),
        made(name),
    )
    rng, paid = np.random.default_rng(0), set()
    for seed in range(12):
        for env in (designed, shaped, plain):
            env.reset(seed=seed)
        over = False
        while not over:
            before = mdp.states.index(plain.get_wrapper_attr("state_text")())
            a = int(rng.choice(np.flatnonzero(process.legal[before])))
            (_, got, *_, info), (_, added, *_, told), (_, own, terminated, truncated, _) = (
                env.step(mdp.actions[a]) for env in (designed, shaped, plain)
            )
            after = mdp.states.index(plain.get_wrapper_attr("state_text")())
            assert got == reward[before, a]
            assert added == pytest.approx(own + GAMMA * values[after] - values[before])
            assert info["env_reward"] == told["env_reward"] == own
            paid.add(float(got))
            over = terminated or truncated
    assert len(paid) > 1


def test_the_recorder_keeps_both_and_snapshots_know_the_state() -> None:
    world = gym.make("Chain-v0", length=3, slip=0.0)
    first = world.reset(seed=0)[1]["state_hash"]
    env = GroupRecorder(DesignedReward(world, {first: {"step forward": 0.5}}), group_size=1)
    env.reset(seed=0)
    saved = agentgym.snapshot(env)
    for _ in range(2):
        agentgym.restore(env, saved)
        answers = [env.step("step forward") for _ in range(2)]
        assert [answer[1] for answer in answers] == [0.5, 0.0]
    [episode] = env.groups()[0].episodes
    assert [step.shaped_reward for step in episode.steps] == [0.5, 0.0]
    assert episode.total_reward == 1.0
    assert episode.won


def test_a_reward_must_be_finite() -> None:
    with pytest.raises(ConfigError, match="'open' in state 'here' is inf"):
        DesignedReward(gym.make("Chain-v0"), {"here": {"open": math.inf}})
