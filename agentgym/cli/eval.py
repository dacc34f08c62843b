"""The command ``eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field
from rich.table import Table

from agentgym.cli.console import console
from agentgym.cli.players import Player, make_policy, world_options
from agentgym.cli.settings import with_settings

__all__ = ["EvalSettings", "evaluate_policy"]


class EvalSettings(Player):
    """An evaluation."""

    model: str = Field(description="expert, random, tiny, smollm2, a folder or a Hub id")
    temperature: float = Field(1.0, ge=0, description="Sampling temperature; 0 plays greedily")
    split: str | None = Field(None, description="Which games; none for the held-out ones")
    episodes: int = Field(200, ge=1, description="How many games at most")
    seed: int = Field(0, ge=0, description="Decides which games, and on the sampling noise")


@with_settings(EvalSettings)
def evaluate_policy(
    settings: EvalSettings,
    output: Annotated[Path | None, typer.Option(help="JSON file for every outcome.")] = None,
) -> None:
    """Play fixed games once each, and print the success rate with its 95% interval."""
    from agentgym.evaluation import evaluate
    from agentgym.training.environments import resolve_environments

    named = {} if settings.split is None else {"split": settings.split}
    worlds = resolve_environments(settings.env, world_options(settings), eval_kwargs=named or None)
    result = evaluate(
        worlds.make_eval,
        make_policy(settings),
        episodes=settings.episodes,
        seed=settings.seed,
        temperature=settings.temperature,
    )
    table = Table("task", "games", "success (95%)")
    for name, rate in {**result.by_type, "all": result.success}.items():
        games = sum(name in (outcome.task_type, "all") for outcome in result.outcomes)
        table.add_row(name, str(games), rate.percent())
    console.print(table)
    console.print(f"{settings.model} on games of {result.source}; mean length {result.mean('length'):.1f}")
    if output is not None:
        output.write_text(json.dumps(result.to_dict(), indent=1), encoding="utf-8")
