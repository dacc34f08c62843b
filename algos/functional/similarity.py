"""Greedy clustering of similar texts, with cheap answers for most pairs.

Two texts are alike when 2 M / T reaches the threshold, M being the characters in the matching blocks of ``difflib``
and T those of both texts (Ratcliff and Obershelp). Finding the blocks can take time quadratic in the length, so it is
the last resort: no block can use a character more often than both texts have it, which bounds M from above, and what
two texts share at their beginning and their end, which takes one pass, is enough for most that differ in a word.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["first_fit"]

Ints = npt.NDArray[np.int64]


def _characters(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _shared_ends(a: npt.NDArray[np.uint32], b: npt.NDArray[np.uint32]) -> int:
    """Return how many characters two texts share at their beginning and, beyond those, at their end."""
    short = min(len(a), len(b))
    differs = np.flatnonzero(a[:short] != b[:short])
    front = int(differs[0]) if len(differs) else short
    rest = short - front
    differs = np.flatnonzero(a[len(a) - rest :][::-1] != b[len(b) - rest :][::-1])
    return front + (int(differs[0]) if len(differs) else rest)


def first_fit(texts: Sequence[str], threshold: float) -> Ints:
    """Put each text into the first cluster whose first member is alike, or open a new cluster.

    The answer depends on the order of the texts, so give them in an order that their content decides.

    Args:
        texts: Different texts, N of them.
        threshold: Least 2 M / T of texts that are alike, in (0, 1].

    Returns:
        Number of the cluster of each text, from 0 in order of appearance, [N].
    """
    spelled = [_characters(text) for text in texts]
    lengths = np.array([len(s) for s in spelled], np.int64)
    alphabet, letters = np.unique(np.concatenate([*spelled, np.zeros(0, np.uint32)]), return_inverse=True)
    of_text = np.repeat(np.arange(len(texts)), lengths)
    counts = np.bincount(of_text * len(alphabet) + letters, minlength=len(texts) * len(alphabet))
    counts = counts.reshape(len(texts), len(alphabet))
    first = np.empty(len(texts), np.int64)  # first member of each cluster
    matchers: dict[int, difflib.SequenceMatcher[str]] = {}  # difflib indexes its second text once and keeps that
    cluster = np.empty(len(texts), np.int64)
    opened = 0
    for i, text in enumerate(texts):
        heads = first[:opened]
        total = lengths[i] + lengths[heads]  # never 0, as the texts differ
        possible = 2.0 * np.minimum(counts[i], counts[heads]).sum(axis=1) / total >= threshold
        for k in np.flatnonzero(possible).tolist():
            head = int(first[k])
            if 2.0 * _shared_ends(spelled[i], spelled[head]) / total[k] >= threshold:
                break
            if k not in matchers:
                matchers[k] = difflib.SequenceMatcher(None, "", texts[head])
            matchers[k].set_seq1(text)
            if matchers[k].ratio() >= threshold:
                break
        else:
            k = opened
            first[k] = i
            opened += 1
        cluster[i] = k
    return cluster
