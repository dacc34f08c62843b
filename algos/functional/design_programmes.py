"""The linear programmes of reward design: EXPRD's, once and with greedily chosen states, and EXPADARD's.

Variables are the weights of the reward, R = F w with a column of F for each feature or for each legal action of an
allowed state, and one shortfall for each horizon and state; see ``reward_design`` for what is maximised and kept.
SciPy's HiGHS solves them, of the extra ``design``. Rewards that are equally good are many, and which one comes out is
the solver's choice.

Source: EXPRD (NeurIPS 2021) and EXPADARD (AAMAS 2024), chapters of the thesis arXiv 2503.21949.

Deviations (our readings):
    1. The gaps are kept up to the factor 1 / (1 + 1e-5), as in EXPRD's code; the objective has them in full.
    2. Every solution is checked by solving the process under it, and refused if the optimal policy is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.algos.functional.discounted import Process
from agentgym.algos.functional.reward_design import (
    HORIZONS,
    Target,
    adaptive_informativeness,
    gap_operator,
    informativeness,
    keeps_target,
)
from agentgym.errors import AlgorithmError, missing_extra

__all__ = ["Design", "design_adaptive", "design_reward", "select_states"]

Floats = npt.NDArray[np.float64]

_SLACK = 1e-5
_SCALE = 1000.0


@dataclass(frozen=True, eq=False)
class Design:
    """A designed reward.

    Attributes:
        reward: R(s, a), [S, A].
        value: The objective it reaches: I(R) of EXPRD, without the cost of ``l1``, or I_L(R) of EXPADARD.
        states: States in which it may differ from 0, in the order in which they were chosen.
    """

    reward: Floats
    value: float
    states: tuple[int, ...]


def _basis(process: Process, states: Sequence[int] | None, features: Floats | None) -> Floats:
    """Return the matrix from weights to a flat reward, [SA, D]; without features a weight for each legal action."""
    count, actions = process.legal.shape
    allowed = process.legal if states is None else process.legal & np.isin(np.arange(count), states)[:, None]
    if features is None:
        return np.eye(count * actions)[:, allowed.ravel()]
    if features.shape[:2] != (count, actions):
        raise AlgorithmError(
            f"features have shape {features.shape}; they need {(count, actions)} and the number of features"
        )
    return np.where(allowed.ravel()[:, None], features.reshape(count * actions, -1), 0.0)


def _constraints(process: Process, target: Target, basis: Floats, largest: float) -> tuple[Floats, Floats]:
    """Return the invariance and the box as rows of weights · x ≤ bound."""
    others = (process.legal & ~target.optimal).ravel()
    needed = np.where(others, np.repeat(target.gap, process.legal.shape[1]) / (1 + _SLACK), 0.0)
    operator = gap_operator(process, target.choice, None)
    rows = process.legal.ravel()
    box = np.full(int(rows.sum()), largest)
    weights = np.concatenate([-(operator @ basis)[rows], basis[rows], -basis[rows]])
    return weights, np.concatenate([-needed[rows], box, box])


def _solve(cost: Floats, weights: Floats, bound: Floats, free: int, what: str) -> Floats:
    """Minimise cost · x with weights · x ≤ bound; all but the first ``free`` variables are at least 0.

    Rewards are solved for in thousandths: the solver's tolerance of 1e-7 is absolute, and gaps can be as small as 1e-4
    of the reward. Without this it takes some programmes that have a solution for infeasible.
    """
    try:
        from scipy.optimize import linprog
        from scipy.sparse import csr_matrix
    except ImportError as error:
        raise missing_extra("scipy", "design", "designing a reward") from error
    limits = [(None, None)] * free + [(0, None)] * (len(cost) - free)
    answer: Any = linprog(cost, A_ub=csr_matrix(weights), b_ub=_SCALE * bound, bounds=limits, method="highs")
    if answer.status != 0:
        raise AlgorithmError(
            f"{what} found no reward: {answer.message} Allow more states or features, or a larger reward; with the "
            "states of the original reward and a bound of at least its size there is one."
        )
    solution: Floats = answer.x / _SCALE
    return solution


def _checked(process: Process, target: Target, reward: Floats, what: str) -> Floats:
    if not keeps_target(process, target, reward):
        raise AlgorithmError(
            f"{what}: the reward found does not keep the optimal policy to within rounding; the gaps of this process, "
            f"the smallest {target.gap[target.gap > 0].min(initial=np.inf):.1e}, are too small for the solver"
        )
    return reward


def design_reward(
    process: Process,
    target: Target,
    *,
    states: Sequence[int] | None = None,
    horizons: Sequence[int] = HORIZONS,
    largest: float = 1.0,
    l1: float = 0.0,
    features: Floats | None = None,
) -> Design:
    """Return EXPRD's reward for given states: the most informative one that keeps π* and its gaps.

    Args:
        process: The process with its original reward.
        target: What is to be kept, see ``find_target``.
        states: Z, where the reward may differ from 0; None for all.
        horizons: H, numbers of further steps, each at least 0; at least one.
        largest: R_max, above 0.
        l1: C₂, the cost of Σ |R|, at least 0.
        features: F(s, a), [S, A, D], for rewards of the form R = F w only; None for any.

    Raises:
        AlgorithmError: If there is no such reward, or a setting is out of range.
        MissingExtraError: If SciPy is not installed.
    """
    if largest <= 0 or l1 < 0 or not horizons:
        raise AlgorithmError(
            f"largest={largest}, l1={l1}, horizons={horizons}: must be above 0, at least 0, and not empty"
        )
    basis = _basis(process, states, features)
    weights, bound = _constraints(process, target, basis, largest)
    count, actions = process.legal.shape
    rows = np.flatnonzero((process.legal & ~target.optimal).ravel())  # the pairs whose gaps are to be seen early
    of_state = rows // actions
    free, short, size = basis.shape[1], len(horizons) * count, (count * actions if l1 else 0)
    blocks = [np.pad(weights, ((0, 0), (0, short + size)))]
    limits = [bound]
    for number, steps in enumerate(horizons):  # shortfall of (h, s) ≥ δ(s) - Δ_h(s, a)
        block = np.zeros((len(rows), free + short + size))
        block[:, :free] = -(gap_operator(process, target.choice, steps) @ basis)[rows]
        block[np.arange(len(rows)), free + number * count + of_state] = -1.0
        blocks.append(block)
        limits.append(-target.gap[of_state])
    if l1:  # |R| ≤ its own variable
        absolute = [
            np.concatenate([sign * basis, np.zeros((size, short)), -np.eye(size)], axis=1) for sign in (1.0, -1.0)
        ]
        blocks += absolute
        limits += [np.zeros(size)] * 2
    cost = np.concatenate([np.zeros(free), np.full(short, 1 / short), np.full(size, l1)])
    solution = _solve(cost, np.concatenate(blocks), np.concatenate(limits), free, "EXPRD")
    reward = _checked(process, target, (basis @ solution[:free]).reshape(count, actions), "EXPRD")
    chosen = tuple(range(count)) if states is None else tuple(states)
    return Design(reward, informativeness(process, target, reward, horizons), chosen)


def select_states(
    process: Process,
    target: Target,
    budget: int,
    *,
    candidates: Sequence[int] | None = None,
    horizons: Sequence[int] = HORIZONS,
    largest: float = 1.0,
    l1: float = 0.0,
) -> list[Design]:
    """Return EXPRD's rewards with 0 to ``budget`` states beside those of the original reward, chosen greedily.

    Each round adds the state whose addition makes the reward most informative; the first of several equal ones.

    Args:
        process: The process with its original reward.
        target: What is to be kept, see ``find_target``.
        budget: B, how many states to add, at least 0.
        candidates: States that may be added; None for all but ends.
        horizons: H, see ``design_reward``.
        largest: R_max, at least the size of the original reward.
        l1: C₂, see ``design_reward``; a tiny one, such as 1e-6, takes the smallest of equally informative rewards.
    """
    chosen = np.flatnonzero((process.reward != 0).any(1)).tolist()
    pool = np.flatnonzero(~process.ends).tolist() if candidates is None else list(candidates)
    designs = [design_reward(process, target, states=chosen, horizons=horizons, largest=largest, l1=l1)]
    for _ in range(budget):
        tried = [
            design_reward(process, target, states=[*chosen, state], horizons=horizons, largest=largest, l1=l1)
            for state in pool
            if state not in chosen
        ]
        if not tried:
            break
        best = max(tried, key=lambda design: round(design.value, 9))  # the solver's last digits decide nothing
        chosen = list(best.states)
        designs.append(best)
    return designs


def design_adaptive(
    process: Process,
    target: Target,
    weights: Floats,
    *,
    largest: float = 1.0,
    features: Floats | None = None,
) -> Design:
    """Return EXPADARD's reward for a learner: the one with the largest I_L that keeps π* and its gaps.

    Args:
        process: The process with its original reward.
        target: What is to be kept, see ``find_target``.
        weights: What ``adaptive_weights`` says of the learner, [S, A]; 0 everywhere asks for the constraints only.
        largest: R_max, above 0.
        features: F(s, a), [S, A, D], for rewards of the form R = F w only; None for any.

    Raises:
        AlgorithmError: If there is no such reward.
        MissingExtraError: If SciPy is not installed.
    """
    basis = _basis(process, None, features)
    matrix, bound = _constraints(process, target, basis, largest)
    size = float(np.abs(weights).max(initial=0.0)) or 1.0  # the solver takes costs near its tolerance for 0
    solution = _solve(-(weights.ravel() / size) @ basis, matrix, bound, basis.shape[1], "EXPADARD")
    reward = _checked(process, target, (basis @ solution).reshape(weights.shape), "EXPADARD")
    return Design(reward, adaptive_informativeness(weights, reward), tuple(range(len(weights))))
