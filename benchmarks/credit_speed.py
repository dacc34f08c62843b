"""How long credit takes, against the usual way of computing it, in one run.

The usual way is that of the published implementations, in our words: dictionaries of lists, a torch tensor for the
statistics of each group, a loop over rows, and for each episode a search through all rows for its own, which takes time
quadratic in the number of steps; it is left out where it would take minutes. SCPO has no published implementation, so
its usual way matches one episode at a time in Python. Texts are hashed, and scores given, beforehand. A time is the
best of several runs, the one that other work on the machine disturbed least.

    python benchmarks/credit_speed.py
"""

from __future__ import annotations

import json
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from agentgym.algos import GRPO, HGPO, SCPO, GiGPO
from agentgym.algos._siblings import Matches
from agentgym.algos.scpo import shaped_returns
from agentgym.batch import Credit, StepBatch
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
    anchor = np.where(t == 0, 0, rng.integers(STATES, size=rows))
    batch = make_batch(
        group=episode // GROUP_SIZE,
        episode=episode,
        t=t,
        anchor=anchor,
        reward=np.where(t == STEPS - 1, won[episode], 0.0),
        won=won[episode],
        observations=tuple(f"state {a}" for a in anchor.tolist()),
        actions=tuple(f"action {a}" for a in rng.integers(5, size=rows).tolist()),
    )
    return batch.take(rng.permutation(rows))


def usual_normalise(values: Floats, keys: list[Any], population: bool = False) -> Floats:
    """Collect the values of each key in a dictionary, make a tensor of each, then visit the rows one by one."""
    members = defaultdict(list)
    for key, value in zip(keys, torch.from_numpy(values), strict=True):
        members[key].append(value)
    moments = {}
    for key, peers in members.items():
        stacked = torch.stack(peers)
        deviation = stacked.std(correction=0 if population else 1) if len(peers) > 1 else torch.tensor(1.0)
        moments[key] = (stacked.mean(), deviation)
    result = torch.zeros(len(values), dtype=torch.float64)
    for i, (value, key) in enumerate(zip(torch.from_numpy(values), keys, strict=True)):
        mean, deviation = moments[key]
        result[i] = (value - mean) / (deviation + 1e-6)
    return result.numpy()


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


def usual_hgpo(batch: StepBatch) -> Floats:
    """Return the average over three nested groups, with a dictionary for each."""
    returns = usual_returns(batch, 0.95)
    place = {(e, t): i for i, (e, t) in enumerate(zip(batch.episode.tolist(), batch.t.tolist(), strict=True))}
    total, weight_sum = np.zeros(len(batch)), np.zeros(len(batch))
    for k in range(3):
        keys, rows = [], []
        for row, (g, e, t) in enumerate(
            zip(batch.group.tolist(), batch.episode.tolist(), batch.t.tolist(), strict=True)
        ):
            if t >= k:
                rows.append(row)
                keys.append((g, *(int(batch.anchor[place[e, step]]) for step in range(t - k, t + 1))))
        sizes = Counter(keys)
        held = np.array([sizes[key] > 1 for key in keys])
        total[rows] += (k + 1) * usual_normalise(returns[rows], keys, population=True) * held
        weight_sum[rows] += (k + 1) * held
    return total / np.maximum(weight_sum, 1)


def usual_scpo(batch: StepBatch, matches: Matches) -> Floats:
    """Return GiGPO's credit for returns shaped by the optimal matching of one episode after another."""
    bonus = np.zeros(len(batch))
    for start, length, group in zip(matches.starts, matches.lengths, matches.group, strict=True):
        steps, columns = range(start, start + length), matches.columns[group]
        credit = [[max(0.0, 2 * float(matches.scores[matches.cell[n] + c]) - 1) for c in columns] for n in steps]
        best = [[0.0] * (len(columns) + 1) for _ in range(length + 1)]
        for i, row in enumerate(credit):
            for j, value in enumerate(row):
                best[i + 1][j + 1] = max(best[i][j + 1], best[i + 1][j], best[i][j] + value)
        j = len(columns)
        for i in range(length, 0, -1):
            if best[i][j] > best[i - 1][j]:
                j = max(c + 1 for c in range(j) if best[i - 1][c] + credit[i - 1][c] == best[i][j])
                bonus[matches.rows[start + i - 1]] = credit[i - 1][j - 1]
                j -= 1
    _, place = np.unique(batch.group * STATES + batch.anchor, return_inverse=True)
    shaped = shaped_returns(usual_returns(batch, 0.95), 0.5 * bonus, batch.won, place)
    return usual_grpo(batch) + usual_normalise(
        shaped, list(zip(batch.group.tolist(), batch.anchor.tolist(), strict=True))
    )


def given_scores(failed: Sequence[str], reference: Sequence[str]) -> Floats:
    """Return scores of which half lie above the threshold, more than texts of real episodes would give."""
    return np.random.default_rng(len(failed)).random((len(failed), len(reference)))


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
    scpo = SCPO(base="rows", order="optimal")
    scpo.matcher = given_scores
    table = []
    print(f"{'steps':>9} {'method':>6} {'ours ms':>10} {'usual ms':>10} {'times':>7}")
    for rows in SIZES:
        batch = recorded(rows)
        matches = scpo.match(batch)
        methods: dict[str, tuple[Callable[[], Credit], Callable[[], Floats]]] = {
            "grpo": (partial(GRPO(base="rows").credit, batch), partial(usual_grpo, batch)),
            "gigpo": (partial(GiGPO(base="rows").credit, batch), partial(usual_gigpo, batch)),
            "hgpo": (partial(HGPO().credit, batch), partial(usual_hgpo, batch)),
            "scpo": (partial(scpo.credit_of, batch, matches), partial(usual_scpo, batch, matches)),
        }
        for name, (run, usual) in methods.items():
            ours = milliseconds(run, 50 if rows <= 5_000 else 10 if rows <= 50_000 else 3)
            slow = None
            if rows <= USUAL_UP_TO:
                assert np.allclose(run().advantage, usual(), rtol=1e-4, atol=1e-4), name
                slow = milliseconds(usual, 3 if rows <= 5_000 else 1)
            table.append({"steps": rows, "method": name, "ours_ms": ours, "usual_ms": slow})
            beside = f"{slow:10.1f} {slow / ours:7.0f}" if slow else f"{'-':>10} {'-':>7}"
            print(f"{rows:>9,} {name:>6} {ours:>10.2f} {beside}", flush=True)
    machine = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    machine["torch"] = torch.__version__
    RESULTS.write_text(json.dumps({**machine, "best_ms": table}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
