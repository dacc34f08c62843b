"""The weights of a policy: to a folder, from a folder, and under a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from transformers.utils import logging

from agentgym.policies import HFPolicy

__all__ = [
    "copy_weights",
    "full_weights",
    "load_optimizer",
    "load_weights",
    "optimizer_state",
    "save_weights",
    "weights_digest",
]

_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)
_PREFIX = "model."
# The whole state on the main process, whatever the processes hold of it.
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def load_weights(policy: HFPolicy, folder: Path) -> None:
    """Read into the policy's model what ``save_weights`` wrote; of a peft model, the adapter."""
    model: Any = policy.model
    if hasattr(model, "peft_config"):
        from peft import load_peft_weights, set_peft_model_state_dict

        set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))
    else:
        copy_weights(model, folder)


def copy_weights(model: Any, folder: Path) -> None:
    """Read a folder of transformers into a model of the same class."""
    with _quiet():
        stored = type(model).from_pretrained(folder, dtype=model.dtype)
    model.load_state_dict(stored.state_dict())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing progress bars into ours."""
    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def full_weights(accelerator: Accelerator, scorer: torch.nn.Module) -> dict[str, torch.Tensor] | None:
    """Gather sharded weights of a prepared scorer, under the names of its model; None where every process has them all.

    Every process must call this.
    """
    if accelerator.distributed_type not in _SHARDED:
        return None
    return {name.removeprefix(_PREFIX): value for name, value in accelerator.get_state_dict(scorer).items()}


def save_weights(policy: HFPolicy, folder: Path, weights: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write model and tokenizer; ``weights`` replaces those that this process holds."""
    with _quiet():
        if weights is None:
            policy.save_pretrained(folder)
        else:
            policy.model.save_pretrained(folder, state_dict=dict(weights))
            policy.tokenizer.save_pretrained(folder)


def optimizer_state(scorer: torch.nn.Module, optimizer: Any) -> dict[str, Any]:
    """Return the optimiser's state by parameter name, empty but on the main process; every process must call this."""
    return get_optimizer_state_dict(scorer, optimizer.optimizer, options=_WHOLE)


def load_optimizer(scorer: torch.nn.Module, optimizer: Any, state: Mapping[str, Any]) -> None:
    """Put back what ``optimizer_state`` returned on the main process; every process gives the whole state."""
    set_optimizer_state_dict(scorer, optimizer.optimizer, dict(state), options=_WHOLE)


def weights_digest(model: torch.nn.Module) -> str:
    """Return a name for the weights: equal weights, equal name."""
    digest = blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
