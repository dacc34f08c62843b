"""Exact discounted values and visits in a finite decision process given as arrays: the base of reward design.

S states and A actions; rows of illegal actions are 0 everywhere, and a state without legal actions is an end, whose
value is 0. Values are of an unlimited horizon, hence γ < 1:

    Q(s, a) = R(s, a) + γ Σ P(s' | s, a) V(s')      V(s) = Σ π(a | s) Q(s, a)

Source: Puterman, Markov Decision Processes, 1994, sections 6.1 (evaluation as a linear system) and 6.4 (policy
iteration).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentgym.errors import AlgorithmError

__all__ = ["Process", "greedy_actions", "one_hot_policy", "optimal_values", "policy_values", "visitation"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Process:
    """A finite decision process with discount.

    Attributes:
        transition: P(s' | s, a), float64 [S, A, S]; rows sum to 1 where the action is legal, else to 0.
        reward: R(s, a), expected over what the action leads to, float64 [S, A]; 0 where it is not legal.
        legal: Whether the action can be taken, bool [S, A]; a state without one is an end.
        start: Probability that an episode starts in each state, float64 [S].
        gamma: γ, in [0, 1).
    """

    transition: Floats
    reward: Floats
    legal: Bools
    start: Floats
    gamma: float

    def __post_init__(self) -> None:
        """Check the arrays.

        Raises:
            AlgorithmError: If γ is out of range, or probabilities do not sum to 1 where they must and 0 elsewhere.
        """
        if not 0 <= self.gamma < 1:
            raise AlgorithmError(
                f"gamma={self.gamma}: must be in [0, 1); values of an unlimited horizon need it below 1"
            )
        if (bad := np.argwhere(np.abs(self.transition.sum(-1) - self.legal) > 1e-9)).size:
            s, a = bad[0]
            raise AlgorithmError(
                f"action {a} in state {s} has probabilities that sum to {self.transition[s, a].sum()}; they must "
                "sum to 1 where the action is legal and to 0 elsewhere"
            )

    @property
    def ends(self) -> Bools:
        """Whether each state is an end, bool [S]."""
        ends: Bools = self.legal.sum(1) == 0
        return ends


def policy_values(process: Process, reward: Floats, policy: Floats) -> Floats:
    """Return Q of a policy under a reward of any kind, [S, A]; 0 where the action is not legal.

    Args:
        process: The process; its own reward is not read.
        reward: R(s, a), [S, A].
        policy: π(a | s), [S, A]; rows of ends are 0.
    """
    kernel = np.einsum("sa,sat->st", policy, process.transition)
    v = np.linalg.solve(np.eye(len(kernel)) - process.gamma * kernel, (policy * reward).sum(1))
    q: Floats = np.where(process.legal, reward + process.gamma * process.transition @ v, 0.0)
    return q


def greedy_actions(q: Floats, legal: Bools, tolerance: float = 1e-9) -> Bools:
    """Return which legal actions are worth as much as the best one, bool [S, A]; none in an end.

    Args:
        q: Value of each action, [S, A].
        legal: Whether it can be taken, [S, A].
        tolerance: How much less still counts as equal, relative to the largest value and at least absolute.
    """
    masked = np.where(legal, q, -np.inf)
    room = tolerance * max(1.0, float(np.abs(q).max(initial=0.0)))
    best: Bools = legal & (masked >= masked.max(1, initial=-np.inf, keepdims=True) - room)
    return best


def one_hot_policy(choice: Ints, legal: Bools) -> Floats:
    """Return the policy that takes ``choice[s]`` in state s, [S, A]; rows of ends are 0."""
    policy = np.zeros(legal.shape)
    policy[np.arange(len(choice)), choice] = 1.0
    return np.where(legal.any(1, keepdims=True), policy, 0.0)


def optimal_values(process: Process, reward: Floats) -> Floats:
    """Return Q of an optimal policy under a reward, [S, A], by policy iteration.

    Args:
        process: The process; its own reward is not read.
        reward: R(s, a), [S, A].

    Raises:
        AlgorithmError: If the reward is not finite.
    """
    if not np.isfinite(reward).all():
        raise AlgorithmError("the reward holds values that are not finite; a reward must be a number everywhere")
    choice = process.legal.argmax(1)
    while True:
        q = policy_values(process, reward, one_hot_policy(choice, process.legal))
        best = greedy_actions(q, process.legal)
        kept = (
            best[np.arange(len(choice)), choice] | process.ends
        )  # keeping a choice that is as good ends the iteration
        if kept.all():
            return q
        choice = np.where(kept, choice, best.argmax(1))


def visitation(process: Process, policy: Floats) -> Floats:
    """Return how often a policy stands in each state, discounted and normalised over states that are no ends, [S].

    Args:
        process: The process; its reward is not read.
        policy: π(a | s), [S, A]; rows of ends are 0.

    Raises:
        AlgorithmError: If every episode starts in an end.
    """
    kernel = np.einsum("sa,sat->st", policy, process.transition)
    visits = np.linalg.solve(np.eye(len(kernel)) - process.gamma * kernel.T, process.start)
    visits = np.where(process.ends, 0.0, visits)
    if visits.sum() <= 0:
        raise AlgorithmError("every episode starts in an end; visits need a start in which something can be done")
    share: Floats = visits / visits.sum()
    return share
