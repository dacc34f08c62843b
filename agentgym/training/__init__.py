"""The trainer and its settings.

Names are imported on first use: the settings and their file format load no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentgym.training.callbacks import Callback as Callback
    from agentgym.training.config import SFTConfig as SFTConfig
    from agentgym.training.config import TrainConfig as TrainConfig
    from agentgym.training.config import load_config as load_config
    from agentgym.training.result import TrainResult as TrainResult
    from agentgym.training.sft import finetune as finetune
    from agentgym.training.trainer import Trainer as Trainer

__all__ = ["Callback", "SFTConfig", "TrainConfig", "TrainResult", "Trainer", "finetune", "load_config"]

_LAZY = {
    "Callback": "agentgym.training.callbacks",
    "SFTConfig": "agentgym.training.config",
    "TrainConfig": "agentgym.training.config",
    "TrainResult": "agentgym.training.result",
    "Trainer": "agentgym.training.trainer",
    "finetune": "agentgym.training.sft",
    "load_config": "agentgym.training.config",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'agentgym.training' has no attribute {name!r}")
