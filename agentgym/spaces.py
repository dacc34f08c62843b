"""A Gymnasium space that holds any text.

Gymnasium's own ``Text`` space checks a character set and a maximum length, so ordinary sentences fall outside its
default and a membership test costs time in the length of the text. Observations and actions of text worlds are any
string.
"""

from __future__ import annotations

import multiprocessing
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory

__all__ = ["UnicodeText", "shown"]

# Control characters, marks that turn the direction of writing, halves of surrogate pairs, by Unicode's names of them.
_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs"})
_KEPT: Final = frozenset("\n\t\u200c\u200d")
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


def shown(text: str) -> str:
    r"""Return a text of an environment as a terminal may show it: what would steer the terminal, or end it, is escaped.

    >>> print(shown("a mug\x1b[31m, red \ud800"))
    a mug\x1b[31m, red \ud800
    """
    if text.isprintable():
        return text
    return "".join(
        repr(letter)[1:-1] if unicodedata.category(letter) in _UNSHOWN and letter not in _KEPT else letter
        for letter in text
    )


# ``AsyncVectorEnv`` shares observations through memory unless told otherwise, and asks each kind of space how. Text has
# no fixed size: every environment gets this many bytes of UTF-8, and a longer text is refused rather than cut.
_SHARED_BYTES = 1 << 17
_LENGTH_BYTES = 4


class _SharedTexts(Sequence[str]):
    """A live view of one text per environment; its copy, which a vector environment returns, is a tuple of strings."""

    def __init__(self, memory: Any, n: int) -> None:
        self._memory = memory
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self)[index]
        start = range(self._n)[index] * (_LENGTH_BYTES + _SHARED_BYTES)
        view = memoryview(self._memory.get_obj()).cast("B")
        length = int.from_bytes(view[start : start + _LENGTH_BYTES], "little")
        start += _LENGTH_BYTES
        return bytes(view[start : start + length]).decode("utf-8", "surrogatepass")

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)


@create_shared_memory.register(UnicodeText)
def _create_shared_texts(space: UnicodeText, n: int = 1, ctx: Any = multiprocessing) -> Any:
    return ctx.Array("B", n * (_LENGTH_BYTES + _SHARED_BYTES))


@read_from_shared_memory.register(UnicodeText)
def _read_shared_texts(space: UnicodeText, shared_memory: Any, n: int = 1) -> _SharedTexts:
    return _SharedTexts(shared_memory, n)


@write_to_shared_memory.register(UnicodeText)
def _write_shared_text(space: UnicodeText, index: int, value: str, shared_memory: Any) -> None:
    data = value.encode("utf-8", "surrogatepass")
    if len(data) > _SHARED_BYTES:
        raise ValueError(
            f"an observation of {len(data)} bytes does not fit the {_SHARED_BYTES} bytes shared per environment; "
            "make the vector environment with vector_kwargs={'shared_memory': False}"
        )
    start = index * (_LENGTH_BYTES + _SHARED_BYTES)
    view = memoryview(shared_memory.get_obj()).cast("B")
    view[start : start + _LENGTH_BYTES + len(data)] = len(data).to_bytes(_LENGTH_BYTES, "little") + data
