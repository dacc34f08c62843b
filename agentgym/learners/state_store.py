"""The history of states that 3SPO reads its scores from.

It is read before a frontier wave and written after it, by every process alike, and lives in the checkpoint as three
arrays: nothing is written to disk while a run goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agentgym.algos.three_spo import state_score
from agentgym.errors import ConfigError, TrainingError
from agentgym.identity import text_hash

__all__ = ["Clock", "Scope", "StateStore"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Clock = Literal["finished_trajectories", "state_visits", "iteration"]
Scope = Literal["global", "task"]

_KEY_BYTES = 16
_LEAST_CAPACITY = 256
_COLUMNS = ("successes", "totals", "written")


class StateStore:
    """Successful and finished trajectories through every state that was seen.

    >>> store = StateStore()
    >>> key = store.key("task/1", "you are in a hall")
    >>> store.write([key], [([key], False)] * 10)
    >>> store.scores([key]).tolist(), store.visits([key]).tolist()
    ([0.0], [10])

    Args:
        alpha: α of the score, see ``state_score``.
        xi: ξ of the score, or None.
        zeta: ζ of the score.
        scope: "global" pools equal states of all tasks, "task" keeps tasks apart.
        clock: What t counts, from 1: finished trajectories (as the released code does while it runs), those through
            the state itself, or iterations.
        revive_after: Finished trajectories after which a state that was given up starts afresh, at least 1; None for
            never, as published. The option is ours.

    Attributes:
        iteration: Number of the present iteration, from 0; its owner sets it.
        finished: Finished trajectories written so far.
    """

    def __init__(
        self,
        *,
        alpha: float = 50.0,
        xi: float | None = 10.0,
        zeta: float = 0.1,
        scope: Scope = "global",
        clock: Clock = "finished_trajectories",
        revive_after: int | None = None,
    ) -> None:
        if revive_after is not None and revive_after < 1:
            raise ConfigError(f"revive_after must be at least 1 or None, not {revive_after}")
        self._alpha, self._xi, self._zeta = alpha, xi, zeta
        self._scope = scope
        self._clock = clock
        self._revive_after = revive_after
        self.iteration = 0
        self.finished = 0
        self._place: dict[str, int] = {}
        # Rows: successes, totals, and the number of finished trajectories when a state was last written.
        self._counts = np.zeros((len(_COLUMNS), _LEAST_CAPACITY), np.int64)

    def __len__(self) -> int:
        return len(self._place)

    def key(self, task: str, state: str) -> str:
        """Return the name of a state in the store.

        Args:
            task: Id of the task; without effect in scope "global".
            state: Text or hash of the state; equal ones are one state.
        """
        return text_hash(state if self._scope == "global" else f"{task}\n{state}")

    def seen(self, keys: Sequence[str]) -> Bools:
        """Return which states were seen before, on finished trajectories or not, [N]."""
        return np.array([key in self._place for key in keys], np.bool_)

    def visits(self, keys: Sequence[str]) -> Ints:
        """Return N, the finished trajectories through each state, 0 for unseen ones, [N]."""
        return self._read(keys)[1]

    def scores(self, keys: Sequence[str], *, filtered: bool = True) -> Floats:
        """Return S of each state, 1 for unseen ones, [N].

        Args:
            keys: The states.
            filtered: Whether states that were given up score 0; otherwise their success rate alone counts.
        """
        successes, totals = self._read(keys)
        return self._scores(successes, totals, self._xi if filtered else None)

    def write(self, seen: Iterable[str], finished: Iterable[tuple[Sequence[str], bool]]) -> None:
        """Add what a wave brought.

        Args:
            seen: Every state it saw.
            finished: The distinct states of each trajectory that ended, and whether it succeeded.
        """
        paths = [(list(dict.fromkeys(keys)), won) for keys, won in finished]
        self._admit([*seen, *(key for keys, _ in paths for key in keys)])
        self.finished += len(paths)
        for keys, won in paths:
            at = [self._place[key] for key in keys]
            self._counts[0, at] += won
            self._counts[1, at] += 1
            self._counts[2, at] = self.finished
        self._revive()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold, as arrays."""
        names = np.frombuffer(b"".join(map(bytes.fromhex, self._place)), np.uint8).reshape(-1, _KEY_BYTES)
        return {
            "iteration": self.iteration,
            "finished": self.finished,
            "keys": names.copy(),
            **{name: self._counts[row, : len(self)].copy() for row, name in enumerate(_COLUMNS)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned.

        Raises:
            TrainingError: If it is not the state of a store.
        """
        try:
            self.iteration, self.finished = int(state["iteration"]), int(state["finished"])
            keys = [bytes(row).hex() for row in np.asarray(state["keys"], np.uint8)]
            counts = np.stack([np.asarray(state[name], np.int64) for name in _COLUMNS])
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"this is not the saved state of a StateStore ({error!r}); is it another collector's?"
            ) from error
        self._place = {key: place for place, key in enumerate(keys)}
        self._counts = np.zeros((len(_COLUMNS), max(_LEAST_CAPACITY, len(keys))), np.int64)
        self._counts[:, : len(keys)] = counts

    def _read(self, keys: Sequence[str]) -> tuple[Ints, Ints]:
        at = np.fromiter((self._place.get(key, -1) for key in keys), np.int64, len(keys))
        successes, totals = self._counts[:2, at] * (at >= 0)
        return successes, totals

    def _scores(self, successes: Ints, totals: Ints, xi: float | None) -> Floats:
        t: Ints | int = totals if self._clock == "state_visits" else self.finished + 1
        if self._clock == "iteration":
            t = self.iteration + 1
        return state_score(successes, totals, t, alpha=self._alpha, xi=xi, zeta=self._zeta)

    def _admit(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._place.setdefault(key, len(self._place))
        if len(self._place) > self._counts.shape[1]:
            grown = np.zeros((len(_COLUMNS), max(len(self._place), 2 * self._counts.shape[1])), np.int64)
            grown[:, : self._counts.shape[1]] = self._counts
            self._counts = grown

    def _revive(self) -> None:
        if self._revive_after is None:
            return
        successes, totals, written = self._counts[:, : len(self)]
        due = (self._scores(successes, totals, self._xi) == 0) & (self.finished - written >= self._revive_after)
        self._counts[:2, : len(self)][:, due] = 0
