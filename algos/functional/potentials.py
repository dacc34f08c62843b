"""Potential-based reward shaping: a reward for progress that leaves the optimal policies as they are.

    F(s, s') = γ Φ(s') - Φ(s)        with Φ = 0 in an end

Source: Ng, Harada and Russell, Policy invariance under reward transformations, ICML 1999, theorem 1. Over an episode
of T steps the terms telescope, Σ γᵗ Fₜ = γᵀ Φ(s_T) - Φ(s₀). So optimal policies stay optimal, and every policy's
value changes by -Φ(s) alike, if three things hold: Φ is 0 where the task is over, γ is that of the return (1 for
plain sums of rewards), and an episode that a limit cut short is valued by the state it stopped in (truncation
bootstraps). Where the limit counts as an end, as in the sum of an episode's rewards, Φ must be 0 there as well.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from agentgym.algos.functional.discounted import Process
from agentgym.errors import AlgorithmError

__all__ = ["expected_shaping", "shaping_terms"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def shaping_terms(potential: Floats, next_potential: Floats, over: Bools, gamma: float) -> Floats:
    """Return F = γ Φ(s') - Φ(s) for each row, with Φ(s') = 0 where the task is over, [R].

    Args:
        potential: Φ of the state before the action, finite, [R].
        next_potential: Φ of the state after it, finite, [R]; not read where the task is over.
        over: Whether the task is over after the action; with limits that count as ends, those too, [R].
        gamma: γ of the return, in [0, 1].

    Raises:
        AlgorithmError: If γ is out of range, or a potential is not finite.

    >>> import numpy as np
    >>> shaping_terms(np.array([0.0, 0.5]), np.array([0.5, 9.0]), np.array([False, True]), 1.0).tolist()
    [0.5, -0.5]
    """
    if not (math.isfinite(gamma) and 0 <= gamma <= 1):
        raise AlgorithmError(f"gamma={gamma}: must be in [0, 1], that of the return")
    after = np.where(over, 0.0, next_potential)
    if (bad := np.flatnonzero(~(np.isfinite(potential) & np.isfinite(after)))).size:
        raise AlgorithmError(
            f"row {bad[0]} has potentials {potential[bad[0]]} and {after[bad[0]]}; they must be finite"
        )
    terms: Floats = gamma * after - potential
    return terms


def expected_shaping(process: Process, potential: Floats) -> Floats:
    """Return E[F | s, a] = γ Σ P(s' | s, a) Φ(s') - Φ(s), with Φ = 0 in ends, [S, A]; 0 where not legal.

    With Φ = V* the shaped reward R + F is the optimal advantage A*, the most telling reward there is.

    Args:
        process: The process; its reward is not read.
        potential: Φ of each state, [S]; that of ends is not read.
    """
    phi = np.where(process.ends, 0.0, potential)
    shaping: Floats = np.where(process.legal, process.gamma * process.transition @ phi - phi[:, None], 0.0)
    return shaping
