"""What can go wrong with the answer itself, and with being a function of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from agentgym.algos.base import Column
from agentgym.batch import Credit, StepBatch
from tests.properties.broken.plain import Broken, Floats, Plain, Steps


class DoublePrecision(Plain):
    def credit(self, batch: StepBatch) -> Credit:
        advantage: Any = self.relative(self.returns(batch), batch)
        return Credit(advantage, {"episode": advantage})


class OneValueAToken(Plain):
    """Token-level values, called row-level."""

    def credit(self, batch: StepBatch) -> Credit:
        return Credit(np.repeat(super().credit(batch).advantage, np.diff(batch.token_offsets)))


class OneValueAnEpisode(Plain):
    def credit(self, batch: StepBatch) -> Credit:
        return Credit(super().credit(batch).advantage[batch.t == 0])


class OmegaForgottenInTheSum(Steps):
    def credit(self, batch: StepBatch) -> Credit:
        parts = super().credit(batch).components
        return Credit(parts["episode"] + parts["step"] / np.float32(self.config.omega), parts)


class PartNotNamed(Steps):
    def credit(self, batch: StepBatch) -> Credit:
        credit = super().credit(batch)
        return replace(credit, components={"episode": credit.components["episode"]})


class NotANumberOnTies(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        centred = type(self)(std=None).credit_of(x, batch)
        spread = np.array([centred[batch.group == group].std() for group in batch.group])
        with np.errstate(invalid="ignore", divide="ignore"):
            return centred / spread

    def credit_of(self, x: Floats, batch: StepBatch) -> Floats:
        return Plain.relative(self, x, batch)


class DiagnosticNotANumber(Plain):
    def credit(self, batch: StepBatch) -> Credit:
        return replace(super().credit(batch), diagnostics={"share": float("nan")})


class FailsOnEmptyResponses(Plain):
    def credit(self, batch: StepBatch) -> Credit:
        first = batch.token_ids[batch.token_offsets[:-1]] if len(batch.token_ids) else np.zeros(0)
        means = [batch.logprobs[a:b].max() for a, b in zip(batch.token_offsets, batch.token_offsets[1:], strict=False)]
        assert len(first) == len(means)
        return super().credit(batch)


class ChangesTheRewards(Plain):
    def returns(self, batch: StepBatch) -> Floats:
        batch.reward[:] -= batch.reward.min()
        return super().returns(batch)


class ChangesItsColumn(Plain):
    columns: ClassVar[Mapping[str, Column]] = {"progress": Column("row", 0.0, 1.0, "progress of the row")}

    def credit(self, batch: StepBatch) -> Credit:
        batch.columns["progress"][:] = 0.0
        return super().credit(batch)


class RunningMean(Plain):
    seen = 0.0

    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        self.seen = 0.9 * self.seen + 0.1 * float(np.sort(x).mean())
        return super().relative(x, batch) + self.seen


class FirstBatchForEver(Plain):
    baseline: float | None = None

    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        if self.baseline is None:
            self.baseline = float(np.sort(x).mean())
        return x - self.baseline


class StateNotSaved(Plain):
    count = 0

    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        self.count += 1
        return super().relative(x, batch) * (1 + 1 / self.count)

    def state_dict(self) -> dict[str, Any]:
        return {"version": 1}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class Noise(Plain):
    generator = np.random.default_rng(0)

    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        return super().relative(x, batch) + 1e-3 * self.generator.normal(size=len(x))


BROKEN: Broken = {
    "double precision": (DoublePrecision(), "answers"),
    "one value a token": (OneValueAToken(), "answers"),
    "one value an episode": (OneValueAnEpisode(), "answers"),
    "omega forgotten in the sum": (OmegaForgottenInTheSum(omega=0.5), "answers"),
    "a part without a name": (PartNotNamed(), "answers"),
    "not a number on ties": (NotANumberOnTies(), "answers"),
    "a diagnostic that is not a number": (DiagnosticNotANumber(), "answers"),
    "fails on empty responses": (FailsOnEmptyResponses(), "answers"),
    "changes the rewards": (ChangesTheRewards(), "purity"),
    "changes its column": (ChangesItsColumn(), "purity"),
    "running mean that is not saved": (RunningMean(), "purity"),
    "baseline of the first batch for ever": (FirstBatchForEver(), "purity"),
    "state that is not saved": (StateNotSaved(), "purity"),
    "noise": (Noise(), "purity"),
}
