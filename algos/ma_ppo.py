"""MA-PPO: PPO whose actions are macro actions, runs of tokens that get one value and one advantage.

Paper: MA-RLHF: Reinforcement Learning from Human Feedback with Macro Actions, arXiv 2410.02743 (ICLR 2025), section 3;
its code, ernie-research/MA-RLHF.

    ω(j)                  tokens t(j) to t(j+1) - 1 of a response, by one of five rules of termination
    R(j) = Σᵢ γⁱ r(t(j)+i)                              V(j) = Σᵢ σᵢ V(s at t(j)+i), Σ σᵢ = 1
    δ(j) = R(j) + γ^|ω(j)| V(j+1) - V(j)                A(j) = δ(j) + γ^|ω(j)| λ A(j+1)
    paper:  min(ρ(ω) A, clip(ρ(ω)) A)                   ρ(ω) = Πₜ π(t) / π_old(t)
    code:   min(ρ(t) A(j), clip(ρ(t)) A(j)) at every token
    L_V     the value at every token of ω(j) is drawn to A(j) + V(j)
    r(t) = -β (log π(t) - log π_ref(t)), plus the reward of the row on its last token

Notation (paper → name): termination ζ → ``termination``; n → ``length``; C → ``cutoff``; σ → ``value_of``; β →
``kl_reward_coef``; ρ(ω) or ρ(t) → ``ratio``, "macro" or "token"; γ, λ, ε_V → as in ``ppo``.

What the released code does instead: it cuts all rows of a batch where it would cut the first; it averages the KL
penalties of a macro action with σ (``kl_agg="mean"``); γ discounts a macro action whatever its length
(``discount="macro"``); the perplexity rule begins a macro action one token before the rise, so that the rise is inside
it; its parser is one of Python code. Preset ``ma_ppo_code``.

Deviations:
    1. Macro actions never reach over a response. Over an episode of several turns they follow one another
       (``scope="episode"``); the paper has one response.
    2. ``value_of="first"`` and ``termination="turn"`` are ours: with both, and without ``lone_last``, this is PPO over
       turns. λ counts macro actions, γ tokens, where γ < 1; the paper has γ = 1.
    3. The loss with ρ(ω) counts a macro action's surrogate at each of its tokens, so that its gradient is that of the
       paper's loss times the mean length of macro actions, and that of the token form at the first step.
    4. Whitened, if at all, over macro actions. The paper does not whiten.
    5. The parse comes from a callable; our own is a chunker by rules, no constituency parser. Where the parse does not
       fit the tokens, the response is cut by ``fallback``.
    6. What is clipped at ±2.5 there is the score of a reward model; here rewards are the environment's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from agentgym.algos.base import AlgorithmConfig, Column
from agentgym.algos.functional import segmentation
from agentgym.algos.functional.gae import gae
from agentgym.algos.functional.segmentation import Bools, Floats, Macros, ValueOf
from agentgym.algos.functional.statistics import whiten
from agentgym.algos.ppo import PPO, PPOConfig, on_last, value_diagnostics
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import LearnerSpec

__all__ = ["MacroPPO", "MacroPPOConfig"]


class MacroPPOConfig(PPOConfig):
    """Settings of MA-PPO: those of PPO over tokens, what a macro action is, and what it is worth."""

    level: Literal["token"] = "token"
    """Values are read before every token."""
    termination: Literal["fixed", "randomised", "parsed", "perplexity", "turn"] = "fixed"
    """Where macro actions end: after n tokens, after lengths drawn at random, with a phrase, before the reference's
    perplexity rises, or with the response."""
    length: int = Field(5, ge=1)
    """n, of "fixed"; 1 is PPO over tokens."""
    lengths: tuple[Annotated[int, Field(ge=1)], ...] = Field((2, 3, 5, 10), min_length=1)
    """Lengths that "randomised" draws from without replacement; behind the last the rest is one macro action."""
    repeats: int = Field(1, ge=1)
    """How often each of ``lengths`` can be drawn in a response."""
    seed: int = Field(0, ge=0)
    """Decides the draws, together with the tokens of the response and its step."""
    parser: str = "agentgym.learners.phrases:chunk"
    """Function of "parsed", as module:name: text to the nested phrases of it."""
    cutoff: int = Field(5, ge=2)
    """C, of "parsed": a phrase of fewer tokens is a macro action, a longer one is taken apart."""
    fallback: Literal["token", "fixed"] = "token"
    """How a response is cut whose parse does not fit its tokens."""
    value_of: ValueOf = "equal"
    """σ: how the values of its tokens make up that of a macro action; "unit" is the last, "position" by 1 / (i + 1)."""
    lone_last: bool = True
    """Whether the last token of a response, which has its reward, is a macro action of its own."""
    kl_reward_coef: float = Field(0.0, ge=0)
    """β: weight of the per-token KL penalty inside the reward; above 0 the reference's log-probabilities are read."""
    kl_agg: Literal["sum", "mean"] = "sum"
    """Whether the KL penalties of a macro action are summed, or averaged with the weights σ."""
    discount: Literal["token", "macro"] = "token"
    """What γ discounts: each token, so γ^|ω| for a macro action, or each macro action."""

    @model_validator(mode="after")
    def _has_tokens(self) -> Self:
        if self.ratio == "sequence":
            raise ValueError("ratio='sequence' averages over rows; macro actions have ratio='macro' or 'token'")
        return self


class MacroPPO(PPO):
    """PPO over macro actions.

    >>> import numpy as np
    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(
    ...     group=[0], episode=[0], t=[0], reward=[1], terminated=[True], token_offsets=[0, 4], token_ids=np.arange(4),
    ...     logprobs=np.zeros(4, np.float32)
    ... ).with_columns(next_value=np.zeros(1)).with_token_columns(value=np.array([0.25, 0.75, 0.5, 1.0]))
    >>> MacroPPO(length=2, lone_last=False, lam=1.0, whiten=False).credit(batch).advantage.tolist()
    [0.5, 0.5, 0.25, 0.25]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = MacroPPOConfig
    config: MacroPPOConfig
    laws: ClassVar[frozenset[str]] = PPO.laws - {"truncation"}
    exemptions: ClassVar[Mapping[str, str]] = {
        **PPO.exemptions,
        "truncation": "holds over macro actions; the law counts tokens, of which a macro action has several",
    }

    @property
    def columns(self) -> Mapping[str, Column]:  # type: ignore[override]  # as in PPO
        """The values that PPO reads; the reference's log-probabilities and the phrases where they are asked for."""
        columns = dict(super().columns)
        if self._reads_reference:
            about = "log π_ref of each response token; from agentgym.learners:ReferenceColumn"
            columns["ref_logprob"] = Column("token", -20.0, 0.0, about)
        if self.config.termination == "parsed":
            about = "above 1/2 where a phrase begins; from agentgym.learners:PhraseColumn"
            columns["phrase_begins"] = Column("token", 0.0, 1.0, about)
        return columns

    @property
    def _reads_reference(self) -> bool:
        return self.config.kl_reward_coef > 0 or self.config.termination == "perplexity"

    def learners(self) -> list[LearnerSpec]:
        """Return the critic, and what brings the columns beside the values."""
        config, learners = self.config, super().learners()
        if self._reads_reference:
            learners.append(LearnerSpec("agentgym.learners:ReferenceColumn"))
        if config.termination == "parsed":
            fallback = config.length if config.fallback == "fixed" else 1
            options: dict[str, Any] = {"parser": config.parser, "cutoff": config.cutoff, "fallback": fallback}
            learners.append(LearnerSpec("agentgym.learners:PhraseColumn", options))
        return learners

    def macros(self, batch: StepBatch) -> Macros:
        """Return the macro actions of the batch.

        Raises:
            AlgorithmError: If a column that decides where they end is missing.
        """
        config, offsets = self.config, batch.token_offsets
        begins: Bools
        if config.termination == "fixed":
            begins = segmentation.fixed(offsets, config.length)
        elif config.termination == "randomised":
            draws = (config.lengths, config.repeats, config.seed)
            begins = segmentation.randomised(offsets, batch.token_ids, batch.t, *draws)
        elif config.termination == "perplexity":
            begins = segmentation.perplexity(offsets, self.read(batch, "ref_logprob"))
        else:
            begins = segmentation.turns(offsets)
            if config.termination == "parsed":
                begins |= self.read(batch, "phrase_begins") > 0.5
        if config.lone_last:
            begins = segmentation.close_with_lone_token(begins, offsets)
        return Macros.of(begins, offsets)

    def rewards(self, batch: StepBatch, macros: Macros, earned: Floats) -> Floats:
        """Return R of each macro action, [J].

        Args:
            batch: The batch.
            macros: Its macro actions.
            earned: What each row brought, which lies on its last token, [R].
        """
        config = self.config
        gamma = config.gamma if config.discount == "token" else 1.0
        reward = on_last(earned, batch.token_offsets)
        if not config.kl_reward_coef:
            return segmentation.macro_rewards(macros, reward, gamma)
        logprob = np.asarray(batch.token_columns.get("logprob", batch.logprobs), np.float64)
        penalty = config.kl_reward_coef * (self.read(batch, "ref_logprob") - logprob)
        if config.kl_agg == "sum":
            return segmentation.macro_rewards(macros, reward + penalty, gamma)
        means = segmentation.macro_values(macros, penalty, config.value_of)
        return segmentation.macro_rewards(macros, reward, gamma) + means

    def credit(self, batch: StepBatch) -> Credit:
        """Return the advantage of each token's macro action, and its return as the target of every one of its values.

        Component ``gae``, level "token", ``macro`` filled in.

        Raises:
            AlgorithmError: If a column is missing, or a row has no token to hold its reward.
        """
        config, macros = self.config, self.macros(batch)
        earned, ahead = self.flow(batch)
        reward = self.rewards(batch, macros, earned)
        value = segmentation.macro_values(macros, self.read(batch, "value"), config.value_of)
        advantage = gae(
            reward,
            value,
            *self.layout(batch, macros.offsets),
            gamma=config.gamma,
            lam=config.lam,
            bootstrap=on_last(ahead, macros.offsets),
            duration=macros.lengths if config.discount == "token" else None,
        )
        returns = advantage + value
        credited, targets = (
            column[macros.of_token].astype(np.float32)
            for column in (whiten(advantage) if config.whiten else advantage, returns)
        )
        diagnostics = value_diagnostics(value, returns, advantage)
        if len(macros):
            diagnostics["macro_length_mean"] = float(macros.lengths.mean())
        return Credit(credited, {"gae": credited}, diagnostics, "token", targets, macros.of_token)
