"""The command ``algos``."""

from __future__ import annotations

from rich.table import Table

from agentgym.algos import PRESETS, get_algorithm, list_algorithms
from agentgym.algos.base import LAWS, VALUE_LAWS
from agentgym.cli.console import console, first_line

__all__ = ["algos"]


def algos() -> None:
    """List the algorithms with the laws they promise, and the presets with published settings."""
    methods = Table("algorithm", "what it is", "laws it promises")
    for name in list_algorithms():
        kind = type(get_algorithm(name))
        promised = ", ".join(law for law in (*LAWS, *VALUE_LAWS) if law in kind.laws)
        methods.add_row(name, first_line(kind), promised or "none")
    console.print(methods)
    console.print(f"The laws of credit: {', '.join(LAWS)}; of values along a path: {', '.join(VALUE_LAWS)}")
    console.print("Presets, published settings by name:")
    for name, preset in PRESETS.items():
        settings = ", ".join(f"{key}={value}" for key, value in preset.settings.items())
        console.print(f"\n{name} ({preset.algorithm}): {preset.source}\n  {settings}")
