"""Settings of commands: pydantic models whose fields become flags, keys of a file and ``--set key=value``."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
import yaml

from agentgym.cli.console import first_line
from agentgym.errors import ConfigError
from agentgym.training.config import Settings, SettingsT, load_config

if TYPE_CHECKING:
    from agentgym.training import Callback, Trainer

__all__ = ["keep_settings", "parse_setting", "part", "with_settings"]

_SETTINGS_FILE = "settings.yaml"
_SHORTER = {"output_dir": ("--output",)}


def with_settings(model: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command flags for the fields of ``model``, ``--config`` and ``--set``; it gets the settings first."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        flags = [flag for name in model.model_fields if (flag := _flag(model, name)) is not None]

        @functools.wraps(command)
        def run(config: Path | None, setting: list[str], **values: Any) -> None:
            mine = {parameter.name: values.pop(parameter.name) for parameter in own}
            given = {name: value for name, value in values.items() if value is not None}
            file = config or _settings_of(mine.get("resume"))
            command(load_config(model, file, {**dict(map(parse_setting, setting)), **given}), **mine)

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
        rich_help_panel=first_line(owner),
    )
    kind = Annotated[bool | None, option] if switch else Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _settings_of(run: Path | None) -> Path | None:
    """Return the settings that a run to resume was started with, if the command line started it."""
    found = [] if run is None else [folder / _SETTINGS_FILE for folder in (run, *run.parents[:2])]
    return next((file for file in found if file.is_file()), None)


def keep_settings(settings: Settings) -> Callback:
    """Return a callback that writes the settings into the run directory, for ``--resume`` and ``--config``."""
    from agentgym.training import Callback

    class KeepSettings(Callback):
        def on_start(self, trainer: Trainer) -> None:
            text = yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True), sort_keys=False)
            (trainer.run_dir / _SETTINGS_FILE).write_text(text, encoding="utf-8")

    return KeepSettings()


def parse_setting(setting: str) -> tuple[str, Any]:
    """Split ``key=value``; a value that is JSON is read as such, any other is text."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise ConfigError(f"setting {setting!r} must have the form key=value, such as group_size=4")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def part(settings: Settings, model: type[SettingsT]) -> SettingsT:
    """Return those settings that belong to ``model``."""
    return model.of({name: getattr(settings, name) for name in model.model_fields})
