"""Tiny worlds that the tests play in."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from agentgym.identity import text_hash
from agentgym.spaces import UnicodeText
from agentgym.text_env import Status, TextEnv

CORRIDOR_ACTIONS = ("left", "right", "take key", "open door")


class Corridor(TextEnv):
    """A corridor with a key at one place and a locked door at its right end; nothing is left to chance but the task."""

    _LENGTHS = (3, 4, 5, 6)

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self._length = self._at = self._key = 0
        self._bag: list[str] = []  # mutable on purpose: branches must not share it
        self._open = False

    @property
    def tasks(self) -> Sequence[str]:
        return [f"corridor/{length}" for length in self._LENGTHS]

    def _begin(self, task: str | None) -> str:
        if task is None:
            task = self.tasks[int(self.np_random.integers(len(self.tasks)))]
        if task not in self.tasks:
            raise self._task_not_found(task, self.tasks)
        self.task_id, self.task_type, self.goal = task, "corridor", "open the door"
        self._length = int(task.removeprefix("corridor/"))
        self._at, self._key, self._open = 1, 0, False
        self._bag = []
        return self._look()

    def _look(self) -> str:
        key = " A key lies here." if self._at == self._key and not self._bag else ""
        return f"You are at place {self._at} of {self._length}.{key}"

    def _admissible(self) -> tuple[str, ...]:
        legal = {
            "left": self._at > 0,
            "right": self._at < self._length - 1,
            "take key": self._at == self._key and not self._bag,
            "open door": self._at == self._length - 1 and bool(self._bag),
        }
        return tuple(name for name, ok in legal.items() if ok)

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        if action not in self._admissible():
            return "Nothing happens.", 0.0, False, False
        if action == "open door":
            self._open = True
            return "The door opens.", 1.0, True, True
        if action == "take key":
            self._bag.append("key")
        else:
            self._at += {"left": -1, "right": 1}[action]
        return self._look(), 0.0, False, True

    def state_text(self) -> str:
        return f"{self._length} {self._at} {self._bag} {self._open}"

    def _status(self) -> Status:
        score = 1.0 if self._open else 0.5 if self._bag else 0.0
        return Status(() if self._open else self._admissible(), self._open, score, text_hash(self.state_text()))

    def _get_state(self) -> Any:
        return self._length, self._at, self._key, tuple(self._bag), self._open

    def _set_state(self, state: Any) -> None:
        self._length, self._at, self._key, bag, self._open = state
        self._bag = list(bag)


class Dice(TextEnv):
    """Every throw is chance; three points win. It cannot list its states, and lists no actions."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self._points = self._throws = 0

    def _begin(self, task: str | None) -> str:
        if task not in (None, "dice/three"):
            raise self._task_not_found(task, ["dice/three"])
        self.task_id, self.task_type, self.goal = "dice/three", "dice", "collect three points"
        self._points = self._throws = 0
        return "A die lies before you."

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        if action.strip() != "throw":
            return "You can only throw.", 0.0, False, False
        face = int(self.np_random.integers(1, 7))
        self._throws += 1
        self._points += face == 6
        won = self._points == 3
        return f"You throw a {face}.", float(won), won, True

    def state_text(self) -> str:
        return f"{self._points} {self._throws}"

    def _status(self) -> Status:
        return Status(None, self._points == 3, self._points / 3, None)

    def _get_state(self) -> Any:
        return self._points, self._throws

    def _set_state(self, state: Any) -> None:
        self._points, self._throws = state


class Bare(gym.Env[str, str]):
    """Somebody else's environment: plain Gymnasium, hidden mutable state, infos that say nothing of ours."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self) -> None:
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()
        self.cellar: dict[str, list[int]] = {"barrels": []}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.cellar = {"barrels": [int(x) for x in self.np_random.integers(1, 4, 3)]}
        return f"Barrels: {self.cellar['barrels']}", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if not isinstance(action, str):
            raise TypeError("text only")
        barrels = self.cellar["barrels"]
        if action == "drink" and barrels:
            barrels[0] -= 1
            if barrels[0] == 0:
                barrels.pop(0)
        elif action == "shuffle":
            self.np_random.shuffle(barrels)
        done = not barrels
        text = "All is drunk." if done else f"You see {len(barrels)} barrels, {sum(barrels)} litres."
        return text, float(done), done, False, {}


class Dream(Bare):
    """An environment that forgets to be deterministic: the seed changes nothing."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.cellar = {"barrels": np.random.default_rng().integers(1, 10**6, 3).tolist()}
        return f"Barrels: {self.cellar['barrels']}", {}


class Fragile(Corridor):
    """A corridor that breaks on one word."""

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        if action == "break":
            raise RuntimeError("the floor gave way")
        return super()._act(action)


def play(env: gym.Env[str, str], actions: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return what the environment answers to ``actions``, up to the end of the episode."""
    answers = []
    for action in actions:
        answer = env.step(action)
        answers.append(copy.deepcopy(answer))
        if answer[2] or answer[3]:
            break
    return answers
