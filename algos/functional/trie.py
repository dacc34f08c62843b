"""Sequences merged where they begin alike, and how the mean outcome changes along each of them.

Sequences of one root that agree up to and including an entry share the node there; the value of a node is the mean
outcome of the sequences through it. Prefixes are named by doubling: after pass p a code names the last 2ᵖ entries, and
what no other sequence shares needs no further name, so the passes behind the first work on shared beginnings alone.
Codes are exact (no hashing), and nothing depends on the order of the sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentgym.algos.functional.statistics import segments

__all__ = ["Trie", "build_trie", "prefix_codes"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def _pairs(first: Ints, second: Ints) -> Ints:
    """Return a dense code of each pair; both of at least 0."""
    return np.unique(first * (second.max(initial=0) + 1) + second, return_inverse=True)[1].reshape(-1)


def prefix_codes(symbols: Ints, lengths: Ints, roots: Ints) -> Ints:
    """Return a code of the prefix that ends at each entry.

    Args:
        symbols: The sequences one after the other; only equality matters, [N].
        lengths: Number of entries of each sequence, at least 0, [S].
        roots: What each sequence starts from, at least 0; sequences of different roots share nothing, [S].

    Returns:
        Codes of at least 0, equal where two sequences of one root agree up to and including the entry, [N].
    """
    position = np.arange(len(symbols)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    dense = np.unique(symbols, return_inverse=True)[1].reshape(-1)
    codes = _pairs(_pairs(np.repeat(roots, lengths), position), dense)
    reach = 1
    while True:
        # A code covers `reach` entries. What starts the sequence, or is the only one of its code, is named for good.
        shared = np.flatnonzero((position >= reach) & (np.bincount(codes)[codes] > 1))
        if not shared.size:
            return codes
        codes[shared] = codes.max() + 1 + _pairs(codes[shared], codes[shared - reach])
        reach *= 2


@dataclass(frozen=True, eq=False)
class Trie:
    """Merged sequences, entry by entry.

    Attributes:
        codes: Node reached by each entry, see ``prefix_codes``, [N].
        sizes: Number of sequences through that node, at least 1, [N].
        values: Mean outcome of the sequences through that node, [N].
        branching: Whether sequences fork before the entry: some come here and others go elsewhere, bool [N].
        differences: Value of the node less that of the node before, literally 0 where nothing forks and where all
            outcomes are equal, [N].
    """

    codes: Ints
    sizes: Ints
    values: Floats
    branching: npt.NDArray[np.bool_]
    differences: Floats


def _means(outcomes: Floats, codes: Ints) -> tuple[Floats, Ints]:
    """Return the mean outcome and the number of entries with the same code; equal outcomes keep their value, [N]."""
    parts = segments(outcomes, codes)
    sums = np.add.reduceat(parts.values, parts.starts) if len(codes) else parts.values
    means, sizes = np.empty(len(codes)), np.empty(len(codes), np.int64)
    means[parts.order] = parts.spread(np.where(parts.tied, parts.values[parts.starts], sums / parts.sizes))
    sizes[parts.order] = parts.spread(parts.sizes)
    return means, sizes


def build_trie(symbols: Ints, lengths: Ints, roots: Ints, outcomes: Floats) -> Trie:
    """Merge sequences where they begin alike.

    Args:
        symbols: The sequences one after the other, [N].
        lengths: Number of entries of each sequence, at least 1, [S].
        roots: What each sequence starts from, at least 0, [S].
        outcomes: Outcome of each sequence, finite, [S].
    """
    codes = prefix_codes(symbols, lengths, roots)
    values, sizes = _means(np.repeat(outcomes, lengths), codes)
    root_values, root_sizes = _means(outcomes, roots)
    starts = np.cumsum(lengths) - lengths
    values_before, sizes_before = np.roll(values, 1), np.roll(sizes, 1)
    values_before[starts], sizes_before[starts] = root_values, root_sizes
    branching = sizes != sizes_before
    # Without a fork both values are the mean of the same outcomes; with one, equal outcomes have equal means.
    return Trie(codes, sizes, values, branching, np.where(branching, values - values_before, 0.0))
