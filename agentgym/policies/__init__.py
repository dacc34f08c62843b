"""Policies: who plays."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from agentgym.policies.base import Decision as Decision
from agentgym.policies.base import Policy as Policy
from agentgym.policies.base import Session as Session
from agentgym.policies.base import Turn as Turn
from agentgym.policies.contexts import Transcript as Transcript
from agentgym.policies.contexts import Window as Window
from agentgym.policies.scripted import ExpertPolicy as ExpertPolicy
from agentgym.policies.scripted import RandomPolicy as RandomPolicy
from agentgym.policies.scripted import ScriptedPolicy as ScriptedPolicy

if TYPE_CHECKING:
    from agentgym.policies.hf import HFPolicy as HFPolicy

__all__ = [
    "Decision",
    "ExpertPolicy",
    "HFPolicy",
    "Policy",
    "RandomPolicy",
    "ScriptedPolicy",
    "Session",
    "Transcript",
    "Turn",
    "Window",
]


def __getattr__(name: str) -> Any:
    if name == "HFPolicy":  # imported on first use: scripted players, and all that evaluates them, need no torch
        return importlib.import_module("agentgym.policies.hf").HFPolicy
    raise AttributeError(f"module 'agentgym.policies' has no attribute {name!r}")
