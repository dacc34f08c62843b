"""Fixed-task evaluation with intervals."""

from __future__ import annotations

from agentgym.evaluation.evaluate import Evaluation as Evaluation
from agentgym.evaluation.evaluate import Outcome as Outcome
from agentgym.evaluation.evaluate import compare as compare
from agentgym.evaluation.evaluate import evaluate as evaluate
from agentgym.evaluation.intervals import Interval as Interval
from agentgym.evaluation.intervals import paired_bootstrap as paired_bootstrap
from agentgym.evaluation.intervals import wilson as wilson

__all__ = ["Evaluation", "Interval", "Outcome", "compare", "evaluate", "paired_bootstrap", "wilson"]
