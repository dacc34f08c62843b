"""The weights of a policy: to a folder, from a folder, and under a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from agentgym.policies import HFPolicy

__all__ = ["copy_weights", "load_weights", "save_weights", "weights_digest"]


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


def save_weights(policy: HFPolicy, folder: Path) -> None:
    """Write model and tokenizer."""
    with _quiet():
        policy.save_pretrained(folder)


def weights_digest(model: torch.nn.Module) -> str:
    """Return a name for the weights: equal weights, equal name."""
    digest = blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
