"""The command ``sft``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentgym.cli.console import console
from agentgym.cli.players import Player, language_policy, world_options
from agentgym.cli.settings import part, with_settings
from agentgym.storage import read_groups
from agentgym.training.config import SFTConfig

__all__ = ["SFTSettings", "sft"]


class SFTSettings(SFTConfig, Player):
    """Supervised learning from demonstrations."""


@with_settings(SFTSettings)
def sft(
    settings: SFTSettings,
    output: Annotated[Path, typer.Option(help="Folder for the trained model.")],
    episodes: Annotated[
        list[Path], typer.Option(help="Recorded episodes to learn from; without them the environment's expert plays.")
    ] = [],  # noqa: B006 - read only; typer builds its own list
) -> None:
    """Train a policy on demonstrations: those of the environment's expert, or recorded episodes that were won."""
    from agentgym.policies.demonstrator import with_tokens
    from agentgym.policies.scripted import expert_action
    from agentgym.rollouts import demonstrate
    from agentgym.training import finetune
    from agentgym.training.environments import resolve_environments

    config = part(settings, SFTConfig)
    recorded = [episode for file in episodes for group in read_groups(file) for episode in group.episodes]
    worlds = resolve_environments(settings.env, world_options(settings))
    policy = language_policy(settings)
    if episodes:
        lessons = [with_tokens(policy, episode) for episode in recorded if episode.won]
        console.print(f"{len(lessons)} of {len(recorded)} recorded episodes were won; learning from those")
    else:
        lessons = demonstrate(
            worlds.make_train,
            policy,
            expert_action,
            config.demonstrations,
            seed=config.seed,
            noise=config.noise,
            dawdle=config.dawdle,
        )
        console.print(f"learning from {len(lessons)} games won by the expert")

    def report(step: int, loss: float) -> None:
        if step % max(1, config.steps // 10) == 0:
            console.print(f"step {step}/{config.steps}, loss {loss:.3f}")

    finetune(policy, lessons, config, on_step=report)
    policy.save_pretrained(output)
    console.print(f"model: {output}")
