"""Teachers that hand out rewards in finite worlds, and the loop in which a tabular learner learns from them.

What the learner is paid (``paid``) and what the world pays (``own``) are kept apart throughout: learners see the first,
teachers may see both, and every curve is the exact value of the learner's policy under the second.

The loop is that of the thesis arXiv 2503.21949: one episode after the other into a buffer of the last ten; every
``teacher_every`` episodes the teacher looks at the buffer, every ``learner_every`` the learner learns from its last
five.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agentgym.algos.functional.design_programmes import design_adaptive
from agentgym.algos.functional.discounted import Process, one_hot_policy, visitation
from agentgym.algos.functional.reward_design import (
    Target,
    adaptive_weights,
    exploration_bonus,
    return_baseline,
    self_shaping,
)
from agentgym.envs.finite import FiniteMDP
from agentgym.evaluation.tabular_learners import Episode, Learner, policy_return, returns_to_go

__all__ = [
    "AdaptiveReward",
    "Curve",
    "ExplorationReward",
    "FixedReward",
    "OriginalReward",
    "Plan",
    "Teacher",
    "teach",
]

Floats = npt.NDArray[np.float64]


class Teacher(Protocol):
    """Who says what a step is paid."""

    def pay(self, state: int, action: int, own: float, after: int) -> float:
        """Return what the learner is paid for a step."""

    def update(self, episodes: Sequence[Episode], learner: Learner) -> None:
        """Look at the last episodes and the learner, and change the reward."""


class OriginalReward:
    """Pays what the world pays."""

    def pay(self, state: int, action: int, own: float, after: int) -> float:
        """Return the world's own reward."""
        return own

    def update(self, episodes: Sequence[Episode], learner: Learner) -> None:
        """Change nothing."""


class FixedReward:
    """Pays R(s, a) instead of the world's own reward: a design of EXPRD, or a potential-based one in expectation.

    Args:
        reward: R(s, a), [S, A].
    """

    def __init__(self, reward: Floats) -> None:
        self._reward: list[list[float]] = reward.tolist()

    def pay(self, state: int, action: int, own: float, after: int) -> float:
        """Return R(s, a)."""
        return self._reward[state][action]

    def update(self, episodes: Sequence[Episode], learner: Learner) -> None:
        """Change nothing."""


class AdaptiveReward:
    """EXPADARD: pays a reward that is designed anew for the learner's present policy; 0 before the first design.

    Args:
        process: The process with its original reward.
        target: What is to be kept of it.
        epsilon: The teacher's visits μ_T are those of π* with this share of random actions, in [0, 1].
        largest: R_max.
        features: Restricts the reward to F w, see ``design_adaptive``.
        every: Design at every so many updates, at least 1.
    """

    def __init__(
        self,
        process: Process,
        target: Target,
        *,
        epsilon: float = 0.4,
        largest: float = 1.0,
        features: Floats | None = None,
        every: int = 1,
    ) -> None:
        self._process, self._target, self._largest, self._features = process, target, largest, features
        uniform = process.legal / np.maximum(process.legal.sum(1, keepdims=True), 1)
        greedy = one_hot_policy(target.choice, process.legal)
        self._visits = visitation(process, (1 - epsilon) * greedy + epsilon * uniform)
        self._every, self._updates = every, 0
        self.reward = np.zeros(process.legal.shape)

    def pay(self, state: int, action: int, own: float, after: int) -> float:
        """Return R(s, a) of the present design."""
        return float(self.reward[state, action])

    def update(self, episodes: Sequence[Episode], learner: Learner) -> None:
        """Design a reward for the learner."""
        self._updates += 1
        if self._updates % self._every == 1 or self._every == 1:
            weights = adaptive_weights(self._process, self._target, learner.behaviour(), self._visits)
            design = design_adaptive(
                self._process, self._target, weights, largest=self._largest, features=self._features
            )
            self.reward = design.reward


class ExplorationReward:
    """EXPLORS: pays the world's own reward, φ(s, a) learned from returns, and a bonus for states seldom left.

    With ``eta=0`` it is ExploB, the bonus alone; with ``lam=0`` it is SelfRS, φ alone; with both it is the world's
    reward.

    Args:
        process: The process; only its ends and its γ are read.
        lam: λ of the bonus, at least 0.
        largest: B_max of the bonus, above 0.
        eta: η of φ, at least 0.
        eta_values: Learning rate of the running mean of returns.
        clip: Largest size of φ, or None; the released code clips at 0.01 for Q-learning.
    """

    def __init__(
        self,
        process: Process,
        *,
        lam: float = 1.0,
        largest: float = 1.0,
        eta: float = 0.01,
        eta_values: float = 0.01,
        clip: float | None = None,
    ) -> None:
        self._ends, self._gamma = process.ends.tolist(), process.gamma
        self._lam, self._largest = lam, largest
        self._eta, self._eta_values, self._clip = eta, eta_values, clip
        self.phi: Floats = np.zeros(process.legal.shape)
        self.values = np.zeros(len(process.legal))
        self.visits = [0] * len(process.legal)
        self._bonus: list[float] = []
        self._table = [[0.0] * len(row) for row in process.legal]

    def _bonus_after(self, visits: int) -> float:
        while visits >= len(self._bonus):
            counts = np.arange(len(self._bonus), 2 * len(self._bonus) + 64, dtype=np.float64)
            self._bonus += exploration_bonus(counts, self._lam, self._largest).tolist()
        return self._bonus[visits]

    def pay(self, state: int, action: int, own: float, after: int) -> float:
        """Return the shaped reward, and count the state that was left."""
        bonus = 0.0 if self._ends[after] else self._bonus_after(self.visits[after])
        self.visits[state] += 1
        return own + self._table[state][action] + bonus

    def update(self, episodes: Sequence[Episode], learner: Learner) -> None:
        """Update φ, and then the running mean, from the world's own returns."""
        state = np.concatenate([episode.states for episode in episodes]).astype(np.int64)
        action = np.concatenate([episode.actions for episode in episodes]).astype(np.int64)
        policy = np.concatenate([episode.policy[episode.states] for episode in episodes])
        returns = np.concatenate([returns_to_go(episode.own, self._gamma) for episode in episodes])
        excess = returns - self.values[state]
        self.phi = self_shaping(self.phi, state, action, policy, excess, self._eta, self._clip)
        self.values = return_baseline(self.values, state, returns, self._eta_values)
        self._table = self.phi.tolist()


@dataclass(frozen=True)
class Plan:
    """How long to teach, and how often who learns.

    Attributes:
        episodes: Episodes to play, at least 1.
        horizon: Step limit of an episode, at least 1.
        teacher_every: Episodes between updates of the teacher, N_r.
        learner_every: Episodes between updates of the learner, N_p.
        buffer: Episodes that the teacher sees.
        recent: Episodes that the learner learns from, the last ones.
        evaluate_every: Episodes between points of the curve.
    """

    episodes: int
    horizon: int
    teacher_every: int = 5
    learner_every: int = 2
    buffer: int = 10
    recent: int = 5
    evaluate_every: int = 100


@dataclass(frozen=True)
class Curve:
    """Value of the learner's policy under the world's own reward, before so many episodes; the last point is the end.

    Attributes:
        episodes: Number of episodes played.
        values: Exact expected discounted return.
    """

    episodes: list[int]
    values: list[float]


class _World:
    """Samples steps of a finite world, as fast as plain lists allow."""

    def __init__(self, mdp: FiniteMDP) -> None:
        self.start = mdp.start.tolist()
        self.thresholds = mdp.thresholds.tolist()
        self.successor = mdp.successor.tolist()
        self.reward = mdp.reward.tolist()
        self.terminal = mdp.terminal.tolist()

    def play(self, learner: Learner, teacher: Teacher, horizon: int, rng: np.random.Generator) -> Episode:
        """Play one episode; its chances are drawn in advance, the same number whatever is done."""
        first, *chances = rng.random(1 + 2 * horizon).tolist()
        state = self.start[int(first * len(self.start))]
        episode = Episode()
        for t in range(horizon):
            action = learner.draw(state, chances[2 * t])
            k = bisect_right(self.thresholds[state][action], chances[2 * t + 1])
            after, own = self.successor[state][action][k], self.reward[state][action][k]
            paid = teacher.pay(state, action, own, after)
            learner.step(state, action, paid, after)
            episode.states.append(state)
            episode.actions.append(action)
            episode.own.append(own)
            episode.paid.append(paid)
            episode.after.append(after)
            state = after
            if self.terminal[state]:
                break
        episode.policy = learner.behaviour()
        return episode


def teach(mdp: FiniteMDP, gamma: float, teacher: Teacher, learner: Learner, plan: Plan, seed: int) -> Curve:
    """Play, pay and learn; return the value of the learner's policy against the number of episodes.

    Args:
        mdp: The world.
        gamma: γ of the value, in [0, 1].
        teacher: Says what is paid.
        learner: Acts and learns.
        plan: How long, and how often.
        seed: Seed of all chances.
    """
    rng = np.random.default_rng(seed)
    world, recent = _World(mdp), deque[Episode](maxlen=plan.buffer)
    curve = Curve([], [])
    for number in range(plan.episodes + 1):
        if number % plan.evaluate_every == 0 or number == plan.episodes:
            curve.episodes.append(number)
            curve.values.append(policy_return(mdp, learner.policy(), plan.horizon, gamma))
        if number == plan.episodes:
            break
        recent.append(world.play(learner, teacher, plan.horizon, rng))
        if (number + 1) % plan.teacher_every == 0:
            teacher.update(list(recent), learner)
        if (number + 1) % plan.learner_every == 0:
            learner.learn(list(recent)[-plan.recent :])
    return curve
