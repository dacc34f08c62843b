"""Demonstrations: a script plays, and its actions are recorded as if the model had said them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agentgym.episodes import Context, Episode, Step
from agentgym.errors import ConfigError
from agentgym.policies.base import Decision, Session, Turn
from agentgym.policies.prompts import make_prompts

if TYPE_CHECKING:
    from agentgym.policies.hf import HFPolicy

__all__ = ["Demonstrator", "with_tokens"]


class Demonstrator:
    """Plays by a script and records its actions in the tokens and context of a language policy.

    Args:
        policy: Whose tokenizer, template and context are used; its weights are not.
        script: Called once a turn; gets the turn and returns the action.
        noise: Share of turns, in [0, 1), at which a slip is played instead: some other command, or a garbled one. It is
            part of what the model sees and not of what it learns, so that it learns to go on after slips of its own.
        dawdle: Share of turns, in [0, 1), at which any admissible command is played instead of the script's. It is
            learned, so that the model starts with the commands and the goals of the world and with poor habits, which
            leaves reinforcement learning something to do.
    """

    def __init__(
        self, policy: HFPolicy, script: Callable[[Turn], str], noise: float = 0.0, dawdle: float = 0.0
    ) -> None:
        for name, share in (("noise", noise), ("dawdle", dawdle)):
            if not 0 <= share < 1:
                raise ConfigError(f"{name} must be in [0, 1), not {share}")
        self._policy = policy
        self._script = script
        self._noise = noise
        self._dawdle = dawdle
        self.name = f"demonstrations for {policy.name}"

    @property
    def context_kind(self) -> Context:
        """How prompts are built, for the record."""
        return self._policy.context_kind

    def session(self, *, greedy: bool = False, entropies: bool = False) -> Session:
        """Open a session; a script has no sampling, so neither argument changes anything."""
        return _ForcedSession(self._policy, self._script, self._noise, self._dawdle)


class _ForcedSession:
    def __init__(
        self, policy: HFPolicy, script: Callable[[Turn], str], noise: float = 0.0, dawdle: float = 0.0
    ) -> None:
        self._policy = policy
        self._script = script
        self._noise = noise
        self._dawdle = dawdle
        self._commands: dict[int, dict[str, None]] = {}
        self._prompts = make_prompts(policy.chat, policy.context)
        self._length: dict[int, int] = {}

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        end = self._policy.chat.end_ids[0]
        prompts = self._prompts.build(turns)
        # The script is asked even where something else takes its place: it may keep a memory of what it saw.
        scripted = [self._linger(turn) or action for turn, action in zip(turns, map(self._script, turns), strict=True)]
        slips = [self._slip(turn) for turn in turns]
        actions = [slip or action for slip, action in zip(slips, scripted, strict=True)]
        answers = []
        for turn, prompt, action, slip, ids in zip(
            turns, prompts, actions, slips, self._policy.chat.encode(actions), strict=True
        ):
            response = (*ids, end)
            before = self._length.get(turn.slot, 0) if self.keeps_past else 0
            self._length[turn.slot] = before + len(prompt) + len(response)
            if self._length[turn.slot] > self._policy.max_tokens:
                answers.append(Decision(action=None))
                continue
            self._prompts.answered(turn, action, end)
            if slip:
                answers.append(Decision(action, action, (*prompt, *response), (), ()))
                continue
            answers.append(Decision(action, action, tuple(prompt), response, (0.0,) * len(response)))
        return answers

    def _linger(self, turn: Turn) -> str | None:
        """Return an admissible command to play instead of the script's, or None."""
        commands = turn.info.get("admissible") or ()
        if not self._dawdle or not commands or turn.chance.random() >= self._dawdle:
            return None
        return str(commands[int(turn.chance.integers(len(commands)))])

    def _slip(self, turn: Turn) -> str | None:
        """Return what to play instead of the script's action, or None.

        Half of the slips are commands that were admissible at some point, half the head of one joined to the tail of
        another, as a model that loses its thread writes them.
        """
        if not self._noise:
            return None
        seen = self._commands.setdefault(turn.slot, {})
        seen.update(dict.fromkeys(turn.info.get("admissible") or ()))
        if turn.chance.random() >= self._noise or not seen:
            return None
        commands = list(seen)
        first, second = (commands[int(i)] for i in turn.chance.integers(len(commands), size=2))
        if turn.chance.random() < 0.5:
            return first
        head, tail = self._policy.chat.encode([first, second])
        cut, rest = int(turn.chance.integers(len(head) + 1)), int(turn.chance.integers(len(tail) + 1))
        return self._policy.chat.decode([*head[:cut], *tail[rest:]]).strip() or first

    @property
    def keeps_past(self) -> bool:
        return self._policy.context.kind == "transcript"

    def resume(self, slot: int, steps: Sequence[Step]) -> None:
        cached = self._prompts.resume(slot, steps)
        self._length[slot] = len(cached) + len(steps[-1:])

    def drop(self, slot: int) -> None:
        self._prompts.drop(slot)
        self._length.pop(slot, None)
        self._commands.pop(slot, None)


def with_tokens(policy: HFPolicy, episode: Episode) -> Episode:
    """Return a recorded episode with the token data it would have if ``policy`` had said its actions.

    Raises:
        ConfigError: If the context lists admissible commands, which recordings do not hold.
    """
    if policy.context.show_admissible:
        raise ConfigError(
            "recorded episodes do not hold the admissible commands; use a context with show_admissible=False"
        )
    actions = iter([step.action for step in episode.steps])
    session = _ForcedSession(policy, lambda turn: next(actions))
    steps: list[Step] = []
    info = {"goal": episode.goal}
    for step in episode.steps:
        [decision] = session.act([Turn(0, step.observation, info, np.random.default_rng(0))])
        if decision.action is None:
            break
        steps.append(
            replace(
                step,
                response=decision.response,
                prompt_ids=decision.prompt_ids,
                response_ids=decision.response_ids,
                logprobs=decision.logprobs,
                allowed_ids=None,
            )
        )
    return replace(episode, steps=tuple(steps), context=policy.context_kind)
