"""MA-PPO from end to end: it is token PPO at one token, its learners serve it, and a run resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentgym.algos import PPO, MacroPPO
from tests.training.test_ppo_training import run
from tests.training.test_resume import Knock, assert_same_run, train, weights

SETTINGS: dict[str, Any] = {"eval_episodes": 0, "learning_rate": 0.003, "minibatches": 2}


def test_with_one_token_the_run_is_that_of_ppo(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"iterations": 2, "epochs": 2, "learning_rate": 0.003, "save_every": 2}
    tokens = run(tmp_path / "ppo", PPO(level="token"), **settings)
    macros = run(tmp_path / "ma_ppo", MacroPPO(length=1, ratio="macro"), **settings)
    for one, other in zip(tokens, macros, strict=True):
        assert other.pop("credit/macro_length_mean") == 1
        assert one == other
    first, second = (weights(tmp_path / name, 2) for name in ("ppo", "ma_ppo"))
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_micro_batches_do_not_cut_macro_actions(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"iterations": 2, "epochs": 2, "learning_rate": 0.003}
    algorithm: dict[str, Any] = {"ratio": "macro", "length": 2, "lone_last": False}
    one = run(tmp_path / "one", MacroPPO(**algorithm), **settings)
    many = run(tmp_path / "many", MacroPPO(**algorithm), tokens_per_microbatch=120, **settings)
    for name in ("value_loss", "loss", "grad_norm", "clip_ratio/region_mean"):
        assert [row[name] for row in many] == pytest.approx([row[name] for row in one], rel=1e-3, abs=1e-6), name
    assert 1 < one[0]["credit/macro_length_mean"] <= 2


def test_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    options: dict[str, Any] = {"termination": "perplexity", "kl_reward_coef": 0.1, "ratio": "macro"}
    train(tmp_path / "straight", algorithm=MacroPPO(**options), **SETTINGS)
    train(tmp_path / "cut", algorithm=MacroPPO(**options), callbacks=[Knock(2)], **SETTINGS)
    train(tmp_path / "cut", algorithm=MacroPPO(**options), resume=True, **SETTINGS)
    assert_same_run(tmp_path / "straight", tmp_path / "cut")


def test_the_share_of_unmatched_responses_is_logged(tmp_path: Path) -> None:
    rows = run(tmp_path / "run", MacroPPO(termination="parsed"), iterations=1, save_every=0)
    assert rows[0]["phrases/unmatched_share"] == 0
    assert rows[0]["credit/macro_length_mean"] >= 1
