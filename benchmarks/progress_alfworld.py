"""What SPA's progress estimator knows about ALFWorld games: its progress against their outcome.

A tiny policy is warmed up, or a trained one given, and then stands still. The estimator sees batches of its rollouts
one after the other, as in training: each is scored first and learned from afterwards, so every figure is of episodes
it was not trained on. Games of the held-out split (`valid_seen` for the real ones) are scored at the end.

An episode that succeeds ends there, and one that fails runs to the limit, so the number of turns alone nearly gives the
outcome away. The rows "turns alone" say how nearly. What the estimator knows beyond that is read from the sum of
progress after the first k turns, over the episodes that were not over by then.

    python benchmarks/progress_alfworld.py --data path/to/alfworld    # or --data builtin
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from agentgym import HFPolicy
from agentgym.batch import StepBatch
from agentgym.contracts import LearnerContext
from agentgym.learners import ProgressEstimator
from agentgym.learners.forecast import forecast_metrics, ranking_auc
from agentgym.rollouts import GroupCollector, MakeEnv
from agentgym.training.config import SFTConfig
from agentgym.training.environments import resolve_environments
from agentgym.training.warm_start import warm_start

__all__ = ["main", "measure"]

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
LIMIT = 20
AFTER = (4, 8, 12, 16)
ESTIMATOR: dict[str, Any] = {"learning_rate": 1e-3, "epochs": 2}  # as in examples/compare_spa.yaml


def measure(scored: Sequence[StepBatch]) -> dict[str, Any]:
    """Return the figures of batches with the column ``progress``, pooled over their episodes."""
    totals, returns, won, turns = [], [], [], []
    early: dict[int, list[tuple[float, bool]]] = {after: [] for after in AFTER}
    for batch in scored:
        progress = batch.columns["progress"]
        for episode in np.unique(batch.episode):
            rows = np.flatnonzero(batch.episode == episode)
            rows = rows[np.argsort(batch.t[rows])]
            totals.append(float(progress[rows].sum()))
            returns.append(float(batch.reward[rows].sum()))
            won.append(bool(batch.won[rows[0]]))
            turns.append(float(len(rows)))
            for after in AFTER:
                if len(rows) > after:
                    early[after].append((float(progress[rows[:after]].sum()), won[-1]))
    outcome = np.array(won, np.bool_)
    return {
        "episodes": len(won),
        "success": float(outcome.mean()),
        **forecast_metrics(np.array(totals), np.array(returns), outcome),
        "auc_turns_alone": ranking_auc(-np.array(turns), outcome),
        "after_turns": {
            str(after): {
                "episodes": len(found),
                "auc": ranking_auc(np.array([x for x, _ in found]), np.array([w for _, w in found], np.bool_)),
            }
            for after, found in early.items()
        },
    }


def scored_by(estimator: ProgressEstimator, make_env: MakeEnv, policy: HFPolicy, **where: int) -> StepBatch:
    """Return a batch of rollouts with its progress; the estimator learns from it afterwards."""
    number = where.pop("number")
    rollout = GroupCollector(make_env, policy, **where).collect(number)
    return estimator.update(rollout.batch(), [episode for group in rollout.groups for episode in group.episodes])


def run(data: str, seed: int, batches: int, steps: int, model: str, held_out: int) -> dict[str, Any]:
    """Warm a policy up, or take one, and let an estimator follow its rollouts."""
    worlds = resolve_environments("ALFWorld-v0", {"data": data, "max_episode_steps": LIMIT})
    policy, accelerator = HFPolicy.from_pretrained(model), Accelerator(cpu=True)
    if policy.needs_warm_start:
        start = SFTConfig(steps=steps, demonstrations=6 * steps, noise=0, dawdle=0.15, seed=seed)
        warm_start(policy, worlds.make_train, start, accelerator=accelerator, say=print)
    estimator = ProgressEstimator(min_r2=None, **ESTIMATOR)
    estimator.setup(LearnerContext(policy, accelerator, seed=seed, tokens_per_microbatch=8192, reference=lambda: None))
    training, curve = [], []
    for number in range(batches):
        training.append(
            scored_by(estimator, worlds.make_train, policy, groups=12, group_size=8, seed=seed, number=number)
        )
        curve.append(estimator.metrics())
        print(number, {name: round(value, 3) for name, value in curve[-1].items()}, flush=True)
    # All at once, so that none is learned from before another is scored.
    where = {"groups": held_out, "group_size": 8, "seed": seed + 1000, "number": 0}
    unseen = scored_by(estimator, worlds.make_eval, policy, **where)
    return {
        "seed": seed,
        "curve": curve,
        "training_games": measure(training[batches // 2 :]),
        "held_out_games": measure([unseen]),
    }


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="builtin")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--steps", type=int, default=450, help="optimiser steps of the warm start")
    parser.add_argument("--model", default="tiny", help="a saved policy of yours, which needs no warm start")
    parser.add_argument("--held-out", type=int, default=36, help="games of the held-out split, 8 episodes each")
    options = parser.parse_args()
    name = "builtin" if options.data == "builtin" else "real"
    settings = (options.batches, options.steps, options.model, options.held_out)
    runs = [run(options.data, seed, *settings) for seed in options.seeds]
    for found in runs:
        for games in ("training_games", "held_out_games"):
            figures = found[games]
            print(f"seed {found['seed']}, {games}: ", {k: v for k, v in figures.items() if k != "after_turns"})
            for after, part in figures["after_turns"].items():
                print(f"    after {after} turns: {part}")
    policy = f"tiny, warm start of {options.steps} steps" if options.model == "tiny" else "given by --model"
    what = {
        "batches": options.batches,
        "episodes_a_batch": 96,
        "limit": LIMIT,
        "policy": policy,
        "estimator": ESTIMATOR,
    }
    path = RESULTS / f"progress_alfworld_{name}.json"
    path.write_text(json.dumps({**what, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
