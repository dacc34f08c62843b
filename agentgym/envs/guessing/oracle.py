"""Rule-based oracles: what a question means, and how it is answered for each secret.

A game has a finite list of questions. A text is understood if it is one of them, or a guess in other words, or a
question whose words point to exactly one of them. All else is refused, and so is anything with *not*, *and* or *or*,
which would need logic to answer truly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from agentgym.envs.guessing.cities import FACTS, cities
from agentgym.envs.guessing.things import ATTRIBUTES, things

__all__ = ["Game", "Question", "city_game", "normalise", "thing_game"]

_MOST_LETTERS: Final = 200
_WORD = re.compile(r"[a-z0-9]+")
_LOGIC = re.compile(r"\b(?:not|and|or|nor|neither|either|never|without|isn t|doesn t|can t|don t|aren t)\b")
_YES_OR_NO = re.compile(r"^(?:is|are|does|do|can|could|would|will|has|have|did)\b")
_TWICE = re.compile(r"^\w+ .*\b(?:is|does|can|has) it\b")
_OPEN = re.compile(r"^(?:(?:in|on) )?(?:which|what|how)\b")
_GUESS = re.compile(
    r"^(?:is (?:it|this|that|the (?:answer|thing|object|item|word|city))|it is|it s|are you thinking of|do you mean|"
    r"could it be|might it be|i guess(?: it is| it s)?|my (?:final )?guess is|i think (?:it is|it s))\s+"
)
_ARTICLE = re.compile(r"^(?:a|an|the|some|my|your|called|the city of|a pair of)\s+")


def normalise(text: str) -> str:
    """Return the words of a text in lower case, without accents and punctuation, joined by single spaces."""
    # A text longer than any question is cut before it costs anything; what is left of it matches nothing.
    plain = unicodedata.normalize("NFKD", text[: _MOST_LETTERS + 1])
    return " ".join(_WORD.findall("".join(c for c in plain if not unicodedata.combining(c)).lower()))


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its answer for every secret.

    Attributes:
        text: The question in its standard wording.
        replies: The different answers.
        holds: For each reply the secrets with that answer, as bits of a number; together they are all secrets once.
        guess: Number of the secret whose name it guesses; None if it asks for a fact.
        pattern: Words that point to it in other wordings, if any do.
        kind: How such wordings begin.
    """

    text: str
    replies: tuple[str, ...]
    holds: tuple[int, ...]
    guess: int | None = None
    pattern: re.Pattern[str] | None = None
    kind: re.Pattern[str] = _YES_OR_NO

    def answer(self, secret: int) -> int:
        """Return which reply is true for this secret."""
        return next(i for i, mask in enumerate(self.holds) if mask >> secret & 1)


@dataclass(frozen=True, eq=False)
class Game:
    """Secrets, questions, and how free text is read.

    Attributes:
        name: ``thing`` or ``city``.
        secrets: What may be hidden, each by its name.
        kinds: For each secret the group it belongs to, for reports by group.
        spoken: For each secret its name as in an answer: ``a dog``.
        names: Every accepted name, normalised, to the number of its secret.
        questions: The whole list, guesses last.
    """

    name: str
    secrets: tuple[str, ...]
    kinds: tuple[str, ...]
    spoken: tuple[str, ...]
    names: dict[str, int]
    questions: tuple[Question, ...]
    _by_text: dict[str, Question] = field(default_factory=dict)
    _guesses: dict[int, Question] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_text.update((normalise(question.text), question) for question in self.questions)
        self._guesses.update((q.guess, q) for q in self.questions if q.guess is not None)

    @property
    def everything(self) -> int:
        """All secrets, as bits of a number."""
        return (1 << len(self.secrets)) - 1

    def parse(self, text: str) -> Question | None:
        """Return the question that a text asks, None if it is not understood."""
        words = normalise(text)
        if len(text) > _MOST_LETTERS:
            return None
        if (known := self._by_text.get(words)) is not None:
            return known
        named = self.names.get(words, self.names.get(_ARTICLE.sub("", _GUESS.sub("", words))))
        if named is not None:
            return self._guesses[named]
        if _LOGIC.search(words):
            return None
        kind = _YES_OR_NO if _YES_OR_NO.match(words) else _OPEN if _OPEN.match(words) else None
        if kind is _YES_OR_NO and _TWICE.match(words):
            return None
        meant = [q for q in self.questions if q.kind is kind and q.pattern is not None and q.pattern.search(words)]
        return meant[0] if len(meant) == 1 else None


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << i for i, flag in enumerate(flags) if flag)


def _yes_or_no(text: str, flags: Sequence[bool], guess: int | None = None, pattern: str | None = None) -> Question:
    yes = _bits(flags)
    words = re.compile(rf"\b(?:{pattern})\b") if pattern else None
    return Question(text, ("Yes.", "No."), (yes, (1 << len(flags)) - 1 & ~yes), guess, words)


def _open(text: str, wording: str, values: Sequence[str], pattern: str) -> Question:
    kinds = tuple(dict.fromkeys(values))
    holds = tuple(_bits(value == kind for value in values) for kind in kinds)
    return Question(
        text, tuple(wording.format(kind) for kind in kinds), holds, None, re.compile(rf"\b(?:{pattern})\b"), _OPEN
    )


def _guesses(spoken: Sequence[str]) -> list[Question]:
    return [_yes_or_no(f"Is it {name}?", [j == i for j in range(len(spoken))], i) for i, name in enumerate(spoken)]


@cache
def thing_game() -> Game:
    """Return the game of things: questions for yes or no."""
    rows = things()
    spoken = tuple(thing.spoken for thing in rows)
    facts = [
        _yes_or_no(text, [key in thing.attributes for thing in rows], pattern=pattern)
        for key, (text, pattern) in ATTRIBUTES.items()
    ]
    names = {normalise(alias): i for i, thing in enumerate(rows) for alias in thing.aliases}
    kinds = tuple(thing.category for thing in rows)
    return Game("thing", tuple(t.name for t in rows), kinds, spoken, names, (*facts, *_guesses(spoken)))


@cache
def city_game() -> Game:
    """Return the game of cities: questions for yes or no, and a few open ones; countries are only confirmed."""
    rows = cities()
    spoken = tuple(city.name for city in rows)
    facts = [
        _open("Which continent is it on?", "It is in {}.", [c.continent for c in rows], "continent"),
        _open(
            "Which language do people speak there?", "They speak {}.", [c.language for c in rows], "languages?|speak"
        ),
        _open(
            "How many people live there?",
            "It has {}.",
            [c.size for c in rows],
            "how many (?:people|inhabitants)|population|how (?:big|large)",
        ),
        _open("What is it known for?", "It is known for {}.", [c.known_for for c in rows], "known for|famous for"),
    ]
    facts += [
        _yes_or_no(text, [key in city.facts for city in rows], pattern=pattern)
        for key, (text, pattern) in FACTS.items()
    ]
    for place in dict.fromkeys([*(c.continent for c in rows), *(c.country for c in rows)]):
        here = [place in (city.continent, city.country) for city in rows]
        facts.append(_yes_or_no(f"Is it in {place}?", here, pattern=f"(?:in|from) {normalise(place)}"))
    names = {normalise(alias): i for i, city in enumerate(rows) for alias in city.aliases}
    return Game("city", spoken, tuple(c.continent for c in rows), spoken, names, (*facts, *_guesses(spoken)))
