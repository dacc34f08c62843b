"""What users run on their own work: checks of environments and algorithms, batches made by hand or drawn.

The strategies need the ``testing`` extra and are imported on first use.
"""

from typing import TYPE_CHECKING, Any

from agentgym.testing.algorithms import LawBroken as LawBroken
from agentgym.testing.algorithms import check_algorithm as check_algorithm
from agentgym.testing.batches import make_batch as make_batch
from agentgym.testing.battery import battery as battery
from agentgym.testing.envs import check_text_env as check_text_env

if TYPE_CHECKING:
    from agentgym.testing.strategies import groups as groups
    from agentgym.testing.strategies import step_batches as step_batches

__all__ = ["LawBroken", "battery", "check_algorithm", "check_text_env", "groups", "make_batch", "step_batches"]


def __getattr__(name: str) -> Any:
    if name in ("groups", "step_batches"):
        from agentgym.testing import strategies

        return getattr(strategies, name)
    raise AttributeError(f"module 'agentgym.testing' has no attribute {name!r}")
