"""The command ``creditbench``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BeforeValidator, Field
from rich.progress import track
from rich.table import Table

from agentgym.cli.console import console
from agentgym.cli.settings import with_settings
from agentgym.errors import missing_extra
from agentgym.evaluation.creditbench import METRICS, WORLDS, Report, credit_bench
from agentgym.evaluation.intervals import Interval
from agentgym.training.config import Settings

__all__ = ["CreditBenchSettings", "creditbench"]

_TABLES = {
    "Gradients and signs": ("cosine", "batch_cosine", "sign_agreement", "silent", "signal"),
    "Credit and the true advantage": ("bias", "centred_bias", "spread", "correlation", "centred_correlation"),
}


def _split(value: Any) -> Any:
    """Read a list as a person types it."""
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


_Listed = BeforeValidator(_split)


class CreditBenchSettings(Settings):
    """What to measure; lists are separated by commas."""

    algos: Annotated[tuple[str, ...] | None, _Listed] = Field(
        None, description="Methods, with settings as in gigpo:gamma=1+std=null; none for all, and some variants"
    )
    worlds: Annotated[tuple[str, ...], _Listed] = Field(WORLDS, description="Finite worlds")
    group_sizes: Annotated[tuple[int, ...], _Listed] = Field((4, 8), description="Episodes in a group")
    horizons: Annotated[tuple[int, ...], _Listed] = Field((10, 20), description="Step limits")
    skills: Annotated[tuple[float, ...], _Listed] = Field(
        (0.1, 0.5, 0.9), description="Where policies stand between the uniform and the best one, by expected return"
    )
    groups: int = Field(8, ge=1, description="Groups in a batch")
    batches: int = Field(100, ge=3, description="Batches in each setting")
    seed: int = Field(0, ge=0, description="Seed of everything")


@with_settings(CreditBenchSettings)
def creditbench(
    settings: CreditBenchSettings,
    output: Annotated[Path, typer.Option(help="Folder for creditbench.json and creditbench.png.")] = Path("."),
) -> None:
    """Hold the credit of methods against exact advantages and policy gradients."""

    def progress(plan: Iterable[Any], total: int) -> Iterable[Any]:
        return track(plan, "Settings", total, console=console, transient=True)

    report = credit_bench(**settings.model_dump(), progress=progress)
    for title, metrics in _TABLES.items():
        console.print(_by_method(report, title, metrics))
    console.print(_by_world(report))
    for name, reason in report.left_out.items():
        console.print(f"left out: {name}: {reason}")
    output.mkdir(parents=True, exist_ok=True)
    (output / "creditbench.json").write_text(report.to_json(), encoding="utf-8")
    console.print(f"{output / 'creditbench.json'}: {len(report.records)} records in {report.seconds:.0f} s")
    try:
        from agentgym.evaluation.creditbench.plot import draw

        draw(report, output / "creditbench.png")
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        console.print(f"no picture: {missing_extra('matplotlib', 'train', 'the picture')}")
    else:
        console.print(output / "creditbench.png")


def _families(report: Report) -> list[tuple[str, ...]]:
    """Return the methods, the best batch cosine first."""

    def key(names: Sequence[str]) -> float:
        found = report.mean(names[0], "batch_cosine")
        return 2.0 if found is None else -found.value

    return sorted(report.families(), key=key)


def _cell(found: Interval | None) -> str:
    """Return a metric, give or take the longer side of its interval; the file has both ends."""
    if found is None:
        return "-"
    return f"{found.value:.2f} ±{max(found.value - found.low, found.high - found.value):.2f}"


def _by_method(report: Report, title: str, metrics: Sequence[str]) -> Table:
    legend = "\n".join(f"{name.replace('_', ' ')}: {METRICS[name]}" for name in metrics)
    table = Table("method", title=f"{title}; mean over settings, ± 95%", caption=legend, caption_justify="left")
    for name in metrics:
        table.add_column(name.replace("_", " "), justify="right", min_width=len("0.00 ±0.00"))
    for names in _families(report):
        table.add_row(", ".join(names), *(_cell(report.mean(names[0], name)) for name in metrics))
    return table


def _by_world(report: Report) -> Table:
    table = Table("method", title="Cosine of the expected gradient / of one batch, by world")
    for world in report.worlds:
        table.add_column(world.removesuffix("-v0"), justify="right", min_width=len("0.00 / 0.00"), overflow="fold")

    def short(found: Interval | None) -> str:
        return "-" if found is None else f"{found.value:.2f}"

    for names in _families(report):
        pairs = [
            [short(report.mean(names[0], metric, world=world)) for metric in ("cosine", "batch_cosine")]
            for world in report.worlds
        ]
        table.add_row(", ".join(names), *(" / ".join(pair) for pair in pairs))
    return table
