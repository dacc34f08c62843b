"""Learners: models that add named columns to a batch before an algorithm's ``credit`` reads them, and buffers.

An algorithm asks for learners by ``LearnerSpec``; a trainer sets them up and saves them with its checkpoints. Buffers
and stores belong to the collectors that fill them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from agentgym.learners.buffers import EpisodeBuffer as EpisodeBuffer
from agentgym.learners.buffers import SuccessBuffer as SuccessBuffer
from agentgym.learners.buffers import TransitionBuffer as TransitionBuffer
from agentgym.learners.phrases import PhraseColumn as PhraseColumn
from agentgym.learners.state_store import StateStore as StateStore

if TYPE_CHECKING:
    from agentgym.learners.columns import EntropyColumn as EntropyColumn
    from agentgym.learners.columns import ReferenceColumn as ReferenceColumn
    from agentgym.learners.columns import ReplayedLogprobs as ReplayedLogprobs
    from agentgym.learners.critic import Critic as Critic
    from agentgym.learners.progress import ProgressEstimator as ProgressEstimator
    from agentgym.learners.utterance_critics import UtteranceCritics as UtteranceCritics

__all__ = [
    "Critic",
    "EntropyColumn",
    "EpisodeBuffer",
    "PhraseColumn",
    "ProgressEstimator",
    "ReferenceColumn",
    "ReplayedLogprobs",
    "StateStore",
    "SuccessBuffer",
    "TransitionBuffer",
    "UtteranceCritics",
]

# Imported on first use: collectors keep their buffers here, and playing needs no torch.
_WITH_TORCH = {
    "Critic": "agentgym.learners.critic",
    "EntropyColumn": "agentgym.learners.columns",
    "ProgressEstimator": "agentgym.learners.progress",
    "ReferenceColumn": "agentgym.learners.columns",
    "ReplayedLogprobs": "agentgym.learners.columns",
    "UtteranceCritics": "agentgym.learners.utterance_critics",
}


def __getattr__(name: str) -> Any:
    if name in _WITH_TORCH:
        return getattr(importlib.import_module(_WITH_TORCH[name]), name)
    raise AttributeError(f"module 'agentgym.learners' has no attribute {name!r}")
