"""Greedy clustering of similar texts, with cheap answers for most pairs.

Two texts are alike when 2 M / T reaches the threshold, M being the characters in the matching blocks of ``difflib``
and T those of both texts (Ratcliff and Obershelp). Finding the blocks can take time quadratic in the length, so it is
the last resort: no block can use a character more often than both texts have it, which bounds M from above, and what
two texts share at their beginning and their end, which takes one pass, is enough for most that differ in a word.

Where one of two texts has 200 characters or more, blocks are of whole words. By characters, ``difflib`` would either
skip all that are frequent, and so find nothing in common between pages that differ in one word of forty, or take a
fifth of a second for two pages.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["first_fit"]

Ints = npt.NDArray[np.int64]

_LONG = 200  # from here on difflib skips frequent characters


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


class _Head:
    """The first member of a cluster; ``difflib`` indexes its second sequence once and keeps that."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.aligned: dict[bool, difflib.SequenceMatcher[str]] = {}

    def matching(self, text: str) -> int:
        """Return M, the characters in matching blocks."""
        by_words = max(len(text), len(self.text)) >= _LONG
        if by_words not in self.aligned:
            self.aligned[by_words] = difflib.SequenceMatcher(None, "", _pieces(self.text, by_words), autojunk=False)
        pieces = _pieces(text, by_words)
        self.aligned[by_words].set_seq1(pieces)
        blocks = self.aligned[by_words].get_matching_blocks()
        return sum(len(piece) for block in blocks for piece in pieces[block.a : block.a + block.size])


def _pieces(text: str, by_words: bool) -> Sequence[str]:
    return re.findall(r"\S+\s*|\s+", text) if by_words else text


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
    heads: list[_Head] = []
    cluster = np.empty(len(texts), np.int64)
    for i, text in enumerate(texts):
        others = first[: len(heads)]
        total = lengths[i] + lengths[others]  # never 0, as the texts differ
        possible = 2.0 * np.minimum(counts[i], counts[others]).sum(axis=1) / total >= threshold
        for k in np.flatnonzero(possible).tolist():
            if 2.0 * _shared_ends(spelled[i], spelled[int(first[k])]) / total[k] >= threshold:
                break
            if 2.0 * heads[k].matching(text) / total[k] >= threshold:
                break
        else:
            k = len(heads)
            first[k] = i
            heads.append(_Head(text))
        cluster[i] = k
    return cluster
