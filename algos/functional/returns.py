"""Episode totals and discounted step returns over flat rows, in any row order.

Each is computed on rows laid out by episode and step, so shuffling the rows permutes the answer bit for bit, and two
rows with the same rewards ahead of them get the same return to the last bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agentgym.errors import AlgorithmError

__all__ = ["discounted_returns", "episode_returns"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def _layout(reward: Floats, episode: Ints, t: Ints) -> tuple[Ints, Ints]:
    """Return the rows ordered by episode and step, and the length of each episode that has rows.

    Raises:
        AlgorithmError: If an episode lacks a step or has one twice, or a reward is not finite.
    """
    lengths = np.bincount(episode)
    position = np.cumsum(lengths)[episode] - lengths[episode] + t
    inside = (t >= 0) & (t < lengths[episode])
    order = np.full(len(t), -1, np.int64)
    order[position[inside]] = np.flatnonzero(inside)
    if (missing := np.flatnonzero(order < 0)).size:
        culprit = int(np.searchsorted(np.cumsum(lengths), missing[0], side="right"))
        raise AlgorithmError(
            f"episode {culprit} has {lengths[culprit]} rows but not the steps 0 to {lengths[culprit] - 1} once each; "
            "returns need every step of an episode"
        )
    if (bad := np.flatnonzero(~np.isfinite(reward))).size:
        raise AlgorithmError(f"row {bad[0]} has reward {reward[bad[0]]}; rewards must be finite")
    return order, lengths[lengths > 0]


def episode_returns(reward: Floats, episode: Ints, t: Ints) -> Floats:
    """Return Rᵢ = Σₜ rᵢₜ on each row of episode i.

    Args:
        reward: Reward of each row, finite, [R].
        episode: Episode code of each row, at least 0, [R].
        t: Step of each row; 0 to T - 1 once each in an episode of T rows, [R].

    Returns:
        Undiscounted total of the row's episode, [R].
    """
    order, lengths = _layout(reward, episode, t)
    totals = np.add.reduceat(reward[order], np.cumsum(lengths) - lengths)
    returns = np.empty(len(reward))
    returns[order] = np.repeat(totals, lengths)
    return returns


def discounted_returns(reward: Floats, episode: Ints, t: Ints, gamma: float | Floats) -> Floats:
    """Return Gᵢₜ = Σₖ γᵏ rᵢ,ₜ₊ₖ, or with a discount γᵢₜ of each row, Gᵢₜ = rᵢₜ + γᵢₜ Gᵢ,ₜ₊₁.

    Works by doubling: after pass p each row holds the sum over its next 2ᵖ steps, so an episode of T steps takes log₂ T
    passes over the flat array and no loop over rows.

    Args:
        reward: Reward of each row, finite, [R].
        episode: Episode code of each row, at least 0, [R].
        t: Step of each row; 0 to T - 1 once each in an episode of T rows, [R].
        gamma: γ, in [0, 1], or that of each row, [R]: what lies behind the row counts so much at it.

    Returns:
        Discounted return from each row to the end of its episode, [R].
    """
    order, lengths = _layout(reward, episode, t)
    ahead = np.repeat(lengths, lengths) - t[order]  # steps to the end of the episode, this one included
    sums = reward[order]
    factor = None if isinstance(gamma, float | int) else gamma[order].astype(np.float64)
    reach = 1
    while reach < lengths.max(initial=0):
        weight = gamma**reach if factor is None else factor[:-reach]
        sums[:-reach] += weight * np.where(ahead[:-reach] > reach, sums[reach:], 0.0)
        if factor is not None:  # the product of the discounts of as many rows as the sum now holds
            factor[:-reach] = factor[:-reach] * factor[reach:]
        reach *= 2
    returns = np.empty(len(reward))
    returns[order] = sums
    return returns
