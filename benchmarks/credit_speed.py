"""How long credit takes, against the usual way of computing it, in one run.

The usual way walks over dictionaries of Python floats and, for each episode, searches all rows for its own, which takes
time quadratic in the number of steps; it is left out where it would take minutes. A time is the best of several runs,
the one that other work on the machine disturbed least.

    python benchmarks/credit_speed.py
"""

from __future__ import annotations

import json
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.algos import GRPO, Algorithm, GiGPO
from agentgym.batch import StepBatch
from agentgym.testing import make_batch

__all__ = ["main"]

SIZES = (5_000, 50_000, 200_000, 1_000_000)
USUAL_UP_TO = 50_000
STEPS, GROUP_SIZE, STATES = 50, 8, 200
RESULTS = Path(__file__).parent / "results" / "credit_speed.json"

Floats = npt.NDArray[np.float64]


def recorded(rows: int) -> StepBatch:
    """Return groups of 8 episodes of 50 steps over 200 states, half of them successes, with rows in random order."""
    rng = np.random.default_rng(0)
    index = np.arange(rows)
    episode, t = index // STEPS, index % STEPS
    won = rng.random(rows // STEPS) < 0.5
    batch = make_batch(
        group=episode // GROUP_SIZE,
        episode=episode,
        t=t,
        anchor=np.where(t == 0, 0, rng.integers(STATES, size=rows)),
        reward=np.where(t == STEPS - 1, won[episode], 0.0),
    )
    return batch.take(rng.permutation(rows))


def usual_normalise(values: Floats, keys: list[Any]) -> Floats:
    """Collect the values of each key in a dictionary, then visit the rows one by one."""
    members = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        members[key].append(value)
    moments = {
        key: (np.mean(peers), np.std(peers, ddof=1) if len(peers) > 1 else 1.0) for key, peers in members.items()
    }
    return np.array([(v - moments[k][0]) / (moments[k][1] + 1e-6) for k, v in zip(keys, values, strict=True)])


def usual_returns(batch: StepBatch, gamma: float) -> Floats:
    """Search all rows for those of each episode, then walk them backwards."""
    returns = np.zeros(len(batch))
    for episode in np.unique(batch.episode):
        rows = np.flatnonzero(batch.episode == episode)
        ahead = 0.0
        for row in rows[np.argsort(-batch.t[rows])]:
            ahead = batch.reward[row] + gamma * ahead
            returns[row] = ahead
    return returns


def usual_grpo(batch: StepBatch) -> Floats:
    """Return the episode advantage with statistics over rows."""
    totals: dict[int, float] = defaultdict(float)
    for episode, reward in zip(batch.episode.tolist(), batch.reward.tolist(), strict=True):
        totals[episode] += reward
    return usual_normalise(np.array([totals[e] for e in batch.episode.tolist()]), batch.group.tolist())


def usual_gigpo(batch: StepBatch) -> Floats:
    """Return episode and step advantage."""
    keys = list(zip(batch.group.tolist(), batch.anchor.tolist(), strict=True))
    return usual_grpo(batch) + usual_normalise(usual_returns(batch, 0.95), keys)


def milliseconds(run: Callable[[], Any], repeats: int) -> float:
    """Return the shortest time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


def main() -> None:
    """Measure, print a table and write it as JSON."""
    methods: dict[str, tuple[Algorithm[Any], Callable[[StepBatch], Floats]]] = {
        "grpo": (GRPO(base="rows"), usual_grpo),
        "gigpo": (GiGPO(base="rows"), usual_gigpo),
    }
    table = []
    print(f"{'steps':>9} {'method':>6} {'ours ms':>10} {'usual ms':>10} {'times':>7}")
    for rows in SIZES:
        batch = recorded(rows)
        for name, (algorithm, usual) in methods.items():
            ours = milliseconds(partial(algorithm.credit, batch), 50 if rows <= 50_000 else 5)
            slow = None
            if rows <= USUAL_UP_TO:
                assert np.allclose(algorithm.credit(batch).advantage, usual(batch), rtol=1e-4, atol=1e-5)
                slow = milliseconds(partial(usual, batch), 3)
            table.append({"steps": rows, "method": name, "ours_ms": ours, "usual_ms": slow})
            beside = f"{slow:10.1f} {slow / ours:7.0f}" if slow else f"{'-':>10} {'-':>7}"
            print(f"{rows:>9,} {name:>6} {ours:>10.2f} {beside}", flush=True)
    machine = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    RESULTS.write_text(json.dumps({**machine, "best_ms": table}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
