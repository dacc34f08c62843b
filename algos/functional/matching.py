"""Matching the steps of failed episodes to the steps of a reference, for many episodes at once.

Letters: I failed steps, F failed episodes, J steps of the reference. Episodes and references of different lengths are
padded with pairs of credit 0, which are never matched. A match is written as the position in the reference, or -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

__all__ = ["Keep", "Pairs", "best_positions", "greedy_matching", "optimal_matching", "soft_credit"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

Keep = Literal["order", "mark", "nothing"]


def soft_credit(scores: Floats, threshold: float) -> Floats:
    """Return max(0, M - λ) / (1 - λ), in [0, 1].

    Args:
        scores: M, in [0, 1], any shape.
        threshold: λ, in [0, 1).
    """
    credit: Floats = np.maximum(scores - threshold, 0.0) / (1.0 - threshold)
    return credit


@dataclass(frozen=True, eq=False)
class Pairs:
    """Credit of every failed step with every position of its reference; scores are kept once for each pair of texts.

    The score of step i of episode f with position j is ``scores[rows[i, f] + columns[f, j]]``. Credits are computed
    step by step: an array [I, F, J] of a large batch would cost more to allocate than to work with.

    Attributes:
        scores: M, in [0, 1], [N].
        rows: Where the scores of each failed step begin, [I, F].
        columns: Where each position of a reference lies within them, [F, J].
        threshold: λ, in [0, 1).
    """

    scores: Floats
    rows: Ints
    columns: Ints
    threshold: float = 0.0

    @classmethod
    def dense(cls, scores: Floats, threshold: float = 0.0) -> Self:
        """Wrap an array of scores, [I, F, J]."""
        steps, episodes, positions = scores.shape
        rows = np.arange(steps * episodes).reshape(steps, episodes) * positions
        return cls(scores.ravel(), rows, np.tile(np.arange(positions), (episodes, 1)), threshold)

    @property
    def shape(self) -> tuple[int, int, int]:
        """I, F and J."""
        return len(self.rows), *self.columns.shape

    def of(self, step: Ints | int, episode: Ints | slice = slice(None)) -> Floats:
        """Return the credits of one step of each of the given episodes with every position, [n, J]."""
        return soft_credit(self.scores.take(self.rows[step, episode][:, None] + self.columns[episode]), self.threshold)


def _furthest_best(credit: Floats) -> Ints:
    furthest: Ints = credit.shape[-1] - 1 - credit[:, ::-1].argmax(axis=1)
    return furthest


def best_positions(pairs: Pairs) -> tuple[Floats, Ints]:
    """Return the best credit of each failed step and its position, the furthest along the reference on ties.

    Args:
        pairs: Credits; J > 0.

    Returns:
        Credits and positions, [I, F] both.
    """
    steps, episodes, _ = pairs.shape
    credit, position = np.empty((steps, episodes)), np.empty((steps, episodes), np.int64)
    episode = np.arange(episodes)
    for i in range(steps):
        row = pairs.of(i)
        position[i] = _furthest_best(row)
        credit[i] = row[episode, position[i]]
    return credit, position


def optimal_matching(pairs: Pairs) -> Ints:
    """Return the order-preserving matching with the greatest total credit.

    The dynamic programme D[i, j] = max(D[i - 1, j], D[i, j - 1], D[i - 1, j - 1] + rᵢⱼ) runs over all episodes at once,
    one failed step a pass. Among matchings of equal total it prefers earlier failed steps, then positions further along
    the reference.

    Args:
        pairs: Credits r.

    Returns:
        Matched position of each failed step, [I, F].
    """
    steps, episodes, positions = pairs.shape
    before, best = np.zeros((episodes, positions + 1)), np.zeros((episodes, positions + 1))
    numbers = np.arange(1, positions + 1, dtype=np.int32)
    # Beside each D[i, j]: 1 + the furthest position up to j that step i must then be matched to, or 0.
    forced = np.zeros((steps, episodes, positions + 1), np.int32)
    for i in range(steps):
        before, best = best, before
        matched = pairs.of(i)
        matched += before[:, :-1]
        inner, reached = best[:, 1:], forced[i, :, 1:]
        np.maximum(matched, before[:, 1:], out=inner)
        np.maximum.accumulate(inner, axis=1, out=inner)
        np.multiply(matched == inner, numbers, out=reached)
        np.maximum.accumulate(reached, axis=1, out=reached)
        reached *= inner > before[:, 1:]
    result = np.full((steps, episodes), -1)
    episode, free = np.arange(episodes), np.full(episodes, positions)  # free: positions not yet behind a match
    for i in range(steps - 1, -1, -1):
        last = forced[i, episode, free]
        result[i] = last - 1
        free = np.where(last > 0, last - 1, free)
    return result


def greedy_matching(
    pairs: Pairs, best: tuple[Floats, Ints], order: Ints, pool: Ints, *, keep: Keep, retry: bool
) -> Ints:
    """Return the matching that visits failed steps one by one and gives each its best position, if that is allowed.

    A position already taken within the pool is not allowed. Episodes of different pools are visited side by side.

    Args:
        pairs: Credits.
        best: What ``best_positions`` says of them.
        order: When each failed step is visited within its pool, smaller first, no two alike, [I, F].
        pool: Episodes with one code share the positions of a reference, [F].
        keep: "order" allows positions that keep the matches of an episode in the order of its steps, "mark" those
            beyond the position it matched last, "nothing" all.
        retry: Whether a step whose best position is not allowed gets its best allowed one, or nothing.

    Returns:
        Matched position of each failed step, [I, F].
    """
    steps, episodes, positions = pairs.shape
    result = np.full((steps, episodes), -1)
    if not best[0].any():
        return result
    i, f = np.nonzero(best[0])
    _, pool = np.unique(pool, return_inverse=True)
    sort = np.lexsort((order[i, f], pool[f]))
    i, f = i[sort], f[sort]
    turn = np.arange(len(f)) - np.searchsorted(pool[f], pool[f])  # the how-manieth of its pool
    sort = np.argsort(turn, kind="stable")
    i, f = i[sort], f[sort]
    ends = np.cumsum(np.bincount(turn)).tolist()
    used = np.zeros((episodes, positions), np.bool_)
    low, high = np.full((steps, episodes), -1), np.full((steps, episodes), positions)  # allowed between, exclusively
    step, numbers = np.arange(steps)[:, None], np.arange(positions)
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        ii, ff = i[start:end], f[start:end]  # one step of each pool, so no episode twice
        if retry:
            allowed = ~used[pool[ff]] & (numbers > low[ii, ff, None]) & (numbers < high[ii, ff, None])
            row = np.where(allowed, pairs.of(ii, ff), 0.0)
            j = _furthest_best(row)
            accepted = row[np.arange(len(j)), j] > 0
        else:
            j = best[1][ii, ff]
            accepted = ~used[pool[ff], j] & (j > low[ii, ff]) & (j < high[ii, ff])
        ii, ff, j = ii[accepted], ff[accepted], j[accepted]
        result[ii, ff] = j
        used[pool[ff], j] = True
        if keep == "mark":
            low[:, ff] = j
        elif keep == "order":
            low[:, ff] = np.where(step > ii, np.maximum(low[:, ff], j), low[:, ff])
            high[:, ff] = np.where(step < ii, np.minimum(high[:, ff], j), high[:, ff])
    return result
