"""The benchmark from end to end, on few batches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from agentgym.algos import get_algorithm, list_algorithms
from agentgym.algos.base import Algorithm, AlgorithmConfig, Column
from agentgym.batch import Credit, StepBatch
from agentgym.envs.finite import build, solve
from agentgym.envs.finite.worlds import Chain
from agentgym.errors import ConfigError
from agentgym.evaluation.creditbench import METRICS, ORACLES, Method, credit_bench, find_methods, methods, sample_groups
from agentgym.evaluation.creditbench.methods import method_credit, with_oracles
from tests.trajectories import some_policy

SMALL: dict[str, Any] = {"groups": 2, "batches": 6, "resamples": 20, "horizons": (6,), "skills": (0.5,)}


class TD(Algorithm[AlgorithmConfig]):
    """One-step temporal difference on exact values: its expectation given state and action is the advantage."""

    columns: ClassVar[Any] = {
        "value": Column("row", 0, 1, "V before the action"),
        "next_value": Column("row", 0, 1, "V after it"),
    }
    laws: ClassVar[Any] = frozenset({"locality"})

    def credit(self, batch: StepBatch) -> Credit:
        value, after = batch.columns["value"], batch.columns["next_value"]
        return Credit((batch.reward + after - value).astype(np.float32))


class Batchwise(Algorithm[AlgorithmConfig]):
    """Credit that depends on the whole batch: the number of its rows."""

    def credit(self, batch: StepBatch) -> Credit:
        return Credit(np.full(len(batch), len(batch), np.float32))


def small_sample() -> tuple[Any, np.ndarray, Any]:
    mdp = build(Chain(length=4))
    policy = some_policy(mdp)
    rng = np.random.default_rng(0)
    return mdp, policy, sample_groups(mdp, policy, horizon=8, group_size=4, groups=8, batches=50, rng=rng)


def test_every_method_is_measured_or_left_out_with_a_reason() -> None:
    report = credit_bench(worlds=("Chain-v0",), group_sizes=(3,), **SMALL)
    assert {*report.methods, *report.left_out} == {"oracle", *list_algorithms(), *methods.VARIANTS}
    assert all(report.left_out.values())
    assert {"grpo", "gigpo"} <= set(report.methods)
    for record in report.records:
        assert set(METRICS) - set(record.metrics) <= {"step_correlation"}
        assert all(len(values) == 21 for values in record.metrics.values())


def test_what_is_measured_does_not_depend_on_what_else_is() -> None:
    together = credit_bench(algos=["oracle", "grpo"], worlds=("Chain-v0", "KeyRoom-v0"), group_sizes=(2, 3), **SMALL)
    alone = credit_bench(algos=["grpo"], worlds=("KeyRoom-v0",), group_sizes=(3,), **SMALL)
    [one] = alone.records
    [two] = [r for r in together.records if (r.world, r.group_size, r.method) == ("KeyRoom-v0", 3, "grpo")]
    assert all(np.array_equal(one.metrics[name], two.metrics[name], equal_nan=True) for name in one.metrics)
    again = credit_bench(algos=["grpo"], worlds=("KeyRoom-v0",), group_sizes=(3,), **{**SMALL, "seed": 1})
    assert not np.array_equal(again.records[0].metrics["correlation"], one.metrics["correlation"])


def test_report_says_everything_as_json() -> None:
    small = {**SMALL, "horizons": (12,), "groups": 8}
    report = credit_bench(algos=["oracle", "gigpo:gamma=1"], worlds=("AliasedCorridor-v0",), group_sizes=(4,), **small)
    data = json.loads(report.to_json())
    assert data == json.loads(json.dumps(report.to_dict(), allow_nan=False))
    records = [dict(zip(data["columns"], row, strict=True)) for row in data["records"]]
    assert [(r["method"], r["target"]) for r in records] == [
        ("oracle", "state"),
        ("oracle", "observation"),
        ("gigpo:gamma=1", "state"),
        ("gigpo:gamma=1", "observation"),
    ]
    assert data["worlds"]["AliasedCorridor-v0"]["aliased"]
    assert data["summary"]["oracle"]["correlation"] == [1.0, 1.0, 1.0]
    assert records[2]["step_correlation"] < 1
    assert records[0]["step_correlation"] is None
    exact = report.records[2].metrics["batch_cosine"][0]
    assert records[2]["batch_cosine"] == pytest.approx(exact, abs=5e-4), "estimates have three digits"
    assert data["settings"]["skills"] == [0.5]
    assert data["returns"][0]["return"] > 0
    value = report.mean("gigpo:gamma=1", "signal", world="AliasedCorridor-v0")
    assert value is not None
    assert value.low <= value.value <= value.high
    assert report.mean("oracle", "step_correlation") is None


def test_learned_columns_are_exact() -> None:
    """With them, the expected temporal difference is the advantage."""
    mdp, policy, sample = small_sample()
    method = Method("td", TD())
    batch = with_oracles(method, mdp, policy, 8, sample, np.random.default_rng(0))
    credit, step = method_credit(method, batch, sample, np.zeros(len(batch)))
    assert step is None
    advantage = solve(mdp, policy, 8).advantage
    cells = (sample.left * 10 + sample.batch.state) * 10 + sample.action
    for cell in np.unique(cells):
        rows = np.flatnonzero(cells == cell)
        truth = advantage[sample.left[rows[0]], sample.batch.state[rows[0]], sample.action[rows[0]]]
        error = credit[rows].std() / np.sqrt(len(rows)) + 1e-6
        if len(rows) > 30:
            assert abs(credit[rows].mean() - truth) < 4.5 * error
    ends = sample.batch.terminated | sample.batch.truncated
    assert not batch.columns["next_value"][ends].any(), "the limit counts as failure, an end has nothing ahead"


def test_exact_critics_of_utterances_make_archer_the_oracle() -> None:
    mdp, policy, sample = small_sample()
    method = Method("archer", get_algorithm("archer", gamma=1.0))
    batch = with_oracles(method, mdp, policy, 8, sample, np.random.default_rng(0))
    credit, _ = method_credit(method, batch, sample, np.zeros(len(batch)))
    truth = solve(mdp, policy, 8).advantage[sample.left, sample.batch.state, sample.action]
    np.testing.assert_allclose(credit, truth, atol=1e-6)


def test_an_ideal_estimator_beside_an_exact_critic_leaves_spa_where_ppo_is() -> None:
    """A return dealt out early changes no temporal difference but the last, which loses what only chance decided."""
    mdp, policy, sample = small_sample()
    steps: dict[str, Any] = {"lam": 0.0, "whiten": False}
    credit = {}
    for name in ("spa", "ppo"):
        method = Method(name, get_algorithm(name, **steps))
        batch = with_oracles(method, mdp, policy, 8, sample, np.random.default_rng(0))
        credit[name], _ = method_credit(method, batch, sample, np.zeros(len(batch)))
        if name == "spa":
            progress = batch.columns["progress"]
    exact = solve(mdp, policy, 8)
    first = sample.batch.t == 0
    so_far = np.cumsum(progress) - np.repeat((np.cumsum(progress) - progress)[first], np.bincount(sample.batch.episode))
    here = (sample.left, sample.batch.state, sample.action)
    np.testing.assert_allclose(so_far, exact.q[here], atol=1e-9, err_msg="its sum so far is the best forecast")
    last = sample.batch.terminated | sample.batch.truncated
    np.testing.assert_allclose(credit["spa"][~last], credit["ppo"][~last], atol=1e-6)
    np.testing.assert_allclose(credit["spa"][last], exact.advantage[here][last], atol=1e-6)
    assert np.abs(credit["spa"] - credit["ppo"]).max() > 0.1, "the last step slips, and pays or does not"


def test_other_oracle_columns() -> None:
    mdp, policy, sample = small_sample()

    class Reader(Batchwise):
        columns: ClassVar[Any] = {
            "entropy": Column("row", 0, 10, ""),
            "ref_logprob": Column("token", -100, 0, ""),
            "logprob": Column("token", -100, 0, ""),
            "baseline": Column("row", 0, 1, ""),
            "mc_value": Column("row", 0, 1, ""),
            "mc_next_value": Column("row", 0, 1, ""),
            "utterance_q": Column("row", 0, 1, ""),
            "utterance_v": Column("row", 0, 1, ""),
            "progress": Column("row", -1, 1, ""),
        }

    assert set(Reader.columns) | set(TD.columns) == set(ORACLES)
    batch = with_oracles(Method("reader", Reader()), mdp, policy, 8, sample, np.random.default_rng(0))
    row = int(np.flatnonzero(sample.batch.t == 1)[0])
    seen = policy[sample.batch.anchor[row]]
    legal = seen[seen > 0]
    assert batch.columns["entropy"][row] == pytest.approx(-(legal * np.log(legal)).sum())
    assert np.allclose(batch.token_columns["ref_logprob"], np.log(1 / 3))
    assert np.allclose(batch.token_columns["logprob"], sample.batch.logprobs)
    assert set(np.unique(batch.columns["baseline"])) <= {0.0, 1.0}
    assert set(np.unique(batch.columns["mc_value"])) == {0.0, 1.0}, "one fork each, where a method does not say"
    assert all(len(np.unique(batch.columns["baseline"][sample.batch.group == g])) == 1 for g in range(10))


def test_values_from_forks_are_shared_by_the_rows_around_a_state() -> None:
    """So that credit telescopes: its sum over an episode is the return less the value of the first state."""
    mdp, policy, sample = small_sample()
    [method], _ = find_methods(["vineppo:whiten=false+forks=4"])
    assert method.forks == 4
    batch = with_oracles(method, mdp, policy, 8, sample, np.random.default_rng(0))
    before, after = batch.columns["mc_value"], batch.columns["mc_next_value"]
    assert set(np.unique(before)) == {0.0, 0.25, 0.5, 0.75, 1.0}
    last = batch.terminated | batch.truncated
    assert np.array_equal(after[~last], before[np.flatnonzero(~last) + 1])
    assert not after[last].any()
    credit, _ = method_credit(method, batch, sample, np.zeros(len(batch)))
    first = np.flatnonzero(batch.t == 0)
    assert np.allclose(np.add.reduceat(credit, first), np.add.reduceat(batch.reward, first) - before[first], atol=1e-5)


def test_forks_are_an_unbiased_oracle() -> None:
    """Their credit has no bias beyond noise, and the correlation of the exact advantage as forks get many."""
    few, many = "vineppo:whiten=false", "vineppo:whiten=false+forks=1000"
    sizes = {**SMALL, "batches": 60, "resamples": 60, "groups": 8, "horizons": (8,)}
    report = credit_bench(algos=["grpo", few, many], worlds=("Chain-v0", "KeyRoom-v0"), group_sizes=(4,), **sizes)

    def value(method: str, metric: str) -> float:
        found = report.mean(method, metric)
        assert found is not None
        return found.value

    assert value(many, "bias") < value(few, "bias") < 0.08 < 0.5 < value("grpo", "bias")
    assert value(few, "cosine") > 0.99
    assert (
        value(many, "centred_correlation")
        > 0.9
        > value(few, "centred_correlation")
        > value("grpo", "centred_correlation")
    )


def test_methods_that_look_at_the_whole_batch_get_one_batch_at_a_time() -> None:
    _, _, sample = small_sample()
    credit, _ = method_credit(Method("whole", Batchwise()), sample.batch, sample, np.zeros(len(sample.batch)))
    assert np.array_equal(credit, np.bincount(sample.part)[sample.part])


def test_settings_stand_behind_a_colon() -> None:
    [method], _ = find_methods(["gigpo:gamma=1+std=null"])
    assert method.algorithm is not None
    assert (method.algorithm.config.gamma, method.algorithm.config.std) == (1.0, None)
    assert method.gamma == 1.0
    with pytest.raises(ConfigError, match="key=value"):
        find_methods(["gigpo:gamma"])
    with pytest.raises(ConfigError, match="gamma"):
        find_methods(["gigpo:gamma=2"])
    with pytest.raises(ConfigError, match="gigpoo"):
        find_methods(["gigpoo"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("spa:redistribution=loo", "redistribution='loo'"),
        ("spa:beta=0.5", r"beta=0\.5"),
        ("spa_released", "redistribution='loo'"),
        ("spa:residual=true", "residual=True"),
        ("filtered_bc", "chooses episodes"),
    ],
)
def test_what_an_exact_column_would_not_fit_is_not_measured(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} cannot be measured here.*{reason}"):
        find_methods([name])


def test_columns_without_an_exact_counterpart_leave_a_method_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "ORACLES", {})
    _, left_out = find_methods()
    assert "baseline" in left_out["remax"]
    with pytest.raises(ConfigError, match="remax cannot be measured"):
        find_methods(["remax"])


def test_a_baseline_of_advantages_is_not_taken_for_a_value() -> None:
    find_methods(["archer"])
    with pytest.raises(ConfigError, match=r"archer:baseline=true cannot be measured here: its 'value' is a baseline"):
        find_methods(["archer:baseline=true"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"worlds": ("Chian-v0",)}, "Chain-v0"),
        ({"worlds": ("ALFWorld-v0",)}, "no finite world"),
        ({"group_sizes": (1,)}, "group_sizes"),
        ({"horizons": (0,)}, "horizons"),
        ({"batches": 2}, "batches"),
        ({"skills": (1.5,)}, "skill=1.5"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        credit_bench(**{"algos": ["grpo"], "worlds": ("Chain-v0",), **SMALL, **wrong})


def test_it_runs_without_torch_and_pictures() -> None:
    code = """
import sys
from agentgym.evaluation.creditbench import credit_bench
credit_bench(algos=["gigpo"], worlds=["Chain-v0"], horizons=[5], skills=[0.5], batches=3, resamples=2)
print([name for name in ("torch", "transformers", "pyarrow", "matplotlib") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_equal_credit_stands_together() -> None:
    report = credit_bench(algos=["grpo:std=null", "oracle", "rloo"], worlds=("Chain-v0",), group_sizes=(3,), **SMALL)
    assert report.families() == [("grpo:std=null", "rloo"), ("oracle",)]
    data = report.to_dict()
    assert data["same_credit"] == [["grpo:std=null", "rloo"]]
    assert set(data["summary"]) == {"grpo:std=null", "oracle", "rloo"}
    assert [row[data["columns"].index("method")] for row in data["records"]] == ["grpo:std=null", "oracle"]


def test_picture_shows_it(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from agentgym.evaluation.creditbench.plot import draw

    report = credit_bench(algos=["grpo", "oracle"], worlds=("Chain-v0",), group_sizes=(3,), **SMALL)
    draw(report, tmp_path / "credit.svg")
    assert (tmp_path / "credit.svg").read_text(encoding="utf-8").count("<!-- ") > 20, "axes and labels are drawn"
