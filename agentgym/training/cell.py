"""One cell of a comparison: a run from the shared start to its token budget, and what its last weights can do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from accelerate import Accelerator
from accelerate.state import AcceleratorState

from agentgym.errors import TrainingError
from agentgym.evaluation import Evaluation, evaluate
from agentgym.policies import HFPolicy, Turn
from agentgym.rollouts import MakeEnv
from agentgym.training.checkpoint import checkpoints_in, publish
from agentgym.training.config import SFTConfig
from agentgym.training.grid import Cell
from agentgym.training.loggers import write_json
from agentgym.training.trainer import Trainer
from agentgym.training.warm_start import warm_start
from agentgym.training.weights import load_weights, save_weights, weights_digest

__all__ = ["Measure", "check_start", "curves", "make_start", "stop_with_parent", "train_cell"]

_COSTS = ("episodes", "generated_tokens", "env_steps", "updates")
_SEEN = ("unique_states", "unique_observations")
_STATES = ("episodes", "env_steps", "unique_states")


@dataclass(frozen=True, slots=True)
class Measure:
    """How the weights of a cell are measured, the same for all cells.

    Attributes:
        episodes: Number of held-out games.
        seed: Decides on the games and the sampling noise.
        temperature: Of the sampled evaluation, above 0; the other one is greedy.
        last: Training iterations in the mean that is the third figure.
    """

    episodes: int
    seed: int
    temperature: float
    last: int

    def play(self, policy: HFPolicy, make_env: MakeEnv) -> dict[str, Evaluation]:
        """Return the sampled and the greedy evaluation of a policy."""
        cast("Any", policy.model).eval()
        return {
            name: evaluate(make_env, policy, episodes=self.episodes, seed=self.seed, temperature=temperature)
            for name, temperature in (("sampled", self.temperature), ("greedy", 0.0))
        }


def make_start(
    folder: Path,
    policy: HFPolicy,
    make_env: MakeEnv,
    config: SFTConfig,
    measure: Measure,
    make_eval: MakeEnv,
    *,
    expert: Callable[[Turn], str] | None = None,
    cpu: bool = False,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Write the weights that all cells start from into ``folder``, after a warm start if they are untrained.

    Args:
        folder: Where to; there whole or not at all. If it is there, its weights stay.
        policy: The model; its weights change in place.
        make_env: Makes a training environment, for the expert's games.
        config: Settings of the warm start.
        measure: How to measure the weights.
        make_eval: Makes an evaluation environment.
        expert: Plays the demonstrations; by default the environment's own expert.
        cpu: Stay on the CPU where an accelerator is present.
        say: Told what is going on.

    Returns:
        What ``start.json`` holds: ``digest`` of the weights, ``figures`` by name, ``warm_start``.
    """
    if not folder.exists():
        made = None
        if policy.needs_warm_start:
            AcceleratorState._reset_state(reset_partial_state=True)
            accelerator = Accelerator(cpu=cpu)
            policy.model.to(accelerator.device)
            made = asdict(warm_start(policy, make_env, config, expert=expert, accelerator=accelerator, say=say))
        say(f"playing {measure.episodes} games with the starting weights, sampled and greedily")
        figures = {name: played.success.value for name, played in measure.play(policy, make_eval).items()}

        def fill(path: Path) -> None:
            save_weights(policy, path / "model")
            load_weights(policy, path / "model")  # the digest is of what the cells will read
            digest = weights_digest(policy.model)
            start = {"model": policy.name, "digest": digest, "figures": figures, "warm_start": made}
            write_json(path / "start.json", start)

        publish(folder, fill)
    found: dict[str, Any] = json.loads((folder / "start.json").read_text(encoding="utf-8"))
    return found


def check_start(policy: HFPolicy, digest: str) -> None:
    """Refuse weights that are not the shared start.

    Raises:
        TrainingError: If their digest is another.
    """
    if (found := weights_digest(policy.model)) != digest:
        raise TrainingError(f"the starting weights have digest {found}, not {digest}: the shared start was changed")


def train_cell(cell: Cell, trainer: Trainer, measure: Measure, rule: str) -> bool:
    """Train to the end, from the newest checkpoint if there is one, measure the weights, and write ``result.json``.

    Args:
        cell: Which cell.
        trainer: Set up to write into ``cell.folder / "run"``, without evaluations of its own.
        measure: How to measure the final weights.
        rule: Digest of the rule that the cell follows, for the record.

    Returns:
        Whether the cell is finished; False if a signal stopped it.
    """
    run = cell.folder / "run"
    resume = bool(checkpoints_in(run / "checkpoints"))
    if not resume:
        shutil.rmtree(run, ignore_errors=True)
    result = trainer.train(resume_from_checkpoint=run if resume else None)
    if result.stopped == "interrupted":
        return False
    with trainer.accelerator.autocast():
        evaluations = measure.play(trainer.policy, trainer.environments.make_eval)
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "total/generated_tokens" in row]
    curve, states = curves(rows)
    last = rows[-1] if rows else {}
    value: dict[str, Any] = {
        "method": cell.method,
        "seed": cell.seed,
        "rule": rule,
        "stopped": result.stopped,
        "figures": {
            **{name: evaluation.success.value for name, evaluation in evaluations.items()},
            "training": fmean(success for _, success in curve[-measure.last :]) if curve else 0.0,
        },
        "costs": {
            **{name: last.get(f"total/{name}", 0.0) for name in _COSTS},
            **{name: last[f"total/{name}"] for name in _SEEN if f"total/{name}" in last},
            "iterations": float(result.iterations),
            "seconds": result.seconds,
        },
        "curve": curve,
        "states": states,
        "skipped_updates": round(sum(row.get("skipped_updates", 0.0) * row.get("updates", 0.0) for row in rows)),
        "weights": weights_digest(trainer.policy.model),
        "evaluations": {name: evaluation.to_dict() for name, evaluation in evaluations.items()},
    }
    write_json(cell.result, value)
    return True


def curves(rows: Sequence[Mapping[str, float]]) -> tuple[list[list[float]], list[list[float]]]:
    """Return the learning curve and what was seen so far, from the metrics of iterations.

    A search may go through an iteration in which no episode ends; it adds no point to the learning curve.

    Returns:
        Generated tokens so far and training success of each iteration; and its rollouts, environment steps and unique
        states so far, where the world tells states.
    """
    curve = [
        [row["total/generated_tokens"], row["episode/success_rate"]] for row in rows if "episode/success_rate" in row
    ]
    seen = [[row[f"total/{name}"] for name in _STATES] for row in rows if f"total/{_STATES[-1]}" in row]
    return curve, seen


def stop_with_parent() -> None:
    """Send this process SIGTERM when its standard input closes, which it does when the process that began it dies."""

    def watch() -> None:
        os.read(0, 1)  # not through sys.stdin, whose lock a waiting thread would hold when Python ends
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
