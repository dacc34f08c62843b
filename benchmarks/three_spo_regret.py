"""3SPO's claim of logarithmic allocation regret, on the bandit it is made for.

In one state each action is an arm with a success probability of its own and a next state of its own. A round samples
an arm in proportion to the score of its next state, S = exp(-α ln t · success rate), with the filter off. The oracle
always samples the most unresolved arm, and the regret of a round is how much likelier the chosen arm succeeds. The
paper claims that the sum over I rounds is O(log I) where α times the gap is at least 2.

Here α = 50 and three arms lie a gap above the most unresolved one, which in one case never succeeds and in the other
succeeds one time in ten. A run is locked if it never sampled the most unresolved arm in its last tenth.

    python benchmarks/three_spo_regret.py
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agentgym.algos.three_spo import state_score

__all__ = ["Curve", "main", "simulate"]

GAPS = (0.04, 0.1, 0.3)
LOWEST = (0.0, 0.1)
ALPHA, ARMS, ROUNDS, RUNS = 50.0, 4, 20_000, 200
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "three_spo_regret.json"
PLOT = ROOT / "docs" / "assets" / "three_spo_regret.png"


@dataclass(frozen=True)
class Curve:
    """What one setting gave.

    Attributes:
        lowest: Success probability of the most unresolved arm.
        gap: How far the others lie above it.
        rounds: I, at which the regret was read.
        mean: Mean regret of all runs.
        median: Median regret.
        locked_share: Share of the runs that never sampled the most unresolved arm in their last tenth.
        growth: Mean regret in the second half of the rounds over that in the first; logarithmic growth tends to 0,
            linear growth to 1.
    """

    lowest: float
    gap: float
    rounds: list[int]
    mean: list[float]
    median: list[float]
    locked_share: float
    growth: float


def simulate(lowest: float, gap: float, *, alpha: float = ALPHA, rounds: int = ROUNDS, runs: int = RUNS) -> Curve:
    """Return the regret of many runs against the number of rounds.

    Args:
        lowest: Success probability of the most unresolved arm, in [0, 1].
        gap: How far the others lie above it.
        alpha: α.
        rounds: Rounds of a run, at least 10.
        runs: Independent runs.
    """
    rng = np.random.default_rng([round(1000 * lowest), round(1000 * gap), rounds, runs])
    chance = np.array([lowest] + [lowest + gap] * (ARMS - 1))
    successes, totals = np.zeros((runs, ARMS)), np.zeros((runs, ARMS))
    every = np.arange(runs)
    regret, halfway = np.zeros(runs), 0.0
    locked = np.ones(runs, np.bool_)
    marks = set(np.unique(np.geomspace(1, rounds, 60).round().astype(int)).tolist())
    read: list[tuple[int, npt.NDArray[np.float64]]] = []
    for t in range(1, rounds + 1):
        share = np.cumsum(state_score(successes, totals, t, alpha=alpha, xi=None, zeta=0.0), axis=1)
        arm = np.minimum((rng.random((runs, 1)) * share[:, -1:] >= share).sum(axis=1), ARMS - 1)
        successes[every, arm] += rng.random(runs) < chance[arm]
        totals[every, arm] += 1
        regret += chance[arm] - lowest
        if t > 0.9 * rounds:
            locked &= arm != 0
        if t in marks:
            read.append((t, regret.copy()))
        if 2 * t == rounds:
            halfway = float(regret.mean())
    return Curve(
        lowest,
        gap,
        [t for t, _ in read],
        [round(float(values.mean()), 4) for _, values in read],
        [round(float(np.median(values)), 4) for _, values in read],
        float(locked.mean()),
        round((float(regret.mean()) - halfway) / halfway, 4),
    )


def plot(curves: list[Curve], path: Path) -> None:
    """Draw the mean regrets, a panel for each case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(LOWEST), figsize=(9, 3.4))
    for panel, lowest in zip(panels, LOWEST, strict=True):
        for curve in (curve for curve in curves if curve.lowest == lowest):
            panel.plot(curve.rounds, curve.mean, label=f"gap {curve.gap}")
        panel.set(xscale="log", xlabel="rounds I", title=f"most unresolved arm succeeds with {lowest}")
        panel.grid(alpha=0.3)
        panel.legend()
    panels[0].set_ylabel("mean regret")
    panels[1].set_yscale("log")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Simulate, print the table, write the record and the plot."""
    curves = [simulate(lowest, gap) for lowest in LOWEST for gap in GAPS]
    print(f"α = {ALPHA}, {ARMS} arms, {RUNS} runs of {ROUNDS} rounds")
    print(
        f"{'lowest':>7} {'gap':>6} {'regret at 200':>14} {'at 2,000':>10} {'at 20,000':>10} {'growth':>8} {'locked':>8}"
    )
    for curve in curves:
        at = [float(np.interp(t, curve.rounds, curve.mean)) for t in (ROUNDS // 100, ROUNDS // 10, ROUNDS)]
        print(
            f"{curve.lowest:7.2f} {curve.gap:6.2f} {at[0]:14.2f} {at[1]:10.2f} {at[2]:10.2f} "
            f"{curve.growth:8.3f} {curve.locked_share:8.1%}"
        )
    settings = {"alpha": ALPHA, "arms": ARMS, "rounds": ROUNDS, "runs": RUNS}
    RESULTS.write_text(json.dumps({**settings, "curves": [asdict(c) for c in curves]}, indent=1) + "\n", "utf-8")
    plot(curves, PLOT)


if __name__ == "__main__":
    main()
