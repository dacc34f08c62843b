"""The command line: ``agentgym envs | algos | play | train | sft | eval | rollout``.

Commands are thin: they read settings, call the room that does the work, and print. Whatever is wrong with a setting is said in one
line before any work starts, with exit status 2; other errors of ours are one line with exit status 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import typer
from rich.console import Console
from rich.table import Table

import agentgym
from agentgym.algos import PRESETS, get_algorithm, list_algorithms
from agentgym.errors import AgentGymError, ConfigError, unknown_name
from agentgym.registration import ENVIRONMENTS

__all__ = ["app", "main"]

app = typer.Typer(
    name="agentgym",
    help="Text environments, step-level credit and training for language-model agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a fault of ours shows a plain traceback, which bug reports can quote
)

_console = Console(highlight=False, markup=False)

Env = Annotated[str, typer.Argument(help="Environment id, such as ALFWorld-v0.", show_default=False)]
Data = Annotated[Path | None, typer.Option(help="Folder of the real games; without it the built-in ones are played.")]


def main() -> None:
    """Run the command line; errors of ours are shown as one line."""
    try:
        app()
    except AgentGymError as error:
        print(f"agentgym: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        _console.print(agentgym.__version__)
        raise typer.Exit


def _spec(env_id: str) -> gym.envs.registration.EnvSpec:
    """Return the registration of ``env_id``, or say which ids there are."""
    try:
        return gym.spec(env_id)
    except gym.error.Error:
        raise unknown_name("environment", env_id, ENVIRONMENTS) from None


def _first_line(documented: Any) -> str:
    """Return the first line of a docstring."""
    return (documented.__doc__ or "").strip().partition("\n")[0]


def _make(env_id: str, **options: Any) -> gym.Env[str, str]:
    """Make an environment with those options that were given."""
    _spec(env_id)
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return gym.make(env_id, **given)
    except TypeError as error:
        raise ConfigError(f"{env_id} does not take all of {', '.join(f'--{name}' for name in given)}: {error}") from error


@app.command()
def envs() -> None:
    """List the environments, and which games ALFWorld would play."""
    table = Table("environment", "step limit", "what it is")
    for name in ENVIRONMENTS:
        spec = _spec(name)
        world = gym.envs.registration.load_env_creator(str(spec.entry_point))
        table.add_row(name, str(spec.max_episode_steps), _first_line(world))
    _console.print(table)


@app.command()
def algos() -> None:
    """List the algorithms, and the presets with published settings."""
    methods = Table("algorithm", "what it is")
    for name in list_algorithms():
        methods.add_row(name, _first_line(type(get_algorithm(name))))
    _console.print(methods)
    _console.print("Presets, published settings by name:")
    for name, preset in PRESETS.items():
        settings = ", ".join(f"{key}={value}" for key, value in preset.settings.items())
        _console.print(f"\n{name} ({preset.algorithm}): {preset.source}\n  {settings}")


@app.command()
def play(
    env: Env,
    task: Annotated[str | None, typer.Option(help="Task id; drawn from the split if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw.")] = None,
    split: Annotated[str | None, typer.Option(help="Which games to draw from.")] = None,
    data: Data = None,
) -> None:
    """Play an environment yourself, in the terminal."""
    world = _make(env, split=split, data=data)
    observation, info = world.reset(seed=seed, options={"task": task} if task else None)
    _console.print("Type what you do. /actions lists what works now, /goal repeats the goal, /quit leaves.\n")
    _console.print(observation)
    _console.print(f"\n{_play(world, info)}")
    world.close()


def _play(world: gym.Env[str, str], info: dict[str, Any]) -> str:
    """Read and carry out commands until the episode ends or the player leaves; return how it went."""
    steps = 0
    while True:
        try:
            line = _console.input("\n> ").strip()
        except (EOFError, KeyboardInterrupt):
            line = "/quit"
        if line == "/quit":
            return f"You left after {steps} steps."
        if line == "/goal":
            _console.print(info["goal"])
        elif line == "/actions":
            _console.print("\n".join(info["admissible"] or ("this world does not list them",)))
        elif line:
            observation, _, terminated, truncated, info = world.step(line)
            steps += 1
            _console.print(observation)
            if terminated or truncated:
                return f"{'Solved' if info['won'] else 'Over'} after {steps} steps, score {info['score']:g}."
