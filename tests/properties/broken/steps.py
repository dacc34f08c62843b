"""What can go wrong with step returns, anchors and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from agentgym.algos.functional.statistics import normalise, segments
from agentgym.batch import StepBatch
from tests.properties.broken.plain import Broken, Floats, Ints, Steps, Values


class ReturnWithoutOwnReward(Steps):
    def returns(self, batch: StepBatch) -> Floats:
        return super().returns(batch) - batch.reward


class ReturnPerStepLeft(Steps):
    def returns(self, batch: StepBatch) -> Floats:
        return super().returns(batch) / (np.bincount(batch.episode)[batch.episode] - batch.t)


class ReturnsRunOn(Steps):
    """The return does not stop at the end of its episode."""

    def returns(self, batch: StepBatch) -> Floats:
        found, later = np.zeros(len(batch)), 0.0
        for row in range(len(batch) - 1, -1, -1):
            later = batch.reward[row] + self.config.gamma * later
            found[row] = later
        return found


class AnchorsAcrossGroups(Steps):
    def places(self, batch: StepBatch) -> Ints:
        return batch.anchor


class AnchorsWithTheBatchStd(Steps):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        centred = normalise(segments(x, self.places(batch)), std=None, eps=self.config.eps)
        return centred / (np.sort(x).std() + self.config.eps)


class LoneAnchorRaw(Steps):
    laws: ClassVar[frozenset[str]] = Steps.laws - {"shift", "scale"}  # which it breaks too
    exemptions: ClassVar[Mapping[str, str]] = {
        **Steps.exemptions,
        "shift": "not looked at here",
        "scale": "not looked at here",
    }

    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        return normalise(segments(x, self.places(batch)), std=self.config.std, eps=self.config.eps, lone="raw")


class CentredOnTheGroup(Steps):
    laws: ClassVar[frozenset[str]] = Steps.laws - {"ties"}  # which it breaks too
    exemptions: ClassVar[Mapping[str, str]] = {**Steps.exemptions, "ties": "not looked at here"}

    def places(self, batch: StepBatch) -> Ints:
        return batch.group


class ObservationInsteadOfState(Steps):
    """Asked for ``anchor="state"``, it still compares rows that only look alike."""


class ResidueInAnchors(Steps):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        places, result = self.places(batch), np.zeros(len(x))
        for place in np.unique(places):
            inside = places == place
            values = np.sort(x[inside])
            if len(values) > 1:
                result[inside] = (x[inside] - values.mean()) / (values.std(ddof=1) + self.config.eps)
        return result


class AnchorSumsInRowOrder(Steps):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        places = self.places(batch)
        total = np.zeros(int(places.max()) + 1, np.float32)
        np.add.at(total, places, x.astype(np.float32))
        mean = total / np.maximum(np.bincount(places), 1)
        tied = normalise(segments(x, places), std=None, eps=self.config.eps) == 0
        return np.where(tied, 0.0, x - mean[places])


class TruncationAsTermination(Values):
    def ahead(self, batch: StepBatch) -> Floats:
        return np.zeros(len(batch))


class BootstrapWithoutGamma(Values):
    def ahead(self, batch: StepBatch) -> Floats:
        return super().ahead(batch) / self.config.gamma


class BootstrapOneStepLate(Values):
    def ahead(self, batch: StepBatch) -> Floats:
        return super().ahead(batch) * self.config.gamma


class CarriedWithoutGamma(Values):
    def carried(self) -> float:
        return self.config.lam


class BootstrapNotCarried(Values):
    def carried(self) -> float:
        return 0.0


class BootstrapWithTheReward(Values):
    def ahead(self, batch: StepBatch) -> Floats:
        return np.where(batch.terminated, 0.0, batch.reward)


BROKEN: Broken = {
    "return without the step's own reward": (ReturnWithoutOwnReward(), "shift"),
    "return per step left": (ReturnPerStepLeft(), "shift"),
    "returns run on into the next episode": (ReturnsRunOn(), "permutation"),
    "anchors across groups": (AnchorsAcrossGroups(), "locality"),
    "anchors with the std of the batch": (AnchorsWithTheBatchStd(), "locality"),
    "lone anchor raw": (LoneAnchorRaw(), "lone"),
    "step credit centred on the group": (CentredOnTheGroup(), "zero-sum"),
    "observation instead of state": (ObservationInsteadOfState(anchor="state"), "zero-sum"),
    "residue in anchors": (ResidueInAnchors(), "ties"),
    "anchor sums in row order": (AnchorSumsInRowOrder(std=None), "permutation"),
    "truncation as termination": (TruncationAsTermination(std=None), "truncation"),
    "bootstrap without gamma": (BootstrapWithoutGamma(std=None, gamma=0.9), "truncation"),
    "off-by-one discount": (BootstrapOneStepLate(std=None, gamma=0.9), "truncation"),
    "carried without gamma": (CarriedWithoutGamma(std=None, gamma=0.9), "truncation"),
    "bootstrap not carried": (BootstrapNotCarried(std=None), "truncation"),
    "bootstrap with the reward": (BootstrapWithTheReward(std=None), "truncation"),
}
