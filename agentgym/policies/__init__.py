"""Policies: who plays."""

from agentgym.policies.base import Decision as Decision
from agentgym.policies.base import Policy as Policy
from agentgym.policies.base import Session as Session
from agentgym.policies.base import Turn as Turn
from agentgym.policies.contexts import Transcript as Transcript
from agentgym.policies.contexts import Window as Window
from agentgym.policies.hf import HFPolicy as HFPolicy
from agentgym.policies.scripted import ExpertPolicy as ExpertPolicy
from agentgym.policies.scripted import RandomPolicy as RandomPolicy
from agentgym.policies.scripted import ScriptedPolicy as ScriptedPolicy

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
