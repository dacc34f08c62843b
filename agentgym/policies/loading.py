"""Where the weights of a policy come from, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentgym.errors import PolicyError
from agentgym.policies import smollm2, tiny

__all__ = ["BUILT_IN", "load"]

BUILT_IN = {"tiny": tiny.build, "smollm2": lambda world: smollm2.load()}


def load(name: str, dtype: str | torch.dtype = "auto", world: str = "ALFWorld-v0") -> tuple[Any, Any, dict[str, Any]]:
    """Return model, tokenizer and default arguments of the policy called ``name``.

    Args:
        name: A built-in policy, a folder or a Hub id.
        dtype: Type of the weights.
        world: Environment id whose words a policy that is built on the spot should know.

    Raises:
        PolicyError: If ``name`` is neither built in, nor a folder, nor a reachable Hub id.
    """
    if name in BUILT_IN:
        model, tokenizer, defaults = BUILT_IN[name](world)
        wanted = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype, None)
        return model if wanted is None else model.to(wanted), tokenizer, defaults
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
    except Exception as error:
        kind = "folder" if Path(name).exists() else "folder or reachable Hub id"
        raise PolicyError(
            f"cannot load a policy from {name!r}: {type(error).__name__}: {error}. Give one of {sorted(BUILT_IN)}, "
            f"or a {kind} with a causal LM and its tokenizer."
        ) from error
    return model, tokenizer, tiny.defaults_of(tokenizer)
