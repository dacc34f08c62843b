"""Where the phrases of a response begin: the text of its tokens, a parser, and a chunker of our own for want of one."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from agentgym.algos.functional.segmentation import Phrase, parsed
from agentgym.batch import StepBatch
from agentgym.contracts import LearnerContext
from agentgym.episodes import Episode
from agentgym.errors import ConfigError

__all__ = ["Parser", "PhraseColumn", "chunk"]

Parser: TypeAlias = "Callable[[str], Phrase | None]"
"""Text to its phrases, or None where it cannot tell."""

_DETERMINERS = "a an the this that these those my your his her its our their some any no every each"
_PREPOSITIONS = (
    "about across after against at before behind below between by during for from in inside into near of off on onto "
    "out over through to toward towards under until up upon with within without"
)
_CONJUNCTIONS = "and as because but if or since so then when where which while who"
_BEFORE_A_NOUN = frozenset(_DETERMINERS.split())
_JOINS = frozenset(f"{_PREPOSITIONS} {_CONJUNCTIONS}".split())
_SENTENCE_END = re.compile(r"[.!?:;]$|>$")


def chunk(text: str) -> Phrase | None:
    """Split text into sentences, these into short phrases, and these into words, by rules of our own.

    A sentence ends with a line, a mark such as a full stop, or a tag. A phrase begins at a preposition or conjunction,
    and at an article or the like that does not follow one. This is no parser: it knows no verbs and no nesting.

    >>> chunk("put the red apple in the fridge")
    [[['put'], ['the', 'red', 'apple'], ['in', 'the', 'fridge']]]
    """
    sentences: list[list[list[str]]] = []
    for line in text.splitlines():
        open_sentence = False
        before = ""
        for word in line.split():
            bare = word.lower().strip(".,!?:;()'\"")
            if not open_sentence:
                sentences.append([[word]])
            elif bare in _JOINS or (bare in _BEFORE_A_NOUN and before not in _JOINS):
                sentences[-1].append([word])
            else:
                sentences[-1][-1].append(word)
            open_sentence, before = not _SENTENCE_END.search(word), bare
    return sentences or None


class PhraseColumn:
    """Adds token column ``phrase_begins``: 1 where a phrase of the response begins, 0 within one.

    The phrases come from a parser of the response's text; see ``agentgym.algos.functional.segmentation.parsed`` for
    those that are too long or too short. A response whose parse does not fit the texts of its tokens, or that has none,
    is cut into runs of ``fallback`` tokens. The share of such responses is logged as ``phrases/unmatched_share``.

    Args:
        parser: Function from text to phrases, as ``"module:name"``.
        cutoff: C, at least 2: a phrase of fewer tokens is kept, a longer one taken apart.
        fallback: Length of the runs in a response whose parse does not fit, at least 1.

    Raises:
        ConfigError: If there is no such function, or a number is out of range.
    """

    def __init__(self, parser: str = "agentgym.learners.phrases:chunk", cutoff: int = 5, fallback: int = 1) -> None:
        if cutoff < 2 or fallback < 1:
            raise ConfigError(f"cutoff must be at least 2 and fallback at least 1, not {cutoff} and {fallback}")
        try:
            self._parser: Parser = pkgutil.resolve_name(parser)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"parser {parser!r} is not a function as module:name: {error}") from error
        self._cutoff = cutoff
        self._fallback = fallback
        self._metrics: dict[str, float] = {}

    def setup(self, context: LearnerContext) -> None:
        """Take the policy, whose tokens are to be read."""
        self._chat = context.policy.chat

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        """Return ``batch`` with the column."""
        begins = np.zeros(int(batch.token_offsets[-1]), np.float32)
        spans = [
            span for span in zip(batch.token_offsets[:-1], batch.token_offsets[1:], strict=True) if span[0] < span[1]
        ]
        unmatched = 0
        for start, end in spans:
            ids = batch.token_ids[start:end].tolist()
            tree = self._parser(self._chat.decode(ids))
            pieces = [self._chat.decode([token]) for token in ids]
            cuts = None if tree is None else parsed(pieces, tree, self._cutoff)
            unmatched += cuts is None
            begins[start + np.array(range(0, len(ids), self._fallback) if cuts is None else cuts)] = 1
        self._metrics = {"phrases/unmatched_share": unmatched / len(spans)} if spans else {}
        return batch.with_token_columns(phrase_begins=begins)

    def metrics(self) -> Mapping[str, float]:
        """Return the share of responses whose parse did not fit."""
        return self._metrics

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Accept what ``state_dict`` returned."""
