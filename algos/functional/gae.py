"""Generalised advantage estimation over any segmentation of flat items: decisions of episodes, tokens of responses.

Paper: Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage Estimation, arXiv 1506.02438,
equations 11 to 16.

    δₙ = rₙ + γ V(sₙ₊₁) - V(sₙ)
    Aₙ = Σₖ (γλ)ᵏ δₙ₊ₖ                    within the segment

Items may last: macro actions of several tokens are the steps of a semi-Markov decision process (Sutton, Precup & Singh,
Between MDPs and semi-MDPs, 1999). An item that lasts τ steps discounts what follows it by γ^τ in place of γ.

What follows the last item of a segment is 0 where the task ended there, and a bootstrapped value where the segment was
only cut off. So A is the discounted return of δ with discount γλ, and shares its scan: no loop over items, any item
order, and the same numbers ahead give the same result to the last bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agentgym.algos.functional.returns import discounted_returns
from agentgym.errors import AlgorithmError

__all__ = ["gae", "token_positions"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def gae(
    reward: Floats,
    value: Floats,
    segment: Ints,
    position: Ints,
    *,
    gamma: float,
    lam: float,
    bootstrap: Floats | None = None,
    duration: Ints | None = None,
) -> Floats:
    """Return Aₙ of every item.

    Args:
        reward: r, finite, [N].
        value: V of the state before the item, finite, [N].
        segment: Code of the item's segment, at least 0, [N].
        position: Place in the segment; 0 to T - 1 once each in a segment of T items, [N].
        gamma: γ, in [0, 1].
        lam: λ, in [0, 1]; 1 gives the return minus V, 0 the one-step δ.
        bootstrap: V of what follows, read at the last item of each segment only: 0 where the task ended there, the
            value of the state reached where a limit cut the segment off, [N]. None is 0 everywhere.
        duration: τ, how many steps each item lasts, at least 1, [N]; None is 1 everywhere.

    Returns:
        Advantages, [N].

    Raises:
        AlgorithmError: If a segment lacks a place or has one twice, or a number that counts is not finite.
    """
    order = np.lexsort((position, segment))
    ahead = np.zeros(len(reward)) if bootstrap is None else bootstrap[order].astype(np.float64)
    values, codes = value[order].astype(np.float64), segment[order]
    follows = codes[1:] == codes[:-1]
    ahead[:-1] = np.where(follows, values[1:], ahead[:-1])
    delta = np.empty(len(reward))
    # Where every item lasts one step the one γ is taken, so that the result is that without durations to the last bit.
    discount: float | Floats = gamma
    if duration is not None and (duration != 1).any():
        discount = gamma ** duration.astype(np.float64)
    delta[order] = reward[order] + (discount if isinstance(discount, float | int) else discount[order]) * ahead - values
    if (bad := np.flatnonzero(~np.isfinite(delta))).size:
        raise AlgorithmError(
            f"item {bad[0]} has reward {reward[bad[0]]} and value {value[bad[0]]}, and what follows it may count too; "
            "rewards, values and bootstrapped values must be finite"
        )
    return discounted_returns(delta, segment, position, discount * lam)


def token_positions(token_offsets: Ints, episode: Ints, t: Ints) -> tuple[Ints, Ints]:
    """Return the episode of every response token, and its place among the response tokens of that episode.

    Args:
        token_offsets: Row r owns tokens ``token_offsets[r]:token_offsets[r + 1]``, [R + 1].
        episode: Episode of each row, [R].
        t: Step of each row, [R].

    Returns:
        Episode and place of each token, [L] each.
    """
    lengths = np.diff(token_offsets)
    order = np.lexsort((t, episode))
    before = np.cumsum(lengths[order]) - lengths[order]
    # The tokens of earlier episodes are taken off again: places begin at 0 in each.
    codes = episode[order]
    first = np.append(True, codes[1:] != codes[:-1])[: len(codes)]
    origin = before[first][np.cumsum(first) - 1]
    start = np.empty(len(lengths), np.int64)
    start[order] = before - origin
    within = np.arange(token_offsets[-1]) - np.repeat(token_offsets[:-1], lengths)
    return np.repeat(episode, lengths), np.repeat(start, lengths) + within
