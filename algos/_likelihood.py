"""What methods without a ratio share: the weighted log-likelihood of what was said, as a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator

from agentgym.algos.base import Algorithm, AlgorithmConfig
from agentgym.algos.functional.losses import Aggregation, kl_divergence, token_weights
from agentgym.contracts import Loss, TokenBatch
from agentgym.errors import AlgorithmError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Likelihood", "LikelihoodConfig"]

_OF_RATIOS = ("clip_low", "clip_high", "dual_clip", "keep_clipped", "ratio")


class LikelihoodConfig(AlgorithmConfig):
    """Settings of a loss without a ratio: those of ratios stay as they are."""

    aggregation: Aggregation = "seq-mean-token-sum"
    """How token losses are averaged; by default over decisions, of whole responses, as the papers do."""

    @model_validator(mode="after")
    def _has_no_ratio(self) -> Self:
        for name in _OF_RATIOS:
            if getattr(self, name) != AlgorithmConfig.model_fields[name].default:
                raise ValueError(f"{name} is about the ratio of new to old probability, which this loss does not have")
        return self


class Likelihood(Algorithm[LikelihoodConfig]):
    """A method whose loss is Σ w (-A log π + β KL - α entropy): REINFORCE, or regression on what was said.

    It does not look at the log-probabilities that were recorded, so the data may be anybody's, and nothing holds back
    a second pass over a batch.
    """

    config_class: ClassVar[type[AlgorithmConfig]] = LikelihoodConfig
    config: LikelihoodConfig

    @property
    def zero_advantage_is_silent(self) -> bool:
        """Whether tokens of zero advantage leave the gradient alone: where there is no KL and no entropy term."""
        return self.config.kl_coef == 0 and self.config.entropy_coef == 0

    def loss(self, tokens: TokenBatch) -> Loss:
        """Return the weighted log-likelihood of a micro-batch, with KL and entropy terms.

        Raises:
            AlgorithmError: If a coefficient is above 0 and its column is absent.
        """
        config, keep = self.config, tokens.mask
        weights = token_weights(tokens, config.aggregation, config.norm_tokens)
        logp = tokens.logp[keep]
        total = -(weights * tokens.advantage[keep] * logp).sum()
        metrics: dict[str, Any] = {"policy_loss": total.detach()}
        means: dict[str, Tensor] = {}
        if config.kl_coef > 0:
            means["kl"] = kl_divergence(logp, _present("ref_logp", tokens.ref_logp)[keep], config.kl_estimator)
            total = total + config.kl_coef * (weights * means["kl"]).sum()
        if config.entropy_coef > 0:
            means["entropy"] = _present("entropy", tokens.entropy)[keep]
            total = total - config.entropy_coef * (weights * means["entropy"]).sum()
        metrics |= {name: value.detach().sum() / max(tokens.total_tokens, 1) for name, value in means.items()}
        return Loss(total, metrics)


def _present(name: str, column: Tensor | None) -> Tensor:
    if column is None:
        raise AlgorithmError(f"a coefficient above 0 needs {name!r}, which the token batch lacks")
    return column
