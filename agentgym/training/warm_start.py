"""The supervised start of an untrained policy: expert demonstrations, then fine-tuning, kept for the next run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from accelerate import Accelerator

import agentgym
from agentgym.errors import ConfigError
from agentgym.policies import HFPolicy, Turn
from agentgym.policies.scripted import expert_action
from agentgym.rollouts import MakeEnv, demonstrate
from agentgym.training.checkpoint import publish
from agentgym.training.config import SFTConfig
from agentgym.training.sft import finetune
from agentgym.training.weights import load_weights, save_weights, weights_digest

__all__ = ["WarmStart", "cache_folder", "warm_start"]

_LINES = 5


@dataclass(frozen=True, slots=True)
class WarmStart:
    """What a warm start took.

    Attributes:
        demonstrations: Expert episodes learned from.
        steps: Optimiser steps.
        loss: Loss of the last step, in nats a token.
        demonstration_seconds: Time the expert played.
        training_seconds: Time of the fine-tuning.
        cached: Whether the weights came from an earlier run, and so the times too.
    """

    demonstrations: int
    steps: int
    loss: float
    demonstration_seconds: float
    training_seconds: float
    cached: bool = False

    @property
    def seconds(self) -> float:
        """Time from untrained weights to these."""
        return self.demonstration_seconds + self.training_seconds


def cache_folder() -> Path:
    """Return where warm-started weights are kept: ``$AGENTGYM_CACHE``, else ``~/.cache/agentgym``."""
    return Path(os.environ.get("AGENTGYM_CACHE") or Path.home() / ".cache" / "agentgym")


def warm_start(
    policy: HFPolicy,
    make_env: MakeEnv,
    config: SFTConfig,
    *,
    expert: Callable[[Turn], str] | None = None,
    accelerator: Accelerator,
    say: Callable[[str], None],
) -> WarmStart:
    """Fine-tune the policy on expert demonstrations, or load what an earlier run with equal inputs left in the cache.

    Args:
        policy: Whose weights change, in place.
        make_env: Makes a training environment.
        config: Settings.
        expert: Plays the demonstrations; by default the environment's own ``expert_action``.
        accelerator: The processes; the first of each machine trains, the others load its result.
        say: Told what is going on.

    Raises:
        ConfigError: If the environment has no expert and none is given.
    """
    env, script = make_env(), expert or expert_action
    if expert is None and not hasattr(env.unwrapped, "expert_action"):
        raise ConfigError(
            f"the policy is untrained and {type(env.unwrapped).__name__} has no expert to learn from: give the trainer "
            "an expert=, a function from turn to action, or a policy that was fine-tuned by `agentgym sft`"
        )
    folder = cache_folder() / "warm_start" / _key(policy, env, config, script)
    env.close()
    if accelerator.is_local_main_process and not (folder / "warm_start.json").is_file():
        made = _train(policy, make_env, script, config, say)

        def fill(path: Path) -> None:
            save_weights(policy, path / "model")
            (path / "warm_start.json").write_text(json.dumps(asdict(made)), encoding="utf-8")

        publish(folder, fill)
        accelerator.wait_for_everyone()
        return made
    accelerator.wait_for_everyone()
    load_weights(policy, folder / "model")
    found = WarmStart(**{**json.loads((folder / "warm_start.json").read_text(encoding="utf-8")), "cached": True})
    say(f"warm start: loaded from {folder}; making it took {found.seconds:.0f} s")
    return found


def _key(policy: HFPolicy, env: Any, config: SFTConfig, script: Callable[[Turn], str]) -> str:
    """Name the inputs that decide on the result."""
    spec = getattr(env, "spec", None)
    parts = {
        "version": agentgym.__version__,
        "environment": repr(env.unwrapped) if spec is None else spec.to_json(),
        "tasks": blake2b("\n".join(getattr(env.unwrapped, "tasks", None) or ()).encode(), digest_size=16).hexdigest(),
        "expert": f"{script.__module__}.{script.__qualname__}",
        "config": config.model_dump(),
        "context": repr(policy.context),
        "vocabulary": blake2b(repr(sorted(policy.tokenizer.get_vocab().items())).encode(), digest_size=16).hexdigest(),
        "weights": weights_digest(policy.model),
    }
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _train(
    policy: HFPolicy, make_env: MakeEnv, script: Callable[[Turn], str], config: SFTConfig, say: Callable[[str], None]
) -> WarmStart:
    say(f"warm start: the expert plays {config.demonstrations} training games")
    began = time.perf_counter()
    episodes = demonstrate(make_env, policy, script, config.demonstrations, seed=config.seed)
    played = time.perf_counter() - began
    say(f"warm start: {config.steps} steps of supervised learning on {len(episodes)} demonstrations")
    every = max(1, config.steps // _LINES)

    def report(step: int, loss: float) -> None:
        if step % every == 0:
            say(f"warm start: step {step}/{config.steps}, loss {loss:.3f}, {time.perf_counter() - began:.0f} s")

    result = finetune(policy, episodes, config, on_step=report)
    return WarmStart(len(episodes), config.steps, result.losses[-1], played, result.seconds)
