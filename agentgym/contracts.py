"""Protocols and plain data between rooms: what algorithms ask for, and what losses read and return.

Torch appears in annotations only, so that offline credit runs without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from agentgym.batch import StepBatch
from agentgym.episodes import Episode

if TYPE_CHECKING:
    import torch

__all__ = [
    "CollectorSpec",
    "DrawingLearner",
    "Learner",
    "LearnerContext",
    "LearnerSpec",
    "Loss",
    "ReportingLearner",
    "TokenBatch",
    "ValueLearner",
    "WarmingLearner",
]


@dataclass(frozen=True, slots=True)
class CollectorSpec:
    """Which collector an algorithm needs, as plain data; ``rollouts`` builds it by name.

    Attributes:
        name: Name in the collector table, ``"group"`` by default.
        options: Keyword arguments of the collector.
    """

    name: str = "group"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LearnerSpec:
    """Which auxiliary learner an algorithm needs, as plain data.

    Attributes:
        name: Where the class is, such as ``"agentgym.learners:Critic"``.
        options: Keyword arguments of the class.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LearnerContext:
    """What a trainer hands each learner once, before the first iteration.

    Attributes:
        policy: The ``HFPolicy`` being trained, after its warm start.
        accelerator: The ``accelerate.Accelerator`` of the run: device, precision and the other processes.
        seed: Seed of the run.
        tokens_per_microbatch: Largest number of tokens in one forward pass, padding included.
        reference: Returns the policy as it was when the run began, with ``logp(micro)``; kept once for all who ask, and
            only if somebody does.
    """

    policy: Any
    accelerator: Any
    seed: int
    tokens_per_microbatch: int
    reference: Callable[[], Any]


class Learner(Protocol):
    """Adds named columns before ``credit`` reads them, and may train on its own schedule.

    Every process calls every method with the same arguments and must be left with the same columns and weights.
    """

    def setup(self, context: LearnerContext) -> None:
        """Get ready; called once, before ``load_state_dict`` of a run that resumes."""
        ...

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        """Train on ``batch`` if it is time to, and return it with this learner's columns.

        Args:
            batch: The rows of all processes.
            episodes: The episodes of ``batch``, in the order of their codes.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned."""
        ...


@runtime_checkable
class ValueLearner(Protocol):
    """A learner whose value model the trainer trains together with the policy, by the algorithm's own loss.

    Attributes:
        value_model: Module whose forward pass takes (ids, select, the policy's hidden states before the chosen tokens)
            and returns one value a chosen token, float32 [L].
        rate: Its learning rate over that of the policy, whose schedule it follows; above 0.
    """

    value_model: torch.nn.Module
    rate: float


@runtime_checkable
class ReportingLearner(Protocol):
    """A learner with figures of its own, which the trainer logs with those of the batch."""

    def metrics(self) -> Mapping[str, float]:
        """Return the figures of the last ``update`` by their full names, the same in every process.

        What cannot be said is left out. Over several batches of an iteration a figure is averaged.
        """
        ...


@runtime_checkable
class WarmingLearner(Protocol):
    """A learner that may ask for the policy to be left alone until it has learned something itself."""

    @property
    def warming(self) -> bool:
        """Whether the trainer is to make no optimiser step on the batch of the last ``update``.

        The same in every process. The batch is credited and reported all the same.
        """
        ...


@runtime_checkable
class DrawingLearner(Protocol):
    """A learner that has the policy speak anew, without an environment, in states of the learner's choice.

    What is said then may teach the policy in place of the batch that was played.
    """

    @property
    def drawn_tokens(self) -> int:
        """Number of tokens that the policy generated for this learner since the last ``update`` began, at least 0.

        Over all processes, and the same in every one. They count among the generated tokens of the run.
        """
        ...

    def draws(self) -> Iterator[tuple[StepBatch, Sequence[Episode]]] | None:
        """Return what to step on in place of the batch of the last ``update``, or None for that batch itself.

        The trainer asks once the batch was credited, unless the policy is to be left alone, and takes all there is. It
        credits each item and steps on it before it asks for the next, which is so said by the policy as it is then. An
        item is a batch with this learner's columns, and its episodes in the order of their codes; of the other learners
        only a ``ValueLearner`` sees it. What was played is credited and reported all the same.
        """
        ...


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Response tokens of one micro-batch as flat tensors, and the global counts of the whole batch.

    Micro-batch losses that divide by the global counts sum to the full-batch loss exactly, on any number of ranks.

    Attributes:
        logp: Log-probabilities under the policy being trained, float [L], with gradient.
        old_logp: Behaviour log-probabilities, float [L].
        advantage: Advantage of each token, float [L].
        mask: Which tokens count, bool [L].
        row: Row of each token, int64 [L], dense within the whole batch.
        episode: Episode of each token, int64 [L].
        tokens_in_row: Number of counted tokens in this token's row, over the whole batch, float [L].
        total_tokens: Counted tokens in the whole batch.
        total_rows: Rows in the whole batch.
        total_episodes: Episodes in the whole batch.
        ref_logp: Log-probabilities under the reference policy, float [L], or None.
        entropy: Entropy of the policy at each token in nats, float [L] with gradient, or None where not asked for.
        values: Values under the critic being trained, float [L] with gradient, or None where none is trained.
        old_values: Values that the advantage was computed with, float [L], or None.
        returns: Targets of the values, float [L], or None.
        value_mask: Tokens at which a value has a target: all that count at token level, the first of each row at row
            level, bool [L], or None.
        macro: Code of the macro action of each token, a run of tokens of its row, int64 [L], or None.
    """

    logp: torch.Tensor
    old_logp: torch.Tensor
    advantage: torch.Tensor
    mask: torch.Tensor
    row: torch.Tensor
    episode: torch.Tensor
    tokens_in_row: torch.Tensor
    total_tokens: int
    total_rows: int
    total_episodes: int
    ref_logp: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    values: torch.Tensor | None = None
    old_values: torch.Tensor | None = None
    returns: torch.Tensor | None = None
    value_mask: torch.Tensor | None = None
    macro: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """A scalar to differentiate and what to log.

    Attributes:
        total: Scalar tensor with gradient; micro-batch totals sum to the batch's.
        metrics: Named, detached sums over this micro-batch already divided by global counts, so that they add up too.
    """

    total: torch.Tensor
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)
