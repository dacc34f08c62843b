"""The command ``credit``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from agentgym.algos import get_algorithm, list_algorithms
from agentgym.cli.console import console
from agentgym.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from agentgym.algos import Algorithm
    from agentgym.evaluation.credit_replay import CreditReplay

__all__ = ["credit"]


def credit(
    recorded: Annotated[
        Path, typer.Argument(help="A run directory, or a file of rollouts: ours, or of TRL, verl-agent or verifiers.")
    ],
    algos: Annotated[
        str,
        typer.Option(
            help="Methods or presets with commas between, or all; settings behind a colon: gigpo:omega=0.5+std=null."
        ),
    ] = "grpo,gigpo,hgpo,scpo",
    similarity: Annotated[
        float, typer.Option(help="Share of matching characters from which on steps are near-identical; 1 for equal.")
    ] = 1.0,
    output: Annotated[Path | None, typer.Option(help="File for the credit of every step: .parquet or .jsonl.")] = None,
) -> None:
    """Score recorded rollouts by several methods, and compare what they give to each step."""
    methods = _methods(algos)

    from agentgym.evaluation.credit_replay import replay_credit
    from agentgym.interop import read_rollouts

    if output is not None and output.suffix not in (".parquet", ".jsonl"):
        raise ConfigError(f"--output {str(output)!r} must end in .parquet or .jsonl")
    found = read_rollouts(recorded)
    replay = replay_credit(found.groups, methods, similarity=similarity)
    episodes = [episode for group in found.groups for episode in group.episodes]
    console.print(
        f"{recorded} ({found.format}): {len(found.groups)} groups, {len(episodes)} episodes, "
        f"{sum(map(len, episodes))} steps, {sum(episode.won for episode in episodes)} won"
    )
    for note in found.notes:
        console.print(f"note: {note}")
    _show(replay)
    for warning in replay.warnings:
        console.print(f"warning: {warning}")
    if output is not None:
        replay.write(output)
        console.print(f"credit of every step: {output}")


def _methods(named: str) -> dict[str, Algorithm[Any]]:
    """Build the methods of a list such as ``grpo,gigpo:omega=0.5``."""
    names = list_algorithms() if named == "all" else tuple(filter(None, map(str.strip, named.split(","))))
    if not names:
        raise ConfigError("--algos names no method")
    return {name: get_algorithm(name) for name in names}


def _show(replay: CreditReplay) -> None:
    table = Table("method", "steps with credit", "conflicts before", "conflicts after")
    for name, method in replay.methods.items():
        table.add_row(name, _percent(method.signal), _percent(replay.conflict_before), _percent(method.conflict))
    console.print(table)
    console.print(f"conflicts: opposite credit in the {replay.pairs} pairs of near-identical steps; before: GRPO")
    names = tuple(replay.methods)
    if len(names) > 1:
        console.print("Equal signs in percent of the steps where both methods give credit:")
        _matrix(names, replay.sign_agreement)
        console.print("Spearman's rank correlation in hundredths:")
        _matrix(names, replay.rank_correlation)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _matrix(names: Sequence[str], values: npt.NDArray[np.float64]) -> None:
    """Print a matrix in hundredths: all methods fit beside each other into eighty columns."""
    columns = [str(number) for number in range(1, len(names) + 1)]
    table = Table("", "method", *columns, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, name, row in zip(columns, names, values.tolist(), strict=True):
        table.add_row(number, name, *("–" if value != value else f"{100 * value:.0f}" for value in row))
    console.print(table)
