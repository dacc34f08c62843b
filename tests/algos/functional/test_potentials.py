"""Potential-based shaping keeps what is optimal, and only under its conditions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos.functional.discounted import Process, greedy_actions, optimal_values, policy_values
from agentgym.algos.functional.potentials import expected_shaping, shaping_terms
from agentgym.errors import AlgorithmError
from tests.algos.functional.processes import PROCESSES, drawn_process, some_policy

SEEDS = st.integers(0, 99)


def some_potential(process: Process, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3.0, size=len(process.start))


@given(process=PROCESSES, seed=SEEDS)
def test_every_policy_is_worth_less_by_the_potential_of_its_start(process: Process, seed: int) -> None:
    """So the best policies stay the best: Q of any policy falls by Φ(s), the same for every action."""
    phi, policy = some_potential(process, seed), some_policy(process, seed)
    shaped = process.reward + expected_shaping(process, phi)
    fall = policy_values(process, process.reward, policy) - policy_values(process, shaped, policy)
    assert np.allclose(fall, np.where(process.legal, phi[:, None], 0.0), atol=1e-9)
    best, plain = optimal_values(process, shaped), optimal_values(process, process.reward)
    assert np.allclose(plain - best, np.where(process.legal, phi[:, None], 0.0), atol=1e-8)


@given(process=PROCESSES)
def test_the_best_potential_makes_the_reward_the_advantage(process: Process) -> None:
    q = optimal_values(process, process.reward)
    v = np.where(process.legal, q, -np.inf).max(1)
    v[process.ends] = 0.0
    shaped = process.reward + expected_shaping(process, v)
    assert np.allclose(shaped, np.where(process.legal, q - v[:, None], 0.0), atol=1e-9)


def test_a_potential_in_an_end_would_change_what_is_best() -> None:
    """A counter-example to leaving the condition out: stay for ever, or stop for 1."""
    transition = np.zeros((2, 2, 2))
    transition[0, 0, 0] = transition[0, 1, 1] = 1.0
    legal = np.array([[True, True], [False, False]])
    process = Process(transition, np.array([[0.0, 1.0], [0.0, 0.0]]), legal, np.array([1.0, 0.0]), 0.9)
    phi = np.array([0.0, -5.0])
    kept = process.reward + expected_shaping(process, phi)
    assert greedy_actions(optimal_values(process, kept), legal)[0].tolist() == [False, True]
    careless = np.where(legal, process.reward + 0.9 * transition @ phi - phi[:, None], 0.0)
    assert greedy_actions(optimal_values(process, careless), legal)[0].tolist() == [True, False]


@given(seed=SEEDS, gamma=st.sampled_from([0.0, 0.5, 0.9, 1.0]), over=st.booleans())
def test_terms_of_an_episode_telescope(seed: int, gamma: float, over: bool) -> None:
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=rng.integers(2, 9))
    steps = len(phi) - 1
    terms = shaping_terms(phi[:-1], phi[1:], np.arange(steps) == (steps - 1 if over else steps), gamma)
    last = 0.0 if over else gamma**steps * phi[-1]
    assert terms @ gamma ** np.arange(steps) == pytest.approx(last - phi[0], abs=1e-12)


def test_a_truncated_episode_is_worth_the_same_only_if_it_bootstraps() -> None:
    """G' + γᵀ (V(s_T) - Φ(s_T)) = G + γᵀ V(s_T) - Φ(s₀) for every episode; the sums alone differ by where they stop."""
    phi, value, gamma = np.array([0.5, 2.0, 3.0]), 4.0, 0.9
    terms = shaping_terms(phi[:-1], phi[1:], np.zeros(2, np.bool_), gamma)
    shaped = terms @ gamma ** np.arange(2)
    assert shaped + gamma**2 * (value - phi[-1]) == pytest.approx(gamma**2 * value - phi[0])
    assert shaped != pytest.approx(-phi[0])
    ended = shaping_terms(phi[:-1], phi[1:], np.array([False, True]), gamma)
    assert ended @ gamma ** np.arange(2) == pytest.approx(-phi[0])


def test_what_cannot_be_is_refused() -> None:
    ones, over = np.ones(2), np.zeros(2, np.bool_)
    with pytest.raises(AlgorithmError, match=r"gamma=1\.5"):
        shaping_terms(ones, ones, over, 1.5)
    with pytest.raises(AlgorithmError, match="row 1"):
        shaping_terms(ones, np.array([1.0, np.inf]), over, 1.0)
    assert shaping_terms(ones, np.array([1.0, np.nan]), np.array([False, True]), 1.0).tolist() == [0.0, -1.0]
    assert not expected_shaping(drawn_process(3), np.ones(6))[-1].any()
