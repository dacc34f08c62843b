"""How customers of the built-in shop say what they want."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from agentgym.envs.stream import Stream
from agentgym.envs.webshop.vocabulary import OPTION_PHRASES, Kind

__all__ = ["WORDINGS", "instruction"]

_PLAIN: Final = ("Find {thing}{plain}, price below {price:.0f} dollars",)
_NATURAL: Final = (
    "I'm looking for {thing}{natural}. Please stay below {price:.0f} dollars",
    "I need {thing}{natural}, and I can spend {price:.0f} dollars at most",
    "Can you get me {thing}{natural} for less than {price:.0f} dollars?",
    "My budget is {price:.0f} dollars. What I want is {thing}{natural}",
    "My brother wants {thing}{natural}. He set a limit of {price:.0f} dollars",
)

WORDINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "plain": _PLAIN,
    "natural": _NATURAL,
    "mixed": (*_PLAIN, *_NATURAL),
}
"""Templates by the name of the wording."""


def instruction(
    stream: Stream,
    wording: str,
    kind: Kind,
    attributes: Sequence[str],
    options: Sequence[tuple[str, str]],
    price: float,
) -> str:
    """Return a customer's sentence.

    Args:
        stream: Chooses the template.
        wording: One of ``WORDINGS``.
        kind: What is wanted.
        attributes: What it must have, attributes of the kind.
        options: What must be chosen, as (name, value).
        price: What it may cost at most, in whole dollars.
    """
    before = ", ".join(word for word in attributes if word in kind.qualities)
    after = " and ".join(word for word in attributes if word in kind.features)
    thing = " ".join(part for part in (before, kind.name, after and f"with {after}") if part)
    plain = "".join(f", {name}: {value}" for name, value in options)
    natural = " and".join(f" {OPTION_PHRASES[name].format(value)}" for name, value in options)
    template = stream.pick(WORDINGS[wording])
    return template.format(thing=thing, plain=plain, natural=natural, price=price)
