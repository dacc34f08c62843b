"""How alike two short texts are, as ``thefuzz.fuzz.token_set_ratio`` says it, whole points included.

The original's reward asks that function (its 0.22, on rapidfuzz) for options and attributes. It is written out here so
that rewards are the same wherever the package is installed, and the environment needs no further package.

>>> token_set_ratio("rose gold", "gold (rose), 2 pack"), token_set_ratio("navy", "tool")
(100, 0)
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["token_set_ratio"]

_SEPARATORS = re.compile(r"[\W_]")
# The original's package calls it ASCII: the second half of Latin-1 goes, what lies beyond stays. It lowers letter by
# letter: where Python makes two letters of a capital I with a dot, it makes one, and a sigma has one form everywhere.
_LETTERS = {**{code: None for code in range(128, 256)}, 0x130: "i", 0x3A3: "σ"}


@lru_cache(maxsize=1 << 16)
def token_set_ratio(first: str, second: str) -> int:
    """Return how alike the sets of words of two texts are.

    Words that both texts hold count once; what is left is compared letter by letter. Case, punctuation, order and
    repetition do not count.

    Args:
        first: Any text.
        second: Any text.

    Returns:
        0 (nothing in common, or a text without words) to 100 (the words of one text are among the other's).
    """
    a, b = _words(first), _words(second)
    if not a or not b:
        return 0
    shared = a & b
    if shared and (shared in (a, b)):
        return 100
    only_a, only_b = " ".join(sorted(a - shared)), " ".join(sorted(b - shared))
    common = len(" ".join(shared))
    gap = 1 if shared else 0
    long_a, long_b = common + gap + len(only_a), common + gap + len(only_b)
    best = _alike(len(only_a) + len(only_b) - 2 * _longest_common(only_a, only_b), long_a + long_b)
    if shared:
        best = max(best, _alike(gap + len(only_a), common + long_a), _alike(gap + len(only_b), common + long_b))
    return round(best)


def _words(text: str) -> frozenset[str]:
    return frozenset(_SEPARATORS.sub(" ", text.translate(_LETTERS)).lower().split())


def _alike(distance: int, length: int) -> float:
    """Return 100 minus the share of ``length`` letters that differ."""
    return 100.0 - 100.0 * distance / length


def _longest_common(first: str, second: str) -> int:
    """Return the length of the longest common subsequence.

    Whole columns of the usual table are bits of one integer (Hyyrö, "Bit-parallel LCS-length computation revisited",
    2004): a zero bit marks a place where the length grows.
    """
    places: dict[str, int] = {}
    for position, letter in enumerate(first):
        places[letter] = places.get(letter, 0) | (1 << position)
    full = (1 << len(first)) - 1
    column = full
    for letter in second:
        match = column & places.get(letter, 0)
        column = ((column + match) | (column - match)) & full
    return len(first) - column.bit_count()
