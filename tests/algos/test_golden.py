"""Our presets against what the reference implementation computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agentgym.algos import get_algorithm
from agentgym.algos.functional.losses import kl_divergence, policy_loss
from agentgym.algos.functional.returns import discounted_returns
from agentgym.algos.functional.statistics import whiten
from agentgym.batch import StepBatch, encode
from agentgym.contracts import TokenBatch
from agentgym.testing import make_batch

# Column of the reference values: the algorithm or preset, and what differs from it. The recorded runs have ε = 1e-6.
COLUMNS: dict[str, tuple[str, dict[str, Any]]] = {
    "gigpo_mean_std_norm": ("gigpo_alfworld", {}),
    "gigpo_mean_norm": ("gigpo_webshop", {}),
    "grpo_cross1_std1": ("grpo_verl_agent", {}),
    "grpo_cross1_std0": ("grpo_verl_agent", {"std": None}),
    "grpo_cross0_std1": ("grpo", {"lone": "raw"}),
    "grpo_cross0_std0": ("grpo", {"lone": "raw", "std": None}),
    "episode_cross1_nostd0": ("gigpo_alfworld", {"omega": 0.0}),
    "episode_cross1_nostd1": ("gigpo_webshop", {"omega": 0.0}),
    "episode_cross0_nostd0": ("gigpo", {"omega": 0.0, "lone": "raw"}),
    "episode_cross0_nostd1": ("gigpo", {"omega": 0.0, "lone": "raw", "std": None}),
    "rloo_cross1": ("rloo_verl_agent", {}),
    "rloo_cross0": ("rloo", {"lone": "raw"}),
}


@pytest.fixture(scope="module")
def golden(agentgym_data: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((agentgym_data / "golden/group_advantages.json").read_text())
    assert len(values["cases"]) == 20
    assert len(values["losses"]) == 10
    return values


def batch_of(case: dict[str, Any]) -> StepBatch:
    columns = {name: [row[name] for row in case["rows"]] for name in ("group", "episode", "t", "anchor", "reward")}
    codes = {name: encode(columns.pop(name)) for name in ("group", "episode", "anchor")}
    return make_batch(**codes, **columns)


@pytest.mark.parametrize("number", range(20))
def test_step_returns(golden: dict[str, Any], number: int) -> None:
    case = golden["cases"][number]
    batch = batch_of(case)
    returns = discounted_returns(batch.reward, batch.episode, batch.t, case["gamma"])
    np.testing.assert_allclose(returns, case["step_returns"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("number", range(20))
def test_advantages(golden: dict[str, Any], number: int, column: str) -> None:
    case = golden["cases"][number]
    name, settings = COLUMNS[column]
    if name.startswith("gigpo"):
        settings = {**settings, "gamma": case["gamma"]}
    batch = batch_of(case)
    shuffle = np.random.default_rng(number).permutation(len(batch))
    advantage = get_algorithm(name, eps=1e-6, **settings).credit(batch.take(shuffle)).advantage
    # The reference works in float32, so values near 10 are known to about 1e-6.
    np.testing.assert_allclose(advantage, np.array(case[column])[shuffle], rtol=1e-5, atol=1e-5)


def tokens_of(case: dict[str, Any]) -> tuple[TokenBatch, dict[str, torch.Tensor]]:
    columns = {name: torch.tensor(case[name]) for name in ("lp", "old", "adv", "mask")}
    mask = columns["mask"].bool()
    row = torch.arange(len(mask))[:, None].expand_as(mask).flatten()
    tokens = TokenBatch(
        logp=columns["lp"].flatten(),
        old_logp=columns["old"].flatten(),
        advantage=columns["adv"].flatten(),
        mask=mask.flatten(),
        row=row,
        episode=row,
        tokens_in_row=mask.sum(1).float()[row],
        total_tokens=int(mask.sum()),
        total_rows=len(mask),
        total_episodes=len(mask),
    )
    return tokens, columns


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"])
@pytest.mark.parametrize("number", range(10))
def test_losses(golden: dict[str, Any], number: int, aggregation: Any) -> None:
    case = golden["losses"][number]
    loss = policy_loss(
        tokens_of(case)[0],
        clip_low=0.2,
        clip_high=0.28,
        dual_clip=3.0,
        kl_coef=0.0,
        kl_estimator="k3",
        entropy_coef=0.0,
        aggregation=aggregation,
    )
    metrics = loss.metrics
    ours = [loss.total, metrics["clip_ratio/region_mean"], metrics["ppo_kl"], metrics["clip_ratio/dual_mean"]]
    np.testing.assert_allclose([float(x) for x in ours], case[f"ppo_{aggregation}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("number", range(10))
def test_sequence_losses(golden: dict[str, Any], number: int) -> None:
    case = golden["losses"][number]
    algorithm = get_algorithm("gspo_paper")
    np.testing.assert_allclose(float(algorithm.loss(tokens_of(case)[0]).total), case["gspo"][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("number", range(10))
def test_whitening(golden: dict[str, Any], number: int) -> None:
    case = golden["losses"][number]
    mask = np.array(case["mask"]) > 0
    advantage = (np.array(case["gae_returns"]) - np.array(case["values"]))[mask]
    np.testing.assert_allclose(whiten(advantage), np.array(case["gae_whitened"])[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("estimator", "column"), [("k1", "kl_kl"), ("k2", "kl_mse"), ("k3", "kl_low_var_kl"), ("abs", "kl_abs")]
)
@pytest.mark.parametrize("number", range(10))
def test_kl_estimators(golden: dict[str, Any], number: int, estimator: Any, column: str) -> None:
    case = golden["losses"][number]
    _, columns = tokens_of(case)
    ours = kl_divergence(columns["lp"], columns["old"], estimator)
    np.testing.assert_allclose(ours.numpy(), case[column], rtol=1e-5, atol=1e-6)
