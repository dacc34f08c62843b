"""How long TEMPO's credit takes, against a trie of dictionaries in the same run, and how it grows with the tokens.

Two kinds of groups: responses that part after a few tokens, as sampled text does, and responses of which most are
alike, as those of short actions are. A time is the best of several runs, the one that other work on the machine
disturbed least.

    python benchmarks/tempo_speed.py
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.algos import GRPO, TEMPO
from agentgym.batch import StepBatch
from agentgym.testing import make_batch

__all__ = ["main"]

EPISODES = (10, 100, 1_000)
GROUP_SIZE, STEPS, TOKENS = 10, 20, 50
RESULTS = Path(__file__).parent / "results" / "tempo_speed.json"


def sampled(episodes: int, ways: int) -> StepBatch:
    """Return episodes of 20 responses of 50 tokens each, of which every tenth token has so many ways."""
    rng = np.random.default_rng(0)
    rows = episodes * STEPS
    episode, t = np.arange(rows) // STEPS, np.arange(rows) % STEPS
    tokens = np.tile(np.arange(TOKENS), (rows, 1))
    tokens[:, ::10] += 100 * rng.integers(ways, size=tokens[:, ::10].shape) * (rng.random(rows) < 0.3)[:, None]
    won = rng.random(episodes) < 0.5
    return make_batch(
        group=episode // GROUP_SIZE,
        episode=episode,
        t=t,
        anchor=t,
        reward=np.where(t == STEPS - 1, won[episode], 0.0),
        token_offsets=np.arange(rows + 1) * TOKENS,
        token_ids=tokens.reshape(-1),
        logprobs=np.zeros(rows * TOKENS, np.float32),
    )


def with_dictionaries(batch: StepBatch) -> npt.NDArray[np.float64]:
    """Walk a trie of nested dictionaries token by token, then once more for the differences."""
    totals = np.bincount(batch.episode, batch.reward)
    walks: list[list[dict[Any, Any]]] = []
    for group in np.unique(batch.group):
        root: dict[Any, Any] = {"outcomes": []}
        for episode in np.unique(batch.episode[batch.group == group]):
            node, walk = root, [root]
            root["outcomes"].append(totals[episode])
            for row in np.flatnonzero(batch.episode == episode):
                ids = batch.token_ids[batch.token_offsets[row] : batch.token_offsets[row + 1]].tolist()
                for symbol in [("seen", int(batch.anchor[row])), *ids, "end"]:
                    node = node.setdefault(symbol, {"outcomes": []})
                    node["outcomes"].append(totals[episode])
                    if isinstance(symbol, int):
                        walk.append(node)
                    else:
                        walk[-1] = node
            walks.append(walk)
    value = [[float(np.mean(node["outcomes"])) for node in walk] for walk in walks]
    return np.concatenate([np.diff(path) for path in value])


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
    table = []
    print(f"{'tokens':>9} {'ways':>5} {'forks':>6} {'tempo ms':>9} {'grpo ms':>8} {'dictionaries':>13} {'times':>6}")
    for episodes in EPISODES:
        for ways in (2, 1_000):
            batch = sampled(episodes, ways)
            credit = TEMPO(std=None).credit(batch)
            repeats = 10 if episodes < 1_000 else 3
            ours = milliseconds(partial(TEMPO(std=None).credit, batch), repeats)
            grpo = milliseconds(partial(GRPO(std=None).credit, batch), repeats)
            slow = None
            if episodes < 1_000:
                assert np.allclose(credit.components["tree"], with_dictionaries(batch), atol=1e-5)
                slow = milliseconds(partial(with_dictionaries, batch), 1)
            entry = {"tokens": len(batch.token_ids), "ways": ways, "branch_share": credit.diagnostics["branch_share"]}
            table.append({**entry, "tempo_ms": ours, "grpo_ms": grpo, "dictionaries_ms": slow})
            beside = f"{slow:13.1f} {slow / ours:6.0f}" if slow else f"{'-':>13} {'-':>6}"
            share = f"{entry['branch_share']:6.4f}"
            print(f"{entry['tokens']:>9,} {ways:>5} {share} {ours:9.2f} {grpo:8.2f} {beside}", flush=True)
    machine = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    RESULTS.write_text(json.dumps({**machine, "best_ms": table}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
