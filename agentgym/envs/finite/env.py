"""A finite decision process as a Gymnasium text environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentgym.envs.finite.mdp import FiniteMDP, Rules, build
from agentgym.identity import text_hash
from agentgym.text_env import Status, TextEnv

__all__ = ["FiniteTextEnv"]


class FiniteTextEnv(TextEnv):
    """Plays a finite decision process; ``mdp`` has its arrays.

    Args:
        rules: The world.
        render_mode: See ``TextEnv``.
    """

    mdp: FiniteMDP
    """The states, actions, probabilities and rewards of this environment."""

    def __init__(self, rules: Rules[Any], render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.mdp = build(rules)
        self._hashes = tuple(text_hash(state) for state in self.mdp.states)
        self._admissible = tuple(
            tuple(action for action, legal in zip(self.mdp.actions, row, strict=True) if legal)
            for row in self.mdp.legal
        )
        self._state = int(self.mdp.start[0])

    @property
    def tasks(self) -> Sequence[str]:
        """Ids of the tasks; each starts in a state of its own."""
        return self.mdp.tasks

    def _begin(self, task: str | None) -> str:
        if task is None:
            task = self.mdp.tasks[int(self.np_random.integers(len(self.mdp.tasks)))]
        if task not in self.mdp.tasks:
            raise self._task_not_found(task, self.mdp.tasks)
        number = self.mdp.tasks.index(task)
        self.task_id, self.task_type, self.goal = task, self.mdp.family, self.mdp.goals[number]
        self._state = int(self.mdp.start[number])
        return self._look()

    def _look(self) -> str:
        return self.mdp.texts[int(self.mdp.observation[self._state])]

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        mdp, s = self.mdp, self._state
        if action not in self._admissible[mdp.observation[s]]:
            return "Nothing happens.", 0.0, False, False
        a = mdp.actions.index(action)
        k = int((mdp.thresholds[s, a] <= self.np_random.random()).sum())
        self._state = int(mdp.successor[s, a, k])
        return self._look(), float(mdp.reward[s, a, k]), bool(mdp.terminal[self._state]), True

    def _status(self) -> Status:
        mdp, s = self.mdp, self._state
        admissible = self._admissible[mdp.observation[s]]
        return Status(admissible, bool(mdp.won[s]), float(mdp.score[s]), self._hashes[s])

    def state_text(self) -> str:
        """Describe the state in full."""
        return self.mdp.states[self._state]

    def _get_state(self) -> Any:
        return self._state

    def _set_state(self, state: Any) -> None:
        self._state = state
