"""The supervised start of an untrained policy: expert demonstrations, then fine-tuning, kept for the next run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object

import agentgym
from agentgym.episodes import Episode
from agentgym.errors import ConfigError
from agentgym.policies import HFPolicy, Turn
from agentgym.policies.folders import cache_folder
from agentgym.policies.packing import sequences_of
from agentgym.policies.scripted import expert_action
from agentgym.rollouts import MakeEnv, demonstrate
from agentgym.training.checkpoint import publish
from agentgym.training.config import SFTConfig
from agentgym.training.sft import finetune
from agentgym.training.weights import load_weights, save_weights, weights_digest

__all__ = ["WarmStart", "warm_start"]

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
        accelerator: The processes, which share the work.
        say: Told what is going on.

    Raises:
        ConfigError: If the environment has no expert and none is given, or the expert wins nothing.
    """
    _check_expert(make_env, expert)
    say(f"warm start: the expert plays {config.demonstrations} training games")
    began = time.perf_counter()
    episodes = _demonstrations(make_env, policy, config, expert or expert_action, accelerator)
    played = time.perf_counter() - began
    if not episodes:
        raise ConfigError(f"the expert won none of {config.demonstrations} games, so there is nothing to learn from")
    folder = cache_folder() / "warm_start" / _key(policy, episodes, config)
    known = [folder.exists()]
    if accelerator.num_processes > 1:
        known = gather_object(known)  # machines may not share a cache
    if not all(known):
        return _train(policy, episodes, played, config, folder, accelerator, say)
    load_weights(policy, folder / "model")
    found = WarmStart(**{**json.loads((folder / "warm_start.json").read_text(encoding="utf-8")), "cached": True})
    say(f"warm start: loaded from {folder}; making it took {found.seconds:.0f} s")
    return found


def _demonstrations(
    make_env: MakeEnv,
    policy: HFPolicy,
    config: SFTConfig,
    script: Callable[[Turn], str],
    accelerator: Accelerator,
) -> list[Episode]:
    """Share the demonstrations out over the processes; return all of them, in an order that does not depend on that."""
    rank, world = accelerator.process_index, accelerator.num_processes
    mine = demonstrate(
        make_env,
        policy,
        script,
        config.demonstrations,
        seed=config.seed,
        noise=config.noise,
        dawdle=config.dawdle,
        rank=rank,
        world_size=world,
    )
    episodes = gather_object(mine) if world > 1 else mine
    return sorted(episodes, key=lambda episode: int(episode.group.rpartition("/")[2]))


def _check_expert(make_env: MakeEnv, expert: Callable[[Turn], str] | None) -> None:
    env = make_env()
    if expert is None and not hasattr(env.unwrapped, "expert_action"):
        raise ConfigError(
            f"the policy is untrained and {type(env.unwrapped).__name__} has no expert to learn from: give the trainer "
            "an expert=, a function from turn to action, or a policy that was fine-tuned by `agentgym sft`"
        )
    env.close()


def _key(policy: HFPolicy, episodes: Sequence[Episode], config: SFTConfig) -> str:
    """Name what decides on the result: the demonstrations themselves, the settings and the untrained weights."""
    digest = blake2b(digest_size=16)
    for part in (agentgym.__version__, config.model_dump_json(), weights_digest(policy.model)):
        digest.update(part.encode() + b"\0")
    for sequence in sequences_of(episodes):
        digest.update(sequence.ids.tobytes() + sequence.positions.tobytes())
    return digest.hexdigest()


def _train(
    policy: HFPolicy,
    episodes: Sequence[Episode],
    played: float,
    config: SFTConfig,
    folder: Path,
    accelerator: Accelerator,
    say: Callable[[str], None],
) -> WarmStart:
    """Fine-tune, all processes together, and keep the result in ``folder``."""
    until = "" if config.target_loss is None else f", or until the loss is {config.target_loss}"
    say(f"warm start: {config.steps} steps of supervised learning on {len(episodes)} demonstrations{until}")
    began, every = time.perf_counter(), max(1, config.steps // _LINES)

    def report(step: int, loss: float) -> None:
        if step % every == 0:
            say(f"warm start: step {step}/{config.steps}, loss {loss:.3f}, {time.perf_counter() - began:.0f} s")

    result = finetune(policy, episodes, config, accelerator=accelerator, on_step=report)
    made = WarmStart(len(episodes), len(result.losses), result.losses[-1], played, result.seconds)

    def fill(path: Path) -> None:
        save_weights(policy, path / "model")
        (path / "warm_start.json").write_text(json.dumps(asdict(made)), encoding="utf-8")

    if accelerator.is_local_main_process:
        publish(folder, fill)
    accelerator.wait_for_everyone()
    return made
