"""How good forecasts of returns are: what is known of an estimator before its estimates are used."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["calibration_error", "forecast_metrics", "r_squared", "ranking_auc"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def r_squared(forecast: Floats, outcome: Floats) -> float | None:
    """Return 1 - Σ (x - x̂)² / Σ (x - x̄)²: 1 at best, 0 for the mean of the outcomes, any number below for worse.

    Args:
        forecast: x̂, [N].
        outcome: x, [N].

    Returns:
        R², or None where all outcomes are equal.
    """
    if not len(outcome) or outcome.min() == outcome.max():
        return None
    return 1 - float(np.sum((outcome - forecast) ** 2) / np.sum((outcome - outcome.mean()) ** 2))


def ranking_auc(forecast: Floats, won: Bools) -> float | None:
    """Return how likely a won episode has the higher forecast than a lost one; equal forecasts count half.

    Args:
        forecast: Any score, [N].
        won: Whether the episode was won, [N].

    Returns:
        AUC in [0, 1], or None without both kinds.
    """
    wins, losses = int(won.sum()), int((~won).sum())
    if not wins or not losses:
        return None
    _, place, counts = np.unique(forecast, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]  # from 1; ties share their mean
    return float((rank[won].sum() - wins * (wins + 1) / 2) / (wins * losses))


def calibration_error(forecast: Floats, outcome: Floats, bins: int = 10) -> float | None:
    """Return the mean distance between forecast and outcome of forecasts that are alike.

    Forecasts are put into bins of about equal size, equal ones into the same bin; the distance is that between the
    means of a bin, weighted by its size.

    Args:
        forecast: x̂, [N].
        outcome: x, [N].
        bins: Most bins.

    Returns:
        The error, at least 0, or None without episodes.
    """
    if not len(outcome):
        return None
    edges = np.quantile(forecast, np.arange(1, bins) / bins)
    place = np.searchsorted(edges, forecast, side="left")
    gaps = np.bincount(place, forecast - outcome, minlength=bins)
    return float(np.abs(gaps).sum() / len(outcome))


def forecast_metrics(forecast: Floats, outcome: Floats, won: Bools) -> dict[str, float]:
    """Return ``r2``, ``auc``, ``calibration_error`` and ``bias``, the mean of forecast less outcome, as far as defined.

    >>> import numpy as np
    >>> forecast_metrics(np.array([0.75, 0.25]), np.array([1.0, 0.0]), np.array([True, False]))
    {'r2': 0.75, 'auc': 1.0, 'calibration_error': 0.25, 'bias': 0.0}
    """
    figures = {
        "r2": r_squared(forecast, outcome),
        "auc": ranking_auc(forecast, won),
        "calibration_error": calibration_error(forecast, outcome),
        "bias": float((forecast - outcome).mean()) if len(outcome) else None,
    }
    return {name: value for name, value in figures.items() if value is not None}
