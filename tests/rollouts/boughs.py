"""What tests of the search share: a tree of known shape, and single waves of a search in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym

from agentgym.episodes import Group
from agentgym.identity import text_hash
from agentgym.policies import ScriptedPolicy
from agentgym.rollouts import Rollout
from agentgym.rollouts.search import SearchCollector
from agentgym.text_env import Status, TextEnv
from tests.worlds import Dice

LEAVES = 3


class Boughs(TextEnv):
    """A tree of known shape: three words at each fork, three forks; one leaf wins. The text names the place."""

    winner = "201"

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self._path = ""

    def _begin(self, task: str | None) -> str:
        self.task_id, self.task_type, self.goal = "boughs/0", "boughs", "find the fruit"
        self._path = ""
        return "at:"

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        if action not in ("0", "1", "2"):
            return f"at:{self._path}", 0.0, False, False
        self._path += action
        over = len(self._path) == LEAVES
        return f"at:{self._path}", float(self._path == self.winner), over, True

    def state_text(self) -> str:
        return self._path

    def _status(self) -> Status:
        won = self._path == self.winner
        return Status(("0", "1", "2"), won, float(won), text_hash(self.state_text()))

    def _get_state(self) -> Any:
        return self._path

    def _set_state(self, state: Any) -> None:
        self._path = state


# The samples of one state get slots in a row, so this tries every word once.
EVERY_WORD = ScriptedPolicy(lambda turn: str(turn.slot % LEAVES))


def search(make_env: Any = Boughs, policy: Any = EVERY_WORD, **options: Any) -> SearchCollector:
    return SearchCollector(make_env, policy, **{"groups": 1, "group_size": 3, "seed": 5, "waves": 1, **options})


def waves(collector: SearchCollector, count: int, first: int = 0) -> Iterator[Rollout]:
    """Yield single waves, an iteration each."""
    for iteration in range(first, first + count):
        [share] = collector.batches(iteration)
        yield collector.merge([share])


def place_of(group: Group) -> str:
    return group.episodes[0].steps[0].observation


def known(collector: SearchCollector, place: str) -> tuple[int, float]:
    """Return N and S of a place in the boughs."""
    key = collector.store.key("boughs/0", text_hash(f"at:{place}"))
    return int(collector.store.visits([key])[0]), float(collector.store.scores([key])[0])


def remember(collector: SearchCollector, place: str, won: bool, times: int) -> None:
    key = collector.store.key("boughs/0", text_hash(f"at:{place}"))
    collector.store.write([], [([key], won)] * times)


def make_dice() -> gym.Env[str, str]:
    return gym.wrappers.TimeLimit(Dice(), max_episode_steps=6)


THROW = ScriptedPolicy(lambda turn: ("throw", "look")[int(turn.chance.integers(2))])
