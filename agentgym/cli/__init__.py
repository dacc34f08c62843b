"""The command line.

Commands are thin: they read settings, call the room that does the work, and print. Each has a module of its own here
and a line in ``COMMANDS``; those that need torch import it when they run. What is wrong with a setting is said in one
line before any work, with exit status 2; other errors of ours are one line with exit status 1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

import agentgym
from agentgym.cli.algos import algos as _algos
from agentgym.cli.compare import CompareSettings as CompareSettings
from agentgym.cli.compare import compare as _compare
from agentgym.cli.console import console as _console
from agentgym.cli.credit import credit as _credit
from agentgym.cli.creditbench import CreditBenchSettings as CreditBenchSettings
from agentgym.cli.creditbench import creditbench as _creditbench
from agentgym.cli.envs import envs as _envs
from agentgym.cli.eval import EvalSettings as EvalSettings
from agentgym.cli.eval import evaluate_policy as _evaluate
from agentgym.cli.play import play as _play
from agentgym.cli.rollout import RolloutSettings as RolloutSettings
from agentgym.cli.rollout import rollout as _rollout
from agentgym.cli.sft import SFTSettings as SFTSettings
from agentgym.cli.sft import sft as _sft
from agentgym.cli.train import TrainSettings as TrainSettings
from agentgym.cli.train import train as _train
from agentgym.cli.webshop_index import webshop_index as _webshop_index
from agentgym.errors import AgentGymError, ConfigError, missing_extra

__all__ = [
    "COMMANDS",
    "CompareSettings",
    "CreditBenchSettings",
    "EvalSettings",
    "RolloutSettings",
    "SFTSettings",
    "TrainSettings",
    "app",
    "main",
]

COMMANDS: dict[str, Callable[..., None]] = {
    "train": _train,
    "sft": _sft,
    "eval": _evaluate,
    "compare": _compare,
    "rollout": _rollout,
    "play": _play,
    "envs": _envs,
    "algos": _algos,
    "credit": _credit,
    "creditbench": _creditbench,
    "webshop-index": _webshop_index,
}
"""Every command by name, in the order of ``--help``."""

_TRAIN_EXTRA = ("torch", "transformers", "accelerate", "safetensors")

app = typer.Typer(
    name="agentgym",
    help="Text environments, step-level credit and training for language-model agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a fault of ours shows a plain traceback, which bug reports can quote
)


def main() -> None:
    """Run the command line; errors of ours are shown as one line."""
    try:
        app()
    except ModuleNotFoundError as error:
        if error.name not in _TRAIN_EXTRA:
            raise
        _leave(missing_extra(error.name, "train", "this command"))
    except AgentGymError as error:
        _leave(error)


def _leave(error: AgentGymError) -> NoReturn:
    refused = isinstance(error, ConfigError)
    if not refused or os.environ.get("RANK", "0") == "0":  # processes started together refuse the same setting
        typer.echo(f"agentgym: {error}", err=True)
    sys.exit(2 if refused else 1)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        _console.print(agentgym.__version__)
        raise typer.Exit


for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
