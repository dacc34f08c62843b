"""ArCHer against PPO and filtered behaviour cloning on Twenty Questions, by environment steps.

    python benchmarks/archer_twenty_questions.py                       # all methods, seeds 3, 4, 5
    python benchmarks/archer_twenty_questions.py --methods archer ppo --seeds 3 --iterations 10

Every run of a seed begins at the same weights, a short imitation of players who often ask at random, and plays 32
episodes an iteration. The rule was fixed before the runs: ten secrets, 1/20 off for every turn; success and return of
the games that are played to learn from, which the policy has not learned from yet; their means over the whole run, by
environment steps, and over its last quarter. Finished runs in ``--output`` are not repeated. Prints a table and writes
``benchmarks/results/archer_twenty_questions.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from agentgym import HFPolicy
from agentgym.algos import get_algorithm
from agentgym.envs.guessing.corpus import world_texts
from agentgym.policies import Transcript
from agentgym.policies.tiny import build_tokenizer
from agentgym.training import TrainConfig, Trainer

ROOT = Path(__file__).resolve().parents[1]
WORLD = "TwentyQuestions-v0"
GAME = {"split": "all", "size": 10, "turn_cost": 0.05}
# A method and its learning rate. PPO's and filtered cloning's are as first written down. ArCHer's were searched for on
# seeds 0 to 2, which are therefore not counted: as the paper has it, without whitening and KL, it lost what it knew.
METHODS = {
    "archer": (
        "archer:gamma=0.95+steps=60+minibatch=24+warmup=6+critic_learning_rate=1e-3+whiten=true+kl_coef=0.1",
        5e-4,
    ),
    "ppo": ("ppo:gamma=0.95", 1e-3),
    "filtered_bc": ("filtered_bc", 1e-3),
}


def small_policy(seed: int) -> HFPolicy:
    """Return a model of two narrow layers that has a token for every question; it needs a warm start."""
    tokenizer = build_tokenizer(world_texts(WORLD), phrases=2000)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    options: dict[str, Any] = {"context": Transcript(instruction=None), "max_new_tokens": 4, "needs_warm_start": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HFPolicy(LlamaForCausalLM(config), tokenizer, name=f"small-{seed}", **options)


def train(method: str, seed: int, iterations: int, folder: Path) -> Path:
    """Train and return the folder of the run; a finished one is left as it is."""
    run = folder / f"{method}-{seed}"
    if (run / "evaluations.json").exists():
        return run
    algorithm, rate = METHODS[method]
    config = TrainConfig(
        iterations=iterations,
        groups=32,
        group_size=1,
        minibatches=4,
        learning_rate=rate,
        seed=seed,
        eval_episodes=0,
        save_every=0,
        report_to="none",
        cpu=True,
        output_dir=run,
        warm_start={"steps": 150, "demonstrations": 300, "dawdle": 0.6, "noise": 0.0, "seed": seed},
    )
    Trainer(WORLD, small_policy(seed), get_algorithm(algorithm), config, env_kwargs=GAME, display=False).train()
    return run


def record(run: Path) -> dict[str, Any]:
    """Return what was played in each iteration, by the environment steps before it."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    total = [row["total/env_steps"] for row in rows]
    return {
        "env_steps": [0.0, *total],
        "success": [row["episode/success_rate"] for row in rows],
        "return": [row["episode/reward"] for row in rows],
        "seconds": rows[-1]["time/total"],
    }


def table(runs: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """Return a line for each method: means over its seeds."""
    lines = ["method       seeds  success: first  all   last quarter  return: first   all    last quarter  env steps"]
    for method, by_seed in runs.items():
        curves = list(by_seed.values())
        cells = []
        for name in ("success", "return"):
            late = [curve[name][-max(1, len(curve[name]) // 4) :] for curve in curves]
            whole = [np.average(curve[name], weights=np.diff(curve["env_steps"])) for curve in curves]
            cells += [fmean(curve[name][0] for curve in curves), fmean(whole), fmean(map(fmean, late))]
        played = fmean(curve["env_steps"][-1] for curve in curves)
        lines.append(
            f"{method:<12} {len(curves):>5} {cells[0]:>15.3f} {cells[1]:>5.3f} {cells[2]:>13.3f} {cells[3]:>14.3f} "
            f"{cells[4]:>6.3f} {cells[5]:>13.3f} {played:>10.0f}"
        )
    return lines


def main() -> None:
    """Train, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[3, 4, 5])
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "archer_twenty_questions")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for seed in arguments.seeds:
        for method in arguments.methods:
            run = train(method, seed, arguments.iterations, arguments.output)
            runs.setdefault(method, {})[seed] = record(run)
            print(f"{method} seed {seed}: {[round(value, 2) for value in runs[method][seed]['success']]}", flush=True)
    print(*table(runs), sep="\n")
    result = {
        "game": {"world": WORLD, **GAME},
        "methods": {
            name: {"algorithm": algorithm, "learning_rate": rate}
            for name, (algorithm, rate) in METHODS.items()
            if name in arguments.methods
        },
        "settings": {"iterations": arguments.iterations, "episodes": 32},
        "machine": {"python": platform.python_version(), "torch": torch.__version__, "processor": platform.machine()},
        "runs": runs,
    }
    target = ROOT / "benchmarks" / "results" / "archer_twenty_questions.json"
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
