"""Every error agentgym raises on purpose, as one tree.

::

    AgentGymError
    ├── ConfigError (ValueError)         a setting, a name or an argument is wrong; raised before any work
    ├── MissingExtraError (ImportError)  an optional dependency is absent; the message is the install command
    ├── DataError                        a file read back is truncated, foreign or of another schema version
    │   └── GameFileError                a game file cannot be played
    ├── EnvironmentFault                 an environment broke its contract, raised, hung or died
    │   ├── TaskNotFoundError (KeyError) no such task in this split
    │   └── SnapshotError                this state cannot be saved or restored
    ├── RecorderError                    a recording was driven out of order, or a group does not share its start
    ├── PolicyError                      a policy, tokenizer or chat template cannot be used as asked
    ├── AlgorithmError (ValueError)      a batch does not fit an algorithm
    └── TrainingError                    training cannot go on (fault budget spent, non-finite loss, foreign checkpoint)

A message says what was wrong with which value, what is allowed, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AgentGymError",
    "AlgorithmError",
    "ConfigError",
    "DataError",
    "EnvironmentFault",
    "GameFileError",
    "MissingExtraError",
    "PolicyError",
    "RecorderError",
    "SnapshotError",
    "TaskNotFoundError",
    "TrainingError",
    "missing_extra",
    "suggest",
    "unknown_name",
]


class AgentGymError(Exception):
    """Root of every error raised on purpose by agentgym."""


class ConfigError(AgentGymError, ValueError):
    """A setting, a name or an argument is wrong; raised before any work is done."""


class MissingExtraError(AgentGymError, ImportError):
    """An optional dependency is absent; the message names the command that brings it."""


class DataError(AgentGymError):
    """A file is truncated, foreign or of another schema version."""


class GameFileError(DataError):
    """A game file cannot be played; the message names the file and the reason."""


class EnvironmentFault(AgentGymError):
    """An environment broke its contract, raised, hung or died."""


class TaskNotFoundError(EnvironmentFault, KeyError):
    """A task id does not exist in the split it was asked of."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would hide line breaks and quotes in our message.
        return str(self.args[0]) if self.args else ""


class SnapshotError(EnvironmentFault):
    """A state cannot be saved or restored exactly."""


class RecorderError(AgentGymError):
    """A recording was driven out of order, or the members of a group do not share their start."""


class PolicyError(AgentGymError):
    """A policy, tokenizer or chat template cannot be used as asked."""


class AlgorithmError(AgentGymError, ValueError):
    """A batch does not fit an algorithm."""


class TrainingError(AgentGymError):
    """Training cannot go on."""


def suggest(name: str, allowed: Iterable[str], limit: int = 3) -> str:
    """Return ``"Did you mean 'a' or 'b'? "`` for the names nearest to ``name``, or an empty string."""
    near = difflib.get_close_matches(str(name), list(allowed), n=limit, cutoff=0.5)
    return f"Did you mean {' or '.join(repr(n) for n in near)}? " if near else ""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> ConfigError:
    """Build the error for an unknown name: the nearest right names first, then the whole list."""
    names = sorted(allowed)
    return ConfigError(f"unknown {kind} {name!r}. {suggest(name, names)}Allowed: {', '.join(names) or '(none)'}.")


def missing_extra(package: str, extra: str, purpose: str) -> MissingExtraError:
    """Build the error for an absent optional package, with the command that installs it."""
    return MissingExtraError(f"{purpose} needs the package {package!r}: pip install 'agentgym-sdk[{extra}]'")
