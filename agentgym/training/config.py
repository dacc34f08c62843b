"""The settings of a run: one flat, frozen, checked model, and how to read it from YAML or TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agentgym.errors import ConfigError, suggest

__all__ = ["SFTConfig", "Settings", "SettingsT", "TrainConfig", "load_config"]

Tracker = Literal["tensorboard", "wandb", "trackio"]


class Settings(BaseModel):
    """Base of the settings: frozen, no unknown keys, and errors that name key, value, and what is allowed.

    Attributes:
        tied: Settings that choose something, to those that configure it: where an override chooses otherwise than the
            file, what the file configures is left out, as it is about something else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    tied: ClassVar[Mapping[str, str]] = {}

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error, type(self)) from None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Build from a mapping.

        Raises:
            ConfigError: Naming the key, the value, what is allowed and the nearest right key.
        """
        return cls(**{str(key): value for key, value in values.items()})


SettingsT = TypeVar("SettingsT", bound=Settings)


class SFTConfig(Settings):
    """Supervised fine-tuning on demonstrations: loss on response tokens only."""

    steps: int = Field(
        1200, ge=1, description="Optimiser steps; the budget is counted in steps, so that it is reproducible"
    )
    target_loss: float | None = Field(
        None, ge=0, description="Stop once the mean loss of the last 20 steps is this low, in nats a token; none never"
    )
    demonstrations: int = Field(4000, ge=1, description="Expert episodes to learn from, where none are given")
    noise: float = Field(
        0.15, ge=0, lt=1, description="Share of a demonstration's steps that are random commands: seen, not learned"
    )
    dawdle: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a demonstration's steps that are any admissible command: seen and learned",
    )
    learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate; it falls to zero along a cosine")
    warmup: int = Field(20, ge=0, description="Steps over which the learning rate rises")
    batch_tokens: int = Field(2048, ge=1, description="Largest number of tokens in one step, padding included")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm")
    seed: int = Field(0, ge=0, description="Seed of the demonstrations and of their order")


class TrainConfig(Settings):
    """Everything about a run that is not the environment, the policy or the algorithm.

    >>> TrainConfig(iterations=10).group_size
    8
    """

    iterations: int = Field(60, ge=0, description="Iterations: collect, credit, update")
    groups: int = Field(12, ge=1, description="Tasks in an iteration, over all processes")
    group_size: int = Field(8, ge=1, description="Episodes of each task")
    epochs: int = Field(1, ge=1, description="Passes over each batch")
    minibatches: int = Field(1, ge=1, description="Optimiser steps in a pass")
    tokens_per_microbatch: int = Field(
        16384, ge=1, description="Tokens in one forward pass, padding included; memory, not results"
    )
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate of AdamW")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="How it falls over the iterations, or over the token budget where that is nearer"
    )
    warmup: int = Field(0, ge=0, description="Iterations over which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm")
    seed: int = Field(0, ge=0, description="Seed of tasks and sampling noise; evaluation games do not depend on it")
    eval_every: int = Field(0, ge=0, description="Iterations between evaluations; 0 evaluates before and after only")
    eval_episodes: int = Field(200, ge=0, description="Held-out games of an evaluation; 0 evaluates never")
    eval_temperature: float | None = Field(
        None, ge=0, description="Evaluation temperature; 0 greedy, none the policy's own"
    )
    output_dir: Path | None = Field(None, description="Run directory; none for runs/<environment>-<algorithm>-<time>")
    save_every: int = Field(10, ge=0, description="Iterations between checkpoints; 0 saves at the end only")
    keep_checkpoints: int = Field(2, ge=1, description="How many checkpoints stay on disk")
    report_to: tuple[Tracker, ...] = Field(("tensorboard",), description="Trackers beside metrics.jsonl; none for none")
    mixed_precision: Literal["no", "bf16", "fp16"] = Field("no", description="Type of the matrix products")
    gradient_checkpointing: bool = Field(False, description="Trade time for memory in the backward pass")
    cpu: bool = Field(False, description="Stay on the CPU where an accelerator is present")
    max_minutes: float | None = Field(None, gt=0, description="Stop collecting after this wall-clock time")
    max_generated_tokens: int | None = Field(
        None,
        ge=1,
        description="Stop after the iteration that reaches this many generated tokens, all counted",
    )
    advantage_rms: float | None = Field(
        None, gt=0, description="Scale the advantages of each batch to this root mean square; none leaves them"
    )
    fault_budget: float = Field(0.2, ge=0, le=1, description="Largest share of faulty episodes among the last 200")
    warm_start: SFTConfig = Field(
        default_factory=SFTConfig, description="Supervised start of a policy that was just built"
    )

    @field_validator("report_to", mode="before")
    @classmethod
    def _read_trackers(cls, value: Any) -> Any:
        if isinstance(value, str):
            return () if value == "none" else tuple(part.strip() for part in value.split(","))
        return () if value is None else value

    @field_validator(
        *("output_dir", "max_minutes", "max_generated_tokens", "advantage_rms", "eval_temperature"), mode="before"
    )
    @classmethod
    def _read_none(cls, value: Any) -> Any:
        return None if value == "none" else value


def load_config(
    model: type[SettingsT], file: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> SettingsT:
    """Read settings from a YAML or TOML file; ``overrides`` win over the file.

    Args:
        model: Which settings, such as ``TrainConfig``.
        file: A ``.yaml``, ``.yml`` or ``.toml`` file, or None for the defaults.
        overrides: Settings by name; nested ones, at any depth, are written ``"warm_start.steps"`` or given as mappings.

    Raises:
        ConfigError: If the file cannot be read, or a key or value is wrong.
    """
    values = {} if file is None else _read(Path(file))
    for choice, options in model.tied.items():
        chosen = values.get(choice, model.model_fields[choice].default)
        if (overrides or {}).get(choice, chosen) != chosen:
            values.pop(options, None)
    for key, value in (overrides or {}).items():
        values = _placed(values, key.split("."), value)
    return model.of(values)


def _placed(values: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """Return ``values`` with ``value`` at a path of names, at any depth; what stands beside it stays."""
    name, *rest = path
    if not rest:
        return {**values, name: value}
    inner = values.get(name)
    return {**values, name: _placed(inner if isinstance(inner, Mapping) else {}, rest, value)}


def _read(path: Path) -> dict[str, Any]:
    if path.suffix not in (".yaml", ".yml", ".toml"):
        raise ConfigError(f"config file {str(path)!r} must end in .yaml, .yml or .toml")
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"cannot read the config file {str(path)!r}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the config file {str(path)!r} is not valid {path.suffix[1:].upper()}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"the config file {str(path)!r} must hold settings by name, not a {type(values).__name__}")
    return values


def _explain(error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """Turn the first complaint of pydantic into one of ours: key, value, what is allowed, nearest right key."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, ConfigError):
        return ConfigError(f"in {key!r}: {inner}")
    if first["type"] == "extra_forbidden":
        names = sorted(model.model_fields)
        return ConfigError(f"unknown setting {key!r}. {suggest(key, names)}Allowed: {', '.join(names)}.")
    field = model.model_fields.get(str(first["loc"][0])) if first["loc"] else None
    about = f" ({field.description})" if field is not None else ""
    if first["type"] == "missing":
        return ConfigError(f"setting {key!r} is missing{about}")
    return ConfigError(f"setting {key!r} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}{about}")
