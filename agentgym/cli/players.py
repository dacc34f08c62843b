"""What most commands ask: where to play, and who plays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from agentgym.training.config import Settings

if TYPE_CHECKING:
    from agentgym.policies import HFPolicy, Policy

__all__ = ["Player", "World", "language_policy", "make_policy", "world_options"]

_POLICY_OPTIONS = ("context", "max_new_tokens", "constrain", "temperature")


class World(Settings):
    """Where to play."""

    env: str = Field("ALFWorld-v0", description="Environment id")
    data: str | None = Field(None, description="Folder of real games, or builtin; none for what `agentgym envs` says")
    env_options: dict[str, Any] = Field(default_factory=dict, description="More arguments of the environment")


class Player(World):
    """Who plays."""

    model: str = Field("tiny", description="tiny, smollm2, a folder or a Hub id")
    context: str = Field("transcript", description="How prompts are built: transcript, window or window:K")
    max_new_tokens: int | None = Field(None, ge=1, description="Largest number of tokens in one response")
    constrain: Literal["none", "admissible"] = Field("none", description="Write freely, or choose among commands")
    dtype: str = Field("auto", description="Type of the weights, such as float32 or bfloat16")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature")


def world_options(settings: World) -> dict[str, Any]:
    """Return the arguments of the environment."""
    return {**({} if settings.data is None else {"data": settings.data}), **settings.env_options}


def language_policy(settings: Player) -> HFPolicy:
    """Load the model; what was not set is left to the model's own defaults."""
    from agentgym.policies import HFPolicy
    from agentgym.policies.contexts import make_context

    chosen = {name: getattr(settings, name) for name in _POLICY_OPTIONS if name in settings.model_fields_set}
    if chosen.get("temperature") == 0:  # greedy play is the business of whoever opens the session
        del chosen["temperature"]
    if "context" in chosen:
        chosen["context"] = make_context(settings.context)
    return HFPolicy.from_pretrained(settings.model, dtype=settings.dtype, world=settings.env, **chosen)


def make_policy(settings: Player) -> Policy:
    """Return a scripted player by its name, or load the model."""
    from agentgym.policies import ExpertPolicy, RandomPolicy

    scripted: dict[str, Callable[[], Policy]] = {"expert": ExpertPolicy, "random": RandomPolicy}
    return scripted[settings.model]() if settings.model in scripted else language_policy(settings)
