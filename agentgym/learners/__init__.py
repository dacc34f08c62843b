"""Learners: models that add named columns to a batch before an algorithm's ``credit`` reads them.

An algorithm asks for them by ``LearnerSpec``; a trainer sets them up and saves them with its checkpoints.
"""

from agentgym.learners.columns import EntropyColumn as EntropyColumn
from agentgym.learners.columns import ReferenceColumn as ReferenceColumn
from agentgym.learners.critic import Critic as Critic

__all__ = ["Critic", "EntropyColumn", "ReferenceColumn"]
