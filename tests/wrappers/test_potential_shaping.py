from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agentgym
from agentgym.errors import ConfigError, EnvironmentFault
from agentgym.wrappers import GroupRecorder, PotentialShaping, ScaleReward
from tests.worlds import Bare, play

FORWARD, BACK = "step forward", "step back"
MOVES = st.lists(st.sampled_from([FORWARD, BACK, "wait", "sing"]), min_size=1, max_size=12)


def stone(text: str, info: Any) -> float:
    """How far along the chain the text says we are."""
    return float(text.split("stone ")[1].split()[0]) / 7 if "stone " in text and "last" not in text else 99.0


def shaped(limit: str = "bootstrap", gamma: float = 0.9, steps: int = 20) -> PotentialShaping:
    env = gym.make("Chain-v0", slip=0.3, max_episode_steps=steps)
    return PotentialShaping(env, stone, gamma=gamma, limit=limit)  # type: ignore[arg-type]


@given(actions=MOVES, seed=st.integers(0, 30), gamma=st.sampled_from([0.0, 0.5, 0.9, 1.0]))
@pytest.mark.parametrize("limit", ["bootstrap", "end"])
def test_terms_telescope(limit: str, actions: list[str], seed: int, gamma: float) -> None:
    """The sum is γᵀ Φ(s_T) - Φ(s₀), with Φ = 0 at an end, and at a limit that counts as one."""
    env = shaped(limit, gamma, steps=7)
    first, _ = env.reset(seed=seed)
    answers = play(env, actions)
    total = sum(gamma**t * (answer[1] - answer[4]["env_reward"]) for t, answer in enumerate(answers))
    text, _, terminated, truncated, info = answers[-1]
    last = 0.0 if terminated or (truncated and limit == "end") else stone(text, info)
    assert total == pytest.approx(gamma ** len(answers) * last - stone(first, {}), abs=1e-12)


@given(actions=MOVES, seed=st.integers(0, 30))
def test_the_worlds_own_reward_is_kept_apart(actions: list[str], seed: int) -> None:
    env, plain = shaped(), gym.make("Chain-v0", slip=0.3)
    env.reset(seed=seed)
    plain.reset(seed=seed)
    for ours, theirs in zip(play(env, actions), play(plain, actions), strict=True):
        assert ours[4]["env_reward"] == theirs[1]
        assert ours[:1] + ours[2:4] == theirs[:1] + theirs[2:4]


def test_the_recorder_keeps_both_rewards() -> None:
    env = GroupRecorder(PotentialShaping(gym.make("Chain-v0", length=3, slip=0.0), stone), group_size=1)
    env.reset(seed=0)
    play(env, [FORWARD, FORWARD])
    [episode] = env.groups()[0].episodes
    assert [step.reward for step in episode.steps] == [0.0, 1.0]
    assert [step.shaped_reward for step in episode.steps] == pytest.approx([1 / 7, 1 - 2 / 7])
    assert episode.total_reward == 1.0


def test_a_table_names_states_by_hash() -> None:
    world = gym.make("Chain-v0", length=3, slip=0.0)
    _, start = world.reset(seed=0)
    _, _, _, _, middle = world.step(FORWARD)
    table = {start["state_hash"]: 0.25, middle["state_hash"]: 0.75}
    env = PotentialShaping(gym.make("Chain-v0", length=3, slip=0.0), table)
    env.reset(seed=0)
    assert [answer[1] for answer in play(env, [FORWARD, FORWARD])] == [0.5, 0.25]  # the end needs no entry
    partial = PotentialShaping(gym.make("Chain-v0", length=3, slip=0.0), {start["state_hash"]: 0.25})
    partial.reset(seed=0)
    with pytest.raises(EnvironmentFault, match="every state"):
        partial.step(FORWARD)
    with pytest.raises(EnvironmentFault, match="no state 'None'"):
        PotentialShaping(Bare(), table).reset(seed=0)


def test_snapshots_know_the_present_potential() -> None:
    env = shaped(gamma=1.0)
    env.reset(seed=1)
    play(env, [FORWARD, FORWARD])
    saved = agentgym.snapshot(env)
    ahead = [answer[1] for answer in play(env, [BACK, FORWARD, FORWARD])]
    agentgym.restore(env, saved)
    assert [answer[1] for answer in play(env, [BACK, FORWARD, FORWARD])] == ahead


def test_scaling_outside_scales_the_terms_too() -> None:
    env = ScaleReward(PotentialShaping(gym.make("Chain-v0", slip=0.0), stone), 7.0)
    env.reset(seed=0)
    assert env.step(FORWARD)[1] == pytest.approx(1.0)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan])
def test_wrong_gammas(gamma: float) -> None:
    with pytest.raises(ConfigError, match=r"in \[0, 1\]"):
        PotentialShaping(Bare(), stone, gamma=gamma)


def test_wrong_limits_and_potentials() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'bootstrap'"):
        PotentialShaping(Bare(), stone, limit="bootstap")  # type: ignore[arg-type]
    with pytest.raises(EnvironmentFault, match="finite"):
        PotentialShaping(Bare(), lambda text, info: math.inf).reset(seed=0)
