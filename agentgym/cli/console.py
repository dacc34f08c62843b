"""Where commands print."""

from __future__ import annotations

from typing import Any

from rich.console import Console

__all__ = ["console", "first_line"]

console = Console(highlight=False, markup=False, soft_wrap=True)


def first_line(documented: Any) -> str:
    """Return the first line of a docstring."""
    return (documented.__doc__ or "").strip().partition("\n")[0]
