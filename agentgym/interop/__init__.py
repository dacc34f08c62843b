"""Trajectories that other libraries wrote, as groups: TRL, verl-agent and verifiers, and our own files.

``read_rollouts`` tells the format by the columns. What a format lacks is said in ``Imported.notes``; where nothing can
be done without it, there is an error that names the missing column.
"""

from __future__ import annotations

from agentgym.interop.detect import read_rollouts as read_rollouts
from agentgym.interop.imported import Imported as Imported
from agentgym.interop.trl import from_trl as from_trl
from agentgym.interop.verifiers import from_verifiers as from_verifiers
from agentgym.interop.verl_agent import from_verl_agent as from_verl_agent

__all__ = ["Imported", "from_trl", "from_verifiers", "from_verl_agent", "read_rollouts"]
