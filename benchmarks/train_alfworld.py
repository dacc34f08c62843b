"""What `make train` learns: the run of examples/alfworld.yaml, once for each seed, and the same on the real games.

    python benchmarks/train_alfworld.py                          # seeds 0, 1, 2 on built-in games
    python benchmarks/train_alfworld.py --data path/to/alfworld  # seed 0 on real games, evaluated on valid_seen

Runs land in runs/ (a finished one is not repeated), the record in results/ and, for built-in games, the picture in
docs/assets/. The rule was fixed before the runs: the weights after the last iteration, 200 fixed games in rooms that no
training game is played in (on real games all of valid_seen), sampled at temperature 1 and greedily, the same games
before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from agentgym import HFPolicy
from agentgym.evaluation import Evaluation, compare, evaluate
from agentgym.training.environments import resolve_environments

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CONFIG = ROOT / "examples" / "alfworld.yaml"
EVALUATION_SEED = 20_260
SMOOTH = 10


def train(seed: int, data: str, output: Path, more: list[str]) -> None:
    """Run ``agentgym train`` as `make train` does: one process for each of two cores."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "agentgym", "train", "--config", str(CONFIG), "--data", data, "--seed", str(seed)]
    command += ["--output", str(output), "--set", f"warm_start.seed={seed}", "--save-every", "0", *more]
    # A cache of the run's own: its time must hold the warm start.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AGENTGYM_CACHE": str(output.with_suffix(".cache"))}
    subprocess.run(command, check=True, env=environment, cwd=ROOT)


def greedy(data: str, options: dict[str, Any], model: Path, episodes: int) -> Evaluation:
    """Play the evaluation games greedily."""
    worlds = resolve_environments("ALFWorld-v0", {"data": data, **options})
    policy = HFPolicy.from_pretrained(model)
    return evaluate(worlds.make_eval, policy, episodes=episodes, seed=EVALUATION_SEED, temperature=0)


def record(run: Path, seed: int, data: str) -> dict[str, Any]:
    """Return the record of one run."""
    described = json.loads((run / "config.json").read_text(encoding="utf-8"))
    found = {
        int(i): Evaluation.from_dict(e)
        for i, e in json.loads((run / "evaluations.json").read_text(encoding="utf-8")).items()
    }
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    training = [row for row in rows if "episode/success_rate" in row]
    before, after = found[0], found[max(found)]
    gain = compare(before, after)
    options = {"max_episode_steps": int(described["environment"]["train"]["arguments"]["max_episode_steps"])}
    final = greedy(data, options, max((run / "checkpoints").iterdir()) / "model", len(after.outcomes))
    last = training[-1]
    return {
        "seed": seed,
        "source": after.source,
        "games": len(after.outcomes),
        "step_limit": options["max_episode_steps"],
        "temperature": after.temperature,
        "before": {"success": before.success.value, "interval": [before.success.low, before.success.high]},
        "after": {"success": after.success.value, "interval": [after.success.low, after.success.high]},
        "gain_points": {"mean": 100 * gain.value, "interval": [100 * gain.low, 100 * gain.high]},
        "after_greedy": {"success": final.success.value, "interval": [final.success.low, final.success.high]},
        "iterations": last["iteration"],
        "generated_tokens": last["total/generated_tokens"],
        "seconds_of_training": round(last["time/total"], 1),
        "by_type": {
            name: {"before": round(rate.value, 4), "after": round(after.by_type[name].value, 4)}
            for name, rate in before.by_type.items()
        },
        "training_success": [round(row["episode/success_rate"], 4) for row in training],
    }


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw training success and the evaluations of all seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for run in runs:
        rates = [100 * rate for rate in run["training_success"]]
        means = [fmean(rates[max(0, i + 1 - SMOOTH) : i + 1]) for i in range(len(rates))]
        [line] = axes.plot(range(1, len(means) + 1), means, linewidth=1, alpha=0.6)
        x = [0, run["iterations"]]
        y = [100 * run[when]["success"] for when in ("before", "after")]
        ends = [run[when]["interval"] for when in ("before", "after")]
        error = [
            [v - 100 * low for v, (low, _) in zip(y, ends, strict=True)],
            [100 * high - v for v, (_, high) in zip(y, ends, strict=True)],
        ]
        label = f"seed {run['seed']}: {y[0]:.1f}% to {y[1]:.1f}%"
        axes.errorbar(x, y, error, fmt="o", color=line.get_color(), capsize=4, label=label)
    axes.set(xlabel="iteration", ylabel="success (%)", ylim=(0, 100))
    axes.set_title(f"GiGPO, policy tiny, {runs[0]['games']} games of {runs[0]['source']}")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize="small", title=f"points: held-out games; lines: training, mean of {SMOOTH}")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train, record, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--data", default="builtin")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "train_alfworld")
    options, more = parser.parse_known_args()
    builtin = options.data == "builtin"
    name = "builtin" if builtin else "real"
    runs = []
    for seed in options.seeds or ([0, 1, 2] if builtin else [0]):
        output = options.runs / f"{name}-{seed}"
        if not (output / "evaluations.json").exists():
            train(seed, options.data, output, more)
        runs.append(record(output, seed, options.data))
        print({key: runs[-1][key] for key in ("seed", "before", "after", "gain_points", "seconds_of_training")})
    result = {
        "what": f"examples/alfworld.yaml on {name} games with 2 processes of one thread; torch.distributed.run",
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "runs": runs,
    }
    path = RESULTS / f"train_alfworld_{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if builtin:
        draw(runs, ROOT / "docs" / "assets" / "learning_curve.png")
    print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
