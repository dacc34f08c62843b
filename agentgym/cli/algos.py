"""The command ``algos``."""

from __future__ import annotations

from rich.table import Table

from agentgym.algos import PRESETS, get_algorithm, list_algorithms
from agentgym.cli.console import console, first_line

__all__ = ["algos"]


def algos() -> None:
    """List the algorithms, and the presets with published settings."""
    methods = Table("algorithm", "what it is")
    for name in list_algorithms():
        methods.add_row(name, first_line(type(get_algorithm(name))))
    console.print(methods)
    console.print("Presets, published settings by name:")
    for name, preset in PRESETS.items():
        settings = ", ".join(f"{key}={value}" for key, value in preset.settings.items())
        console.print(f"\n{name} ({preset.algorithm}): {preset.source}\n  {settings}")
