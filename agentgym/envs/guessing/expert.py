"""The expert: it asks for the most information, and goes by the answers alone."""

from __future__ import annotations

import math
from functools import lru_cache

from agentgym.envs.guessing.oracle import Game, Question

__all__ = ["best_question"]


@lru_cache(maxsize=4096)
def best_question(game: Game, left: int) -> Question:
    """Return the question whose answer is expected to tell the most, in bits, of the secrets still possible.

    Guesses count as questions; where none tells more, a guess is made, since it may end the game. The first in the list
    wins a tie, so that the answer is always the same.

    Args:
        game: The game.
        left: The secrets that no answer has excluded, as bits of a number, at least one.
    """
    n = left.bit_count()

    def value(question: Question) -> tuple[float, bool]:
        shares = [(mask & left).bit_count() / n for mask in question.holds]
        told = -sum(share * math.log2(share) for share in shares if share)
        return round(told, 9), question.guess is not None and bool(left >> question.guess & 1)

    return max(game.questions, key=value)
