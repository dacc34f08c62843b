"""Reward design in finite decision processes: EXPRD, EXPADARD and EXPLORS, as pure functions over arrays.

A teacher who knows the process hands out a reward R instead of the original one, or beside it, so that a learner gets
to the optimal policy π* sooner. With Q_h the value of h further steps of π*,
Δ_h(s, a) = Q_h(s, π*(s)) - Q_h(s, a) is by how much an action falls short:

* EXPRD (Devidze et al., Explicable reward design, NeurIPS 2021) solves one linear programme for a reward that tells
  actions apart within few steps, is bounded, and is 0 outside of few states Z:

      maximise I(R) = - mean over h, s of max(0, max over a of δ(s) - Δ_h(s, a)),  a not optimal
      subject to Δ(s, a) ≥ δ(s) where a is not optimal, ≥ 0 elsewhere;  |R| ≤ R_max;  R = 0 outside of Z

* EXPADARD (Devidze et al., Informativeness of reward functions, AAMAS 2024) solves one again and again for the
  learner's present policy, under the same constraints. I_L is how well R goes with the teacher's advantages where the
  learner is.

* EXPLORS (Devidze et al., Exploration-guided reward shaping, NeurIPS 2022) needs no teacher's knowledge: a bonus for
  states seldom seen, and a term φ(s, a) learned from the returns. It need not keep the optimal policy.

All three are chapters of the thesis arXiv 2503.21949; where it says little, the released code was followed.

Deviations (our readings):
    1. One target policy π*, the first optimal action of each state, as in the runs of the released code; EXPRD
       defines an average over all optimal deterministic policies, of which there may be exponentially many.
    2. Q_h adds the rewards of steps 0 to h, as EXPRD's code does; that of EXPADARD stops before h, so that its h = 1
       is R.
    3. A process may have actions that are not legal everywhere; they never count.

The linear programmes themselves are in ``design_programmes``.

Shapes: S states, A actions, H horizons, D features. Rows of illegal actions are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentgym.algos.functional.discounted import Process, greedy_actions, optimal_values, visitation
from agentgym.errors import AlgorithmError

__all__ = [
    "HORIZONS",
    "Target",
    "adaptive_informativeness",
    "adaptive_weights",
    "exploration_bonus",
    "find_target",
    "gap_operator",
    "gaps",
    "informativeness",
    "keeps_target",
    "return_baseline",
    "self_shaping",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HORIZONS = (1, 4, 8, 16, 32)
"""Horizons of EXPRD's experiments."""


@dataclass(frozen=True, eq=False)
class Target:
    """What a designed reward has to keep of the original one.

    Attributes:
        choice: Target policy π*: the first optimal action of each state, [S]; 0 in ends.
        optimal: Whether an action is optimal, bool [S, A].
        gap: δ(s), by how much the best of the other actions falls short; 0 where all are optimal, [S].
        advantage: A*(s, a) under the original reward, at most 0, [S, A].
    """

    choice: Ints
    optimal: Bools
    gap: Floats
    advantage: Floats


def find_target(process: Process, tolerance: float = 1e-9) -> Target:
    """Return the optimal policy of the process' own reward, and its gaps.

    Args:
        process: The process.
        tolerance: Actions whose values differ by less are equally good; see ``greedy_actions``.
    """
    q = optimal_values(process, process.reward)
    optimal = greedy_actions(q, process.legal, tolerance)
    choice = optimal.argmax(1)
    advantage = np.where(process.legal, q - q[np.arange(len(q)), choice][:, None], 0.0)
    others = process.legal & ~optimal
    gap = np.where(others, -advantage, np.inf).min(1)
    return Target(choice, optimal, np.where(np.isfinite(gap), gap, 0.0), advantage)


def gap_operator(process: Process, choice: Ints, steps: int | None) -> Floats:
    """Return the matrix that maps a flat reward to the flat gaps, [SA, SA].

    Rewards after the first step are those of π*: Σₖ (γP)ᵏ R = R + γT (Σⱼ Wʲ) R_π*, with W the discounted kernel of π*.
    """
    states, actions = process.legal.shape
    chosen = np.arange(states) * actions + choice
    flat = process.gamma * process.transition.reshape(-1, states)
    kernel = flat[chosen]
    if steps is None:
        total = np.linalg.inv(np.eye(states) - kernel)
    else:
        total, power = np.zeros((states, states)), np.eye(states)
        for _ in range(steps):
            total, power = total + power, power @ kernel
    ahead = flat @ total
    ahead[:, process.ends] = 0.0
    operator = np.eye(states * actions)
    operator[:, chosen] += ahead
    gap: Floats = operator[np.repeat(chosen, actions)] - operator
    gap[~process.legal.ravel()] = 0.0
    return gap


def gaps(process: Process, choice: Ints, reward: Floats, steps: int | None = None) -> Floats:
    """Return Δ_h(s, a), by how much an action falls short of π*(s) within h further steps of π*, [S, A].

    Args:
        process: The process; its own reward is not read.
        choice: π*(s), [S].
        reward: R(s, a), [S, A].
        steps: h, at least 0, or None for no limit.
    """
    flat = np.where(process.legal, reward, 0.0).ravel()
    short: Floats = (gap_operator(process, choice, steps) @ flat).reshape(reward.shape)
    return short


def informativeness(process: Process, target: Target, reward: Floats, horizons: Sequence[int] = HORIZONS) -> float:
    """Return I(R), at most 0: minus the mean shortfall of the gaps within few steps (EXPRD, equation of I).

    Args:
        process: The process; its own reward is not read.
        target: What is to be kept of the original reward.
        reward: R(s, a), [S, A].
        horizons: H, numbers of further steps, each at least 0.
    """
    others = process.legal & ~target.optimal
    short = [
        np.where(others, target.gap[:, None] - gaps(process, target.choice, reward, steps), 0.0).max(1)
        for steps in horizons
    ]
    return -float(np.maximum(short, 0.0).mean())


def keeps_target(process: Process, target: Target, reward: Floats, tolerance: float = 1e-6) -> bool:
    """Return whether every policy that is optimal under ``reward`` is optimal under the original one, and π* is.

    Args:
        process: The process; its own reward is not read.
        target: What is to be kept of the original reward.
        reward: R(s, a), [S, A].
        tolerance: Actions whose values differ by less are equally good; a linear programme's answer needs some.
    """
    best = greedy_actions(optimal_values(process, reward), process.legal, tolerance)
    chosen = best[np.arange(len(best)), target.choice] | process.ends
    return bool(chosen.all() and not (best & ~target.optimal).any())


def adaptive_weights(process: Process, target: Target, learner: Floats, teacher_visits: Floats) -> Floats:
    """Return how much EXPADARD's objective for a learner gains with the reward of each action, [S, A].

    I_L(R) = Σ μ_T(s) μ_L(s, a) π_L(a | s) (A_T(s, a) - A_T(s, π_L)) (R(s, a) - R(s, π_L)), written as Σ c(s, a) R(s,
    a); c sums to 0 in every state, and is 0 where the learner always does the same.

    Args:
        process: The process.
        target: The teacher's advantages.
        learner: π_L(a | s), [S, A]; rows of ends are 0.
        teacher_visits: μ_T(s), how often the teacher is in each state, [S].
    """
    visits = teacher_visits * visitation(process, learner)
    excess = target.advantage - (learner * target.advantage).sum(1, keepdims=True)
    pull = visits[:, None] * learner**2 * excess
    weights: Floats = pull - learner * pull.sum(1, keepdims=True)
    return weights


def adaptive_informativeness(weights: Floats, reward: Floats) -> float:
    """Return I_L(R) from the weights of ``adaptive_weights`` and a reward, each [S, A]."""
    return float((weights * reward).sum())


def exploration_bonus(visits: Floats, lam: float, largest: float) -> Floats:
    """Return EXPLORS' bonus for arriving in a state, λ / √((λ / B_max)² + N), in (0, B_max]; 0 everywhere for λ = 0.

    The caller gives no bonus for arriving in an end.

    Args:
        visits: N, how often the state was left so far, at least 0, of any shape.
        lam: λ, at least 0.
        largest: B_max, the bonus where N = 0, above 0.

    >>> exploration_bonus(np.array([0.0, 3.0]), 1.0, 1.0).tolist()
    [1.0, 0.5]
    """
    if lam < 0 or largest <= 0:
        raise AlgorithmError(f"lam={lam}, largest={largest}: must be at least 0, and above 0")
    if lam == 0:
        return np.zeros(np.shape(visits))
    bonus: Floats = lam / np.sqrt((lam / largest) ** 2 + visits)
    return bonus


def self_shaping(
    phi: Floats, state: Ints, action: Ints, policy: Floats, excess: Floats, eta: float, clip: float | None = None
) -> Floats:
    """Return EXPLORS' φ after one update: φ(s, ·) += η Σ π(a | s) (Ḡ - V(s)) (onehot(a) - π(· | s)), [S, A].

    Without the clip an update changes the sum over the actions of a state by 0.

    Args:
        phi: φ(s, a), [S, A].
        state: State of each row, [R].
        action: Action taken, [R].
        policy: π(· | s) at the time, [R, A].
        excess: Ḡ - V(s): discounted return under the original reward less the state's running mean, [R].
        eta: η, at least 0.
        clip: Largest size of φ, above 0, or None.
    """
    rows = np.arange(len(state))
    step = -policy.copy()
    step[rows, action] += 1.0
    moved = phi.copy()
    np.add.at(moved, state, eta * (policy[rows, action] * excess)[:, None] * step)
    return moved if clip is None else np.clip(moved, -clip, clip)


def return_baseline(values: Floats, state: Ints, returns: Floats, eta: float) -> Floats:
    """Return EXPLORS' running mean of returns after one update: V(s) += η Σ (Ḡ - V(s)) / R, [S].

    Args:
        values: V(s), [S].
        state: State of each row, [R]; at least one.
        returns: Ḡ, discounted return under the original reward from each row on, [R].
        eta: η of the baseline, at least 0.
    """
    moved = values.copy()
    np.add.at(moved, state, eta * (returns - values[state]) / len(state))
    return moved
