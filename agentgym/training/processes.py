"""Starting up: the processes of a run, and the directory they agree on."""

from __future__ import annotations

import atexit
import re
import time
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, ProjectConfiguration, broadcast_object_list

from agentgym.errors import ConfigError
from agentgym.training.config import TrainConfig

__all__ = ["choose_run_dir", "leave_processes", "make_accelerator", "start_processes"]

# Process groups of runs that have ended, see ``leave_processes``.
_ended: list[object] = []
atexit.register(_ended.clear)

_SHARDING = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


def start_processes(config: TrainConfig) -> PartialState:
    """Join the other processes; forget the settings of an earlier run in this one."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return PartialState(cpu=config.cpu)


def leave_processes(accelerator: Accelerator) -> None:
    """Close the trackers and leave the other processes.

    The group is kept until the program ends. Its destructor joins threads that may be waiting for the interpreter's
    lock. Python's own reference lets go of the lock meanwhile, DDP's does not: if that were the last one, a program
    that has done all its work could hang.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        _ended.append(torch.distributed.group.WORLD)
    accelerator.end_training()


def choose_run_dir(config: TrainConfig, checkpoint: Path | None, name: str) -> Path:
    """Return where this run writes: as configured, else where its checkpoint lies, else a new folder under ``runs``.

    Raises:
        ConfigError: If the folder holds another run.
    """
    if config.output_dir is None and checkpoint is not None:
        return checkpoint.parent.parent
    if config.output_dir is None:
        stem = re.sub(r"[^\w.-]+", "_", name)
        chosen = [Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"]
        broadcast_object_list(chosen)
        return chosen[0]
    metrics = config.output_dir / "metrics.jsonl"
    if checkpoint is None and metrics.exists() and metrics.stat().st_size > 0:
        raise ConfigError(
            f"output_dir {str(config.output_dir)!r} holds a run already: choose another, or go on with it by "
            "resume_from_checkpoint=True"
        )
    return config.output_dir


def make_accelerator(config: TrainConfig, run_dir: Path, iteration: int) -> Accelerator:
    """Build the accelerator with its trackers, which go on after ``iteration``.

    Raises:
        ConfigError: If the weights would be sharded.
    """
    project = ProjectConfiguration(project_dir=str(run_dir), logging_dir=str(run_dir / "tensorboard"))
    accelerator = Accelerator(
        cpu=config.cpu,
        mixed_precision=config.mixed_precision,
        log_with=list(config.report_to) or None,
        project_config=project,
    )
    if accelerator.distributed_type in _SHARDING:
        raise ConfigError(
            f"accelerate is configured for {accelerator.distributed_type.value}: every process generates with the "
            "whole model, so its weights cannot be sharded. Launch without it, for plain data parallelism."
        )
    # Given to the trackers themselves: accelerate would have TensorBoard write its settings as a run of their own.
    settings = {"config": config.model_dump(mode="json")}
    options = {"tensorboard": {"purge_step": iteration + 1}, "wandb": settings, "trackio": settings}
    accelerator.init_trackers("agentgym", init_kwargs={name: options[name] for name in config.report_to})
    return accelerator
