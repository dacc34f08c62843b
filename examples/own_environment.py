"""A text environment of one's own: two jugs without marks, and a volume to measure out.

Write five small methods, register the class with Gymnasium, and let ``check_text_env`` tell what is missing.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from agentgym import TextEnv, restore, snapshot
from agentgym.identity import text_hash
from agentgym.testing import check_text_env
from agentgym.text_env import Status

SIZES = {"small": 3, "large": 5}
COMMANDS = tuple(f"{verb} {jug}" for verb in ("fill", "empty", "pour") for jug in SIZES)


class Jugs(TextEnv):
    """Measure out water with a jug of 3 litres and one of 5."""

    tasks: Sequence[str] = ("jugs/1", "jugs/2", "jugs/4")

    def _begin(self, task: str | None) -> str:
        task = task or self.tasks[int(self.np_random.integers(len(self.tasks)))]
        if task not in self.tasks:
            raise self._task_not_found(task, self.tasks)
        self._litres = int(task.removeprefix("jugs/"))
        self._water = dict.fromkeys(SIZES, 0)
        self.task_id, self.task_type, self.goal = task, "measure", f"get exactly {self._litres} l into one jug"
        return f"A tap, and two empty jugs of 3 and 5 l. Your task: {self.goal}."

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        if action not in COMMANDS:
            return f"Try one of: {', '.join(COMMANDS)}.", 0.0, False, False
        verb, jug = action.split()
        other = "small" if jug == "large" else "large"
        moved = min(self._water[jug], SIZES[other] - self._water[other])
        if verb == "pour":
            self._water[other] += moved
            self._water[jug] -= moved
        else:
            self._water[jug] = SIZES[jug] if verb == "fill" else 0
        won = self._litres in self._water.values()
        return f"Small: {self._water['small']} l. Large: {self._water['large']} l.", float(won), won, True

    def _status(self) -> Status:
        won = self._litres in self._water.values()
        return Status(admissible=COMMANDS, won=won, score=float(won), state_hash=text_hash(self.state_text()))

    def state_text(self) -> str:
        """Describe the state in full."""
        return f"goal {self._litres}, {self._water}"

    def _get_state(self) -> Any:
        return self._litres, tuple(self._water.items())

    def _set_state(self, state: Any) -> None:
        self._litres, water = state
        self._water = dict(water)


gym.register("Jugs-v0", lambda **options: Jugs(**options), max_episode_steps=20)

if __name__ == "__main__":
    check_text_env(lambda: gym.make("Jugs-v0"))
    env = gym.make("Jugs-v0")
    print(env.reset(options={"task": "jugs/4"})[0])
    for action in ("fill large", "pour large", "empty small", "pour large", "fill large"):
        print(">", action, "\n" + env.step(action)[0])
    before = snapshot(env)  # branch here
    for action in ("empty large", "pour large"):
        restore(env, before)
        answer = env.step(action)
        print(">", action, "\n" + answer[0], f"won: {answer[4]['won']}")
