"""Every trajectory of a tiny finite world, by brute force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from agentgym.envs.finite import FiniteMDP, softmax_policy


class Visit(NamedTuple):
    h: int
    state: int
    action: int
    reward: float


def trajectories(mdp: FiniteMDP, policy: np.ndarray, state: int, h: int) -> Iterator[tuple[float, list[Visit]]]:
    """Yield every trajectory from a state with its probability."""
    if h == 0 or mdp.terminal[state]:
        yield 1.0, []
        return
    for a in np.flatnonzero(policy[mdp.observation[state]]):
        for k in np.flatnonzero(mdp.probability[state, a]):
            chance = policy[mdp.observation[state], a] * mdp.probability[state, a, k]
            visit = Visit(h, state, int(a), float(mdp.reward[state, a, k]))
            for probability, rest in trajectories(mdp, policy, int(mdp.successor[state, a, k]), h - 1):
                yield chance * probability, [visit, *rest]


def some_policy(mdp: FiniteMDP, seed: int = 0) -> np.ndarray:
    return softmax_policy(mdp, np.random.default_rng(seed).normal(size=mdp.legal.shape))
