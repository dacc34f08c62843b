"""What can go wrong with values along a path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from agentgym.batch import Credit, StepBatch
from tests.properties.broken.plain import Broken, Floats, Forks, Tree


class ValueOfTheBest(Tree):
    def value(self, outcomes: list[float]) -> float:
        return outcomes[-1]


class MedianOfDescendants(Tree):
    def value(self, outcomes: list[float]) -> float:
        return outcomes[len(outcomes) // 2]


class EachOutcomeOnce(Tree):
    """Paths that fared alike count once."""

    def value(self, outcomes: list[float]) -> float:
        return super().value(sorted(set(outcomes)))


class AgainstTheOthers(Tree):
    """Each branch against the branches it was not, as in leave-one-out."""

    def difference(self, before: list[float], after: list[float]) -> float:
        others = list(before)
        for outcome in after:
            others.remove(outcome)
        return self.value(after) - self.value(others) if others else 0.0


class LastDecisionForgotten(Tree):
    def along(self, differences: Floats) -> Floats:
        return np.append(differences[:-1], 0.0)


class GrowsWithTheDepth(Tree):
    def along(self, differences: Floats) -> Floats:
        return differences * (1 + np.arange(len(differences)))


class NotDivided(Tree):
    exemptions: ClassVar[Mapping[str, str]] = {**Tree.exemptions, "scale": "not looked at here"}
    laws: ClassVar[frozenset[str]] = Tree.laws - {"scale"}

    def divided(self, part: Floats, outcomes: Floats) -> Floats:
        return part


class WrongDivisor(Tree):
    exemptions: ClassVar[Mapping[str, str]] = {**Tree.exemptions, "scale": "not looked at here"}
    laws: ClassVar[frozenset[str]] = Tree.laws - {"scale"}

    def divided(self, part: Floats, outcomes: Floats) -> Floats:
        return type(self)(std=None).config.eps * part if self.config.std is None else part / (outcomes.std() + 1e-6)


class UnnamedPart(Tree):
    def credit(self, batch: StepBatch) -> Credit:
        credit = super().credit(batch)
        parts = {"episode": credit.components["episode"], "differences": credit.components["tree"]}
        return Credit(credit.advantage, parts)


class OnTheDecisionBefore(Tree):
    """What a decision changed goes to the one before it, and the first keeps its own too."""

    def along(self, differences: Floats) -> Floats:
        moved = np.append(differences[1:], 0.0)
        moved[0] += differences[0]
        return moved


class SpreadOverThePath(Tree):
    def along(self, differences: Floats) -> Floats:
        return np.full(len(differences), math.fsum(differences.tolist()) / len(differences))


class Residue(Tree):
    """Values of the same paths differ by rounding, and nothing gates them."""

    def difference(self, before: list[float], after: list[float]) -> float:
        if before[0] == before[-1]:
            return 0.0
        return self.value(after) * (1 + 2.0**-40) - self.value(before)


class ForksOfTheNextState(Forks):
    exemptions: ClassVar[Mapping[str, str]] = {**Forks.exemptions, "truncation": "not looked at here"}
    laws: ClassVar[frozenset[str]] = Forks.laws - {"truncation"}

    def before(self, batch: StepBatch) -> Floats:
        return np.asarray(batch.columns["mc_next_value"], np.float64)


class ForksDiscountedTwice(Forks):
    exemptions: ClassVar[Mapping[str, str]] = {**Forks.exemptions, "truncation": "not looked at here"}
    laws: ClassVar[frozenset[str]] = Forks.laws - {"truncation"}

    def after(self, batch: StepBatch) -> Floats:
        return self.config.gamma * super().after(batch)


class ForksBehindTheEnd(Forks):
    exemptions: ClassVar[Mapping[str, str]] = {**Forks.exemptions, "truncation": "not looked at here"}
    laws: ClassVar[frozenset[str]] = Forks.laws - {"truncation"}

    def after(self, batch: StepBatch) -> Floats:
        return np.where(batch.terminated, 0.25 * batch.columns["mc_value"], super().after(batch))


class TruncationOfForks(Forks):
    def after(self, batch: StepBatch) -> Floats:
        return np.where(batch.truncated, 0.0, super().after(batch))


BROKEN: Broken = {
    "value of the best": (ValueOfTheBest(std=None), "telescoping"),
    "median of the descendants": (MedianOfDescendants(std=None), "telescoping"),
    "each outcome once": (EachOutcomeOnce(), "telescoping"),
    "against the other branches": (AgainstTheOthers(), "telescoping"),
    "last decision forgotten": (LastDecisionForgotten(std=None), "telescoping"),
    "grows with the depth": (GrowsWithTheDepth(), "telescoping"),
    "differences not divided": (NotDivided(), "telescoping"),
    "differences divided by another std": (WrongDivisor(std="sample"), "telescoping"),
    "differences without their name": (UnnamedPart(), "telescoping"),
    "on the decision before": (OnTheDecisionBefore(), "branch-gate"),
    "spread over the path": (SpreadOverThePath(), "branch-gate"),
    "residue without a gate": (Residue(std=None), "branch-gate"),
    "forks of the next state": (ForksOfTheNextState(), "telescoping"),
    "forks discounted twice": (ForksDiscountedTwice(gamma=0.9), "telescoping"),
    "forks behind the end": (ForksBehindTheEnd(), "telescoping"),
    "forks without truncation": (TruncationOfForks(), "truncation"),
}
