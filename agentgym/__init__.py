"""agentgym: text environments, step-level credit and training for language-model agents.

Importing the package registers its environments with Gymnasium and loads neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentgym.batch import Credit as Credit
from agentgym.batch import StepBatch as StepBatch
from agentgym.episodes import Episode as Episode
from agentgym.episodes import Group as Group
from agentgym.episodes import Recorder as Recorder
from agentgym.episodes import Step as Step
from agentgym.errors import missing_extra
from agentgym.registration import register_environments
from agentgym.spaces import UnicodeText as UnicodeText
from agentgym.text_env import Snapshot as Snapshot
from agentgym.text_env import TextEnv as TextEnv
from agentgym.text_env import reseed as reseed
from agentgym.text_env import restore as restore
from agentgym.text_env import snapshot as snapshot

if TYPE_CHECKING:
    from agentgym.policies import HFPolicy as HFPolicy
    from agentgym.training import TrainConfig as TrainConfig
    from agentgym.training import Trainer as Trainer

__version__ = "0.1.0"

__all__ = [
    "Credit",
    "Episode",
    "Group",
    "HFPolicy",
    "Recorder",
    "Snapshot",
    "Step",
    "StepBatch",
    "TextEnv",
    "TrainConfig",
    "Trainer",
    "UnicodeText",
    "__version__",
    "reseed",
    "restore",
    "snapshot",
]

# Parts that load torch are imported on first use.
_LAZY = {"HFPolicy": "agentgym.policies", "TrainConfig": "agentgym.training", "Trainer": "agentgym.training"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        try:
            return getattr(importlib.import_module(_LAZY[name]), name)
        except ModuleNotFoundError as error:
            if str(error.name).startswith("agentgym"):
                raise
            raise missing_extra(str(error.name), "train", f"agentgym.{name}") from error
    raise AttributeError(f"module 'agentgym' has no attribute {name!r}")


register_environments()
