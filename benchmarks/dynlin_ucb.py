"""DynLin-UCB and its baselines on the two systems of its paper: two at the paper's horizon, all at shorter ones.

The paper runs a million rounds ten times and publishes curves only, so that its numbers cannot be set beside these;
what can be compared is which curves bend. Here DynLin-UCB and LinUCB play both systems for a million rounds. Every
agent plays the synthetic system for 50,000 rounds with each of the paper's three noises and the advertising system for
100,000; DynLin-UCB and LinUCB play the latter for 400,000 too. Ten runs each. Horizons enter bonuses and rates (log T),
so that a curve is not the start of a longer one. ``growth`` is the regret of the second half over that of the first: 1
if it is linear, √2 - 1 = 0.41 if it grows as √T, 0 if it stopped.

    python benchmarks/dynlin_ucb.py [horizon ...]

Horizons that were played take the place of what the record has of them.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agentgym.envs.bandit import INSTANCES
from agentgym.evaluation.bandits import AGENTS, expert_regret, make_agent, play

__all__ = ["Row", "main", "measure"]

RUNS, MARKS = 10, 40
WIDTHS = (12, 6, 8, 19, 5, 9, 9, 7, 7)
EVERY = tuple(name for name in AGENTS if name != "clairvoyant")
SETTINGS: tuple[tuple[str, float, int, tuple[str, ...]], ...] = (
    ("synthetic", 0.001, 50_000, EVERY),
    ("synthetic", 0.01, 50_000, EVERY),
    ("synthetic", 0.1, 50_000, EVERY),
    ("advertising", 0.01, 100_000, EVERY),
    ("advertising", 0.01, 400_000, ("dynlin_ucb", "lin_ucb")),
    ("synthetic", 0.001, 1_000_000, ("dynlin_ucb", "lin_ucb")),
    ("advertising", 0.01, 1_000_000, ("dynlin_ucb", "lin_ucb")),
)
# How DynLin-UCB bears a wrong bound of the spectral radius, as multiples of the true one.
WRONG = (0.0, 0.5, 2.0)
WRONG_AT = ((0.001, 50_000), (0.01, 50_000), (0.001, 1_000_000))
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "dynlin_ucb.json"
PLOT = ROOT / "docs" / "assets" / "dynlin_ucb.png"


@dataclass(frozen=True)
class Row:
    """What one agent ran up in one setting.

    Attributes:
        instance: Name of the system.
        noise: Standard deviation of the noise.
        horizon: T.
        agent: Name of the agent.
        radius_factor: ρ̄ over the true spectral radius.
        rounds: After how many rounds the regret was read.
        mean: Mean regret of all runs.
        error: Its standard error.
        half: Mean, least and largest regret at T/2.
        end: Mean, least and largest regret at T.
        growth: Regret of the second half over that of the first.
        mostly_linear: Number of runs with a growth above 0.9.
    """

    instance: str
    noise: float
    horizon: int
    agent: str
    radius_factor: float
    rounds: list[int]
    mean: list[float]
    error: list[float]
    half: tuple[float, float, float]
    end: tuple[float, float, float]
    growth: float
    mostly_linear: int


def measure(instance: str, noise: float, horizon: int, agent: str, factor: float = 1.0, runs: int = RUNS) -> Row:
    """Return what an agent runs up.

    Args:
        instance: Name of the system.
        noise: Standard deviation of the noise.
        horizon: T, even.
        agent: Name of the agent.
        factor: ρ̄ over the true spectral radius.
        runs: Number of runs.
    """
    system = INSTANCES[instance](noise)
    radius = factor * system.spectral_radius
    marks = sorted({*np.linspace(horizon / MARKS, horizon, MARKS).round().astype(int).tolist(), horizon // 2})
    player = make_agent(agent, system, horizon=horizon, runs=runs, radius=radius)
    regret = play(player, system, horizon=horizon, runs=runs, marks=marks)
    half, end = regret.total[:, marks.index(horizon // 2)], regret.total[:, -1]
    ratio = (end - half) / np.maximum(half, 1e-12)

    def spread(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
        return round(float(values.mean()), 1), round(float(values.min()), 1), round(float(values.max()), 1)

    return Row(
        instance,
        noise,
        horizon,
        agent,
        factor,
        marks,
        [round(float(value), 2) for value in regret.mean],
        [round(float(value), 2) for value in regret.error],
        spread(half),
        spread(end),
        round(float((end - half).mean() / half.mean()), 3),
        int((ratio > 0.9).sum()),
    )


def plot(rows: list[Row], path: Path) -> None:
    """Draw mean regrets against rounds, a panel for each setting that every agent played or that has the paper's T."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = [setting for setting in SETTINGS if setting[3] == EVERY or setting[2] == 1_000_000]
    figure, panels = pyplot.subplots(2, len(settings) // 2, figsize=(2.1 * len(settings), 8.4))
    for panel, (instance, noise, horizon, _) in zip(panels.flat, settings, strict=True):
        here = [row for row in rows if (row.instance, row.noise, row.horizon) == (instance, noise, horizon)]
        right = [row for row in here if row.radius_factor == 1]
        for row in right:
            number = EVERY.index(row.agent)
            low, high = (np.array(row.mean) + sign * np.array(row.error) for sign in (-1, 1))
            panel.plot(row.rounds, row.mean, f"C{number}", ls="--" if number > 4 else "-", label=row.agent)
            panel.fill_between(row.rounds, low, high, color=f"C{number}", alpha=0.15)
        system = INSTANCES[instance](noise)
        if system.expert is not None:
            panel.plot([0, horizon], [0, expert_regret(system) * horizon], "k:", label="expert")
        top = 4 * next(row.end[0] for row in right if row.agent == "dynlin_ucb")
        panel.set(title=f"{instance}, noise {noise}, {horizon:,} rounds", ylim=(0, top))
        panel.grid(alpha=0.3)
    figure.supxlabel("rounds")
    figure.supylabel("regret")
    panels[1, 0].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    """Play, print the table, write the record and the plot."""
    parser = argparse.ArgumentParser(description="Regret in dynamical linear bandits.")
    parser.add_argument("horizons", nargs="*", type=int, help="numbers of rounds to play; all by default")
    wanted = parser.parse_args().horizons
    heads = zip(("instance", "noise", "T", "agent", "ρ̄/ρ", "at T/2", "at T", "growth", "linear"), WIDTHS, strict=True)
    print(" ".join(f"{head:>{width}}" for head, width in heads))
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []
    rows = {(row["instance"], row["noise"], row["horizon"], row["agent"], row["radius_factor"]): row for row in kept}
    tasks = [(*setting[:3], agent, 1.0) for setting in SETTINGS for agent in setting[3]]
    tasks += [("synthetic", noise, rounds, "dynlin_ucb", factor) for noise, rounds in WRONG_AT for factor in WRONG]
    for task in tasks:
        if wanted and task[2] not in wanted:
            continue
        row = measure(*task)
        rows[task] = asdict(row)
        print(
            f"{row.instance:>12} {row.noise:6} {row.horizon:8} {row.agent:>19} {row.radius_factor:5} "
            f"{row.half[0]:9.0f} {row.end[0]:9.0f} {row.growth:7.2f} {row.mostly_linear:4}/{RUNS}",
            flush=True,
        )
    expert = expert_regret(INSTANCES["advertising"](None))
    found = [rows[task] for task in tasks if task in rows]
    record = {"runs": RUNS, "expert_regret_a_round": round(expert, 6), "rows": found}
    RESULTS.write_text(json.dumps(record) + "\n", encoding="utf-8")
    plot([Row(**row) for row in found], PLOT)


if __name__ == "__main__":
    main()
