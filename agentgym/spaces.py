"""A Gymnasium space that holds any text.

Gymnasium's own ``Text`` space checks a character set and a maximum length, so ordinary sentences fall outside its default and
a membership test costs time in the length of the text. Observations and actions of text worlds are any string.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

__all__ = ["UnicodeText"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz 0123456789.,:;!?'-éßλ字🙂"


class UnicodeText(gym.spaces.Space[str]):
    """Hold every Python string; membership is a type check.

    Args:
        sample_length: Largest number of characters that ``sample`` returns, at least 1.
        seed: Seed of the space's own generator.

    >>> space = UnicodeText()
    >>> "go to shelf 1 — déjà vu" in space, 3 in space
    (True, False)
    """

    def __init__(self, sample_length: int = 32, seed: int | np.random.Generator | None = None) -> None:
        if sample_length < 1:
            raise ValueError(f"sample_length must be at least 1, not {sample_length}")
        self.sample_length = sample_length
        super().__init__(None, None, seed)

    @property
    def is_np_flattenable(self) -> bool:
        """Return False: text has no fixed array shape."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return random text of 1 to ``sample_length`` characters; masks are not supported."""
        if mask is not None or probability is not None:
            raise ValueError("UnicodeText.sample takes neither mask nor probability; pass None")
        length = int(self.np_random.integers(1, self.sample_length + 1))
        return "".join(_ALPHABET[i] for i in self.np_random.integers(0, len(_ALPHABET), length))

    def contains(self, x: Any) -> bool:
        """Return whether ``x`` is a string."""
        return isinstance(x, str)

    def __repr__(self) -> str:
        return f"UnicodeText(sample_length={self.sample_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and other.sample_length == self.sample_length

    def __hash__(self) -> int:
        return hash((UnicodeText, self.sample_length))
