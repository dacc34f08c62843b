"""The command ``play``."""

from __future__ import annotations

from typing import Annotated, Any

import gymnasium as gym
import typer

from agentgym.cli.console import console
from agentgym.cli.envs import find_spec
from agentgym.errors import ConfigError
from agentgym.spaces import shown

__all__ = ["play"]


def play(
    env: Annotated[str, typer.Argument(help="Environment id.")] = "ALFWorld-v0",
    task: Annotated[str | None, typer.Option(help="Task id; drawn from the split if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw.")] = None,
    split: Annotated[str | None, typer.Option(help="Which games to draw from.")] = None,
    data: Annotated[str | None, typer.Option(help="Folder of real games, or builtin.")] = None,
) -> None:
    """Play an environment yourself, in the terminal."""
    world = _make(env, split=split, data=data)
    observation, info = world.reset(seed=seed, options={"task": task} if task else None)
    console.print("Type what you do. /actions lists what works now, /goal repeats the goal, /quit leaves.\n")
    console.print(shown(observation))
    console.print(f"\n{_play(world, info)}")
    world.close()


def _play(world: gym.Env[str, str], info: dict[str, Any]) -> str:
    """Read and carry out commands until the episode ends or the player leaves; return how it went."""
    steps = 0
    while True:
        try:
            line = console.input("\n> ").strip()
        except (EOFError, KeyboardInterrupt):
            line = "/quit"
        if line == "/quit":
            return f"You left after {steps} steps."
        if line == "/goal":
            console.print(shown(info["goal"]))
        elif line == "/actions":
            console.print("\n".join(map(shown, info["admissible"] or ("this world does not list them",))))
        elif line:
            observation, _, terminated, truncated, info = world.step(line)
            steps += 1
            console.print(shown(observation))
            if terminated or truncated:
                return f"{'Solved' if info['won'] else 'Over'} after {steps} steps, score {info['score']:g}."


def _make(env_id: str, **options: Any) -> gym.Env[str, str]:
    """Make an environment with those options that were given."""
    find_spec(env_id)
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return gym.make(env_id, **given)
    except TypeError as error:
        raise ConfigError(f"{env_id} cannot be made with {given}: {error}") from error
