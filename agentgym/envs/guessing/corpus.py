"""What a guessing game says and understands, and its names for things, for building tokenizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agentgym.envs.guessing.env import GuessingEnv, GuessMyCityEnv, TwentyQuestionsEnv
from agentgym.errors import unknown_name

__all__ = ["world_names", "world_texts"]

_WORLDS: Final[dict[str, Callable[..., GuessingEnv]]] = {
    "GuessMyCity-v0": GuessMyCityEnv,
    "TwentyQuestions-v0": TwentyQuestionsEnv,
}


def _open(world: str) -> GuessingEnv:
    if world not in _WORLDS:
        raise unknown_name("guessing game", world, _WORLDS)
    return _WORLDS[world](split="all")


def world_names(world: str) -> list[str]:
    """Return the names of all that may be hidden, lower case: what a tokenizer should keep whole.

    Args:
        world: Environment id.

    Raises:
        ConfigError: If it is no guessing game.
    """
    return sorted(set(_open(world).names))


def world_texts(world: str) -> list[str]:
    """Return what the game may say and every question in its standard wording, each twice.

    A tokenizer keeps the phrases that it meets more than once; so it keeps every question for a fact whole, and a guess
    is a phrase and a name.

    Args:
        world: Environment id.

    Raises:
        ConfigError: If it is no guessing game.
    """
    return [text for text in _open(world).texts for _ in range(2)]
