"""The command ``compare``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field, field_validator

from agentgym.algos import get_algorithm, list_algorithms
from agentgym.cli.console import console
from agentgym.cli.players import Player, language_policy, world_options
from agentgym.cli.settings import with_settings
from agentgym.errors import ConfigError
from agentgym.training.config import Tracker, TrainConfig

if TYPE_CHECKING:
    from agentgym.training.cell import Measure
    from agentgym.training.grid import Cell

__all__ = ["CompareSettings", "compare", "measure_of"]

# What a comparison holds equal, so that no method may have its own.
_EQUAL = frozenset({"eval_episodes", "eval_temperature", "max_generated_tokens", "report_to", "seed", "warm_start"})

# What the budget and the cells decide, and what may change from one call to the next.
_NOT_HERE = ("iterations", "eval_every", "max_minutes")
_OPEN = frozenset({*_NOT_HERE, "methods", "method_options", "seeds", "seed", "output_dir", "report_to"})


class CompareSettings(TrainConfig, Player):
    """A comparison."""

    methods: tuple[str, ...] = Field(
        ("grpo", "gigpo", "hgpo", "scpo"),
        description="Algorithms, presets or names of method_options; all for each one",
    )
    method_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Settings of a method by its name; algo names its algorithm where that differs, and train holds "
        "settings of its training that differ from those of the others",
    )
    seeds: int = Field(5, ge=1, description="How many seeds; more may be added later")
    seed: int = Field(0, ge=0, description="The first of them")
    max_generated_tokens: int = Field(500_000, ge=1, description="Budget of each run in generated tokens, all counted")
    advantage_rms: float | None = Field(
        1.0, gt=0, description="Scale the advantages of each batch to this root mean square; none leaves them"
    )
    eval_episodes: int = Field(200, ge=1, description="Held-out games on which final weights are measured")
    eval_temperature: float = Field(1.0, gt=0, description="Temperature of the sampled evaluation; the other is greedy")
    eval_seed: int = Field(20_260, ge=0, description="Decides which games, and on the sampling noise")
    last: int = Field(10, ge=1, description="Training iterations in the mean that is the third figure")
    report_to: tuple[Tracker, ...] = Field((), description="Trackers beside metrics.jsonl; none for none")
    eval_options: dict[str, Any] = Field(default_factory=dict, description="Arguments of the evaluation environment")

    @field_validator("methods", mode="before")
    @classmethod
    def _read_methods(cls, value: Any) -> Any:
        if value == "all":
            return list_algorithms()
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def measure_of(settings: CompareSettings) -> Measure:
    """Return how final weights are measured."""
    from agentgym.training.cell import Measure

    return Measure(settings.eval_episodes, settings.eval_seed, settings.eval_temperature, settings.last)


@with_settings(CompareSettings)
def compare(
    settings: CompareSettings,
    jobs: Annotated[int, typer.Option(min=1, help="How many runs at once, each in a process of its own.")] = 1,
) -> None:
    """Train several methods from one warm start at an equal budget of generated tokens, over paired seeds."""
    folder = _checked(settings)
    methods = dict(_methods(settings))

    from agentgym.training.cell import make_start
    from agentgym.training.environments import resolve_environments
    from agentgym.training.grid import Cell, fix_rules, fix_start, only_one, prepare_cell, run_cells

    worlds = resolve_environments(settings.env, world_options(settings), eval_kwargs=settings.eval_options or None)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    with only_one(folder) as hold:
        fix_rules(folder, _rules(settings), methods, seeds)
        start = make_start(
            folder / "start",
            language_policy(settings),
            worlds.make_train,
            settings.warm_start,
            measure_of(settings),
            worlds.make_eval,
            cpu=settings.cpu,
            say=console.print,
        )
        fix_start(folder, start["digest"])
        given = settings.model_dump(mode="json", exclude_unset=True, exclude={"methods", "method_options"})
        # Seed by seed, so that what is done is paired whenever it stops.
        cells = [Cell.of(folder, method, seed) for seed in seeds for method in methods]
        for cell in cells:
            prepare_cell(cell, given)
        try:
            run_cells(cells, _command, jobs=jobs, hold=hold, tell=_teller(cells))
        except KeyboardInterrupt:
            console.print("stopped; the same command goes on from here")
            raise typer.Exit(130) from None
        finally:
            failed = _report(folder)
    if failed:
        raise typer.Exit(1)


def _checked(settings: CompareSettings) -> Path:
    """Return the folder of the comparison, after refusing settings that a comparison decides itself."""
    if settings.output_dir is None:
        raise ConfigError("setting 'output_dir' is missing: --output names the folder of the comparison")
    if given := sorted(settings.model_fields_set & set(_NOT_HERE)):
        raise ConfigError(f"setting {given[0]!r} has no place in a comparison: runs end at max_generated_tokens")
    return settings.output_dir


def _methods(settings: CompareSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each method's name, and its algorithm with all settings, for the rules."""
    if unused := sorted(settings.method_options.keys() - set(settings.methods)):
        raise ConfigError(f"method_options has {', '.join(unused)}, which methods does not name")
    for name in settings.methods:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ConfigError(f"method {name!r} must consist of letters, digits, '.', '_' and '-': it names a folder")
        options = dict(settings.method_options.get(name, {}))
        algo = str(options.pop("algo", name))
        train = _own_training(name, options.pop("train", {}), settings)
        config = get_algorithm(algo, **options).config
        own_training = {"train": train} if train else {}
        yield name, {"algo": algo, "algo_settings": config.model_dump(mode="json"), **own_training}


def _own_training(method: str, given: Any, settings: CompareSettings) -> dict[str, Any]:
    """Return the training settings of a method that differ from those of the others, checked."""
    if not isinstance(given, dict):
        raise ConfigError(f"method_options.{method}.train is {given!r}: must hold training settings by name")
    if equal := sorted((_EQUAL | {*_NOT_HERE, "output_dir"}) & given.keys()):
        raise ConfigError(
            f"method_options.{method}.train.{equal[0]}: a comparison holds {equal[0]!r} equal for all methods"
        )
    shared = {name: getattr(settings, name) for name in TrainConfig.model_fields}
    try:
        own = TrainConfig.of({**shared, **given}).model_dump(mode="json", include=set(given))
    except ConfigError as error:
        raise ConfigError(f"in method_options.{method}.train: {error}") from None
    common = settings.model_dump(mode="json", include=set(given))
    return {name: value for name, value in own.items() if value != common[name]}


def _rules(settings: CompareSettings) -> dict[str, Any]:
    """Return what holds for every cell and may not change any more."""
    from agentgym.training.loggers import versions

    shared = settings.model_dump(mode="json", exclude=set(_OPEN))
    found = {name: version for name, version in versions().items() if name != "platform"}
    figures = {
        "sampled": f"success of the final weights on {settings.eval_episodes} games, each once, at temperature "
        f"{settings.eval_temperature:g}; decides the ranking",
        "greedy": "the same games, played greedily",
        "training": f"mean success over the games of the last {settings.last} training iterations",
    }
    return {"settings": shared, "figures": figures, "versions": found}


def _command(cell: Cell) -> list[str]:
    return [sys.executable, "-m", "agentgym.cli.compare_cell", str(cell.folder.resolve())]


def _teller(cells: list[Cell]) -> Callable[[Cell, str], None]:
    """Return a function that prints what becomes of each cell."""
    left = [cell for cell in cells if not cell.result.exists()]
    if len(left) < len(cells):
        console.print(f"{len(cells) - len(left)} of {len(cells)} runs are done already")

    def tell(cell: Cell, event: str) -> None:
        about = f"; see {cell.folder / 'log.txt'}" if event == "failed" else ""
        console.print(f"run {left.index(cell) + 1} of {len(left)}: {cell}: {event}{about}")

    return tell


def _report(folder: Path) -> list[Cell]:
    """Write and print the comparison of all runs so far, and return which cells failed."""
    from agentgym.training.comparing import write_comparison

    comparison, unfinished = write_comparison(folder)
    console.print(comparison.conclusion())
    console.print(f"{len(comparison.runs)} runs done, {len(unfinished)} not; report: {folder / 'comparison.md'}")
    return [cell for cell in unfinished if cell.failure.exists()]
