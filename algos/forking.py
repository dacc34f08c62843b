"""How the trees of a method fork: settings that every method with a branching collector shares."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Forking"]


class Forking(BaseModel):
    """How states are kept, and what the tree of one task may cost; see ``BranchingCollector``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    snapshots: Literal["native", "copy", "replay"] = "native"
    """How states are kept: by the environment itself, by a deep copy, or by taking its steps again."""
    reseed: bool = True
    """Whether forks get a chance of their own; False for environments without chance that cannot be reseeded."""
    max_depth: int | None = Field(None, ge=1)
    """Largest number of decisions before a fork; None for no limit."""
    max_nodes: int | None = Field(None, ge=1)
    """Decisions of a task, shared ones once; None for no limit."""
    max_env_steps: int | None = Field(None, ge=1)
    """Steps of the environment for a task, replayed ones included; None for no limit."""

    def options(self) -> dict[str, Any]:
        """Return the options that differ from the collector's own."""
        return self.model_dump(exclude_defaults=True)
