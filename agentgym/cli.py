"""The command line: ``agentgym train | sft | eval | rollout | play | envs | algos``.

Commands are thin: they read settings, call the room that does the work, and print. Settings are pydantic models; their
fields become flags, keys of a configuration file and ``--set key=value``. What is wrong with one is said in one line
before any work, with exit status 2; other errors of ours are one line with exit status 1.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, get_args, get_origin

import gymnasium as gym
import typer
import yaml
from pydantic import Field
from rich.console import Console
from rich.table import Table

import agentgym
from agentgym.algos import PRESETS, get_algorithm, list_algorithms
from agentgym.envs.alfworld.sources import source_text
from agentgym.errors import AgentGymError, ConfigError, missing_extra, unknown_name
from agentgym.registration import ENVIRONMENTS
from agentgym.storage import SUFFIXES, read_groups, write_groups
from agentgym.training.config import Settings, SettingsT, SFTConfig, TrainConfig, load_config

if TYPE_CHECKING:
    from agentgym.policies import HFPolicy, Policy
    from agentgym.training import Callback, Trainer

__all__ = ["EvalSettings", "RolloutSettings", "SFTSettings", "TrainSettings", "app", "main"]

app = typer.Typer(
    name="agentgym",
    help="Text environments, step-level credit and training for language-model agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a fault of ours shows a plain traceback, which bug reports can quote
)

_POLICY_OPTIONS = ("context", "max_new_tokens", "constrain", "temperature")
_TRAIN_EXTRA = ("torch", "transformers", "accelerate", "safetensors")
_SETTINGS_FILE = "settings.yaml"
_SHORTER = {"output_dir": ("--output",)}

_console = Console(highlight=False, markup=False, soft_wrap=True)


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


# Settings -------------------------------------------------------------------------------------------------------------


class _World(Settings):
    """Where to play."""

    env: str = Field("ALFWorld-v0", description="Environment id")
    data: str | None = Field(None, description="Folder of real games, or builtin; none for what `agentgym envs` says")
    env_options: dict[str, Any] = Field(default_factory=dict, description="More arguments of the environment")


class _Player(_World):
    """Who plays."""

    model: str = Field("tiny", description="tiny, smollm2, a folder or a Hub id")
    context: str = Field("transcript", description="How prompts are built: transcript, window or window:K")
    max_new_tokens: int | None = Field(None, ge=1, description="Largest number of tokens in one response")
    constrain: Literal["none", "admissible"] = Field("none", description="Write freely, or choose among commands")
    dtype: str = Field("auto", description="Type of the weights, such as float32 or bfloat16")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature")


class TrainSettings(TrainConfig, _Player):
    """A training run."""

    algo: str = Field("gigpo", description="An algorithm or a preset, as `agentgym algos` lists them")
    algo_options: dict[str, Any] = Field(default_factory=dict, description="Settings of the algorithm")
    eval_options: dict[str, Any] = Field(default_factory=dict, description="Arguments of the evaluation environment")


class SFTSettings(SFTConfig, _Player):
    """Supervised learning from demonstrations."""


class EvalSettings(_Player):
    """An evaluation."""

    model: str = Field(description="expert, random, tiny, smollm2, a folder or a Hub id")
    temperature: float = Field(1.0, ge=0, description="Sampling temperature; 0 plays greedily")
    split: str | None = Field(None, description="Which games; none for the held-out ones")
    episodes: int = Field(200, ge=1, description="How many games at most")
    seed: int = Field(0, ge=0, description="Decides which games, and on the sampling noise")


class RolloutSettings(_Player):
    """A recording."""

    model: str = Field(description="expert, random, tiny, smollm2, a folder or a Hub id")
    split: str | None = Field(None, description="Which games; none for the environment's default")
    groups: int = Field(4, ge=1, description="Tasks")
    group_size: int = Field(8, ge=1, description="Episodes of each task")
    seed: int = Field(0, ge=0, description="Seed of tasks and sampling noise")


def _first_line(documented: Any) -> str:
    """Return the first line of a docstring."""
    return (documented.__doc__ or "").strip().partition("\n")[0]


def _with_settings(model: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command flags for the fields of ``model``, ``--config`` and ``--set``; it gets the settings first."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        flags = [flag for name in model.model_fields if (flag := _flag(model, name)) is not None]

        @functools.wraps(command)
        def run(config: Path | None, setting: list[str], **values: Any) -> None:
            mine = {parameter.name: values.pop(parameter.name) for parameter in own}
            given = {name: value for name, value in values.items() if value is not None}
            file = config or _settings_of(mine.get("resume"))
            command(load_config(model, file, {**dict(map(_parse, setting)), **given}), **mine)

        keyword = inspect.Parameter.KEYWORD_ONLY
        path = Annotated[Path | None, typer.Option(help="YAML or TOML file with settings by name; flags win over it.")]
        more = Annotated[
            list[str], typer.Option("--set", metavar="KEY=VALUE", help="Any setting, nested ones by dots.")
        ]
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                *(parameter.replace(kind=keyword) for parameter in own),
                inspect.Parameter("config", keyword, default=None, annotation=path),
                inspect.Parameter("setting", keyword, default=(), annotation=more),
                *flags,
            ]
        )
        return run

    return decorate


def _flag(model: type[Settings], name: str) -> inspect.Parameter | None:
    """Return the flag of a field, None for a nested one; values stay text, so that pydantic alone judges them."""
    field = model.model_fields[name]
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not type(None)]
    if get_origin(field.annotation) is dict or any(isinstance(k, type) and issubclass(k, Settings) for k in kinds):
        return None
    switch = kinds == [bool]
    choices = "|".join(kinds) if get_origin(field.annotation) is Literal else "VALUE"
    default = "required" if field.is_required() else field.get_default(call_default_factory=True)
    owner = next(parent for parent in model.__mro__ if name in parent.__annotations__)
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        *_SHORTER.get(name, ()),
        help=f"{field.description} ({default})",
        metavar=None if switch else choices,
        show_default=False,
        rich_help_panel=_first_line(owner),
    )
    kind = Annotated[bool | None, option] if switch else Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _settings_of(run: Path | None) -> Path | None:
    """Return the settings that a run to resume was started with, if the command line started it."""
    found = [] if run is None else [folder / _SETTINGS_FILE for folder in (run, *run.parents[:2])]
    return next((file for file in found if file.is_file()), None)


def _keep_settings(settings: Settings) -> Callback:
    """Return a callback that writes the settings into the run directory, for ``--resume`` and ``--config``."""
    from agentgym.training import Callback

    class KeepSettings(Callback):
        def on_start(self, trainer: Trainer) -> None:
            text = yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True), sort_keys=False)
            (trainer.run_dir / _SETTINGS_FILE).write_text(text, encoding="utf-8")

    return KeepSettings()


def _parse(setting: str) -> tuple[str, Any]:
    """Split ``key=value``; a value that is JSON is read as such, any other is text."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise ConfigError(f"--set {setting!r} must have the form key=value, such as group_size=4")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _world_options(settings: _World) -> dict[str, Any]:
    """Return the arguments of the environment."""
    return {**({} if settings.data is None else {"data": settings.data}), **settings.env_options}


def _language_policy(settings: _Player) -> HFPolicy:
    """Load the model; what was not set is left to the model's own defaults."""
    from agentgym.policies import HFPolicy
    from agentgym.policies.contexts import make_context

    chosen = {name: getattr(settings, name) for name in _POLICY_OPTIONS if name in settings.model_fields_set}
    if chosen.get("temperature") == 0:  # greedy play is the business of whoever opens the session
        del chosen["temperature"]
    if "context" in chosen:
        chosen["context"] = make_context(settings.context)
    return HFPolicy.from_pretrained(settings.model, dtype=settings.dtype, **chosen)


def _policy(settings: _Player) -> Policy:
    from agentgym.policies import ExpertPolicy, RandomPolicy

    scripted: dict[str, Callable[[], Policy]] = {"expert": ExpertPolicy, "random": RandomPolicy}
    return scripted[settings.model]() if settings.model in scripted else _language_policy(settings)


def _part(settings: Settings, model: type[SettingsT]) -> SettingsT:
    """Return those settings that belong to ``model``."""
    return model.of({name: getattr(settings, name) for name in model.model_fields})


# Commands -------------------------------------------------------------------------------------------------------------


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        _console.print(agentgym.__version__)
        raise typer.Exit


@app.command()
@_with_settings(TrainSettings)
def train(
    settings: TrainSettings,
    resume: Annotated[Path | None, typer.Option(help="Run directory or checkpoint to go on from.")] = None,
) -> None:
    """Train a policy, after a warm start if it is untrained, and play held-out games before and after."""
    algorithm = get_algorithm(settings.algo, **settings.algo_options)

    from agentgym.training import Trainer

    Trainer(
        env=settings.env,
        policy=_language_policy(settings),
        algorithm=algorithm,
        config=_part(settings, TrainConfig),
        env_kwargs=_world_options(settings),
        eval_kwargs=settings.eval_options or None,
        callbacks=[_keep_settings(settings)],
    ).train(resume_from_checkpoint=resume)


@app.command()
@_with_settings(SFTSettings)
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

    config = _part(settings, SFTConfig)
    recorded = [episode for file in episodes for group in read_groups(file) for episode in group.episodes]
    worlds = resolve_environments(settings.env, _world_options(settings))
    policy = _language_policy(settings)
    if episodes:
        lessons = [with_tokens(policy, episode) for episode in recorded if episode.won]
        _console.print(f"{len(lessons)} of {len(recorded)} recorded episodes were won; learning from those")
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
        _console.print(f"learning from {len(lessons)} games won by the expert")

    def report(step: int, loss: float) -> None:
        if step % max(1, config.steps // 10) == 0:
            _console.print(f"step {step}/{config.steps}, loss {loss:.3f}")

    finetune(policy, lessons, config, on_step=report)
    policy.save_pretrained(output)
    _console.print(f"model: {output}")


@app.command("eval")
@_with_settings(EvalSettings)
def evaluate_policy(
    settings: EvalSettings,
    output: Annotated[Path | None, typer.Option(help="JSON file for every outcome.")] = None,
) -> None:
    """Play fixed games once each, and print the success rate with its 95% interval."""
    from agentgym.evaluation import evaluate
    from agentgym.training.environments import resolve_environments

    named = {} if settings.split is None else {"split": settings.split}
    worlds = resolve_environments(settings.env, _world_options(settings), eval_kwargs=named or None)
    result = evaluate(
        worlds.make_eval,
        _policy(settings),
        episodes=settings.episodes,
        seed=settings.seed,
        temperature=settings.temperature,
    )
    table = Table("task", "games", "success (95%)")
    for name, rate in {**result.by_type, "all": result.success}.items():
        games = sum(name in (outcome.task_type, "all") for outcome in result.outcomes)
        table.add_row(name, str(games), rate.percent())
    _console.print(table)
    _console.print(f"{settings.model} on games of {result.source}; mean length {result.mean('length'):.1f}")
    if output is not None:
        output.write_text(json.dumps(result.to_dict(), indent=1), encoding="utf-8")


@app.command()
@_with_settings(RolloutSettings)
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
    worlds = resolve_environments(settings.env, {**_world_options(settings), **named})
    collector = GroupCollector(
        worlds.make_train,
        _policy(settings),
        groups=settings.groups,
        group_size=settings.group_size,
        seed=settings.seed,
    )
    groups = collector.collect(0).groups
    write_groups(output, groups, env_id=settings.env)
    episodes = [episode for group in groups for episode in group.episodes]
    won = sum(episode.won for episode in episodes)
    _console.print(f"{output}: {len(groups)} groups, {len(episodes)} episodes, {won} won")


def _spec(env_id: str) -> gym.envs.registration.EnvSpec:
    """Return the registration of ``env_id``, or say which ids there are."""
    try:
        return gym.spec(env_id)
    except gym.error.Error:
        raise unknown_name("environment", env_id, ENVIRONMENTS) from None


def _make(env_id: str, **options: Any) -> gym.Env[str, str]:
    """Make an environment with those options that were given."""
    _spec(env_id)
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return gym.make(env_id, **given)
    except TypeError as error:
        raise ConfigError(f"{env_id} cannot be made with {given}: {error}") from error


@app.command()
def envs() -> None:
    """List the environments, and which games ALFWorld would play."""
    table = Table("environment", "step limit", "what it is")
    for name in ENVIRONMENTS:
        spec = _spec(name)
        world = gym.envs.registration.load_env_creator(str(spec.entry_point))
        table.add_row(name, str(spec.max_episode_steps), _first_line(world))
    _console.print(table)
    _console.print(f"ALFWorld-v0 plays {source_text()}")


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
    env: Annotated[str, typer.Argument(help="Environment id.")] = "ALFWorld-v0",
    task: Annotated[str | None, typer.Option(help="Task id; drawn from the split if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw.")] = None,
    split: Annotated[str | None, typer.Option(help="Which games to draw from.")] = None,
    data: Annotated[str | None, typer.Option(help="Folder of real games, or builtin.")] = None,
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
