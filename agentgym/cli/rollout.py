"""The command ``rollout``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from agentgym.cli.console import console
from agentgym.cli.players import Player, make_policy, world_options
from agentgym.cli.settings import with_settings
from agentgym.errors import ConfigError
from agentgym.storage import SUFFIXES, write_groups

__all__ = ["RolloutSettings", "rollout"]


class RolloutSettings(Player):
    """A recording."""

    model: str = Field(description="expert, random, tiny, smollm2, a folder or a Hub id")
    split: str | None = Field(None, description="Which games; none for the environment's default")
    groups: int = Field(4, ge=1, description="Tasks")
    group_size: int = Field(8, ge=1, description="Episodes of each task")
    seed: int = Field(0, ge=0, description="Seed of tasks and sampling noise")


@with_settings(RolloutSettings)
def rollout(
    settings: RolloutSettings,
    output: Annotated[Path, typer.Option(help="File for the episodes: .jsonl, .jsonl.gz, .jsonl.xz or .parquet.")],
) -> None:
    """Play groups of episodes and record them."""
    if not output.name.endswith(SUFFIXES):
        raise ConfigError(f"--output {str(output)!r} must end in one of {', '.join(SUFFIXES)}")

    from agentgym.rollouts import GroupCollector
    from agentgym.training.environments import resolve_environments

    named = {} if settings.split is None else {"split": settings.split}
    worlds = resolve_environments(settings.env, {**world_options(settings), **named})
    collector = GroupCollector(
        worlds.make_train,
        make_policy(settings),
        groups=settings.groups,
        group_size=settings.group_size,
        seed=settings.seed,
    )
    groups = collector.collect(0).groups
    write_groups(output, groups, env_id=settings.env)
    episodes = [episode for group in groups for episode in group.episodes]
    won = sum(episode.won for episode in episodes)
    console.print(f"{output}: {len(groups)} groups, {len(episodes)} episodes, {won} won")
