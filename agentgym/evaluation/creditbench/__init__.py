"""CreditBench: the credit of every method against exact advantages and policy gradients in finite text worlds."""

from __future__ import annotations

from agentgym.evaluation.creditbench.bench import METRICS as METRICS
from agentgym.evaluation.creditbench.bench import WORLDS as WORLDS
from agentgym.evaluation.creditbench.bench import Record as Record
from agentgym.evaluation.creditbench.bench import Report as Report
from agentgym.evaluation.creditbench.bench import credit_bench as credit_bench
from agentgym.evaluation.creditbench.methods import ORACLES as ORACLES
from agentgym.evaluation.creditbench.methods import Method as Method
from agentgym.evaluation.creditbench.methods import find_methods as find_methods
from agentgym.evaluation.creditbench.sampling import Sample as Sample
from agentgym.evaluation.creditbench.sampling import sample_groups as sample_groups

__all__ = [
    "METRICS",
    "ORACLES",
    "WORLDS",
    "Method",
    "Record",
    "Report",
    "Sample",
    "credit_bench",
    "find_methods",
    "sample_groups",
]
