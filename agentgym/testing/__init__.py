"""What users run on their own work: the environment check, hand-made batches and hypothesis strategies.

The strategies need the ``testing`` extra and are imported from ``agentgym.testing.strategies``.
"""

from agentgym.testing.batches import make_batch as make_batch
from agentgym.testing.envs import check_text_env as check_text_env

__all__ = ["check_text_env", "make_batch"]
