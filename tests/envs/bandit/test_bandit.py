"""The system and the environment of dynamical linear bandits."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

import agentgym
from agentgym.envs.bandit import INSTANCES, LinearSystem, allocations, spend
from agentgym.envs.bandit.env import DynamicalLinearBanditEnv
from agentgym.errors import ConfigError, EnvironmentFault

NAME = "DynamicalLinearBandit-v0"


def drawn_system(seed: int, radius: float) -> LinearSystem:
    """A system of random matrices whose state matrix has the given spectral radius."""
    rng = np.random.default_rng(seed)
    n, d, m = (int(size) for size in rng.integers(1, 4, size=3))
    a = rng.normal(size=(n, n))
    largest = np.abs(np.linalg.eigvals(a)).max()
    b, c, direct = rng.normal(size=(n, d)), rng.normal(size=(m, n)), rng.normal(size=(m, d))
    actions = rng.normal(size=(4, d))
    return LinearSystem(a * radius / largest, b, c, direct, 0.0, actions, tuple(f"channel {i}" for i in range(d)))


def world(env: gym.Env[Any, Any]) -> DynamicalLinearBanditEnv:
    assert isinstance(env.unwrapped, DynamicalLinearBanditEnv)
    return env.unwrapped


@pytest.mark.parametrize("name", sorted(INSTANCES))
def test_gymnasium_checks_it_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(NAME, instance=name).unwrapped)
        gym.make(NAME).reset(seed=0)


def test_the_papers_systems_are_as_published() -> None:
    """Values worked out from the published matrices by hand for the synthetic system, in full for the other."""
    synthetic, advertising = INSTANCES["synthetic"](None), INSTANCES["advertising"](None)
    assert synthetic.markov == pytest.approx([0.45 / 0.8, 0.5, 0.1 + 0.01 / 0.9])
    assert synthetic.actions[synthetic.best].tolist() == [1.0, 0.5, 0.0]
    assert synthetic.actions[synthetic.myopic].tolist() == [0.0, 1.0, 0.5]
    assert synthetic.values.max() == pytest.approx(0.8125)
    assert (synthetic.spectral_radius, synthetic.transient) == pytest.approx((0.2, 1.0))
    assert advertising.markov == pytest.approx([0.2515, -0.0363, 0.1061], abs=1e-4)
    assert advertising.actions[advertising.best].tolist() == [1.0, 0.0, 0.5]
    assert advertising.values[[advertising.best, advertising.myopic]] == pytest.approx([0.3046, 0.0895], abs=1e-4)
    assert (advertising.spectral_radius, advertising.transient) == pytest.approx((0.667, 2.78), abs=2e-3)
    assert advertising.expert == pytest.approx([0.0031, 0.4969, 1.0], abs=1e-4)


@given(st.integers(0, 10**6), st.floats(0.05, 0.8))
def test_markov_parameter_is_the_sum_of_all_delayed_effects(seed: int, radius: float) -> None:
    system = drawn_system(seed, radius)
    total, power = system.theta.copy(), np.eye(len(system.A))
    for _ in range(400):
        total = total + system.B.T @ power.T @ system.omega
        power = power @ system.A
    assert system.markov == pytest.approx(total, abs=1e-8, rel=1e-8)


@given(st.integers(0, 10**6), st.floats(0.05, 0.8), st.integers(0, 3))
def test_a_constant_action_is_paid_its_value_up_to_what_fades(seed: int, radius: float, action: int) -> None:
    """|y_t - J(u)| ≤ Ω Φ ρ^(t-1) ‖x*‖ without noise, as x_t - x* = -A^(t-1) x*."""
    system = drawn_system(seed, radius)
    env = DynamicalLinearBanditEnv(system)
    env.reset(seed=0)
    rest = np.linalg.solve(np.eye(len(system.A)) - system.A, system.B @ system.actions[action])
    bound = np.linalg.norm(system.omega) * system.transient * np.linalg.norm(rest)
    for t in range(30):
        _, reward, _, _, info = env.step(np.int64(action))
        assert abs(reward - info["value"]) <= bound * system.spectral_radius**t + 1e-9


def test_rewards_come_before_the_state_moves_and_noise_is_that_of_a_sum() -> None:
    env = gym.make(NAME, instance="advertising", max_episode_steps=30_000)
    system = world(env).system
    rewards = []
    for seed in range(2000):
        env.reset(seed=seed)
        rewards.append(env.step(np.int64(3))[1])
    assert np.mean(rewards) == pytest.approx(system.theta @ system.actions[3], abs=3e-3)
    assert np.std(rewards) == pytest.approx(0.01 * 3**0.5, rel=0.1)


def test_info_tells_the_regret_and_the_end_is_truncated() -> None:
    env = gym.make(NAME, instance="synthetic", max_episode_steps=3)
    env.reset(seed=0)
    system = world(env).system
    ends = []
    for action in (system.best, system.myopic, 0):
        observation, _, terminated, truncated, info = env.step(np.int64(action))
        assert observation == 0
        assert info["regret"] == pytest.approx(system.values.max() - system.values[action])
        ends.append((terminated, truncated))
    assert ends == [(False, False), (False, False), (False, True)]


def test_snapshots_bring_state_and_chance_back() -> None:
    env = gym.make(NAME)
    env.reset(seed=0)
    env.step(np.int64(1))
    here = agentgym.snapshot(env)
    first = [env.step(np.int64(2))[1] for _ in range(3)]
    other = gym.make(NAME)
    other.reset(seed=5)
    agentgym.restore(other, here)
    assert [other.step(np.int64(2))[1] for _ in range(3)] == first


def test_allocations_spend_the_total_and_no_channel_too_much() -> None:
    corners = allocations(3, 1.5, 1.0)
    assert len(corners) == 6
    assert corners.sum(axis=1) == pytest.approx(1.5)
    assert corners.max() <= 1.0
    assert len(allocations(4, 2.0, 1.0)) == 6
    with pytest.raises(ConfigError, match="total=4"):
        allocations(3, 4.0, 1.0)


@given(st.lists(st.floats(0.01, 100.0), min_size=3, max_size=5))
def test_an_expert_keeps_proportions_where_there_is_room(shares: list[float]) -> None:
    budget = spend(shares, 1.5, 1.0)
    assert budget.sum() == pytest.approx(1.5)
    assert budget.max() <= 1.0 + 1e-12
    free = budget < 1.0 - 1e-9
    ratios = budget[free] / np.array(shares)[free]
    assert ratios == pytest.approx(ratios[:1].repeat(len(ratios)))


def test_wrong_systems_and_actions_are_refused() -> None:
    system = INSTANCES["synthetic"](None)
    with pytest.raises(ConfigError, match=r"spectral radius 1\.2000"):
        replace(system, A=np.eye(3) * 1.2)
    with pytest.raises(ConfigError, match=r"B has the shape \(3, 2\)"):
        replace(system, B=np.zeros((3, 2)))
    with pytest.raises(ConfigError, match="noise=-1"):
        gym.make(NAME, noise=-1.0)
    with pytest.raises(ConfigError, match="unknown instance 'synthetik'"):
        gym.make(NAME, instance="synthetik")
    assert world(gym.make(NAME, instance=system, noise=0.5)).system.noise == 0.5
    env = DynamicalLinearBanditEnv()
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(np.int64(0))
    env.reset()
    with pytest.raises(EnvironmentFault, match="no action 6"):
        env.step(np.int64(6))


def test_a_state_that_is_lost_at_once_has_no_transient() -> None:
    system = replace(INSTANCES["synthetic"](None), A=np.zeros((3, 3)))
    assert (system.spectral_radius, system.transient) == (0.0, 1.0)
