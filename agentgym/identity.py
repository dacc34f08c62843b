r"""Names for moments: canonical text to a 128-bit hash that is the same on every machine.

A moment has two names. ``obs_hash`` names what the agent saw, ``state_hash`` what is true. Both are 32 hexadecimal
digits of BLAKE2b with a 16-byte digest, so they do not depend on the process, the platform or ``PYTHONHASHSEED``.

>>> text_hash("a shelf") == text_hash("a  shelf\n", canonical="whitespace")
True
>>> value_hash({"a": 1, "b": [2, None]}) == value_hash({"b": [2, None], "a": 1})
True
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agentgym.errors import unknown_name

__all__ = ["CANONICALISERS", "IdentityAudit", "audit", "canonicalise", "text_hash", "value_hash"]

_DIGEST_SIZE = 16

CANONICALISERS: Mapping[str, Callable[[str], str]] = {
    "exact": lambda text: text,
    "whitespace": lambda text: " ".join(text.split()),
    "casefold": str.casefold,
    "nfc": lambda text: unicodedata.normalize("NFC", text),
}
"""Named canonicalisers; compose them by ``"nfc+whitespace"``, applied left to right."""


def canonicalise(text: str, canonical: str = "exact") -> str:
    """Apply the named canonicalisers, joined by ``+``, to ``text`` from left to right.

    Raises:
        ConfigError: If a name is not in ``CANONICALISERS``.
    """
    for name in canonical.split("+"):
        function = CANONICALISERS.get(name)
        if function is None:
            raise unknown_name("canonicaliser", name, CANONICALISERS)
        text = function(text)
    return text


def text_hash(text: str, canonical: str = "exact") -> str:
    """Return the 128-bit hash of ``text`` as 32 hexadecimal digits; any string, lone surrogates included."""
    if canonical != "exact":
        text = canonicalise(text, canonical)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_SIZE).hexdigest()


def value_hash(value: Any) -> str:
    """Return the hash of a JSON-like value; the order of mapping keys does not matter.

    Raises:
        TypeError: If the value holds what JSON cannot name, such as a set, an object or a key that is no string.
        ValueError: If the value holds NaN or an infinity.
    """
    _check_keys(value)
    return text_hash(json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def _check_keys(value: Any) -> None:
    # json.dumps would write the keys 1 and "1" alike, so that two values share a name.
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"keys must be strings, not {type(key).__name__}: {key!r}")
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return
    for item in value:
        _check_keys(item)


class IdentityAudit:
    """What ``audit`` found.

    Attributes:
        collisions: Hashes that name more than one text, with the texts.
        aliases: Texts that carry more than one hash, with the hashes.
    """

    def __init__(self, collisions: dict[str, list[str]], aliases: dict[str, list[str]]) -> None:
        self.collisions = collisions
        self.aliases = aliases

    @property
    def clean(self) -> bool:
        """Whether every hash names one text and every text has one hash."""
        return not self.collisions and not self.aliases


def audit(pairs: Iterable[tuple[str, str]]) -> IdentityAudit:
    """Check (hash, state text) pairs for two texts under one hash and for one text under two hashes."""
    texts: dict[str, set[str]] = {}
    names: dict[str, set[str]] = {}
    for name, text in pairs:
        texts.setdefault(name, set()).add(text)
        names.setdefault(text, set()).add(name)
    return IdentityAudit(
        {name: sorted(found) for name, found in texts.items() if len(found) > 1},
        {text: sorted(found) for text, found in names.items() if len(found) > 1},
    )
