"""What can go wrong with group statistics."""

from __future__ import annotations

import numpy as np

from agentgym.algos.functional.statistics import normalise, segments
from agentgym.batch import Credit, StepBatch
from tests.properties.broken.plain import Broken, Floats, Plain


def by_group(x: Floats, batch: StepBatch) -> list[tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Floats]]:
    """Return the rows of each group and one score an episode, sorted."""
    found = []
    for group in np.unique(batch.group):
        rows = np.flatnonzero(batch.group == group)
        _, first = np.unique(batch.episode[rows], return_index=True)
        found.append((rows, np.sort(x[rows][first])))
    return found


class LeakBetweenGroups(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        return super().relative(x, batch) + 0.01 * np.sort(x).mean() * (np.unique(batch.group).size > 1)


class MeanOfTheBatch(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        everything = np.concatenate([scores for _, scores in by_group(x, batch)])
        return x - np.sort(everything).mean()


class StdOfTheBatch(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        centred = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            if scores[0] != scores[-1]:
                centred[rows] = x[rows] - scores.mean()
        return centred / (np.sort(x).std() + self.config.eps)


class DividedByNumberOfGroups(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        return super().relative(x, batch) / np.unique(batch.group).size


class LargestGroupSetsTheScale(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        return super().relative(x, batch) * np.unique(batch.group, return_counts=True)[1].max()


class RowsInsteadOfEpisodes(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        return normalise(segments(x, batch.group), std=self.config.std, eps=self.config.eps)


class EpisodesInsteadOfRows(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            if scores[0] != scores[-1]:
                relative[rows] = (x[rows] - scores.mean()) / (scores.std(ddof=1) + self.config.eps)
        return relative


class MedianBaseline(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            relative[rows] = x[rows] - np.median(scores)
        return relative


class BestBaseline(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            relative[rows] = x[rows] - scores[-1]
        return relative


class BonusOnSuccess(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        return super().relative(x, batch) + 0.5 * batch.won


class OnlyPositive(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        return np.maximum(super().relative(x, batch), 0.0)


class WrongStd(Plain):
    """Takes the standard deviation that its settings do not name."""

    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative, ddof = np.zeros(len(x)), int(self.config.std == "population")
        for rows, scores in by_group(x, batch):
            if scores[0] != scores[-1]:
                relative[rows] = (x[rows] - scores.mean()) / (scores.std(ddof=ddof) + self.config.eps)
        return relative


class EpsilonUnderTheRoot(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            if scores[0] != scores[-1]:
                relative[rows] = (x[rows] - scores.mean()) / np.sqrt(scores.var(ddof=1) + self.config.eps)
        return relative


class ForgottenEpsilon(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            if scores[0] != scores[-1]:
                relative[rows] = (x[rows] - scores.mean()) / scores.std(ddof=1)
        return relative


class PenaltyOfFixedSize(Plain):
    def returns(self, batch: StepBatch) -> Floats:
        return super().returns(batch) - 0.1 * ~batch.valid


class SquaredReturns(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        centred = super().relative(x, batch)
        squares = centred * np.abs(centred)
        return super().relative(squares, batch)


class DividedByTheMean(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            if scores[0] != scores[-1]:
                relative[rows] = (x[rows] - scores.mean()) / (np.abs(scores).mean() + self.config.eps)
        return relative


class LengthBonus(Plain):
    def returns(self, batch: StepBatch) -> Floats:
        return super().returns(batch) + 0.01 * np.bincount(batch.episode)[batch.episode]


class ResidueOnTies(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            if len(scores) > 1:
                relative[rows] = (x[rows] - scores.mean()) / (scores.std(ddof=1) + self.config.eps)
        return relative


class Float32Accumulation(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            if len(scores) > 1:
                mean = np.add.accumulate(scores.astype(np.float32))[-1] / np.float32(len(scores))
                centred = x[rows].astype(np.float32) - mean
                relative[rows] = centred / (scores.astype(np.float32).std(ddof=1) + self.config.eps)
        return relative


class LoneRawWhenZeroIsPromised(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = super().relative(x, batch)
        for rows, scores in by_group(x, batch):
            if len(scores) == 1 and self.config.lone == "zero":
                relative[rows] = x[rows]
        return relative


class LoneZeroWhenRawIsAsked(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = super().relative(x, batch)
        for rows, scores in by_group(x, batch):
            if len(scores) == 1:
                relative[rows] = 0.0
        return relative


class LoneNeverRaises(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        if self.config.lone == "raise":
            return type(self)(lone="zero").relative(x, batch)
        return super().relative(x, batch)


class LoneDividedByItself(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = super().relative(x, batch)
        for rows, scores in by_group(x, batch):
            if len(scores) == 1 and self.config.lone == "raw":
                relative[rows] = x[rows] / (np.abs(x[rows]) + self.config.eps)
        return relative


class IndexTieBreak(Plain):
    """The best episode, the first of several, against the rest."""

    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            if scores[0] != scores[-1]:
                best = batch.episode == batch.episode[rows[np.argmax(x[rows])]]
                relative[rows] = np.where(best[rows], 1.0, -1.0 / (len(scores) - 1))
        return relative


class CodeTieBreak(Plain):
    """The best episode, that with the smallest code of several, against the rest."""

    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        relative = np.zeros(len(x))
        for rows, scores in by_group(x, batch):
            if scores[0] != scores[-1]:
                best = batch.episode[rows][x[rows] == scores[-1]].min()
                relative[rows] = np.where(batch.episode[rows] == best, 1.0, -1.0 / (len(scores) - 1))
        return relative


class WeighedByCode(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        return super().relative(x, batch) * (1 + 0.01 * batch.group)


class SumsInRowOrder(Plain):
    def returns(self, batch: StepBatch) -> Floats:
        total = np.zeros(int(batch.episode.max()) + 1, np.float32)
        np.add.at(total, batch.episode, batch.reward.astype(np.float32))
        return total[batch.episode].astype(np.float64)


class GroupsByPosition(Plain):
    def relative(self, x: Floats, batch: StepBatch) -> Floats:
        runs = np.cumsum(np.append(0, np.diff(batch.group) != 0))
        return normalise(segments(x, runs), std=self.config.std, eps=self.config.eps)


class ReturnOfTheLastRowSeen(Plain):
    def returns(self, batch: StepBatch) -> Floats:
        last = {int(e): float(r) for e, r in zip(batch.episode, batch.reward, strict=True)}
        return np.array([last[int(e)] for e in batch.episode])


class Credited(Plain):
    """Whitens over the rows of the batch after all."""

    def credit(self, batch: StepBatch) -> Credit:
        values = super().credit(batch).advantage.astype(np.float64)
        whitened = ((values - np.sort(values).mean()) / (np.sort(values).std() + 1e-8)).astype(np.float32)
        return Credit(whitened, {"episode": whitened})


BROKEN: Broken = {
    "leak between groups": (LeakBetweenGroups(), "locality"),
    "mean of the batch": (MeanOfTheBatch(), "locality"),
    "std of the batch": (StdOfTheBatch(), "locality"),
    "divided by the number of groups": (DividedByNumberOfGroups(), "locality"),
    "largest group sets the scale": (LargestGroupSetsTheScale(), "locality"),
    "whitened after all": (Credited(), "locality"),
    "rows instead of episodes": (RowsInsteadOfEpisodes(), "zero-sum"),
    "episodes instead of rows": (EpisodesInsteadOfRows(base="rows"), "zero-sum"),
    "median as baseline": (MedianBaseline(std=None), "zero-sum"),
    "best as baseline": (BestBaseline(std=None), "zero-sum"),
    "bonus on successes": (BonusOnSuccess(), "zero-sum"),
    "only positive": (OnlyPositive(), "zero-sum"),
    "population instead of sample": (WrongStd(std="sample"), "scale"),
    "sample instead of population": (WrongStd(std="population"), "scale"),
    "epsilon under the root": (EpsilonUnderTheRoot(), "scale"),
    "forgotten epsilon": (ForgottenEpsilon(), "scale"),
    "penalty of fixed size": (PenaltyOfFixedSize(base="rows"), "scale"),
    "squared returns": (SquaredReturns(std=None), "scale"),
    "divided by the mean": (DividedByTheMean(), "shift"),
    "bonus for length": (LengthBonus(), "ties"),
    "residue on ties": (ResidueOnTies(), "ties"),
    "float32 accumulation": (Float32Accumulation(), "ties"),
    "lone raw when zero is promised": (LoneRawWhenZeroIsPromised(), "lone"),
    "lone zero when raw is asked": (LoneZeroWhenRawIsAsked(), "lone"),
    "lone never raises": (LoneNeverRaises(), "lone"),
    "lone divided by itself": (LoneDividedByItself(), "lone"),
    "tie broken by index": (IndexTieBreak(), "permutation"),
    "tie broken by code": (CodeTieBreak(), "permutation"),
    "weighed by code": (WeighedByCode(), "permutation"),
    "sums in row order": (SumsInRowOrder(), "permutation"),
    "groups by position": (GroupsByPosition(), "permutation"),
    "return of the last row seen": (ReturnOfTheLastRowSeen(), "permutation"),
}
