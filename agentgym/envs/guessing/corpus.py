"""A sample of what the guessing games say and understand, and their names for things, for building tokenizers."""

from __future__ import annotations

from agentgym.envs.guessing.env import GuessingEnv, GuessMyCityEnv, TwentyQuestionsEnv

__all__ = ["world_names", "world_texts"]


def _games() -> tuple[GuessingEnv, ...]:
    return TwentyQuestionsEnv(split="all"), GuessMyCityEnv(split="all")


def world_names() -> list[str]:
    """Return the names of secrets, lower case: what a tokenizer should keep whole."""
    return sorted({name for env in _games() for name in env.names})


def world_texts() -> list[str]:
    """Return what the games may say and every question in its standard wording, each more than once.

    Twice is often enough for a tokenizer that keeps what it meets more than once; what is not a name stands whole.
    """
    return [text for env in _games() for text in env.texts for _ in range(2)]
