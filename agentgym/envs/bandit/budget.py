"""A dynamical linear bandit in words: spend a budget on advertising channels, day by day."""

from __future__ import annotations

import re
from itertools import permutations
from typing import Final, NamedTuple

import numpy as np

from agentgym.envs.bandit.system import INSTANCES, Array, LinearSystem
from agentgym.errors import ConfigError, EnvironmentFault, unknown_name
from agentgym.identity import text_hash
from agentgym.text_env import Status, TextEnv

__all__ = ["AdvertisingBudgetEnv"]

_CHANNELS: Final = ("search", "video", "posters")
_TOTAL, _MOST = 1.5, 1.0
_ORDERS: Final = tuple(permutations(range(3)))
_HELD_OUT: Final = (2, 4)  # in what is left for training each channel is once the one that pays in the long run
_SPLITS: Final = {
    "all": tuple(range(6)),
    "train": tuple(i for i in range(6) if i not in _HELD_OUT),
    "validation": _HELD_OUT,
}
_GOOD: Final = 0.9
_PART = re.compile(r"(\d+(?:\.\d+)?) on (search|video|posters)")
_ACTION = re.compile(r"spend \d+(?:\.\d+)? on \w+(?:(?:,| and|, and) \d+(?:\.\d+)? on \w+)*")
_MOST_LETTERS: Final = 200


class _State(NamedTuple):
    """The whole state: which channel plays which part, the day, the hidden state, and what was earned."""

    order: int
    day: int
    hidden: tuple[float, ...]
    earned: float


class AdvertisingBudgetEnv(TextEnv):
    """Split a budget between three channels each day; what a channel brings may come days later.

    An action reads ``spend 1 on search, 0.5 on video``: at most 1.5 in all and 1 on a channel. The channel that pays at
    once is not the one that pays in the long run, and only trying tells which is which: a task permutes the parts of
    the channels. The reward of a day is what it brings, over what the best constant allocation brings in the long run
    and over the number of days, so that the sum of rewards, ``info["score"]`` where it lies in [0, 1], is about 1 for
    the best player. A campaign is won with a score of at least 0.9. It ends with its last day.

    Args:
        instance: ``synthetic`` or ``advertising``, the systems of `agentgym.envs.bandit`.
        noise: Standard deviation of the noise, at least 0.
        days: Days of a campaign, at least 1.
        split: ``train`` (four of the six permutations), ``validation`` (the other two) or ``all``.
        render_mode: ``"ansi"`` or ``"human"``.

    Raises:
        ConfigError: If an argument is not allowed.

    Example:
        >>> env = AdvertisingBudgetEnv()
        >>> observation, info = env.reset(seed=0)
        >>> env.step("spend 2 on search")[0]
        'Nothing is spent: write, say, spend 1 on search, 0.5 on video; at most 1.5 in all, and 1 on a channel.'
    """

    def __init__(
        self,
        instance: str = "synthetic",
        noise: float = 0.01,
        days: int = 20,
        split: str = "train",
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        if instance not in INSTANCES:
            raise unknown_name("instance", instance, INSTANCES)
        if split not in _SPLITS:
            raise unknown_name("split", split, _SPLITS)
        if days < 1:
            raise ConfigError(f"days={days!r}: must be at least 1")
        self._system: LinearSystem = INSTANCES[instance](noise)
        self._days, self._split = days, split
        self._tasks = {f"builtin/{split}/{instance}/{order}": order for order in _SPLITS[split]}
        self._state = _State(0, 0, (0.0,) * len(self._system.A), 0.0)
        self._admissible = tuple(_words(action) for action in self._system.actions)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Ids of the split's permutations."""
        return tuple(self._tasks)

    @property
    def held_out(self) -> dict[str, str]:
        """Arguments that give permutations held out from training; none where all are played."""
        return {} if self._split == "all" else {"split": "validation"}

    def _begin(self, task: str | None) -> str:
        if task is None:
            task = self.tasks[int(self.np_random.integers(len(self._tasks)))]
        if task not in self._tasks:
            raise self._task_not_found(task, self.tasks)
        self.task_id, self.task_type = task, task.split("/")[2]
        self.goal = f"earn as much as you can in {self._days} days, with a budget of {_TOTAL} a day"
        self._state = _State(self._tasks[task], 0, (0.0,) * len(self._system.A), 0.0)
        return (
            f"You advertise for {self._days} days, on search, video and posters. Spend up to {_TOTAL} a day, and up to "
            f"{_MOST:g} on a channel. What a channel brings may come on later days."
        )

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        budget = _read(action)
        if budget is None:
            example = _words(np.array([1.0, 0.5, 0.0]))
            text = f"Nothing is spent: write, say, {example}; at most {_TOTAL} in all, and {_MOST:g} on a channel."
            return text, 0.0, False, False
        system, (order, day, hidden, earned) = self._system, self._state
        played, state = budget[list(_ORDERS[order])], np.array(hidden)
        moved, noted = self.np_random.normal(size=len(state)), self.np_random.normal()
        brought = float(system.omega @ state + system.theta @ played + system.reward_noise * noted)
        state = system.A @ state + system.B @ played + system.noise * moved
        reward = brought / (self._days * float(system.values.max()))
        self._state = _State(order, day + 1, tuple(state.tolist()), earned + reward)
        over = day + 1 == self._days
        told = f"Day {day + 1} of {self._days} brought {brought:.2f}."
        return told, reward, over, True

    def _status(self) -> Status:
        score = min(max(self._state.earned, 0.0), 1.0)
        won = self._state.day == self._days and score >= _GOOD
        return Status(self._admissible, won, score, text_hash(self.state_text()))

    def state_text(self) -> str:
        """Describe the hidden state in full."""
        order, day, hidden, earned = self._state
        parts = ", ".join(_CHANNELS[i] for i in _ORDERS[order])
        # Nine digits: the last ones may differ between machines.
        return f"channels {parts}\nday {day}, earned {earned:.9g}\nhidden {' '.join(f'{x:.9g}' for x in hidden)}"

    def expert_action(self) -> str:
        """Return the allocation that is best in the long run; the expert knows the system.

        Raises:
            EnvironmentFault: If no campaign is running.
        """
        if self._over:
            raise EnvironmentFault("the expert needs a running campaign: call reset() first")
        budget = np.zeros(3)
        budget[list(_ORDERS[self._state.order])] = self._system.actions[self._system.best]
        return _words(budget)

    def _get_state(self) -> _State:
        return self._state

    def _set_state(self, state: _State) -> None:
        self._state = state


def _words(budget: Array) -> str:
    parts = (f"{amount:g} on {channel}" for amount, channel in zip(budget, _CHANNELS, strict=True) if amount)
    return f"spend {', '.join(parts)}"


def _read(action: str) -> Array | None:
    """Return what is spent on each channel, None if the text does not say it or it is too much."""
    words = action[: _MOST_LETTERS + 1].strip().lower().rstrip(".")
    if len(action) > _MOST_LETTERS or not _ACTION.fullmatch(words):
        return None
    spent = {channel: float(amount) for amount, channel in _PART.findall(words)}
    if len(spent) != words.count(" on ") or max(spent.values()) > _MOST or sum(spent.values()) > _TOTAL:
        return None
    return np.array([spent.get(channel, 0.0) for channel in _CHANNELS])
