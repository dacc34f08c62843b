"""Endless built-in tasks: numbered within a split and a configuration, and rebuilt from their ids on every machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Generic, Protocol, TypeVar

import numpy as np

from agentgym.errors import TaskNotFoundError, unknown_name

__all__ = ["NUMBERS", "EndlessTasks", "task_id_of"]

NUMBERS: Final = 2**31
"""Numbers of tasks lie below this."""

_ID = re.compile(r"builtin/\w+/(?:\w+/)?(?P<number>0|[1-9]\d{0,9})")


class _Configuration(Protocol):
    @property
    def label(self) -> str:
        """Name of the configuration in task ids."""


ConfigT = TypeVar("ConfigT", bound=_Configuration)


def task_id_of(config: _Configuration, split: str, number: int) -> str:
    """Return the id of a task: ``builtin/<split>/<label>/<number>``, without the label where it is ``default``."""
    label = config.label
    return f"builtin/{split}/{number}" if label == "default" else f"builtin/{split}/{label}/{number}"


class EndlessTasks(Generic[ConfigT]):
    """The numbered tasks of one split and configuration; subclasses say what they are, and load them.

    Attributes:
        noun: What a task is called in errors.
        preset_of: What the presets are of, in errors.
        splits: Names of the splits.
        presets: Configurations by name.

    Args:
        split: One of ``splits``.
        config: A configuration, or the name of one of ``presets``.

    Raises:
        ConfigError: If the split or the preset does not exist.
    """

    noun: ClassVar[str]
    preset_of: ClassVar[str]
    splits: ClassVar[Sequence[str]]
    presets: Mapping[str, ConfigT]

    def __init__(self, split: str = "train", config: ConfigT | str = "default") -> None:
        if split not in self.splits:
            raise unknown_name("split", split, self.splits)
        if isinstance(config, str):
            if config not in self.presets:
                raise unknown_name(f"preset of {self.preset_of}", config, self.presets)
            config = self.presets[config]
        self.split = split
        self.config = config

    def draw(self, rng: np.random.Generator) -> str:
        """Return the id of a task, each as likely as the others."""
        return task_id_of(self.config, self.split, int(rng.integers(NUMBERS)))

    def ids(self, n: int) -> tuple[str, ...]:
        """Return the ids of the first ``n`` tasks, a fixed set for evaluation that deals the kinds of task in turn."""
        return tuple(task_id_of(self.config, self.split, number) for number in range(n))

    def number_of(self, task_id: str) -> int:
        """Return the number of a task.

        Raises:
            TaskNotFoundError: If the id is not one of this split and configuration.
        """
        match = _ID.fullmatch(task_id)
        if match is None or int(match["number"]) >= NUMBERS:
            example = task_id_of(self.config, self.split, 17)
            raise TaskNotFoundError(f"{task_id!r} is not the id of a built-in {self.noun}, such as {example!r}")
        number = int(match["number"])
        if task_id != (expected := task_id_of(self.config, self.split, number)):
            raise TaskNotFoundError(
                f"{task_id!r} is not a {self.noun} of this split and configuration, such as {expected!r}; make the "
                "environment with the split and the configuration that the id names"
            )
        return number
