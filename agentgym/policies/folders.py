"""Where things made once are kept."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return ``$AGENTGYM_CACHE``, or ``agentgym`` in the user's cache folder: converted models, warm starts."""
    if named := os.environ.get("AGENTGYM_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentgym"
