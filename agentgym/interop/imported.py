"""What every reader of foreign files shares: the rows of a file, and what they become."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgym.episodes import Episode, Group, Step
from agentgym.errors import DataError, RecorderError, missing_extra
from agentgym.identity import text_hash

__all__ = ["Imported", "Row", "episode_of", "group_up", "load_pyarrow", "need", "number", "read_rows", "step_of"]

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Imported:
    """Groups out of a file, and what to know about them.

    Attributes:
        format: Which format it was: agentgym, trl, verl-agent or verifiers.
        groups: The groups.
        notes: What the format does not hold, and how its place was filled.
    """

    format: str
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()


def load_pyarrow() -> Any:
    """Return pyarrow.

    Raises:
        MissingExtraError: If it is absent.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "data", "reading Parquet") from error
    return pyarrow


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a ``.parquet`` file, or of a ``.jsonl`` file with one object a line.

    Raises:
        DataError: If it is neither, or cannot be read.
        MissingExtraError: If it is Parquet and pyarrow is absent.
    """
    if path.suffix == ".parquet":
        pyarrow = load_pyarrow()
        try:
            with path.open("rb") as file:
                rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: not a Parquet file: {error}") from error
        return rows
    if path.suffix != ".jsonl":
        raise DataError(f"{path}: foreign trajectories are read from .parquet and .jsonl files")
    rows = []
    try:
        for number_of_line, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                rows.append(json.loads(line))
                if not isinstance(rows[-1], dict):
                    raise DataError(f"{path}: line {number_of_line} is not a JSON object")
    except ValueError as error:
        raise DataError(f"{path}: line {len(rows) + 1} is not JSON: {error}") from error
    return rows


def need(rows: Sequence[Row], names: Iterable[str], kind: str) -> None:
    """Check that every row has these columns.

    Raises:
        DataError: Naming the columns that are missing.
    """
    if missing := [name for name in names if any(name not in row for row in rows)]:
        have = ", ".join(sorted(map(str, rows[0]))) if rows else "none: there are no rows"
        raise DataError(f"this is no {kind} file: it lacks the columns {', '.join(missing)}. It has {have}.")


def number(row: Row, name: str) -> float:
    """Return a number of a row.

    Raises:
        DataError: If it is none, or not finite.
    """
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = float("nan")
    if not abs(value) < float("inf"):
        raise DataError(f"column {name!r} holds {row[name]!r}, where a finite number is expected")
    return value


def step_of(observation: str, action: str, reward: float, **more: Any) -> Step:
    """Return a step whose anchor is the text it was taken from; ``more`` replaces the defaults of other fields."""
    defaults = {"terminated": False, "truncated": False, "valid": True, "obs_hash": text_hash(observation)}
    return Step(observation=observation, action=action, reward=reward, shaped_reward=reward, **{**defaults, **more})


def episode_of(group: str, index: int, task: str, steps: Sequence[Step]) -> Episode:
    """Return an episode, won where its rewards sum to more than 0; its score is that sum, held within [0, 1]."""
    total = sum(step.reward for step in steps)
    ended = steps[-1].terminated
    return Episode(
        group=group,
        index=index,
        seed=None,
        task_id=task,
        task_type="unknown",
        goal="",
        steps=tuple(steps),
        won=total > 0,
        score=min(1.0, max(0.0, total)),
        end=("success" if total > 0 else "failure") if ended else "step_limit",
    )


def group_up(episodes: Mapping[str, Sequence[Sequence[Step]]], hint: str) -> tuple[Group, ...]:
    """Return groups out of the steps of each of their episodes; ``hint`` says what helps where the starts differ.

    Raises:
        DataError: If the episodes of a group do not begin alike.
    """
    try:
        return tuple(
            Group(name, tuple(episode_of(name, index, name, steps) for index, steps in enumerate(members)))
            for name, members in episodes.items()
        )
    except RecorderError as error:
        raise DataError(f"{error}. {hint}") from error
