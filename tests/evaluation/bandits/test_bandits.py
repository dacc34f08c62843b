"""DynLin-UCB and its baselines: the algorithm's laws, and what each does on the paper's systems."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.envs.bandit import INSTANCES, LinearSystem
from agentgym.errors import ConfigError
from agentgym.evaluation.bandits import (
    AGENTS,
    AR2,
    Bounds,
    Exp3,
    LinearUCB,
    Setting,
    dynlin_bonus,
    epoch_length,
    expert_regret,
    make_agent,
    play,
    ridge_bonus,
)

SYSTEM: LinearSystem = INSTANCES["synthetic"](0.01)
ROOT = Path(__file__).resolve().parents[3]


def setting(runs: int = 2, horizon: int = 500, system: LinearSystem = SYSTEM, radius: float | None = None) -> Setting:
    rng = np.random.default_rng(0)
    return Setting(system, Bounds.of(system, radius), horizon, runs, lambda: rng.random(runs))


def dynlin(runs: int = 2, horizon: int = 500, radius: float | None = None, ridge: float = 2.0) -> LinearUCB:
    given_ = setting(runs, horizon, radius=radius)
    return LinearUCB(given_, dynlin_bonus(given_.bounds, 3, horizon, ridge), ridge, given_.bounds.radius)


@given(st.floats(0.01, 0.95), st.integers(1, 500))
def test_epochs_grow_and_follow_the_formula(radius: float, m: int) -> None:
    assert epoch_length(m, radius) == 1 + math.floor(math.log(m) / math.log(1 / radius) + 1e-12)
    assert epoch_length(m, radius) <= epoch_length(m + 1, radius)
    # An action is kept until a state of size 1 has faded to 1/m, but for a part of a round.
    assert radius ** epoch_length(m, radius) <= 1 / m + 1e-9


def test_epochs_of_the_papers_experiment() -> None:
    rounds = m = 0
    while rounds < 10**6:
        m += 1
        rounds += epoch_length(m, 0.2)
    assert (m, epoch_length(m, 0.2)) == (137_206, 8)
    assert [epoch_length(m, 0.0) for m in (1, 10, 1000)] == [1, 1, 1]


def test_one_ridge_sample_an_epoch_and_its_action_kept_throughout() -> None:
    agent, rng = dynlin(runs=3, horizon=400), np.random.default_rng(1)
    gram, sums = np.stack([2.0 * np.eye(3)] * 3), np.zeros((3, 3))
    kept, last = np.zeros(3, np.int64), -1
    for _ in range(400):
        before = agent.choose().copy()
        epoch = agent.epoch
        rewards = rng.normal(size=3)
        agent.learn(rewards)
        over = agent._left == 0
        if epoch == last:
            assert (before == kept).all()
        last, kept = epoch, before
        if over:
            chosen = SYSTEM.actions[before]
            gram += chosen[:, :, None] * chosen[:, None, :]
            sums += chosen * rewards[:, None]
    inverse = np.linalg.inv(gram)
    assert agent.inverse == pytest.approx(inverse, abs=1e-10), "Sherman and Morrison's formula is the inverse"
    assert agent.estimate == pytest.approx((inverse @ sums[:, :, None])[:, :, 0], abs=1e-10)
    squares = np.trace(gram, axis1=1, axis2=2) - 6.0
    epochs = sum(1 for m in range(1, agent.epoch + 1) if m < agent.epoch or agent._left == 0)
    assert squares == pytest.approx(1.25 * epochs), "every action of the system has a squared norm of 1.25"


@given(st.integers(0, 10**6))
def test_the_inverse_stays_symmetric_and_positive(seed: int) -> None:
    agent, rng = dynlin(runs=1, horizon=60), np.random.default_rng(seed)
    for _ in range(60):
        agent.choose()
        agent.learn(rng.normal(size=1))
    assert np.allclose(agent.inverse, agent.inverse.transpose(0, 2, 1), atol=1e-12)
    assert (np.linalg.eigvalsh(agent.inverse) > 0).all()


def test_without_a_state_to_wait_for_it_is_lin_ucb() -> None:
    """ρ̄ = 0 gives the choices of LinUCB with the same bonus, here a slow one for a single run."""
    horizon, ridge = 300, 2.0
    agent = dynlin(runs=1, horizon=horizon, radius=0.0, ridge=ridge)
    beta = dynlin_bonus(Bounds.of(SYSTEM, 0.0), 3, horizon, ridge)
    gram, sums, rng, state = ridge * np.eye(3), np.zeros(3), np.random.default_rng(3), np.zeros(3)
    for t in range(horizon):
        [arm] = agent.choose()
        if t:
            inverse = np.linalg.inv(gram)
            scores = [u @ inverse @ sums + beta(t) * math.sqrt(u @ inverse @ u) for u in SYSTEM.actions]
            assert scores[arm] == pytest.approx(max(scores), abs=1e-12)
        u = SYSTEM.actions[arm]
        reward = float(SYSTEM.omega @ state + SYSTEM.theta @ u + 0.1 * rng.normal())
        state = SYSTEM.A @ state + SYSTEM.B @ u
        agent.learn(np.array([reward]))
        gram, sums = gram + np.outer(u, u), sums + u * reward


@given(st.floats(0.0, 0.95), st.floats(0.5, 20.0), st.integers(0, 10**6))
def test_bonus_does_not_fall(radius: float, ridge: float, t: int) -> None:
    bounds = Bounds.of(SYSTEM, radius)
    for beta in (
        dynlin_bonus(bounds, 3, 10**6, ridge),
        ridge_bonus(bounds.theta, bounds.noise, bounds, 3, 10**6, ridge),
    ):
        assert 0 < beta(t) <= beta(t + 1)


def test_bonus_by_hand() -> None:
    """The synthetic system: Θ = √(.5² + .1²), Ω = √(1 + .1²), ‖B‖ = .45, U² = 1.25, Φ = 1, ρ = .2, σ = .01."""
    theta, omega, u, horizon, ridge, t = math.hypot(0.5, 0.1), math.hypot(1, 0.1), math.sqrt(1.25), 1000, 4.0, 9
    c1 = theta + omega * 0.45 / 0.8
    c2 = u * omega * (u * 0.45 / 0.8 + u / 0.8)
    variance = 0.01**2 * (1 + omega**2 / (1 - 0.04))
    deviation = math.sqrt(2 * variance * (math.log(horizon) + 1.5 * math.log(1 + t * 1.25 / (3 * ridge))))
    expected = c1 * 2 + c2 / 2 * math.log(math.e * (t + 1)) + deviation
    assert dynlin_bonus(Bounds.of(SYSTEM), 3, horizon, ridge)(t) == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_every_agent_plays_and_regret_never_falls(name: str) -> None:
    agent = make_agent(name, SYSTEM, horizon=300, runs=3)
    regret = play(agent, SYSTEM, horizon=300, runs=3, marks=range(1, 301))
    assert regret.total.shape == (3, 300)
    assert (np.diff(regret.total, axis=1) >= 0).all()
    assert (regret.total >= 0).all()
    assert regret.error.shape == regret.mean.shape == (300,)
    if name == "clairvoyant":
        assert not regret.total.any()


@pytest.mark.parametrize("name", ["dynlin_ucb", "exp3", "ar2", "ucb1"])
def test_a_run_does_not_depend_on_the_others(name: str) -> None:
    alone, among = (
        play(make_agent(name, SYSTEM, horizon=200, runs=runs), SYSTEM, horizon=200, runs=runs) for runs in (1, 4)
    )
    assert np.array_equal(alone.total[0], among.total[0])


def test_dynlin_bends_where_lin_ucb_does_not() -> None:
    """At the smallest noise LinUCB may settle on an action that only looks best at once; its regret then doubles."""
    system, horizon = INSTANCES["synthetic"](0.001), 8000
    growth = {}
    for name in ("dynlin_ucb", "lin_ucb"):
        total = play(make_agent(name, system, horizon=horizon, runs=6), system, horizon=horizon, runs=6).total
        growth[name] = (total[:, 1] - total[:, 0]) / total[:, 0]
    assert growth["dynlin_ucb"].max() < 0.75
    assert growth["lin_ucb"].max() > 0.95


def test_exp3_prefers_what_pays() -> None:
    agent = Exp3(setting(runs=50, horizon=400), batch=4)
    kept, counts = [], np.zeros(6)
    for t in range(400):
        arms = agent.choose()
        kept.append(arms.copy())
        if t % 4:
            assert (kept[-1] == kept[-2]).all(), "an action lasts for a batch"
        if t >= 200:
            counts += np.bincount(arms, minlength=6)
        agent.learn(np.where(arms == 2, 2.0, 0.0))
    assert counts.argmax() == 2
    assert counts[2] > 1.5 * counts.mean()


def test_ar2_plays_every_arm_then_alternates_and_starts_again() -> None:
    agent = AR2(setting(runs=1, system=replace(SYSTEM, noise=0.9), radius=0.9))
    assert agent._epoch == math.ceil(6 / (0.9 * 0.9) ** 3)
    arms = []
    for _ in range(2 * agent._epoch):
        [arm] = agent.choose()
        arms.append(int(arm))
        agent.learn(np.array([float(arm == 4)]))
    assert sorted(arms[:6]) == sorted(arms[agent._epoch : agent._epoch + 6]) == list(range(6))
    assert len(set(arms[6 : agent._epoch])) > 1
    with pytest.raises(ConfigError, match="AR2 needs a spectral radius"):
        make_agent("ar2", SYSTEM, horizon=10, runs=1, radius=0.0)


def test_expert_and_wrong_arguments() -> None:
    assert expert_regret(INSTANCES["advertising"](None)) == pytest.approx(0.2157, abs=1e-4)
    with pytest.raises(ConfigError, match="no expert"):
        expert_regret(SYSTEM)
    with pytest.raises(ConfigError, match="unknown agent 'dynlin'"):
        make_agent("dynlin", SYSTEM, horizon=10, runs=1)
    with pytest.raises(ConfigError, match="horizon=1"):
        make_agent("exp3", SYSTEM, horizon=1, runs=1)
    with pytest.raises(ConfigError, match="ridge=0"):
        dynlin(ridge=0)
    with pytest.raises(ConfigError, match="radius=1"):
        LinearUCB(setting(), lambda t: 1.0, 1.0, 1.0)


def table(rows: list[dict[str, Any]]) -> str:
    """The page's table: an agent a line, a setting a column."""
    right = [row for row in rows if row["radius_factor"] == 1]
    settings = list(dict.fromkeys((row["instance"], row["noise"], row["horizon"]) for row in right))
    heads = [f"{instance}, σ = {noise}, {horizon // 1000}k rounds" for instance, noise, horizon in settings]
    lines = [f"| agent | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(settings)}"]
    for name in dict.fromkeys(row["agent"] for row in right):
        cells = []
        for setting in settings:
            cell = ""
            for row in right:
                if (row["agent"], row["instance"], row["noise"], row["horizon"]) == (name, *setting):
                    half, end = f"{row['half'][0]:,.0f}", f"{row['end'][0]:,.0f}"
                    cell = f"{half} → {end} ({row['growth']:.2f}, {row['mostly_linear']})"
            cells.append(cell)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_page_shows_what_was_measured() -> None:
    record = json.loads((ROOT / "benchmarks" / "results" / "dynlin_ucb.json").read_text(encoding="utf-8"))
    assert table(record["rows"]) in (ROOT / "docs" / "bandits.md").read_text(encoding="utf-8")
    assert record["expert_regret_a_round"] == pytest.approx(expert_regret(INSTANCES["advertising"](None)), abs=1e-6)
