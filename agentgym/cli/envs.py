"""The command ``envs``."""

from __future__ import annotations

import gymnasium as gym
from rich.table import Table

from agentgym.cli.console import console, first_line
from agentgym.envs.alfworld import sources as alfworld
from agentgym.envs.webshop import sources as webshop
from agentgym.errors import unknown_name
from agentgym.registration import ENVIRONMENTS

__all__ = ["envs", "find_spec"]


def envs() -> None:
    """List the environments, and which games ALFWorld and which shop WebShop would play."""
    table = Table("environment", "step limit", "what it is")
    for name in ENVIRONMENTS:
        spec = find_spec(name)
        world = gym.envs.registration.load_env_creator(str(spec.entry_point))
        table.add_row(name, str(spec.max_episode_steps), first_line(world))
    console.print(table)
    console.print(f"ALFWorld-v0 plays {alfworld.source_text()}")
    console.print(f"WebShop-v0 plays {webshop.source_text()}")


def find_spec(env_id: str) -> gym.envs.registration.EnvSpec:
    """Return the registration of ``env_id``, or say which ids there are."""
    try:
        return gym.spec(env_id)
    except gym.error.Error:
        raise unknown_name("environment", env_id, ENVIRONMENTS) from None
