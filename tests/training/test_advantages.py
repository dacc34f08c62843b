"""Scaling advantages to one root mean square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agentgym.algos import GRPO, GiGPO
from agentgym.batch import Credit, StepBatch
from agentgym.testing import make_batch
from agentgym.training import Trainer
from agentgym.training.advantages import match_rms
from tests.training.small import make_corridor, small_config, small_policy


def batch_of(lengths: list[int]) -> StepBatch:
    rows, tokens = np.arange(len(lengths)), sum(lengths)
    return make_batch(
        group=0 * rows,
        episode=rows,
        t=0 * rows,
        reward=0 * rows,
        token_offsets=np.cumsum([0, *lengths]),
        token_ids=np.zeros(tokens, np.int64),
        logprobs=np.zeros(tokens, np.float32),
    )


def test_the_mean_runs_over_tokens_not_rows() -> None:
    batch = batch_of([1, 3])
    # Token advantages 2, -1, -1, -1: their mean square is 7/4.
    credit = Credit(np.array([2, -1], np.float32), {"episode": np.array([2, -1], np.float32)}, {"lone": 0.0})
    scaled = match_rms(credit, batch, 0.5)
    factor = 0.5 / np.sqrt(7 / 4)
    np.testing.assert_allclose(scaled.advantage, credit.advantage * factor, rtol=1e-6)
    np.testing.assert_allclose(scaled.components["episode"], scaled.advantage)
    assert scaled.diagnostics == {"lone": 0.0, "advantage_scale": pytest.approx(factor)}
    assert np.sqrt(np.mean(scaled.per_token(batch).astype(float) ** 2)) == pytest.approx(0.5)


def test_token_credit_and_returns() -> None:
    batch = batch_of([1, 1])
    credit = Credit(np.array([3, -4], np.float32), level="token", returns=np.array([7, 8], np.float32))
    scaled = match_rms(credit, batch, 5 / np.sqrt(2))
    np.testing.assert_allclose(scaled.advantage, [3, -4], rtol=1e-6)
    assert scaled.returns is not None
    assert scaled.returns.tolist() == [7, 8]
    assert scaled.level == "token"


def test_silence_stays_silence() -> None:
    credit = match_rms(Credit(np.zeros(2, np.float32)), batch_of([2, 2]), 1.0)
    assert credit.advantage.tolist() == [0, 0]
    assert credit.diagnostics["advantage_scale"] == 1
    match_rms(Credit(np.zeros(0, np.float32)), batch_of([]), 1.0)


def test_a_run_scales_what_the_method_says(tmp_path: Path) -> None:
    spread = {}
    for algorithm in (GRPO(), GiGPO()):
        for rms in (None, 0.25):
            config = small_config(tmp_path / f"{algorithm}-{rms}", iterations=1, save_every=0, advantage_rms=rms)
            seen: dict[str, float] = {}
            trainer = Trainer(make_corridor, small_policy(constrain="admissible"), algorithm, config, display=False)
            trainer._log = lambda metrics, seen=seen: seen.update(metrics)  # type: ignore[method-assign,misc]
            trainer.train()
            spread[type(algorithm).__name__, rms] = seen
    for name in ("GRPO", "GiGPO"):
        free, matched = spread[name, None], spread[name, 0.25]
        assert "credit/advantage_scale" not in free
        assert matched["credit/advantage_abs_max"] == pytest.approx(
            free["credit/advantage_abs_max"] * matched["credit/advantage_scale"], rel=1e-5
        )
        assert matched["credit/advantage_scale"] != 1
