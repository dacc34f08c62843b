"""A random two-layer model that knows the words of the test worlds, small enough to train in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from agentgym.policies import HFPolicy, Transcript, Turn
from agentgym.policies.tiny import build_tokenizer
from agentgym.training import TrainConfig
from tests.worlds import CORRIDOR_ACTIONS, Corridor

TEXTS = [
    *(f"You are at place {i} of {n}. A key lies here." for n in range(3, 7) for i in range(n)),
    *(action for action in CORRIDOR_ACTIONS for _ in range(3)),
    *("Nothing happens." for _ in range(3)),
    *("The door opens." for _ in range(3)),
]


class Steps(Corridor):
    """A corridor with a little reward for the way, so that even random episodes differ."""

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        observation, reward, terminated, valid = super()._act(action)
        gain = {"take key": 0.5, "right": 0.1}.get(action, 0.0) if valid else 0.0
        return observation, reward + gain, terminated, valid


class Graded(Corridor):
    """A corridor in which anything that is said has a grade, so that a policy which babbles has something to learn."""

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        observation, reward, terminated, valid = super()._act(action)
        return observation, reward + len(action) % 5 / 10, terminated, valid


def make_corridor() -> gym.Env[str, str]:
    return gym.wrappers.TimeLimit(Steps(), max_episode_steps=7)


def make_graded() -> gym.Env[str, str]:
    return gym.wrappers.TimeLimit(Graded(), max_episode_steps=7)


def small_policy(seed: int = 0, **options: Any) -> HFPolicy:
    tokenizer = build_tokenizer(TEXTS)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    options = {"context": Transcript(instruction=None), "max_new_tokens": 4, "name": "small", **options}
    return HFPolicy(model, tokenizer, **options)


def corridor_expert(turn: Turn) -> str:
    """Fetch the key on the left, then open the door on the right."""
    allowed = turn.info["admissible"]
    assert turn.env is not None
    has_key = "key" in turn.env.unwrapped.state_text()
    for action in ("open door", "take key"):
        if action in allowed:
            return action
    return "right" if has_key else "left"


def small_config(folder: Path, **settings: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "iterations": 2,
        "groups": 2,
        "group_size": 4,
        "learning_rate": 1e-3,
        "eval_episodes": 0,
        "save_every": 1,
        "report_to": "none",
        "cpu": True,
        "output_dir": folder,
    }
    return TrainConfig(**{**defaults, **settings})
