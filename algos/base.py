"""What every algorithm is: a frozen configuration and a thin class between batches, credit and losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentgym.algos.functional.losses import Aggregation, KLEstimator, Ratio, policy_loss
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import CollectorSpec, LearnerSpec, Loss, TokenBatch
from agentgym.errors import AlgorithmError, ConfigError, suggest

__all__ = ["LAWS", "VALUE_LAWS", "Algorithm", "AlgorithmConfig", "Column"]

LAWS = ("zero-sum", "ties", "lone", "shift", "scale", "permutation", "locality", "mask", "micro-batch", "truncation")
"""Names of the laws of credit that an algorithm promises in ``laws`` or exempts itself from in ``exemptions``."""

VALUE_LAWS = ("telescoping", "branch-gate")
"""Names of the laws of values along a path. They say nothing about most methods: one that keeps them promises them in
``laws``, and the others need not name them."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column that ``credit`` reads and a learner or collector must add, as plain data.

    Attributes:
        level: "row" for ``batch.columns``, "token" for ``batch.token_columns``.
        low: Least value the method is made for.
        high: Greatest value the method is made for.
        about: What it holds, in words, and who brings it.
    """

    level: Literal["row", "token"]
    low: float
    high: float
    about: str


class AlgorithmConfig(BaseModel):
    """Settings of the loss, shared by every algorithm; subclasses add their own.

    Raises:
        ConfigError: If a name is unknown or a value is out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    clip_low: float = Field(0.2, ge=0, le=1)
    """ε_low: the ratio of new to old probability counts down to 1 - ε_low."""
    clip_high: float = Field(0.2, ge=0)
    """ε_high: the ratio counts up to 1 + ε_high; above ε_low it is "clip-higher"."""
    dual_clip: float | None = Field(None, gt=1)
    """c: bounds the loss of a token with negative advantage to -A c; None leaves it unbounded."""
    kl_coef: float = Field(0.0, ge=0)
    """β: weight of the KL divergence from the reference policy; above 0 the trainer keeps a reference."""
    kl_estimator: KLEstimator = "k3"
    """Estimator of the KL divergence."""
    entropy_coef: float = Field(0.0, ge=0)
    """α: weight of the entropy bonus."""
    aggregation: Aggregation = "token-mean"
    """How token losses are averaged; a sequence is a row, one decision."""
    norm_tokens: int = Field(512, ge=1)
    """Divisor of a row's summed loss in "seq-mean-token-sum-norm": a constant, such as the longest response allowed."""
    ratio: Ratio = "token"
    """ρ, the ratio of new to old probability: of each token, of its macro action (the product over tokens; only methods
    with macro actions), or of its whole row (the geometric mean over tokens)."""
    keep_clipped: bool = False
    """Whether a good token that ε_high holds back keeps its gradient, at the weight 1 + ε_high (AEPO)."""

    if not TYPE_CHECKING:  # type checkers keep the signature that pydantic makes from the fields

        def __init__(self, **settings: Any) -> None:
            try:
                super().__init__(**settings)
            except ValidationError as error:
                raise ConfigError(_explain(type(self), error)) from None


def _explain(config: type[AlgorithmConfig], error: ValidationError) -> str:
    """Return one sentence per wrong setting: its name and value, what is allowed, and the nearest right name."""
    sentences = []
    for item in error.errors():
        name = ".".join(map(str, item["loc"]))
        if item["type"] == "extra_forbidden":
            fields = list(config.model_fields)
            hint = f"{suggest(name, fields)}Allowed: {', '.join(fields)}"
            sentences.append(f"{config.__name__} has no setting {name!r} (given {item['input']!r}). {hint}.")
        elif name:
            sentences.append(f"{config.__name__}.{name} = {item['input']!r}: {item['msg']}.")
        else:
            sentences.append(f"{config.__name__}: {item['msg']}.")
    return " ".join(sentences)


ConfigT = TypeVar("ConfigT", bound=AlgorithmConfig)


class Algorithm(Generic[ConfigT]):
    """Base class of the algorithms; a subclass must write ``credit``, the rest has defaults.

    ``class GiGPO(Algorithm[GiGPOConfig])`` is built with settings, ``GiGPO(omega=1.0)``, or with a configuration,
    ``GiGPO(GiGPOConfig(omega=1.0))``.

    Attributes:
        config_class: The configuration, taken from the brackets behind ``Algorithm``.
        laws: Names out of ``LAWS`` and ``VALUE_LAWS`` that hold for this algorithm, whatever its settings.
        exemptions: Every other law of ``LAWS``, with the reason why it is not promised;
            ``agentgym.testing.check_algorithm`` refuses a class that leaves a law unnamed, names it twice or gives no
            reason.
        columns: Columns that ``credit`` reads beyond those of every batch, by name.
        reward_settings: Settings in units of the reward, which grow with it in the law "scale".
        config: The settings.
    """

    config_class: ClassVar[type[AlgorithmConfig]] = AlgorithmConfig
    laws: ClassVar[frozenset[str]] = frozenset()
    exemptions: ClassVar[Mapping[str, str]] = {}
    columns: ClassVar[Mapping[str, Column]] = {}
    reward_settings: ClassVar[frozenset[str]] = frozenset({"eps", "format_penalty", "invalid_penalty"})
    config: ConfigT

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            origin, arguments = get_origin(base), get_args(base)
            if isinstance(origin, type) and issubclass(origin, Algorithm) and isinstance(arguments[0], type):
                cls.config_class = arguments[0]

    def __init__(self, config: ConfigT | None = None, /, **settings: Any) -> None:
        if config is None:
            # ConfigT is the class that __init_subclass__ stored, which the type system cannot see.
            self.config = self.config_class(**settings)  # type: ignore[assignment]
        elif settings:
            raise ConfigError(f"{type(self).__name__} takes a configuration or settings, not both; got {settings}")
        elif not isinstance(config, self.config_class):
            raise ConfigError(f"{type(self).__name__} takes a {self.config_class.__name__}, not {config!r}")
        else:
            self.config = config

    def __repr__(self) -> str:
        settings = self.config.model_dump(exclude_defaults=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"

    def credit(self, batch: StepBatch) -> Credit:
        """Return the credit of every row, or of every token, as a pure function of the batch.

        Args:
            batch: Whole groups; row order carries no meaning.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define credit(batch)")

    def read(self, batch: StepBatch, name: str) -> npt.NDArray[np.float64]:
        """Return a declared column that a learner or a collector added, [R] or [L] by its level.

        Raises:
            AlgorithmError: If the batch lacks it; the message says what brings it.
        """
        column = self.columns[name]
        added = batch.columns if column.level == "row" else batch.token_columns
        if name not in added:
            raise AlgorithmError(f"{type(self).__name__} needs the {column.level} column {name!r}: {column.about}")
        return np.asarray(added[name], np.float64)

    def zero_sum_units(self, batch: StepBatch) -> Mapping[str, npt.NDArray[np.int64]]:
        """Return what the law "zero-sum" sums: for each centred part of the credit, a code for each of its entries.

        Entries with equal codes sum to zero, those with -1 do not count (in base "episodes" all rows of an episode but
        one). By default ``episode`` is centred over the episodes of each group, or over its rows where the settings
        have ``base="rows"``; ``step`` over the rows of a group with one observation, or with one true state where the
        settings have ``anchor="state"``. A method that centres something else overrides this.

        Args:
            batch: The batch the credit was computed from.

        Returns:
            Names of components, or "advantage" for their sum, to codes, [R] or [L]. Names that the credit lacks are
            passed over; where it has none of them, the code of ``episode`` is used for "advantage".
        """
        place = batch.state if getattr(self.config, "anchor", "obs") == "state" else batch.anchor
        one_each = (batch.t == 0) | (getattr(self.config, "base", "episodes") == "rows")
        return {
            "episode": np.where(one_each, batch.group, -1),
            "step": batch.group * (place.max(initial=0) + 1) + place,
        }

    def collector(self) -> CollectorSpec:
        """Return which collector this algorithm needs; the group collector unless it says otherwise."""
        return CollectorSpec()

    def learners(self) -> list[LearnerSpec]:
        """Return the auxiliary learners whose columns ``credit`` reads; none unless it says otherwise."""
        return []

    @property
    def zero_advantage_is_silent(self) -> bool:
        """Whether tokens of zero advantage leave the gradient alone, so that a trainer need not run the model on them.

        True of the default loss without KL and entropy terms; an algorithm with a loss of its own overrides this if
        it may.
        """
        return type(self).loss is Algorithm.loss and self.config.kl_coef == 0 and self.config.entropy_coef == 0

    def loss(self, tokens: TokenBatch) -> Loss:
        """Return the loss of a micro-batch: the clipped surrogate with KL and entropy unless it says otherwise."""
        config = self.config
        return policy_loss(
            tokens,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            dual_clip=config.dual_clip,
            kl_coef=config.kl_coef,
            kl_estimator=config.kl_estimator,
            entropy_coef=config.entropy_coef,
            aggregation=config.aggregation,
            norm_tokens=config.norm_tokens,
            ratio=config.ratio,
            keep_clipped=config.keep_clipped,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold; nothing unless the algorithm remembers across batches."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned.

        Raises:
            ConfigError: If there is state and the algorithm keeps none.
        """
        if state:
            raise ConfigError(f"{type(self).__name__} keeps no state, but was given {sorted(state)}; is it another's?")
