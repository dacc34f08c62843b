"""Random little models for the tests: every architecture path, nothing downloaded."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from agentgym.policies import HFPolicy
from agentgym.policies.tiny import build_tokenizer, defaults_of

WORDS = [
    "You are at place 1 of 3. A key lies here.",
    "You are at place 2 of 3.",
    "go left",
    "go right",
    "take key",
    "open door",
    "desk 1",
    "lamp 2",
]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def random_policy(architecture: str = "llama", seed: int = 0, **options: Any) -> HFPolicy:
    tokenizer = build_tokenizer(WORDS * 2)
    torch.manual_seed(seed)
    if architecture == "llama":
        model: Any = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **SIZES))
    # Weights of the default size give almost uniform logits, under which many mistakes would not show.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6)
    return HFPolicy(model, tokenizer, **{**defaults_of(tokenizer), "name": f"random {architecture}", **options})
