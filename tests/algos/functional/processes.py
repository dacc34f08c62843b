"""Small decision processes for tests: drawn ones, and the thesis's worlds in small."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from agentgym.algos.functional.discounted import Process

DISCOUNTS = (0.5, 0.9, 0.95)


def drawn_process(seed: int, *, states: int = 6, actions: int = 3, gamma: float = 0.9) -> Process:
    """Return a process whose last state is an end and whose rewards are few; some actions are not legal."""
    rng = np.random.default_rng([seed, states, actions])
    legal = rng.random((states, actions)) < 0.8
    legal[np.arange(states), rng.integers(actions, size=states)] = True
    legal[-1] = False
    transition = rng.random((states, actions, states)) ** 6 * legal[..., None]
    total = transition.sum(-1, keepdims=True)
    transition = np.divide(transition, total, out=np.zeros(transition.shape), where=total > 0)
    reward = np.where(legal & (rng.random(legal.shape) < 0.3), rng.choice([-0.5, 0.25, 1.0], size=legal.shape), 0.0)
    start = rng.dirichlet(np.ones(states - 1))
    return Process(transition, reward, legal, np.append(start, 0.0), gamma)


PROCESSES = st.builds(
    drawn_process,
    st.integers(0, 10_000),
    states=st.integers(2, 7),
    actions=st.integers(2, 4),
    gamma=st.sampled_from(DISCOUNTS),
)


def some_policy(process: Process, seed: int = 0) -> np.ndarray:
    """Return a policy that takes every legal action sometimes, [S, A]."""
    weights = np.random.default_rng(seed).random(process.legal.shape) * process.legal
    total = weights.sum(1, keepdims=True)
    return np.divide(weights, total, out=np.zeros(weights.shape), where=total > 0)
