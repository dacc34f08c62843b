"""Values of states: a critic as a module, alone and beside the policy."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from agentgym.policies.scoring import TokenScorer, base_of, states_before

__all__ = ["ActorCritic", "ValueModel"]


class ValueModel(nn.Module):
    """V of the state before a token: a linear head on hidden states.

    The head starts at 0, so that an untrained critic says 0 everywhere, in every process.

    Args:
        model: The causal LM whose decoder is copied, or read through ``states`` if it is shared.
        shared: Whether the head reads the policy's own hidden states; else it has a copy of the decoder, which trains
            with it.
    """

    def __init__(self, model: nn.Module, shared: bool = False) -> None:
        super().__init__()
        base = base_of(model)
        self.trunk: nn.Module | None = None if shared else copy.deepcopy(base.get_decoder())
        self.head = nn.Linear(base.get_output_embeddings().weight.shape[1], 1)
        self.head.to(next(model.parameters()).device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: torch.Tensor, select: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return the value before each chosen token, float32 [L]; arguments as of ``states_before``.

        Args:
            ids: Token ids, int64 [B, T].
            select: Flat indices of the chosen tokens, int64 [L].
            states: The policy's hidden states before the chosen tokens, [L, H]; read where the trunk is shared.
        """
        if self.trunk is not None:
            states = states_before(self.trunk, ids, select)
        # Half precision would round values to three digits.
        with torch.autocast(states.device.type, enabled=False):
            values: torch.Tensor = self.head(states.float())[:, 0]
        return values


class ActorCritic(nn.Module):
    """Policy and critic as one module, so that one forward pass serves both and ``accelerate`` prepares them together.

    Args:
        scorer: The policy.
        value_model: The critic; called as ``ValueModel`` is.
    """

    def __init__(self, scorer: TokenScorer, value_model: nn.Module) -> None:
        super().__init__()
        self.scorer = scorer
        self.value_model = value_model

    def forward(
        self,
        ids: torch.Tensor,
        lengths: torch.Tensor,
        select: torch.Tensor,
        entropy: bool = False,
        allowed: Sequence[Sequence[int]] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Return what ``TokenScorer`` returns, and the values before the chosen tokens, float32 [L]."""
        states = states_before(base_of(self.scorer.model).get_decoder(), ids, select)
        logp, entropies = self.scorer.score(states, ids.reshape(-1)[select], entropy, allowed)
        return logp, entropies, self.value_model(ids, select, states)
