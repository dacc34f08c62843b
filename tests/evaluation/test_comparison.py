"""Comparison of methods over paired seeds, on numbers whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.errors import ConfigError
from agentgym.evaluation.comparison import (
    FIGURES,
    MIN_SEEDS,
    Comparison,
    RunSummary,
    compare_runs,
    draw_curves,
    mean_curve,
    sign_flip,
)

COSTS = {"episodes": 8.0, "env_steps": 50.0, "unique_observations": 30.0, "updates": 4.0}
COSTS |= {"iterations": 2.0, "seconds": 1.5}


def run(method: str, seed: int, sampled: float, **more: Any) -> RunSummary:
    figures = {"sampled": sampled, "greedy": sampled, "training": sampled}
    return RunSummary(method, seed, figures, {**COSTS, "generated_tokens": 100.0 + seed}, **more)


def compared(values: dict[str, list[float]]) -> Comparison:
    runs = [run(method, seed, value) for method, of in values.items() for seed, value in enumerate(of)]
    return compare_runs(runs, list(values))


def difference(comparison: Comparison, method: str, against: str, figure: str = "sampled") -> Any:
    [found] = [d for d in comparison.differences if (d.method, d.against, d.figure) == (method, against, figure)]
    return found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.3], 1.0),
        ([0.1, 0.2], 0.5),
        ([1.0] * 5, 2 / 32),
        ([0.0] * 6, 1.0),
        # The sum is 6 when all signs agree, and otherwise at most 4.
        ([1.0, 1.0, 1.0, 3.0], 2 / 16),
        # |±1 ±1 ±1 ±3| reaches 2 in all but the two sums that are 0.
        ([-1.0, 1.0, -1.0, 3.0], 14 / 16),
    ],
)
def test_sign_flip_counts_the_signs(values: list[float], expected: float) -> None:
    assert sign_flip(values) == pytest.approx(expected)
    assert sign_flip([-v for v in values]) == pytest.approx(expected)


def test_sign_flip_of_many_values_is_near_the_exact_one() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0.4, 1.0, 16)
    signs = 2.0 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1) - 1
    exact = np.mean(np.abs(signs @ values) >= abs(values.sum()) - 1e-12)
    assert sign_flip(values.tolist()) == pytest.approx(exact, abs=0.01)
    assert sign_flip([1.0] * 40) > 0  # the signs that were found are among those counted


def test_a_constant_gain_is_told_apart_however_much_the_seeds_differ() -> None:
    base = [0.1, 0.5, 0.9, 0.3, 0.7]
    found = difference(compared({"a": base, "b": [v + 0.05 for v in base]}), "b", "a")
    assert found.mean == pytest.approx(0.05)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.05, 0.05))
    assert found.told_apart
    assert found.verdict == "higher"
    assert found.p == pytest.approx(2 / 32)
    mirrored = difference(compared({"b": [v + 0.05 for v in base], "a": base}), "a", "b")
    assert (mirrored.mean, mirrored.verdict) == (pytest.approx(-0.05), "lower")


def test_an_interval_around_zero_is_not_told_apart_and_more_seeds_are_advised() -> None:
    comparison = compared({"a": [0.5] * 6, "b": [0.4, 0.6, 0.45, 0.55, 0.42, 0.6]})
    found = difference(comparison, "b", "a")
    assert found.interval.low < 0 < found.interval.high
    assert "not told apart; 10 seeds" in found.verdict
    assert "No two methods are told apart" in comparison.conclusion()
    assert "run 10 seeds" in comparison.conclusion()
    many = compared({"a": [0.5] * 12, "b": [0.4, 0.6] * 6})
    assert difference(many, "b", "a").verdict == "not told apart"
    assert "run 10 seeds" not in many.conclusion()


def test_the_conclusion_names_a_few_pairs_and_counts_many() -> None:
    base = [0.4, 0.6, 0.45, 0.55, 0.42]
    few = compared({"a": base, "b": [v + 0.2 for v in base], "c": [v + 0.2 for v in base[::-1]]})
    assert "Told apart: b is higher than a; c is higher than a. Not told apart: c and b." in few.conclusion()
    names = "bcdefgh"
    many = compared({"a": base, **{name: [v + 0.2 for v in np.roll(base, i).tolist()] for i, name in enumerate(names)}})
    assert "The other 21 pairs are not." in many.conclusion()


@pytest.mark.parametrize("seeds", range(1, MIN_SEEDS))
def test_few_seeds_tell_nothing_apart(seeds: int) -> None:
    base = [0.1 * i for i in range(seeds)]
    found = difference(compared({"a": base, "b": [v + 0.3 for v in base]}), "b", "a")
    assert not found.told_apart
    assert (found.interval is None) == (seeds == 1)


def test_only_common_seeds_are_paired() -> None:
    runs = [run("a", s, 0.2) for s in (0, 1, 2)] + [run("b", s, 0.1 * s) for s in (1, 2, 3)]
    found = difference(compare_runs(runs, ["a", "b"]), "b", "a")
    assert found.seeds == (1, 2)
    assert found.mean == pytest.approx((0.1 + 0.2 - 0.4) / 2)
    apart = compare_runs([run("a", 0, 0.5), run("b", 1, 0.5)], ["a", "b"])
    assert apart.differences == ()
    apart.to_markdown()


def test_every_method_against_the_first_and_every_other_pair_once() -> None:
    comparison = compared({"a": [0.5], "b": [0.7], "c": [0.6]})
    pairs = [(d.figure, d.method, d.against) for d in comparison.differences]
    assert pairs == [*((f, m, "a") for f in FIGURES for m in ("b", "c")), ("sampled", "c", "b")]
    assert comparison.ranking == ("b", "c", "a")


def test_the_order_of_the_runs_changes_nothing() -> None:
    runs = [run(m, s, 0.1 * s + 0.05 * len(m)) for m in ("a", "bb") for s in range(5)]
    assert compare_runs(runs, ["a", "bb"]) == compare_runs(runs[::-1], ["a", "bb"])


def test_a_method_without_a_run_is_left_out() -> None:
    comparison = compare_runs([run("b", 0, 0.5), run("c", 0, 0.25)], ["a", "b", "c"])
    assert comparison.means["sampled"].keys() == {"b", "c"}
    assert difference(comparison, "c", "b").mean == -0.25
    assert "nothing to compare" in compare_runs([], ["a"]).conclusion()
    assert "nothing to compare" in compare_runs([run("b", 0, 0.5)], ["b"]).to_markdown()


def test_wrong_runs_are_refused() -> None:
    with pytest.raises(ConfigError, match="same method and seed"):
        compare_runs([run("a", 0, 0.5), run("a", 0, 0.6)], ["a"])
    with pytest.raises(ConfigError, match="runs of b are of none"):
        compare_runs([run("b", 0, 0.5)], ["a"])


def test_tables_hold_figures_costs_and_verdicts() -> None:
    base = [0.1, 0.5, 0.9, 0.3, 0.7]
    runs = [run("a", s, v) for s, v in enumerate(base)]
    runs += [run("b", s, v + 0.05, skipped_updates=s) for s, v in enumerate(base)]
    comparison = compare_runs(runs, ["a", "b"])
    text = comparison.to_markdown()
    assert "| a | 5 | 50.0% [" in text
    assert "| sampled | b | a | 5 | +5.0 points [+5.0, +5.0] | 0.062 | higher |" in text
    assert "| method | rollouts | generated tokens | environment steps | unique states |" in text
    assert "| b | 8 | 102 | 50 | - | 30 | 4 | 2 | 2 | 10 |" in text
    data = json.loads(json.dumps(comparison.to_dict()))
    assert data["ranking"] == ["b", "a"]
    assert data["differences"][0]["told_apart"] is True
    assert data["means"]["sampled"]["a"]["mean"] == pytest.approx(0.5)
    assert len(data["runs"]) == 10
    assert data["costs"]["a"] == {**COSTS, "generated_tokens": 102.0}


def test_states_are_compared_at_equal_rollouts_and_at_equal_steps() -> None:
    """At 15 rollouts, where the first run ends: 30 and 45 of the runs of a, by straight lines; 150 of that of b."""
    runs = [
        run("a", 0, 0.5, states=((10.0, 100.0, 20.0), (15.0, 200.0, 30.0))),
        run("a", 1, 0.5, states=((10.0, 100.0, 40.0), (20.0, 200.0, 50.0))),
        run("b", 0, 0.5, states=((20.0, 800.0, 200.0), (40.0, 900.0, 240.0))),
    ]
    comparison = compare_runs(runs, ["a", "b"])
    assert comparison.explored["rollouts"] == (15.0, {"a": pytest.approx(37.5), "b": pytest.approx(150.0)})
    assert comparison.explored["environment steps"] == (200.0, {"a": pytest.approx(40.0), "b": pytest.approx(50.0)})
    assert "seen by 15 rollouts and 200 environment steps, where" in comparison.to_markdown()
    assert "| b | 150 | 4.00 | 50 | 1.25 |" in comparison.to_markdown()
    told = json.loads(json.dumps(comparison.to_dict()))["explored"]
    assert told["environment steps"] == {"by": 200, "states": {"a": 40, "b": 50}}
    silent = compare_runs([*runs, run("b", 1, 0.5)], ["a", "b"])
    assert silent.explored == silent.to_dict()["explored"] == {}
    assert "equally much play" not in silent.to_markdown()


def test_mean_curve_reads_every_run_at_the_same_tokens() -> None:
    one = run("a", 0, 0.5, curve=((10, 0.0), (20, 1.0), (30, 1.0)))
    other = run("a", 1, 0.5, curve=((15, 0.5), (25, 0.5)))
    x, y = mean_curve([one, other], points=3)
    assert x == [15, 20, 25]
    assert y == pytest.approx([0.5, 0.75, 0.75])
    _, smooth = mean_curve([one], smooth=2, points=3)
    assert smooth == pytest.approx([0.0, 0.5, 1.0])


def test_curves_are_drawn(tmp_path: Path) -> None:
    runs = [run(m, s, 0.5, curve=((10, 0.1 * s), (20, 0.5))) for m in ("a", "b") for s in (0, 1)]
    for name, of in {"some": runs, "none": []}.items():
        path = tmp_path / f"{name}.png"
        draw_curves(compare_runs(of, ["a", "b"]), path, smooth=1)
        assert path.read_bytes().startswith(b"\x89PNG")
