"""Means, standard deviations and normalised values within segments.

Values are sorted inside their segment before they are reduced, so a result depends on the values alone: shuffling the
entries permutes it bit for bit, and other segments change nothing. Where all values of a segment are equal the
deviation is literally 0; a mean in floating point would leave a residue that the division by a tiny standard deviation
blows up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from agentgym.errors import AlgorithmError

__all__ = ["Lone", "Segments", "Std", "divisors", "normalise", "segments", "whiten"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Scalar = TypeVar("Scalar", bound=np.generic)

Std = Literal["sample", "population"]
Lone = Literal["zero", "raw", "raise"]


@dataclass(frozen=True, eq=False)
class Segments:
    """Values sorted by segment and, inside a segment, by size.

    Attributes:
        values: The sorted values, [N].
        order: Where each sorted value came from, [N].
        starts: Where each segment begins in ``values``, [S].
        sizes: Number of values in each segment, at least 1, [S].
    """

    values: Floats
    order: Ints
    starts: Ints
    sizes: Ints

    @property
    def lone(self) -> Bools:
        """Which segments have a single value, [S]."""
        lone: Bools = self.sizes == 1
        return lone

    @property
    def tied(self) -> Bools:
        """Which segments have only equal values, the lone ones included, [S]."""
        low, high = self.values[self.starts], self.values[self.starts + self.sizes - 1]
        tied: Bools = low == high
        return tied

    def deviations(self) -> Floats:
        """Return each sorted value less the mean of its segment, literally 0 where the segment is tied, [N]."""
        means = np.add.reduceat(self.values, self.starts) / self.sizes
        return np.where(self.spread(self.tied), 0.0, self.values - self.spread(means))

    def spread(self, per_segment: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Repeat one entry a segment, [S], over the segment's values, [N]."""
        return np.repeat(per_segment, self.sizes)


def segments(values: Floats, codes: Ints) -> Segments:
    """Sort values into segments.

    Args:
        values: Any finite values, [N].
        codes: Segment of each value; only equality matters, [N].

    Returns:
        The segments in ascending order of their code.
    """
    order = np.lexsort((values, codes))
    ordered = codes[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    return Segments(values[order], order, starts, np.diff(starts, append=len(ordered)))


def divisors(parts: Segments, *, std: Std | None, eps: float) -> Floats:
    """Return F, what the deviations of each segment are divided by, [S]; see ``normalise``."""
    if std is None:
        return np.ones(len(parts.sizes))
    freedom = np.maximum(parts.sizes - (std == "sample"), 1)
    deviation: Floats = np.sqrt(np.add.reduceat(parts.deviations() ** 2, parts.starts) / freedom)
    return deviation + eps


def normalise(parts: Segments, *, std: Std | None, eps: float, lone: Lone = "zero") -> Floats:
    """Return (x - mean) / F within each segment, in the order of the original entries.

    Args:
        parts: The values, from ``segments``.
        std: F is the sample (n - 1) or population (n) standard deviation plus ``eps``; with None it is 1.
        eps: Added to the standard deviation, above 0.
        lone: What a value alone in its segment gives: 0, itself (mean 0 and standard deviation 1, as in the reference
            code) or an error.

    Returns:
        Normalised values, [N].

    Raises:
        AlgorithmError: If ``lone`` is "raise" and a segment has a single value.
    """
    result = parts.deviations() / parts.spread(divisors(parts, std=std, eps=eps))
    if lone == "raise" and parts.lone.any():
        raise AlgorithmError(
            f"{parts.lone.sum()} of {len(parts.sizes)} groups have a single member and so no baseline; "
            "collect larger groups, or set lone='zero' or lone='raw'"
        )
    if lone == "raw":
        scale = 1.0 if std is None else 1.0 + eps
        result = np.where(parts.spread(parts.lone), parts.values / scale, result)
    scattered = np.empty(len(result))
    scattered[parts.order] = result
    return scattered


def whiten(values: Floats, *, weights: Ints | None = None, eps: float = 1e-8) -> Floats:
    """Return (v - mean) / √(var + ε) over all values, with the sample variance (n - 1) as in the reference code.

    What a mask leaves out must be left out here. Equal values, a single one included, give literally 0; the reference
    code refuses a single value.

    Args:
        values: Any finite values, [N].
        weights: How often each value counts, at least 1, such as the tokens of a row; once each by default, [N].
        eps: ε, added to the variance, above 0.

    Returns:
        Whitened values in the order of the given ones; the result does not depend on that order, [N].
    """
    order = np.argsort(values) if weights is None else np.lexsort((weights, values))
    ordered, counts = values[order], np.ones(len(values)) if weights is None else weights[order]
    whitened = np.zeros(len(values))
    if len(values) and ordered[0] != ordered[-1]:
        deviations = ordered - (counts * ordered).sum() / counts.sum()
        variance = (counts * deviations**2).sum() / (counts.sum() - 1)
        whitened[order] = deviations / np.sqrt(variance + eps)
    return whitened
