"""Policies without a model: a random player, the environment's own expert, and any function of the turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentgym.episodes import Step
from agentgym.errors import PolicyError
from agentgym.policies.base import Decision, Session, Turn

__all__ = ["ExpertPolicy", "RandomPolicy", "ScriptedPolicy", "expert_action"]


class ScriptedPolicy:
    """Plays by a function from turn to action.

    Args:
        script: Called once a turn; gets the turn (with the environment in ``turn.env``) and returns the action.
        name: Shown in reports.
    """

    context_kind = None

    def __init__(self, script: Callable[[Turn], str], name: str = "scripted") -> None:
        self.script = script
        self.name = name

    def session(self, *, greedy: bool = False, entropies: bool = False) -> Session:
        """Open a session; a script has no sampling, so neither argument changes anything."""
        return _ScriptedSession(self.script)


class _ScriptedSession:
    def __init__(self, script: Callable[[Turn], str]) -> None:
        self._script = script

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        return [Decision(action=self._script(turn)) for turn in turns]

    def resume(self, slot: int, steps: Sequence[Step]) -> None:
        """Nothing is kept."""

    def drop(self, slot: int) -> None:
        """Nothing is kept."""


def _random_action(turn: Turn) -> str:
    admissible = turn.info.get("admissible")
    if not admissible:
        raise PolicyError("the random policy needs info['admissible']; this environment does not list its commands")
    return str(admissible[int(turn.chance.integers(len(admissible)))])


class RandomPolicy(ScriptedPolicy):
    """Chooses uniformly among the admissible commands."""

    def __init__(self) -> None:
        super().__init__(_random_action, "random")


def expert_action(turn: Turn) -> str:
    """Return what the environment's own expert, its method ``expert_action()``, would do now.

    Raises:
        PolicyError: If the environment has none.
    """
    world = None if turn.env is None else turn.env.unwrapped
    expert = getattr(world, "expert_action", None)
    if expert is None:
        raise PolicyError(f"{type(world).__name__} has no expert to ask: it does not define expert_action()")
    return str(expert())


class ExpertPolicy(ScriptedPolicy):
    """Plays what the environment's own expert would."""

    def __init__(self) -> None:
        super().__init__(expert_action, "expert")
