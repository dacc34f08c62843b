"""What the KL penalty is measured against: the policy as it was when the run began."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from agentgym.policies import HFPolicy
from agentgym.policies.packing import MicroBatch
from agentgym.policies.scoring import TokenScorer
from agentgym.training.weights import copy_weights

__all__ = ["Reference"]


class Reference:
    """Scores tokens under the reference: a frozen copy of the model, or a peft model with its adapter off.

    Attributes:
        is_adapter: Whether it is the adapter's own base: weights that never change, and need not be kept.

    Args:
        policy: The policy before its first update.
        accelerator: Places the copy and chooses the type of the matrix products.
    """

    def __init__(self, policy: HFPolicy, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        model: Any = policy.model
        self.is_adapter = hasattr(model, "disable_adapter")
        frozen = model if self.is_adapter else copy.deepcopy(model).requires_grad_(False).eval()
        self._model: Any = frozen
        self._scorer = TokenScorer(frozen, policy.temperature).to(accelerator.device)
        # In evaluation mode the scorer keeps no activations for a backward pass.
        self._scorer.training = False

    def save(self, folder: Path) -> None:
        """Write the frozen copy."""
        self._model.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote, into the frozen copy."""
        copy_weights(self._model, folder)

    @torch.no_grad()
    def logp(self, micro: MicroBatch) -> torch.Tensor:
        """Return the log-probability of each response token of ``micro``, float32 [L]."""
        with self._model.disable_adapter() if self.is_adapter else nullcontext(), self._accelerator.autocast():
            logp: torch.Tensor = self._scorer(micro.ids, micro.lengths, micro.select, allowed=micro.allowed)[0]
        return logp
