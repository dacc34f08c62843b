"""Completion logs of TRL's GRPO trainer: ``log_completions=True`` writes ``completions/completions_<step>.parquet``.

Columns, as the trainer writes them and as the card of a log pushed to the Hub lists them: ``step``, ``prompt``,
``completion``, one column for each reward function under its name, columns that a reward function asked to log, and
``advantage``. Logs of TRL's other trainers have no rewards and no advantage.

A row is a whole episode here: one step. The turns inside of a completion are not told apart in the log, and neither are
the tokens. Rows of one training step with one prompt are a group.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agentgym.episodes import Step
from agentgym.errors import DataError
from agentgym.interop.imported import Imported, Row, group_up, need, number, step_of

__all__ = ["TRL_COLUMNS", "from_trl"]

TRL_COLUMNS = ("step", "prompt", "completion", "advantage")
"""The columns by which a log of completions is known."""


def from_trl(rows: Sequence[Row], rewards: Sequence[str] | None = None) -> Imported:
    """Read a completion log of TRL's GRPO trainer.

    Args:
        rows: Rows of one or several log files.
        rewards: Columns to sum to the reward; by default every column of numbers that the log does not always have. The
            weights of reward functions are not in the log: each counts once.

    Raises:
        DataError: If a column is missing, or no row has a reward.
    """
    need(rows, TRL_COLUMNS, "TRL completion")
    names = list(rewards) if rewards is not None else _rewards(rows)
    if not names:
        raise DataError("this TRL log has no column of rewards beside " + ", ".join(TRL_COLUMNS))
    need(rows, names, "TRL completion")
    groups: dict[str, list[list[Step]]] = {}
    prompts: dict[tuple[Any, str], str] = {}
    for row in rows:
        prompt = _text(row["prompt"])
        group = prompts.setdefault((row["step"], prompt), f"step-{row['step']}/prompt-{len(prompts)}")
        # A reward function that does not apply to a row leaves null or NaN, which TRL's sum passes over.
        reward = sum(number(row, name) for name in names if row[name] is not None and row[name] == row[name])
        groups.setdefault(group, []).append([step_of(prompt, _text(row["completion"]), reward, terminated=True)])
    notes = [
        f"reward = {' + '.join(names)}; TRL logs no weights",
        "each completion is one step: a TRL log does not tell turns, tokens or truncation apart",
        "rows of one training step with one prompt are a group",
    ]
    return Imported("trl", group_up(groups, ""), tuple(notes))


def _rewards(rows: Sequence[Row]) -> list[str]:
    """Return the columns of which every value is a number or null, and some value is a number."""
    found = []
    for name in rows[0] if rows else ():
        values = [row.get(name) for row in rows if row.get(name) is not None]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if name not in TRL_COLUMNS and values and numbers:
            found.append(name)
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
