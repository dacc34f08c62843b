"""Where numbers go: ``metrics.jsonl`` always, trackers as asked for, and the files that say what was run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import agentgym
from agentgym.errors import missing_extra

__all__ = ["MetricsFile", "check_trackers", "versions", "write_json"]

_PACKAGES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "safetensors", "gymnasium", "numpy")
_EXTRAS = {"tensorboard": "train"}


class MetricsFile:
    """One JSON object a line, flushed at once; a run that resumes goes on after its checkpoint, with no line twice.

    Args:
        path: The file; made when missing.
        resume_after: Drop the lines of later iterations, which the resumed run writes anew; None keeps everything.
    """

    def __init__(self, path: Path, resume_after: int | None = None) -> None:
        if resume_after is not None and path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _iteration(line) <= resume_after]
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            temporary.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics of an iteration."""
        self._file.write(json.dumps({"iteration": iteration, **metrics}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _iteration(line: str) -> float:
    """Return the iteration of a line; infinity for one that a crash cut short."""
    try:
        return float(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def check_trackers(names: Iterable[str]) -> None:
    """Refuse trackers that are not installed.

    Raises:
        MissingExtraError: With the command that installs the first missing one.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            error = missing_extra(name, _EXTRAS.get(name, "all"), f"report_to={name!r}")
            if name not in _EXTRAS:
                error = type(error)(f"report_to={name!r} needs the package {name!r}: pip install {name}")
            raise error


def versions() -> dict[str, str]:
    """Return the versions of what takes part in a run."""
    found = {"agentgym": agentgym.__version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")
    temporary.replace(path)
