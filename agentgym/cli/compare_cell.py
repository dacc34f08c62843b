"""One run of a comparison, as ``agentgym compare`` starts it: ``python -m agentgym.cli.compare_cell FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from agentgym.algos import get_algorithm
from agentgym.cli.compare import CompareSettings, measure_of
from agentgym.cli.players import language_policy, world_options
from agentgym.errors import AgentGymError
from agentgym.training import TrainConfig, Trainer
from agentgym.training.cell import check_start, stop_with_parent, train_cell
from agentgym.training.grid import Cell

__all__ = ["main"]

_INTERRUPTED = 130
_NO_END = 10**9  # iterations; the token budget ends the run


def main(folder: Path) -> int:
    """Run the cell in ``folder`` to its end; return the exit status."""
    told = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    cell = Cell(told["method"], told["seed"], folder)
    settings = CompareSettings.of(told["settings"])
    start = settings.model_copy(update={"model": str(cell.comparison / "start" / "model")})
    policy = language_policy(start)
    check_start(policy, told["start"])
    of_the_cell = {
        "seed": cell.seed,
        "output_dir": folder / "run",
        "iterations": _NO_END,
        "eval_episodes": 0,
    }
    shared = {name: getattr(settings, name) for name in TrainConfig.model_fields}
    trainer = Trainer(
        env=settings.env,
        policy=policy,
        algorithm=get_algorithm(told["algo"], **told["algo_settings"]),
        config=TrainConfig.of({**shared, **told.get("train", {}), **of_the_cell}),
        env_kwargs=world_options(settings),
        eval_kwargs=settings.eval_options or None,
    )
    return 0 if train_cell(cell, trainer, measure_of(settings), told["rule"]) else _INTERRUPTED


if __name__ == "__main__":
    stop_with_parent()
    try:
        status = main(Path(sys.argv[1]))
    except AgentGymError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.exit(status)
