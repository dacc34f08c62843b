"""The prompt of every turn, as token ids, for many running episodes at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from agentgym.episodes import Episode, Step
from agentgym.errors import PolicyError
from agentgym.policies.base import Turn
from agentgym.policies.contexts import ChatFormat, Transcript, Window

__all__ = ["Prompts", "TranscriptPrompts", "WindowPrompts", "make_prompts", "next_prompt"]


class TranscriptPrompts:
    """Tokens that each growing chat gains between its last response and the next."""

    def __init__(self, chat: ChatFormat, context: Transcript) -> None:
        self._chat = chat
        self._context = context
        self._last: dict[int, int] = {}

    def build(self, turns: Sequence[Turn]) -> list[list[int]]:
        """Return the prompt of each turn."""
        messages = [self._context.message(turn.observation, turn.info) for turn in turns]
        fresh = [i for i, turn in enumerate(turns) if turn.slot not in self._last]
        known = [i for i, turn in enumerate(turns) if turn.slot in self._last]
        prompts: list[list[int]] = [[] for _ in turns]
        for i, ids in zip(fresh, self._chat.opening([messages[i] for i in fresh]), strict=True):
            prompts[i] = ids
        last = [self._last[turns[i].slot] for i in known]
        for i, ids in zip(known, self._chat.following([messages[i] for i in known], last), strict=True):
            prompts[i] = ids
        return prompts

    def answered(self, turn: Turn, action: str, last_token: int) -> None:
        """Note what the turn was answered with."""
        self._last[turn.slot] = last_token

    def resume(self, slot: int, steps: Sequence[Step]) -> list[int]:
        """Go on after ``steps``; return the tokens the cache must hold: all of theirs but the last, which is carried.

        Raises:
            PolicyError: If a step was recorded without tokens.
        """
        ids: list[int] = []
        for step in steps:
            if step.prompt_ids is None or step.response_ids is None:
                raise PolicyError("an episode recorded without tokens cannot be resumed by a language policy")
            ids += step.prompt_ids + step.response_ids
        if ids:
            self._last[slot] = ids.pop()
        return ids

    def carried(self, slot: int) -> list[int]:
        """Return the response token that the cache does not hold yet: the last one sampled."""
        return [self._last[slot]] if slot in self._last else []

    def drop(self, slot: int) -> None:
        """Forget an ended episode."""
        self._last.pop(slot, None)


class WindowPrompts:
    """A whole prompt each turn, from the last turns."""

    def __init__(self, chat: ChatFormat, context: Window) -> None:
        self._chat = chat
        self._context = context
        self._memory: dict[int, deque[tuple[str, str]]] = {}
        self._steps: dict[int, int] = {}

    def build(self, turns: Sequence[Turn]) -> list[list[int]]:
        """Return the prompt of each turn."""
        messages = []
        for turn in turns:
            memory = self._memory.setdefault(turn.slot, self._context.memory())
            steps = self._steps.setdefault(turn.slot, 0)
            messages.append(self._context.message(tuple(memory), steps, turn.observation, turn.info))
        return self._chat.opening(messages)

    def answered(self, turn: Turn, action: str, last_token: int) -> None:
        """Note what the turn was answered with."""
        self._memory[turn.slot].append((turn.observation, action))
        self._steps[turn.slot] += 1

    def resume(self, slot: int, steps: Sequence[Step]) -> list[int]:
        """Go on after ``steps``; nothing need be in a cache."""
        self._memory[slot] = _remembered(self._context, steps)
        self._steps[slot] = len(steps)
        return []

    def drop(self, slot: int) -> None:
        """Forget an ended episode."""
        self._memory.pop(slot, None)
        self._steps.pop(slot, None)


def _remembered(context: Window, steps: Sequence[Step]) -> deque[tuple[str, str]]:
    """Return the memory that an episode with these steps has left."""
    memory = context.memory()
    memory.extend((s.observation, (s.action if s.response is None else s.response).strip()) for s in steps)
    return memory


Prompts = TranscriptPrompts | WindowPrompts


def make_prompts(chat: ChatFormat, context: Transcript | Window) -> Prompts:
    """Return the prompt builder of a context."""
    return TranscriptPrompts(chat, context) if isinstance(context, Transcript) else WindowPrompts(chat, context)


def next_prompt(chat: ChatFormat, context: Transcript | Window, episode: Episode) -> list[int]:
    """Return the prompt that would have followed a recorded episode.

    In a transcript that is what its final observation adds, in a window the whole of a new one.

    Admissible commands of the final state are not recorded, so a list of them is left empty.

    Args:
        chat: The chat format of the policy that played.
        context: Its context.
        episode: An episode with at least one step and its tokens.
    """
    info = {"goal": episode.goal}
    if isinstance(context, Transcript):
        last_ids = episode.steps[-1].response_ids
        assert last_ids is not None
        return chat.following([context.message(episode.final_observation, info)], [last_ids[-1]])[0]
    memory = _remembered(context, episode.steps)
    return chat.opening([context.message(tuple(memory), len(episode.steps), episode.final_observation, info)])[0]
