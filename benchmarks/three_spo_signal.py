"""What 3SPO's open readings decide: how many samples get credit, what refused commands get, and what a search finds.

A clumsy player searches built-in household games: of ten commands seven are the expert's, two are any legal one, and
one is nonsense that the world refuses. Nothing is trained, so every setting meets the same player and the same games.

    python benchmarks/three_spo_signal.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agentgym.algos import get_algorithm
from agentgym.policies import ScriptedPolicy, Turn
from agentgym.rollouts import build_collector

__all__ = ["main", "measure"]

SETTINGS = {
    "as published": "3spo",
    "given_up=unresolved": "3spo:given_up=unresolved",
    "ties=frequency": "3spo:ties=frequency",
    "scope=task": "3spo:scope=task",
    "state=state": "3spo:state=state",
    "the first two (3spo_ours)": "3spo_ours",
    "all four": "3spo:given_up=unresolved+ties=frequency+scope=task+state=state",
}
ITERATIONS, PLACES, GROUP_SIZE, STEPS = 6, 12, 8, 20
RESULTS = Path(__file__).parent / "results" / "three_spo_signal.json"


def clumsy(turn: Turn) -> str:
    """Return what the expert would do, seven times in ten."""
    dice = turn.chance.random()
    if dice < 0.1:
        return "juggle the house"
    if dice < 0.3:
        commands = turn.info["admissible"]
        return str(commands[int(turn.chance.integers(len(commands)))])
    assert turn.env is not None
    return str(turn.env.unwrapped.expert_action(searching=False))  # type: ignore[attr-defined]


def measure(name: str) -> dict[str, Any]:
    """Return what the waves of a few iterations brought under one setting."""

    def make_env() -> gym.Env[str, str]:
        return gym.make("ALFWorld-v0", data="builtin", max_episode_steps=STEPS)

    algorithm = get_algorithm(name)
    player = ScriptedPolicy(clumsy, "clumsy")
    collector = build_collector(algorithm.collector(), make_env, player, groups=PLACES, group_size=GROUP_SIZE, seed=0)
    advantages, valid = [], []
    totals = {"samples": 0.0, "episodes": 0.0, "pruned": 0.0}
    won = 0
    for iteration in range(ITERATIONS):
        for share in collector.batches(iteration):
            wave = collector.merge([share])
            won += sum(e.won for tree in wave.trees or () for e in tree.episodes)
            totals = {key: value + wave.stats[key] for key, value in totals.items()}
            batch = wave.batch()
            advantages.append(algorithm.credit(batch).advantage)
            valid.append(batch.valid)
    given, understood = np.concatenate(advantages), np.concatenate(valid)
    return {
        "setting": name,
        **totals,
        "won": won,
        "rows": len(given),
        "credited_share": round(float((given != 0).mean()), 4),
        "refused": round(float(given[~understood].mean()), 4),
    }


def main() -> None:
    """Measure, print the table and write the record."""
    results = {label: measure(name) for label, name in SETTINGS.items()}
    print(f"{'':26} {'samples':>8} {'compared':>9} {'credited':>9} {'refused get':>12} {'ended':>7} {'won':>6}")
    for label, r in results.items():
        print(
            f"{label:26} {r['samples']:8.0f} {r['rows']:9d} {r['credited_share']:9.1%} {r['refused']:12.3f} "
            f"{r['episodes']:7.0f} {r['won']:6d}"
        )
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
