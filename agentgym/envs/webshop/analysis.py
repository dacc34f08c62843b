"""Text to search terms, as Lucene's English analyser does it: words, no possessives, no stop words, Porter stems.

The original searches with Anserini, whose default is that analyser; an equal order of results needs equal terms. It is
written out here rather than taken from a library, so that a search gives the same results wherever the package is
installed, and because the stemmers of the package index differ from Lucene's in some endings.

Deviations: scripts that Unicode segments by dictionary (Thai, Lao, Khmer, Burmese) are read letter by letter.

>>> terms("Women's faux-leather boots, size 7.5 and up")
['women', 'faux', 'leather', 'boot', 'size', '7.5', 'up']
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = ["STOP_WORDS", "stem", "terms", "terms_of", "words"]

_STOP: Final = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
STOP_WORDS: Final = frozenset(_STOP.split())
"""The 33 words that Lucene's English analyser drops."""

_MAX_WORD: Final = 255  # Lucene cuts longer words into pieces of this length

# Unicode's rules for word boundaries (UAX 29), as far as they matter here: a word is letters and digits, and some marks
# count as part of it where they stand singly between two letters, or between two digits.
_JOINS_LETTERS: Final = ":\u00b7\u0387\u055f\u05f4\u2027\ufe13\ufe55\uff1a"
_JOINS_DIGITS: Final = ",;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b"
_JOINS_BOTH: Final = ".'\u2018\u2019\u2024\ufe52\uff07\uff0e"
_LINKS: Final = "_\u203f\u2040\u2054\ufe33\ufe34\ufe4d-\ufe4f\uff3f"
_MARKS: Final = "\u0300-\u036f\u200c\u200d\u20d0-\u20f0\ufe00-\ufe0f\uff9e\uff9f\U0001f3fb-\U0001f3ff"
# Ideographs and Hiragana are words of one letter.
_SINGLE: Final = "\u3005-\u3007\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
# Fractions, superscripts and numbers in circles are neither letters nor digits.
_NUMBERS: Final = (
    "\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2089\u2150-\u215f\u2189\u2460-\u249b\u24ea-\u24ff\u2776-\u2793"
)
# Pictographs (Unicode's Extended_Pictographic).
_PICTURE: Final = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u2388\u23cf\u23e9-\u23f3"
    "\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705"
    "\u2708-\u2712\u2714\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763-\u2767"
    "\u2795-\u2797\u27a1\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001f0ff\U0001f16c-\U0001f171\U0001f17e\U0001f17f\U0001f18e\U0001f191-\U0001f19a\U0001f201-\U0001f3fa"
    "\U0001f400-\U0001f64f\U0001f680-\U0001f6ff\U0001f7d5-\U0001f7ff\U0001f80c-\U0001faff]"
)
_LETTER: Final = rf"(?:(?![{_SINGLE}{_NUMBERS}{_LINKS}{_MARKS}])[^\W\d][{_MARKS}]*)"
_DIGIT: Final = rf"(?:\d[{_MARKS}]*)"
# Links alone are no word, but are read as one and dropped: looked at from each of them, a long run would take forever.
_WORD: Final = re.compile(
    rf"[{_LINKS}]++(?!{_LETTER}|{_DIGIT})"
    rf"|[{_SINGLE}][{_MARKS}]*"
    rf"|[{_LINKS}]*(?:{_LETTER}|{_DIGIT})"
    rf"(?:[{_LINKS}]*(?:{_LETTER}|{_DIGIT})"
    rf"|(?<=[^\W\d_])[{re.escape(_JOINS_LETTERS + _JOINS_BOTH)}](?={_LETTER})"
    rf"|(?<=\d)[{re.escape(_JOINS_DIGITS + _JOINS_BOTH)}](?=\d))*[{_LINKS}]*"
    rf"|[\U0001f1e6-\U0001f1ff]{{2}}"
    rf"|{_PICTURE}[{_MARKS}]*(?:(?<=\u200d){_PICTURE}[{_MARKS}]*)*"
)
# The same for a text of ASCII alone, which most are, four times as fast.
_ASCII_WORD: Final = re.compile(
    r"_++(?![a-zA-Z0-9])|_*[a-zA-Z0-9]\w*(?:(?:(?<=[a-zA-Z])[:.'](?=[a-zA-Z])|(?<=[0-9])[,;.'](?=[0-9]))\w+)*", re.ASCII
)
_NO_WORD: Final = re.compile(f"[{_LINKS}]+")
_POSSESSIVE: Final = re.compile("['\u2019\uff07][sS]$")


def terms(text: str) -> list[str]:
    """Return the terms of a text in their order, repeated ones included.

    Args:
        text: Any text.
    """
    return [term for word in words(text) for term in terms_of(word)]


def words(text: str) -> list[str]:
    """Return the words of a text in their order, as they stand in it; some have no terms."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text)


@lru_cache(maxsize=1 << 16)
def terms_of(word: str) -> tuple[str, ...]:
    """Return the term of a word; several if it is very long, none if it is a stop word or has no letter."""
    if _NO_WORD.fullmatch(word):
        return ()
    pieces = (word[start : start + _MAX_WORD] for start in range(0, len(word), _MAX_WORD))
    plain = (_POSSESSIVE.sub("", piece).lower() for piece in pieces)
    return tuple(stem(piece) for piece in plain if piece and piece not in STOP_WORDS)


# The stemmer of M. F. Porter ("An algorithm for suffix stripping", 1980), with the changes its author published later:
# "bli" for "abli", and "logi". Each step lists (ending, replacement); the first ending that fits decides the step.
_SECOND: Final = (
    "ational:ate tional:tion enci:ence anci:ance izer:ize bli:ble alli:al entli:ent eli:e ousli:ous ization:ize "
    "ation:ate ator:ate alism:al iveness:ive fulness:ful ousness:ous aliti:al iviti:ive biliti:ble logi:log"
)
_THIRD: Final = "icate:ic ative: alize:al iciti:ic ical:ic ful: ness:"
_FOURTH: Final = "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize"
_REPLACED: Final = tuple(tuple(pair.split(":") for pair in step.split()) for step in (_SECOND, _THIRD))
_REMOVED: Final = tuple(_FOURTH.split())
_VOWELS: Final = frozenset("aeiou")


def _shape(word: str) -> str:
    """Return the word with ``v`` for each vowel and ``c`` for each consonant; ``y`` after a consonant is a vowel."""
    shape = ""
    for i, letter in enumerate(word):
        vowel = letter in _VOWELS or (letter == "y" and i > 0 and shape[-1] == "c")
        shape += "v" if vowel else "c"
    return shape


def _measure(root: str) -> int:
    """Count how often a vowel is followed by a consonant."""
    return _shape(root).count("vc")


def _ends_double(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _shape(word)[-1] == "c"


def _ends_short(word: str) -> bool:
    """Whether the word ends consonant, vowel, consonant, the last being none of w, x and y."""
    return _shape(word)[-3:] == "cvc" and word[-1] not in "wxy"


def stem(word: str) -> str:
    """Return the Porter stem of a lower-case word.

    >>> [stem(word) for word in ("relational", "ponies", "hopping", "technology")]
    ['relat', 'poni', 'hop', 'technolog']
    """
    if len(word) < 3:
        return word
    word = _plural(word)
    word = _past(word)
    if word.endswith("y") and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    for table in _REPLACED:
        for ending, replacement in table:
            if word.endswith(ending):
                root = word[: -len(ending)]
                word = root + replacement if _measure(root) > 0 else word
                break
    return _tidy(_strip(word))


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        if word.endswith(ending):
            root = word[: -len(ending)]
            if "v" not in _shape(root):
                return word
            if root.endswith(("at", "bl", "iz")) or (_measure(root) == 1 and _ends_short(root)):
                return root + "e"
            return root[:-1] if _ends_double(root) and root[-1] not in "lsz" else root
    return word


def _strip(word: str) -> str:
    for ending in _REMOVED:
        if word.endswith(ending):
            root = word[: -len(ending)]
            if ending == "ion" and not root.endswith(("s", "t")):
                return word
            return root if _measure(root) > 1 else word
    return word


def _tidy(word: str) -> str:
    if word.endswith("e"):
        root = word[:-1]
        measure = _measure(root)
        if measure > 1 or (measure == 1 and not _ends_short(root)):
            word = root
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
