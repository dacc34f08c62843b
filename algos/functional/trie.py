"""Sequences merged where they begin alike, and how the mean outcome changes along each of them.

Sequences of one root that agree up to and including an entry share the node there; the value of a node is the mean
outcome of the sequences through it. All sequences of a root are laid beside the first of them and take its nodes as far
as they agree; those that part from it at one place by one symbol are laid beside their first in the next round. So an
entry is compared once for each time its sequence parts from a first one, less often than a root has sequences, and no
round goes through what is named or alone. Nothing is hashed, and no value depends on the order of the sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Trie", "build_trie", "prefix_codes"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def _classes(*columns: Ints) -> Ints:
    """Return a dense code of each row of columns."""
    codes = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        dense = np.unique(column, return_inverse=True)[1].reshape(-1)
        codes = np.unique(codes * len(codes) + dense, return_inverse=True)[1].reshape(-1)
    return codes


def _spans(starts: Ints, counts: Ints) -> Ints:
    """Return start, start + 1, ... of so many numbers each, one span after the other."""
    return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


def _agreement(differs: npt.NDArray[np.bool_], counts: Ints) -> Ints:
    """Return how many entries come before the first that differs, for segments of so many entries each."""
    agreed = counts.copy()
    segment = np.repeat(np.arange(len(counts)), counts)
    where = np.flatnonzero(differs)
    parted, first = np.unique(segment[where], return_index=True)
    agreed[parted] = where[first] - (np.cumsum(counts) - counts)[parted]
    return agreed


def prefix_codes(symbols: Ints, lengths: Ints, roots: Ints) -> Ints:
    """Return a code of the prefix that ends at each entry.

    Args:
        symbols: The sequences one after the other; only equality matters, [N].
        lengths: Number of entries of each sequence, at least 0, [S].
        roots: What each sequence starts from; sequences of different roots share nothing, [S].

    Returns:
        Codes of at least 0 and below N, equal where two sequences of one root agree up to and including the entry, [N].
    """
    starts = np.cumsum(lengths) - lengths
    codes = np.arange(len(symbols))
    sequences, depths, classes = np.arange(len(lengths)), np.zeros(len(lengths), np.int64), _classes(roots)
    while True:
        # The first sequence of a class names its nodes from the depth on up to which the class is alike.
        leaders = sequences[np.unique(classes, return_index=True)[1]][classes]
        follows = leaders != sequences
        own, leader, depth, kind = sequences[follows], leaders[follows], depths[follows], classes[follows]
        if not len(own):
            return codes
        counts = np.minimum(lengths[own], lengths[leader]) - depth
        mine, theirs = (_spans(starts[s] + depth, counts) for s in (own, leader))
        agreed = _agreement(symbols[mine] != symbols[theirs], counts)
        mine, theirs = (_spans(starts[s] + depth, agreed) for s in (own, leader))
        codes[mine] = theirs
        left = np.flatnonzero(depth + agreed < lengths[own])
        sequences, depths = own[left], (depth + agreed)[left]
        classes = _classes(kind[left], depths, symbols[starts[sequences] + depths])


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
    """Return the mean outcome and the number of entries with the same code; equal outcomes keep their value, [N].

    Args:
        outcomes: Outcome of each entry in ascending order, so that no sum depends on another one, [N].
        codes: Codes of at least 0, [N].
    """
    sizes = np.bincount(codes)
    lowest, highest = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
    np.minimum.at(lowest, codes, outcomes)
    np.maximum.at(highest, codes, outcomes)
    means = np.where(lowest == highest, lowest, np.bincount(codes, outcomes) / np.maximum(sizes, 1))
    return means[codes], sizes[codes]


def build_trie(symbols: Ints, lengths: Ints, roots: Ints, outcomes: Floats) -> Trie:
    """Merge sequences where they begin alike.

    Args:
        symbols: The sequences one after the other, [N].
        lengths: Number of entries of each sequence, at least 1, [S].
        roots: What each sequence starts from, at least 0, [S].
        outcomes: Outcome of each sequence, finite, [S].
    """
    starts, order = np.cumsum(lengths) - lengths, np.argsort(outcomes)
    entries = _spans(starts[order], lengths[order])
    codes = prefix_codes(symbols, lengths, roots)
    values, sizes = np.empty(len(symbols)), np.empty(len(symbols), np.int64)
    values[entries], sizes[entries] = _means(np.repeat(outcomes[order], lengths[order]), codes[entries])
    root_values, root_sizes = np.empty(len(roots)), np.empty(len(roots), np.int64)
    root_values[order], root_sizes[order] = _means(outcomes[order], _classes(roots)[order])
    values_before, sizes_before = np.roll(values, 1), np.roll(sizes, 1)
    values_before[starts], sizes_before[starts] = root_values, root_sizes
    branching = sizes != sizes_before
    # Without a fork both values are the mean of the same outcomes; with one, equal outcomes have equal means.
    return Trie(codes, sizes, values, branching, np.where(branching, values - values_before, 0.0))
