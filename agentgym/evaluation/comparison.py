"""Methods compared over paired seeds: final figures, differences with intervals, and what each run cost.

Two methods that share a seed share the starting weights, the order of the tasks, the evaluation games and the sampling
noise, so what is compared is the difference within a seed. Intervals are percentile bootstrap intervals over seeds, the
only unit that is independent; games within a run are not. With few seeds such intervals are too narrow, so a difference
counts as told apart only from ``MIN_SEEDS`` seeds on, and the exact sign-flip probability stands beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.errors import ConfigError
from agentgym.evaluation.intervals import Interval, paired_bootstrap

__all__ = [
    "ADVISED_SEEDS",
    "FIGURES",
    "MIN_SEEDS",
    "Comparison",
    "Difference",
    "RunSummary",
    "compare_runs",
    "draw_curves",
    "mean_curve",
    "sign_flip",
]

FIGURES = ("sampled", "greedy", "training")
"""The final figures: the final weights' success when sampled and when greedy, and the mean of the last iterations."""

MIN_SEEDS = 5
"""Paired seeds below which no difference is called told apart."""

ADVISED_SEEDS = 10
"""Paired seeds to run where a ranking is close."""

_NAMED_PAIRS = 10

_COSTS = {
    "episodes": "rollouts",
    "generated_tokens": "generated tokens",
    "env_steps": "environment steps",
    "unique_states": "unique states",
    "unique_observations": "unique observations",
    "updates": "updates",
    "iterations": "iterations",
    "seconds": "seconds",
}
_MAX_EXACT = 14  # 2^14 flips are all tried; beyond, as many are drawn


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One finished run of a method.

    Attributes:
        method: Name of the method.
        seed: Seed of the run, the key that pairs it with the runs of other methods.
        figures: Success rates in [0, 1] by name, each of ``FIGURES``.
        costs: ``episodes`` (rollouts), ``generated_tokens``, ``env_steps``, ``updates``, ``iterations`` and ``seconds``
            of training, and what was seen: ``unique_states`` and ``unique_observations``. Any may be missing.
        curve: Generated tokens so far and training success of each iteration, in [0, 1].
        skipped_updates: Optimiser steps skipped for a gradient that was not finite.
        states: Rollouts, environment steps and unique states so far, of each iteration; empty where the world tells no
            states.
    """

    method: str
    seed: int
    figures: Mapping[str, float]
    costs: Mapping[str, float]
    curve: tuple[tuple[float, float], ...] = ()
    skipped_updates: int = 0
    states: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher one method's figure is than another's, over the seeds that both have finished.

    Attributes:
        figure: Which figure, one of ``FIGURES``.
        method: The method.
        against: What it is compared with.
        seeds: The seeds that pair the two.
        mean: Mean difference, in [-1, 1].
        interval: 95% bootstrap interval over the seeds; None below two seeds.
        p: Two-sided sign-flip probability; with n seeds it cannot be below 2^(1-n).
    """

    figure: str
    method: str
    against: str
    seeds: tuple[int, ...]
    mean: float
    interval: Interval | None
    p: float

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out 0, from ``MIN_SEEDS`` seeds on."""
        interval = self.interval
        return interval is not None and len(self.seeds) >= MIN_SEEDS and not interval.low <= 0 <= interval.high

    @property
    def verdict(self) -> str:
        """What the difference says, in words."""
        if self.told_apart:
            return "higher" if self.mean > 0 else "lower"
        few = len(self.seeds) < ADVISED_SEEDS
        return f"not told apart; {ADVISED_SEEDS} seeds advised" if few else "not told apart"


@dataclass(frozen=True)
class Comparison:
    """What a set of runs shows.

    Attributes:
        methods: The methods in the order given; the first is what the others are compared with.
        runs: All runs, by method, then seed.
        means: Mean of each figure over the seeds of each method, by figure, then method; its interval is None below
            two seeds.
        differences: Each method against the first, for each figure; then every other pair, for the first figure.
        costs: Mean of each cost over the seeds of each method, of those that all of its runs have.
        explored: ``rollouts`` and ``environment steps``, each with the fewest that a run took and the mean number of
            unique states that each method had seen by then; empty where a run does not tell.
    """

    methods: tuple[str, ...]
    runs: tuple[RunSummary, ...]
    means: Mapping[str, Mapping[str, tuple[float, Interval | None]]]
    differences: tuple[Difference, ...]
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    explored: Mapping[str, tuple[float, Mapping[str, float]]] = field(default_factory=dict)

    def runs_of(self, method: str) -> list[RunSummary]:
        """Return the runs of a method, by seed."""
        return [run for run in self.runs if run.method == method]

    @property
    def ranking(self) -> tuple[str, ...]:
        """The methods by the mean of the first figure, best first."""
        first = self.means[FIGURES[0]]
        return tuple(sorted(first, key=lambda method: -first[method][0]))

    @property
    def close(self) -> tuple[Difference, ...]:
        """Differences of the first figure that are not told apart."""
        return tuple(d for d in self.differences if d.figure == FIGURES[0] and not d.told_apart)

    def conclusion(self) -> str:
        """Return in a few sentences what may be said."""
        if len(self.means[FIGURES[0]]) < 2:
            return "There is nothing to compare yet: fewer than two methods have finished a run."
        pairs = [d for d in self.differences if d.figure == FIGURES[0]]
        told = [f"{d.method} is {d.verdict} than {d.against}" for d in pairs if d.told_apart]
        lines = [f"By mean: {', '.join(self.ranking)}."]
        lines.append(f"Told apart: {'; '.join(told)}." if told else "No two methods are told apart.")
        if told and self.close:
            names = "; ".join(f"{d.method} and {d.against}" for d in self.close)
            many = len(self.close) > _NAMED_PAIRS
            lines.append(f"The other {len(self.close)} pairs are not." if many else f"Not told apart: {names}.")
        if any(len(d.seeds) < ADVISED_SEEDS for d in self.close):
            lines.append(f"The ranking is close: run {ADVISED_SEEDS} seeds before reading anything into it.")
        return " ".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready data."""
        means = {
            figure: {m: {"mean": mean, "interval": _bounds(interval)} for m, (mean, interval) in of.items()}
            for figure, of in self.means.items()
        }
        differences = [
            {
                **{key: value for key, value in asdict(d).items() if key != "interval"},
                "interval": _bounds(d.interval),
                "told_apart": d.told_apart,
            }
            for d in self.differences
        ]
        return {
            "methods": list(self.methods),
            "ranking": list(self.ranking),
            "conclusion": self.conclusion(),
            "means": means,
            "differences": differences,
            "costs": {method: dict(costs) for method, costs in self.costs.items()},
            "explored": {name: {"by": at, "states": dict(seen)} for name, (at, seen) in self.explored.items()},
            "runs": [asdict(run) for run in self.runs],
        }

    def to_markdown(self) -> str:
        """Return the tables of figures, differences and costs, and the conclusion."""
        tables = (self._table_of_means, self._table_of_differences, self._table_of_costs, self._table_of_states)
        return "\n".join([self.conclusion(), "", *(line for table in tables for line in table())])

    def _table_of_means(self) -> list[str]:
        lines = [
            "## Final figures",
            "",
            "Mean success over seeds, with its 95% bootstrap interval over seeds.",
            "",
            f"| method | seeds | {' | '.join(FIGURES)} |",
            f"| --- | ---: | {' | '.join('---' for _ in FIGURES)} |",
        ]
        for method in self.means[FIGURES[0]]:
            cells = [_rate(*self.means[figure][method]) for figure in FIGURES]
            lines.append(f"| {method} | {len(self.runs_of(method))} | {' | '.join(cells)} |")
        return [*lines, ""]

    def _table_of_differences(self) -> list[str]:
        if not self.differences:
            return []
        lines = [
            "## Differences, paired by seed",
            "",
            "In percentage points. Intervals are 95% bootstrap intervals over seeds, one for each pair, not corrected "
            "for their number; p is the two-sided sign-flip probability.",
            "",
            "| figure | method | against | seeds | difference | p | verdict |",
            "| --- | --- | --- | ---: | --- | ---: | --- |",
        ]
        for d in self.differences:
            size = d.interval.points() if d.interval is not None else f"{100 * d.mean:+.1f} points"
            lines.append(
                f"| {d.figure} | {d.method} | {d.against} | {len(d.seeds)} | {size} | {d.p:.3f} | {d.verdict} |"
            )
        return [*lines, ""]

    def _table_of_costs(self) -> list[str]:
        lines = [
            "## Cost of a run",
            "",
            "Means over seeds.",
            "",
            f"| method | {' | '.join(_COSTS.values())} | skipped updates |",
            f"| --- | {' | '.join('---:' for _ in _COSTS)} | ---: |",
        ]
        for method, costs in self.costs.items():
            numbers = " | ".join(f"{costs[name]:,.0f}" if name in costs else "-" for name in _COSTS)
            lines.append(f"| {method} | {numbers} | {sum(r.skipped_updates for r in self.runs_of(method))} |")
        return [*lines, ""]

    def _table_of_states(self) -> list[str]:
        if not self.explored:
            return []
        ends = " and ".join(f"{at:,.0f} {name}" for name, (at, _) in self.explored.items())
        first = next(iter(self.costs))
        lines = [
            "## States seen in equally much play",
            "",
            f"Unique states seen by {ends}, where the shortest runs ended; means over seeds.",
            "",
            f"| method | {' | '.join(f'by {name} | times {first}' for name in self.explored)} |",
            f"| --- | {' | '.join('---: | ---:' for _ in self.explored)} |",
        ]
        for method in self.costs:
            cells = [f"{seen[method]:,.0f} | {seen[method] / seen[first]:.2f}" for _, seen in self.explored.values()]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        return [*lines, ""]


def compare_runs(runs: Sequence[RunSummary], methods: Sequence[str]) -> Comparison:
    """Compare the methods over the seeds that they share.

    Args:
        runs: Finished runs, at most one for each method and seed; figures in [0, 1].
        methods: Names in the order wanted; the first is what the others are compared with. One without a run is left
            out of the tables.

    Raises:
        ConfigError: If two runs have the same method and seed, or a run is of none of ``methods``.
    """
    found = {(run.method, run.seed): run for run in runs}
    if len(found) != len(runs):
        raise ConfigError("two runs have the same method and seed: give each run once")
    if foreign := sorted({run.method for run in runs} - set(methods)):
        raise ConfigError(f"runs of {', '.join(foreign)} are of none of the methods {', '.join(methods)}")
    ordered = sorted(runs, key=lambda run: (list(methods).index(run.method), run.seed))
    by_method = {m: [run for run in ordered if run.method == m] for m in methods}
    by_method = {method: of for method, of in by_method.items() if of}
    means = {
        figure: {method: _mean([run.figures[figure] for run in of]) for method, of in by_method.items()}
        for figure in FIGURES
    }
    first, *others = by_method or [""]
    wanted = [(figure, method, first) for figure in FIGURES for method in others]
    wanted += [(FIGURES[0], method, against) for against, method in itertools.combinations(others, 2)]
    differences = [_difference(figure, by_method[m], by_method[against]) for figure, m, against in wanted]
    costs = {
        method: {
            name: float(np.mean([run.costs[name] for run in of]))
            for name in _COSTS
            if all(name in run.costs for run in of)
        }
        for method, of in by_method.items()
    }
    told = tuple(d for d in differences if d is not None)
    return Comparison(tuple(methods), tuple(ordered), means, told, costs, _explored(by_method))


def _explored(by_method: Mapping[str, Sequence[RunSummary]]) -> dict[str, tuple[float, dict[str, float]]]:
    """Return for rollouts and steps the fewest of a run, and the mean number of states each method had seen by then."""
    runs = [run for of in by_method.values() for run in of]
    if not runs or not all(run.states for run in runs):
        return {}
    found = {}
    for column, name in enumerate(("rollouts", "environment steps")):
        least = min(run.states[-1][column] for run in runs)
        found[name] = (
            least,
            {m: float(np.mean([_seen_by(run, column, least) for run in of])) for m, of in by_method.items()},
        )
    return found


def _seen_by(run: RunSummary, column: int, amount: float) -> float:
    """Return how many states a run had seen by so many rollouts or steps, by straight lines between its iterations."""
    x, y = ([0.0, *(point[i] for point in run.states)] for i in (column, 2))
    return float(np.interp(amount, x, y))


def sign_flip(differences: Sequence[float]) -> float:
    """Return how often random signs give a mean at least as far from 0: a two-sided test, exact up to 14 values.

    The p-value of Fisher's randomisation test for paired data; it assumes only that the differences would be symmetric
    around 0 if the methods were equal.

    Args:
        differences: One difference for each pair.

    >>> sign_flip([0.1, 0.2, 0.3])
    0.25
    """
    values = np.asarray(differences, np.float64)
    if len(values) <= _MAX_EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(values))))
    else:
        drawn = np.random.default_rng(0).choice((1.0, -1.0), size=(2**_MAX_EXACT - 1, len(values)))
        signs = np.concatenate([np.ones((1, len(values))), drawn])  # the signs found count among those possible
    sums = np.abs(signs @ values)
    return float(np.mean(sums >= np.abs(values.sum()) - 1e-12))


def _difference(figure: str, runs: Sequence[RunSummary], against: Sequence[RunSummary]) -> Difference | None:
    """Return the difference over common seeds, or None if there are none."""
    mine, theirs = ({run.seed: run.figures[figure] for run in of} for of in (runs, against))
    seeds = tuple(sorted(mine.keys() & theirs.keys()))
    if not seeds:
        return None
    after, before = [mine[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    interval = paired_bootstrap(before, after) if len(seeds) > 1 else None
    values = np.subtract(after, before)
    return Difference(
        figure, runs[0].method, against[0].method, seeds, float(values.mean()), interval, sign_flip(values.tolist())
    )


def _mean(values: Sequence[float]) -> tuple[float, Interval | None]:
    mean = float(np.mean(values))
    return mean, paired_bootstrap([0.0] * len(values), values) if len(values) > 1 else None


def _rate(mean: float, interval: Interval | None) -> str:
    return f"{100 * mean:.1f}%" if interval is None else interval.percent()


def _bounds(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def mean_curve(runs: Sequence[RunSummary], smooth: int = 1, points: int = 100) -> tuple[list[float], list[float]]:
    """Return the mean learning curve of some runs on a common axis of generated tokens.

    Each curve is first averaged over its last ``smooth`` iterations, then read at equal distances, by straight lines
    between its points, over the stretch that all curves cover.

    Args:
        runs: Runs of one method, each with a curve of at least one point.
        smooth: Iterations averaged over, at least 1.
        points: How many values to return.

    Returns:
        Generated tokens, and the mean success there.
    """
    curves = [_smoothed(run.curve, smooth) for run in runs]
    axis = np.linspace(max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves), points)
    mean = np.mean([np.interp(axis, x, y) for x, y in curves], axis=0)
    return axis.tolist(), mean.tolist()


def _smoothed(curve: Sequence[tuple[float, float]], smooth: int) -> tuple[list[float], list[float]]:
    """Return a curve's tokens, and its running mean over the last ``smooth`` iterations, fewer at its beginning."""
    x, y = [point[0] for point in curve], [point[1] for point in curve]
    return x, [float(np.mean(y[max(0, i + 1 - smooth) : i + 1])) for i in range(len(y))]


def draw_curves(comparison: Comparison, path: Path, *, smooth: int = 10) -> None:
    """Write a PNG of training success against generated tokens: a thin line each run, a thick one each method's mean.

    Args:
        comparison: Whose runs to draw.
        path: Where to.
        smooth: Iterations of the running mean.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, method in enumerate(comparison.methods):
        runs, color = [run for run in comparison.runs_of(method) if run.curve], f"C{number % 10}"
        for run in runs:
            x, y = _smoothed(run.curve, smooth)
            axes.plot(x, np.multiply(y, 100), color=color, linewidth=0.6, alpha=0.4)
        if runs:
            x, y = mean_curve(runs, smooth)
            label = f"{method}, mean of {len(runs)} seeds"
            axes.plot(x, np.multiply(y, 100), color=color, linewidth=2, label=label)
    axes.set(xlabel="generated tokens", ylabel=f"training success (%), mean of {smooth} iterations", ylim=(0, 100))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=150)
