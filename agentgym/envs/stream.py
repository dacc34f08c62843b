"""Chance that is the same on every machine, for worlds that ids must rebuild."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from agentgym.identity import text_hash

__all__ = ["Stream"]

T = TypeVar("T")


class Stream:
    """Numbers that are the same on every machine and with every NumPy: raw words of a seeded PCG64.

    NumPy promises a bit generator's raw words for ever, but not what its distributions make of them, and a task id must
    name the same game for as long as it is quoted.

    Args:
        *key: What the stream is for; equal keys give equal streams.
    """

    __slots__ = ("_bits", "_left")

    def __init__(self, *key: object) -> None:
        entropy = int(text_hash("\x1f".join(map(str, key))), 16)
        self._bits = np.random.PCG64(np.random.SeedSequence(entropy))
        self._left: list[int] = []

    def below(self, n: int) -> int:
        """Return a number in [0, n)."""
        if not self._left:
            self._left = self._bits.random_raw(128).tolist()
        return self._left.pop() % n  # the bias is below n / 2^64

    def chance(self, probability: float) -> bool:
        """Return True with this probability, in steps of 2^-20."""
        return self.below(1 << 20) < probability * (1 << 20)

    def between(self, low: int, high: int) -> int:
        """Return a number in [low, high]."""
        return low + self.below(high - low + 1)

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.below(len(options))]

    def shuffle(self, items: list[T]) -> None:
        """Put the items in any order, in place."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]

    def weighted(self, options: Sequence[T], weights: Sequence[int]) -> T:
        """Return one of the options, by integer weights of which at least one is positive."""
        left = self.below(sum(weights))
        for option, weight in zip(options, weights, strict=True):
            left -= weight
            if left < 0:
                return option
        raise AssertionError("unreachable: the weights sum to more than was drawn")
