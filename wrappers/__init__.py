"""Wrappers that users compose, with each other and with Gymnasium's own, on any text environment.

All keep to one convention: ``info`` is handed on as a new dict, the world's reward stays in ``info["env_reward"]``,
and every wrapper takes part in ``agentgym.snapshot`` and ``agentgym.restore``. A stack in the usual order, from the
inside::

    env = gym.make("ALFWorld-v0")           # brings its own hashes; others get them from StateHash(env)
    env = ActionTags(env)                   # the policy writes text, the world gets the action in it
    env = InvalidActionPenalty(env)         # sees the format flag
    env = ScaleReward(env, 10.0)            # scales the penalty too
    env = History(env, k=2)                 # the policy reads the recent past
    env = GroupRecorder(env, group_size=8)  # records what the policy read and what training uses
"""

from __future__ import annotations

from .action_tags import ActionTags as ActionTags
from .copy_snapshot import CopySnapshot as CopySnapshot
from .designed_reward import DesignedReward as DesignedReward
from .group_recorder import GroupRecorder as GroupRecorder
from .history import History as History
from .potential_shaping import PotentialShaping as PotentialShaping
from .replay import ReplaySnapshot as ReplaySnapshot
from .rewards import InvalidActionPenalty as InvalidActionPenalty
from .rewards import ScaleReward as ScaleReward
from .state_hash import StateHash as StateHash

__all__ = [
    "ActionTags",
    "CopySnapshot",
    "DesignedReward",
    "GroupRecorder",
    "History",
    "InvalidActionPenalty",
    "PotentialShaping",
    "ReplaySnapshot",
    "ScaleReward",
    "StateHash",
]

if __name__ != "agentgym.wrappers":
    raise ImportError(f"import 'agentgym.wrappers'; {__name__!r} is a second copy")
