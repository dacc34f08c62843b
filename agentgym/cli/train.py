"""The command ``train``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from pydantic import Field

from agentgym.algos import get_algorithm
from agentgym.cli.players import Player, language_policy, world_options
from agentgym.cli.settings import keep_settings, part, with_settings
from agentgym.training.config import TrainConfig

__all__ = ["TrainSettings", "train"]


class TrainSettings(TrainConfig, Player):
    """A training run."""

    tied: ClassVar[Mapping[str, str]] = {"algo": "algo_options"}

    algo: str = Field("gigpo", description="An algorithm or a preset, as `agentgym algos` lists them")
    algo_options: dict[str, Any] = Field(default_factory=dict, description="Settings of the algorithm")
    eval_options: dict[str, Any] = Field(default_factory=dict, description="Arguments of the evaluation environment")


@with_settings(TrainSettings)
def train(
    settings: TrainSettings,
    resume: Annotated[Path | None, typer.Option(help="Run directory or checkpoint to go on from.")] = None,
) -> None:
    """Train a policy, after a warm start if it is untrained, and play held-out games before and after."""
    algorithm = get_algorithm(settings.algo, **settings.algo_options)

    from agentgym.training import Trainer

    Trainer(
        env=settings.env,
        policy=language_policy(settings),
        algorithm=algorithm,
        config=part(settings, TrainConfig),
        env_kwargs=world_options(settings),
        eval_kwargs=settings.eval_options or None,
        callbacks=[keep_settings(settings)],
    ).train(resume_from_checkpoint=resume)
