"""Figures of forecasts against slow definitions, and where they are not defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.learners.forecast import calibration_error, forecast_metrics, r_squared, ranking_auc

EIGHTHS = st.integers(-16, 16).map(lambda n: n / 8)
EPISODES = st.lists(st.tuples(EIGHTHS, st.booleans()), min_size=1, max_size=20)


@given(EPISODES)
def test_the_auc_counts_pairs(episodes: list[tuple[float, bool]]) -> None:
    forecast = np.array([f for f, _ in episodes])
    won = np.array([w for _, w in episodes])
    pairs = [(a > b) + 0.5 * (a == b) for a in forecast[won] for b in forecast[~won]]
    found = ranking_auc(forecast, won)
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


@given(EPISODES)
def test_r_squared_and_the_mean(episodes: list[tuple[float, bool]]) -> None:
    forecast = np.array([f for f, _ in episodes])
    outcome = np.array([float(w) for _, w in episodes])
    if len(set(outcome.tolist())) == 1:
        assert r_squared(forecast, outcome) is None
        return
    assert r_squared(outcome, outcome) == 1
    assert r_squared(np.full(len(outcome), outcome.mean()), outcome) == pytest.approx(0, abs=1e-9)
    found = r_squared(forecast, outcome)
    assert found is not None
    assert found <= 1


@given(EPISODES)
def test_calibration_looks_at_means_of_alike_forecasts(episodes: list[tuple[float, bool]]) -> None:
    forecast = np.array([f for f, _ in episodes])
    outcome = np.array([float(w) for _, w in episodes])
    found = calibration_error(forecast, outcome)
    assert found is not None
    # Between the bias of all and the mean distance of each; an order of the episodes does not matter.
    assert abs(float((forecast - outcome).mean())) <= found + 1e-12
    assert found <= float(np.abs(forecast - outcome).mean()) + 1e-12
    assert calibration_error(forecast[::-1], outcome[::-1]) == pytest.approx(found)


def test_a_calibrated_forecast_may_be_wrong_each_time() -> None:
    outcome = np.array([1.0, 0.0] * 10)
    assert calibration_error(np.full(20, 0.5), outcome) == 0
    assert calibration_error(np.full(20, 0.75), outcome) == 0.25
    # Two kinds of episodes, each forecast half too high and half too low: bins are told apart.
    split = np.repeat([0.0, 1.0], 10)
    assert calibration_error(np.repeat([0.25, 0.75], 10), split, bins=2) == 0.25


def test_what_cannot_be_said_is_left_out() -> None:
    one = np.array([1.0])
    assert set(forecast_metrics(one, one, np.array([True]))) == {"calibration_error", "bias"}
    none = np.zeros(0)
    assert forecast_metrics(none, none, np.zeros(0, np.bool_)) == {}
