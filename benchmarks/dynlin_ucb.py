"""DynLin-UCB and its baselines on the two systems of its paper, at shorter horizons than the paper's.

The paper runs a million rounds ten times and publishes curves only, so that its numbers cannot be set beside these;
what can be compared is which curves bend. Here the synthetic system is played for 50,000 rounds with each of the
paper's three noises, the advertising system for 100,000, and DynLin-UCB and LinUCB on the latter for 400,000; ten runs
each. Horizons enter bonuses and rates (log T), so that a curve is not the start of a longer one. ``growth`` is the
regret of the second half over that of the first: 1 if it is linear, √2 - 1 = 0.41 if it grows as √T, 0 if it stopped.

    python benchmarks/dynlin_ucb.py
"""

from __future__ import annotations

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
)
# How DynLin-UCB bears a wrong bound of the spectral radius, as multiples of the true one.
WRONG = (0.0, 0.5, 2.0)
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
    """Draw mean regrets against rounds, a panel for each setting that every agent played."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = [setting for setting in SETTINGS if setting[3] == EVERY]
    figure, panels = pyplot.subplots(1, len(settings), figsize=(4.2 * len(settings), 4.2))
    for panel, (instance, noise, horizon, _) in zip(panels, settings, strict=True):
        here = [row for row in rows if (row.instance, row.noise, row.horizon) == (instance, noise, horizon)]
        right = [row for row in here if row.radius_factor == 1]
        for number, row in enumerate(right):
            low, high = (np.array(row.mean) + sign * np.array(row.error) for sign in (-1, 1))
            [line] = panel.plot(row.rounds, row.mean, "--" if number > 4 else "-", label=row.agent)
            panel.fill_between(row.rounds, low, high, color=line.get_color(), alpha=0.15)
        system = INSTANCES[instance](noise)
        if system.expert is not None:
            panel.plot([0, horizon], [0, expert_regret(system) * horizon], "k:", label="expert")
        top = 3 * next(row.end[0] for row in right if row.agent == "dynlin_ucb")
        panel.set(title=f"{instance}, noise {noise}", xlabel="rounds", ylim=(0, top))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("regret")
    panels[-1].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    """Play, print the table, write the record and the plot."""
    heads = zip(("instance", "noise", "T", "agent", "ρ̄/ρ", "at T/2", "at T", "growth", "linear"), WIDTHS, strict=True)
    print(" ".join(f"{head:>{width}}" for head, width in heads))
    rows = []
    tasks = [(*setting[:3], agent, 1.0) for setting in SETTINGS for agent in setting[3]]
    tasks += [("synthetic", noise, 50_000, "dynlin_ucb", factor) for noise in (0.001, 0.01) for factor in WRONG]
    for instance, noise, horizon, agent, factor in tasks:
        row = measure(instance, noise, horizon, agent, factor)
        rows.append(row)
        print(
            f"{instance:>12} {noise:6} {horizon:8} {agent:>19} {factor:5} {row.half[0]:9.0f} {row.end[0]:9.0f} "
            f"{row.growth:7.2f} {row.mostly_linear:4}/{RUNS}",
            flush=True,
        )
    expert = expert_regret(INSTANCES["advertising"](None))
    record = {"runs": RUNS, "expert_regret_a_round": round(expert, 6), "rows": [asdict(row) for row in rows]}
    RESULTS.write_text(json.dumps(record) + "\n", encoding="utf-8")
    plot(rows, PLOT)


if __name__ == "__main__":
    main()
