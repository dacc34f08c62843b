"""What a rollout asks of a policy: a session that answers turns with decisions.

A *slot* is the number of a running episode. ``Session.act`` gets one turn for each live slot and answers each with a
decision; ``Session.drop`` forgets a slot whose episode has ended, so that nothing is generated for it any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from agentgym.episodes import Context, Step

__all__ = ["Decision", "Policy", "Session", "Turn"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one running episode shows its policy.

    Attributes:
        slot: Number of the running episode.
        observation: The text to answer.
        info: The environment's info.
        chance: The episode's own generator, the only chance a policy may use: so a rollout does not depend on which
            other episodes share its batch, or on the number of processes.
        env: The environment itself, for scripted policies that read the true state.
    """

    slot: int
    observation: str
    info: Mapping[str, Any]
    chance: np.random.Generator
    env: gym.Env[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """A policy's answer to one turn.

    Attributes:
        action: Text to send to the environment, or None if the episode cannot go on because its context is full.
        response: All the text that was generated.
        prompt_ids: Tokens given to the model in this turn, or None without a tokenizer.
        response_ids: Sampled tokens, or None without a tokenizer.
        logprobs: Log-probability of each sampled token, or None.
        allowed_ids: Ids each token was chosen among where sampling was constrained, else None.
        entropies: Entropy in nats of the distribution each token was drawn from, where the session was asked for them.
    """

    action: str | None
    response: str = ""
    prompt_ids: tuple[int, ...] | None = None
    response_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    allowed_ids: tuple[tuple[int, ...], ...] | None = None
    entropies: tuple[float, ...] | None = None


class Session(Protocol):
    """Holds what a policy keeps between the turns of running episodes."""

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        """Answer every turn, in order; a slot seen for the first time starts an episode."""
        ...

    def resume(self, slot: int, steps: Sequence[Step]) -> None:
        """Make ``slot`` go on with an episode whose steps so far are ``steps``, which this policy recorded."""
        ...

    def drop(self, slot: int) -> None:
        """Forget a slot whose episode has ended."""
        ...


class Policy(Protocol):
    """Anything that can play: a language model, a script, a random player."""

    name: str

    @property
    def context_kind(self) -> Context | None:
        """How prompts are built, for the record; None for policies without tokens."""
        ...

    def session(self, *, greedy: bool = False, entropies: bool = False) -> Session:
        """Open a session.

        Args:
            greedy: Take the most likely token instead of sampling.
            entropies: Whether decisions tell the entropy at each token.
        """
        ...
