"""SCPO: steps of failed episodes that a successful sibling took too get part of the credit back.

Paper: Semantic Consistency Policy Optimization, arXiv 2606.25852. There is no published code, and what could be read
of the paper leaves settings open; the list below says how we read it.

    M_ij = similarity of step i of a failed episode and step j of a successful episode of its group, in [0, 1]
    rᵢ   = max(0, M_ij - λ) / (1 - λ) for the matched j, 0 without one
    G̃ᵢ   = max(Gᵢ, min(Gᵢ + α R rᵢ, cap))                      instead of Gᵢ in the step advantage only
    A    = A^E + ω A^S(G̃)                                      as in ``gigpo``, or another backbone

Notation (paper → name): λ → ``threshold``; α → ``bonus``; R, what a success earns → ``success_reward``; M → matcher.
Each position of the reference, the longest successful sibling, is matched once, and only further along than the steps
before. A group without a success or without a failure gets the backbone's credit bit for bit, and successful episodes
keep their returns.

Our reading where the paper is silent:
    1. α = λ = 0.5, the numbers of its worked examples, on rewards where a success earns 1; ω is the backbone's.
    2. The bonus is added after discounting, to the matched step alone.
    3. cap: a failed step never counts more than the least successful return in its anchor, if there is one.
    4. The paper's order of allocation is neither chronological nor published. ``similarity`` visits steps by falling
       best M and accepts what keeps the matches in the order of the steps; ``optimal`` maximises the total; the others
       go on from the position matched last. Ties go to the position further along, then by text hash, then to the
       earlier step.
    5. A step whose best position is taken or passed is a repeat and gets nothing (``on_repeat``).
    6. Each failed episode has all positions to itself (``scope``). Where a group shares them, episodes alike to the
       last text count as one and divide its bonus.
    7. Steps whose action was invalid or malformed get none (``require_valid``).
    8. Among references of equal length, or score, the better score wins, then the text hash; ``random`` is a hash.
    9. On GRPO, which has no step returns, ω times α R r less its mean over the group's rows is the step term, and the
       cap has no meaning. On HGPO, G̃ replaces G at every depth. A bonus on a row alone in its anchor is lost, unless
       ``singleton="bonus"`` adds it as it is, times ω.
   10. A step is its observation, a line break and its action, without goal and thoughts (``text``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from agentgym.algos._siblings import Matches, Order, Reference, Scope, Text, match, match_bonus
from agentgym.algos.base import Algorithm
from agentgym.algos.functional.statistics import normalise, segments
from agentgym.algos.gigpo import AnchoredAlgorithm, GiGPO, GiGPOConfig
from agentgym.algos.grpo import GRPO
from agentgym.algos.hgpo import HGPO
from agentgym.algos.matchers import MATCHERS, Matcher, get_matcher
from agentgym.batch import Credit, StepBatch
from agentgym.errors import unknown_name

__all__ = ["SCPO", "SCPOConfig", "shaped_returns"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_BACKBONES: Mapping[str, type[Algorithm[Any]]] = {"gigpo": GiGPO, "grpo": GRPO, "hgpo": HGPO}


class SCPOConfig(GiGPOConfig):
    """Settings of SCPO: those of GiGPO, which the backbone gets too, and how failed steps are matched."""

    backbone: Literal["gigpo", "grpo", "hgpo"] = "gigpo"
    """The method that turns step returns into credit; the paper's is GiGPO."""
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    """Settings of the backbone that SCPO lacks, such as HGPO's ``history``, or that differ from those here."""
    bonus: float = Field(0.5, ge=0)
    """α: what a perfect match adds to the step return, as a share of what a success earns; 0 gives the backbone."""
    success_reward: float = Field(1.0, ge=0)
    """R: return of a won episode; scale it with the rewards."""
    success_score: float | None = Field(None, gt=0, le=1)
    """Score from which an episode counts as a success without being won; R is then multiplied by its score."""
    threshold: float = Field(0.5, ge=0, lt=1)
    """λ: similarity up to which a match is worth nothing."""
    matcher: str = "token-overlap"
    """Name out of ``agentgym.algos.matchers.MATCHERS``, or "module:Class"; ``SCPO.matcher`` may be set to an object."""
    matcher_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the matcher, such as ``model``."""
    text: Text = "observation+action"
    """What of a step is compared."""
    reference: Reference = "longest"
    """Which successful sibling is the reference; the longest in the paper."""
    reference_seed: int = 0
    """Changes which sibling ``reference="random"`` picks."""
    order: Order = "similarity"
    """Which failed steps are matched first: the most similar, those of the longest response, the earliest; or all at
    once for the greatest total ("optimal")."""
    monotone: bool = True
    """Whether matches only go further along the reference; without it each position is still matched once."""
    on_repeat: Literal["skip", "next_best"] = "skip"
    """What a step gets whose best position is taken or passed: nothing, or its best position that is not."""
    scope: Scope = "episode"
    """Whether each failed episode, or all of a group together, may match each position once."""
    require_valid: bool = True
    """Whether failed steps with an invalid or malformed action get no bonus."""
    cap: bool = True
    """Whether G̃ of a failed step stops at the least return of a successful step in its anchor."""
    max_total: float | None = Field(None, gt=0)
    """Most that the rᵢ of one episode add up to; above it all are scaled down."""
    singleton: Literal["zero", "bonus"] = "zero"
    """What a matched row alone in its anchor gets for its bonus: nothing, or ω times the bonus itself."""

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if self.order == "optimal" and (not self.monotone or self.scope == "group"):
            raise ValueError("order='optimal' needs monotone=True and scope='episode'; use order='similarity'")
        if self.matcher not in MATCHERS and ":" not in self.matcher:
            raise unknown_name("matcher", self.matcher, [*MATCHERS, "module:Class"])
        self.build_backbone()
        return self

    def build_backbone(self) -> Algorithm[Any]:
        """Return the backbone with the settings it shares with SCPO.

        Raises:
            ConfigError: If ``backbone_options`` do not fit it.
        """
        kind = _BACKBONES[self.backbone]
        shared = {
            name: getattr(self, name) for name in type(self).model_fields if name in kind.config_class.model_fields
        }
        return kind(**{**shared, **self.backbone_options})


def shaped_returns(returns: Floats, bonus: Floats, success: Bools, place: Ints | None) -> Floats:
    """Return G̃ = max(G, min(G + bonus, cap)), [R].

    Args:
        returns: G, [R].
        bonus: α R r, at least 0, [R].
        success: Whether the row's episode succeeded, [R].
        place: Dense code of the row's anchor, [R]; the cap is the least G of successful rows there. None for no cap.
    """
    least: Floats | float = np.inf
    if place is not None:
        caps = np.full(place.max(initial=-1) + 1, np.inf)
        np.minimum.at(caps, place[success], returns[success])
        least = caps[place]
    return np.maximum(returns, np.minimum(returns + bonus, least))


class SCPO(Algorithm[SCPOConfig]):
    """Semantic consistency policy optimisation.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(
    ...     group=[0] * 4, episode=[0, 0, 1, 1], t=[0, 1, 0, 1], anchor=[0, 1, 0, 1], reward=[0, 1, 0, 0],
    ...     won=[True, True, False, False], observations=("hall", "desk", "hall", "desk"),
    ...     actions=("go to desk", "take mug", "go to desk", "look"),
    ... )
    >>> SCPO(std=None, gamma=1.0).credit(batch).components["bonus"].tolist()
    [-0.25, 0.0, 0.25, 0.0]
    """

    laws: ClassVar[frozenset[str]] = GRPO.laws - {"zero-sum", "lone", "scale"}
    exemptions: ClassVar[Mapping[str, str]] = {
        **GRPO.exemptions,
        "zero-sum": "a bonus on a row alone in its anchor may be added as it is, and HGPO as backbone is not centred",
        "lone": "the law is the backbone's, and HGPO may average what a lone episode gives with its steps' items",
        "scale": "on GRPO the bonus is centred and not divided, so it grows with success_reward where A^E does not",
    }
    reward_settings: ClassVar[frozenset[str]] = Algorithm.reward_settings | {"success_reward"}

    @property
    def backbone(self) -> Algorithm[Any]:
        """The method that turns step returns into credit."""
        return self.config.build_backbone()

    def zero_sum_units(self, batch: StepBatch) -> Mapping[str, Ints]:
        """Return the units of the backbone, and those of its step advantage for the bonus, over rows on GRPO."""
        units = self.backbone.zero_sum_units(batch)
        return {**units, "bonus": batch.group if self.config.backbone == "grpo" else units["step"]}

    @cached_property
    def matcher(self) -> Matcher:
        """The matcher, built on first use; set it to bring an object of your own."""
        return get_matcher(self.config.matcher, **self.config.matcher_options)

    def successes(self, batch: StepBatch) -> Bools:
        """Return whether each row's episode counts as a success, [R]."""
        least = self.config.success_score
        return batch.won if least is None else batch.won | (batch.score >= least)

    def match(self, batch: StepBatch) -> Matches:
        """Return the failed steps beside those of their reference, and the similarity of each pair.

        This is where texts are hashed and the matcher runs; the rest of ``credit`` is arithmetic.

        Raises:
            AlgorithmError: If a group has successes and failures, but the batch dropped its texts.
        """
        config = self.config
        return match(
            batch,
            self.successes(batch),
            self.matcher,
            text=config.text,
            reference=config.reference,
            seed=config.reference_seed,
            scope=config.scope,
            require_valid=config.require_valid,
        )

    def bonus(self, matches: Matches) -> Floats:
        """Return r of every row, in [0, 1]; 0 on every row that is not a matched failed step, [R]."""
        config = self.config
        return match_bonus(
            matches,
            threshold=config.threshold,
            order=config.order,
            monotone=config.monotone,
            retry=config.on_repeat == "next_best",
            scope=config.scope,
            max_total=config.max_total,
        )

    def credit(self, batch: StepBatch) -> Credit:
        """Return the backbone's credit with shaped step returns; the difference is component ``bonus``."""
        return self.credit_of(batch, self.match(batch))

    def credit_of(self, batch: StepBatch, matches: Matches) -> Credit:
        """Return the credit for given matches, see ``match``."""
        config, backbone = self.config, self.backbone
        share = self.bonus(matches)
        added = config.bonus * config.success_reward * matches.reward * share
        lost = np.zeros(len(batch), np.bool_)
        if isinstance(backbone, AnchoredAlgorithm):
            returns, anchor = backbone.step_returns(batch), backbone.anchors(batch)
            plain = backbone.credit_of(batch, returns, anchor)
            _, place = np.unique(batch.group * (anchor.max(initial=0) + 1) + anchor, return_inverse=True)
            shaped = shaped_returns(returns, added, self.successes(batch), place if config.cap else None)
            bonus = backbone.moved(batch, plain, shaped, anchor)
            lost = (share > 0) & (np.bincount(place)[place] == 1)
            if config.singleton == "bonus":
                weight = 1.0 if config.backbone == "hgpo" else config.omega
                bonus += np.where(lost, weight * (shaped - returns), 0.0).astype(np.float32)
        else:
            plain = backbone.credit(batch)
            relative = normalise(segments(added, batch.group), std=None, eps=config.eps)
            bonus = (config.omega * relative).astype(np.float32)
        advantage = plain.advantage + bonus
        diagnostics = dict(plain.diagnostics)
        if len(batch):
            diagnostics["credited_row_share"] = float((advantage != 0).mean())
            diagnostics["matched_row_share"] = float((share > 0).mean())
            diagnostics["mean_match_credit"] = float(share.sum() / max((share > 0).sum(), 1))
            diagnostics["lone_match_share"] = float(lost.sum() / max((share > 0).sum(), 1))
        return Credit(advantage, {**plain.components, "bonus": bonus}, diagnostics)
