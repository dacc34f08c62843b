"""Learners: models that add named columns to a batch before an algorithm's ``credit`` reads them, and buffers.

An algorithm asks for learners by ``LearnerSpec``; a trainer sets them up and saves them with its checkpoints. Buffers
belong to the collectors that fill them.
"""

from agentgym.learners.buffers import SuccessBuffer as SuccessBuffer
from agentgym.learners.columns import EntropyColumn as EntropyColumn
from agentgym.learners.columns import ReferenceColumn as ReferenceColumn
from agentgym.learners.columns import ReplayedLogprobs as ReplayedLogprobs
from agentgym.learners.critic import Critic as Critic

__all__ = ["Critic", "EntropyColumn", "ReferenceColumn", "ReplayedLogprobs", "SuccessBuffer"]
