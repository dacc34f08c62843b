"""The report of a comparison: what its finished cells show together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentgym.errors import DataError
from agentgym.evaluation.comparison import Comparison, RunSummary, compare_runs, draw_curves
from agentgym.training.grid import Cell, read_rules, rule_of
from agentgym.training.loggers import write_json

__all__ = ["read_summary", "write_comparison"]


def write_comparison(folder: Path) -> tuple[Comparison, list[Cell]]:
    """Write ``comparison.json``, ``comparison.md`` and ``learning_curves.png`` from the cells that have finished.

    Args:
        folder: Of the comparison.

    Returns:
        The comparison, and the cells without a result.

    Raises:
        DataError: If there is no comparison, or a file of it is damaged.
    """
    rules = read_rules(folder)
    if rules is None:
        raise DataError(f"{str(folder)!r} holds no comparison: there is no rules.json")
    methods = list(rules["methods"])
    cells = [Cell.of(folder, method, seed) for method in methods for seed in rules["seeds"]]
    found = {cell: read_summary(cell, rule_of(rules, cell.method)) for cell in cells}
    comparison = compare_runs([run for run in found.values() if run is not None], methods)
    unfinished = [cell for cell, run in found.items() if run is None]
    failures = {str(c): json.loads(c.failure.read_text(encoding="utf-8")) for c in unfinished if c.failure.exists()}
    start = folder / "start" / "start.json"
    begun = json.loads(start.read_text(encoding="utf-8")) if start.exists() else None
    value = {"rules": rules, "start": begun, **comparison.to_dict(), "failures": failures}
    write_json(folder / "comparison.json", value)
    draw_curves(comparison, folder / "learning_curves.png", smooth=rules["rules"]["settings"]["last"])
    text = [*_heading(rules, begun), comparison.to_markdown(), *_failures(failures, unfinished)]
    (folder / "comparison.md").write_text("\n".join(text), encoding="utf-8")
    return comparison, unfinished


def read_summary(cell: Cell, rule: str) -> RunSummary | None:
    """Return what a finished cell came to, or None if it has not finished.

    Raises:
        DataError: If the result is damaged, or was made under another rule.
    """
    if not cell.result.exists():
        return None
    try:
        value: Mapping[str, Any] = json.loads(cell.result.read_text(encoding="utf-8"))
        curve = tuple((float(tokens), float(success)) for tokens, success in value["curve"])
        states = tuple((float(rollouts), float(steps), float(seen)) for rollouts, steps, seen in value["states"])
        found = RunSummary(
            value["method"], value["seed"], value["figures"], value["costs"], curve, value["skipped_updates"], states
        )
        made_under = value["rule"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{str(cell.result)!r} is not the result of a cell ({error!r}): remove it to run the cell again"
        ) from error
    if made_under != rule:
        raise DataError(f"{str(cell.result)!r} was made under another rule: remove it to run the cell again")
    return found


def _heading(rules: Mapping[str, Any], start: Mapping[str, Any] | None) -> list[str]:
    settings = rules["rules"]["settings"]
    lines = [
        f"# {', '.join(rules['methods'])} on {settings['env']}",
        "",
        f"Policy `{settings['model']}`, seeds {', '.join(map(str, rules['seeds']))}, each run until it has generated "
        f"{settings['max_generated_tokens']:,} tokens. Fixed before the first run:",
        "",
        *(f"- **{name}**: {text}" for name, text in rules["rules"]["figures"].items()),
        f"- advantages: {_scale(settings['advantage_rms'])}",
        *(
            _own_training(name, method["train"], settings)
            for name, method in rules["methods"].items()
            if "train" in method
        ),
    ]
    if start is not None:
        figures = ", ".join(f"{name} {100 * value:.1f}%" for name, value in start["figures"].items())
        lines.append(f"- every run starts from the weights with digest `{start['digest']}`: {figures}")
    return [*lines, "", "![Learning curves](learning_curves.png)", ""]


def _own_training(method: str, own: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    named = ", ".join(f"{key} {value} (others {settings[key]})" for key, value in own.items())
    return f"- {method} trains with settings of its own: {named}"


def _scale(rms: float | None) -> str:
    return "as each method makes them" if rms is None else f"scaled in each batch to a root mean square of {rms:g}"


def _failures(failures: Mapping[str, Mapping[str, Any]], unfinished: Sequence[Cell]) -> list[str]:
    lines = [f"- {name}: {failure['reason']}" for name, failure in failures.items()]
    waiting = len(unfinished) - len(failures)
    lines += [f"- {waiting} runs are still to be made or to be finished"] if waiting else []
    return ["## Not finished", "", *lines, ""] if lines else []
