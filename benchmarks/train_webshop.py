"""What the tiny policy learns in the built-in shop: the run of examples/webshop.yaml, once for each seed.

    python benchmarks/train_webshop.py                # seeds 0, 1, 2, one process of one thread each
    python benchmarks/train_webshop.py --processes 2  # the same on two cores

Runs land in runs/ (a finished one is not repeated), the record in results/. The rule was fixed before the runs: the
weights after the last iteration, 200 fixed goals of the validation split, whose products no training goal asks for,
sampled at temperature 1 and greedily, the same goals before and after. Beside success (a score of 1) stands the mean of
the shop's graded score.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from agentgym import HFPolicy
from agentgym.evaluation import Evaluation, Outcome, evaluate
from agentgym.evaluation.intervals import paired_bootstrap
from agentgym.training.environments import resolve_environments

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CONFIG = ROOT / "examples" / "webshop.yaml"
EVALUATION_SEED = 20_260


def train(seed: int, processes: int, output: Path, more: Sequence[str]) -> None:
    """Run ``agentgym train`` with a cache of the run's own, so that its time holds the warm start."""
    command = [sys.executable, "-m", "agentgym"]
    if processes > 1:
        launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m", "agentgym"]
        command = [sys.executable, "-m", *launch]
    command += ["train", "--config", str(CONFIG), "--seed", str(seed), "--set", f"warm_start.seed={seed}"]
    command += ["--output", str(output), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AGENTGYM_CACHE": str(output.with_suffix(".cache"))}
    subprocess.run(command, check=True, env=environment, cwd=ROOT)


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """Return success with its interval, mean score and mean length of an evaluation."""
    success = evaluation.success
    return {
        "success": success.value,
        "interval": [success.low, success.high],
        "score": round(evaluation.mean("score"), 4),
        "length": round(evaluation.mean("length"), 2),
    }


def gain(before: Evaluation, after: Evaluation, value: Callable[[Outcome], float]) -> dict[str, Any]:
    """Return the gain in points on the same goals, with its paired bootstrap interval."""
    found = paired_bootstrap([value(o) for o in before.outcomes], [value(o) for o in after.outcomes])
    return {"mean": 100 * found.value, "interval": [100 * found.low, 100 * found.high]}


def record(run: Path, seed: int) -> dict[str, Any]:
    """Return the record of one run."""
    described = json.loads((run / "config.json").read_text(encoding="utf-8"))
    found = {
        int(i): Evaluation.from_dict(e)
        for i, e in json.loads((run / "evaluations.json").read_text(encoding="utf-8")).items()
    }
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    training = [row for row in rows if "episode/success_rate" in row]
    before, after = found[0], found[max(found)]
    arguments = described["environment"]["train"]["arguments"]
    worlds = resolve_environments("WebShop-v0", arguments)
    policy = HFPolicy.from_pretrained(max((run / "checkpoints").iterdir()) / "model")
    greedy = evaluate(worlds.make_eval, policy, episodes=len(after.outcomes), seed=EVALUATION_SEED, temperature=0)
    last = training[-1]
    return {
        "seed": seed,
        "source": after.source,
        "goals": len(after.outcomes),
        "temperature": after.temperature,
        "before": figures(before),
        "after": figures(after),
        "after_greedy": figures(greedy),
        "gain_points": {
            "success": gain(before, after, lambda outcome: float(outcome.won)),
            "score": gain(before, after, lambda outcome: outcome.score),
        },
        "iterations": last["iteration"],
        "generated_tokens": last["total/generated_tokens"],
        "seconds_of_training": round(last["time/total"], 1),
        "training_success": [round(row["episode/success_rate"], 4) for row in training],
    }


def main() -> None:
    """Train and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "train_webshop")
    options, more = parser.parse_known_args()
    runs = []
    for seed in options.seeds:
        output = options.runs / f"builtin-{seed}"
        if not (output / "evaluations.json").exists():
            train(seed, options.processes, output, more)
        runs.append(record(output, seed))
        print({key: runs[-1][key] for key in ("seed", "before", "after", "gain_points", "seconds_of_training")})
    result = {
        "what": f"examples/webshop.yaml with {options.processes} process(es) of one thread",
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "mean": {
            when: {name: round(fmean(run[when][name] for run in runs), 4) for name in ("success", "score")}
            for when in ("before", "after", "after_greedy")
        },
        "runs": runs,
    }
    path = RESULTS / "train_webshop_builtin.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
