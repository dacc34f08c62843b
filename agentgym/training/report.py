"""The report of a run: a page with before and after, and the learning curve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from agentgym.evaluation import Evaluation
from agentgym.training.loggers import write_json
from agentgym.training.result import TrainResult

__all__ = ["write_report"]

_SMOOTH = 10


def write_report(result: TrainResult, run: Mapping[str, Any]) -> Path:
    """Write ``report.md``, ``learning_curve.png`` and ``evaluations.json`` into the run directory.

    Args:
        result: What the run came to.
        run: What was run, as in ``config.json``.
    """
    folder = result.run_dir
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    write_json(folder / "evaluations.json", {i: e.to_dict() for i, e in result.evaluations.items()})
    _draw(rows, result, run, folder / "learning_curve.png")
    text = "\n".join([*_heading(result, run), *_before_and_after(result), *_by_type(result), *_cost(result, rows)])
    (folder / "report.md").write_text(text, encoding="utf-8")
    return folder / "report.md"


def _heading(result: TrainResult, run: Mapping[str, Any]) -> list[str]:
    return [
        f"# {run['algorithm']['name']} on {run['environment']['name']}",
        "",
        f"Policy `{run['policy']['name']}`, seed {run['config']['seed']}, {result.iterations} iterations of "
        f"{run['config']['groups']} groups of {run['config']['group_size']} episodes; ended: {result.stopped}.",
        "",
        "![Learning curve](learning_curve.png)",
        "",
    ]


def _before_and_after(result: TrainResult) -> list[str]:
    if result.before is None:
        return ["No evaluation was made.", ""]
    lines = [
        "## Before and after",
        "",
        f"The same {len(result.before.outcomes)} games each time, from **{result.before.source}**, "
        f"{_how(result.before)}. Intervals are 95%: Wilson for rates, paired bootstrap over games for the gain.",
        "",
        "| iteration | success | mean score | mean length | faults |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for iteration, e in sorted(result.evaluations.items()):
        faults = int(e.metrics()["val/faults"])
        lines.append(
            f"| {iteration} | {e.success.percent()} | {e.mean('score'):.3f} | {e.mean('length'):.1f} | {faults} |"
        )
    if result.gain is not None:
        lines += ["", f"Gain: **{result.gain.points()}**."]
    return [*lines, ""]


def _how(evaluation: Evaluation) -> str:
    if evaluation.temperature is None:
        return "played by a policy without a temperature"
    return "played greedily" if evaluation.temperature == 0 else f"sampled at temperature {evaluation.temperature:g}"


def _by_type(result: TrainResult) -> list[str]:
    if result.before is None or result.after is None:
        return []
    lines = ["## By kind of task", "", "| task | games | before | after |", "| --- | ---: | --- | --- |"]
    after = result.after.by_type
    for name, before in result.before.by_type.items():
        games = sum(o.task_type == name for o in result.before.outcomes)
        lines.append(f"| {name or 'all'} | {games} | {before.percent()} | {after[name].percent()} |")
    return [*lines, ""]


def _cost(result: TrainResult, rows: list[dict[str, Any]]) -> list[str]:
    training = [row for row in rows if "time/collect" in row]
    lines = ["## Cost", "", f"- the run: {result.seconds:.0f} s of wall-clock time, in which:"]
    if (warm := result.warm_start) is not None:
        made = "taken from the cache; making it took" if warm.cached else "made in this run;"
        lines.append(
            f"- warm start ({warm.steps} steps on {warm.demonstrations} demonstrations): {made} {warm.seconds:.0f} s "
            f"({warm.demonstration_seconds:.0f} s for the expert's games)"
        )
    lines += [
        f"- collecting: {sum(row['time/collect'] for row in training):.0f} s",
        f"- updating: {sum(row['time/update'] for row in training):.0f} s",
        f"- evaluating: {sum(e.seconds for e in result.evaluations.values()):.0f} s",
    ]
    if training:
        last = training[-1]
        lines += [
            f"- {last['total/episodes']:.0f} episodes, {last['total/env_steps']:.0f} environment steps, "
            f"{last['total/generated_tokens']:.0f} generated tokens, {last['total/updates']:.0f} optimiser steps",
            f"- peak memory {last['memory/peak_gib']:.1f} GiB",
        ]
    return [*lines, ""]


def _draw(rows: list[dict[str, Any]], result: TrainResult, run: Mapping[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    training = [row for row in rows if "episode/success_rate" in row]
    if training:
        x = [row["iteration"] for row in training]
        rates = [100 * row["episode/success_rate"] for row in training]
        axes.plot(x, rates, color="tab:gray", alpha=0.35, linewidth=1)
        means = [fmean(rates[max(0, i + 1 - _SMOOTH) : i + 1]) for i in range(len(rates))]
        label = f"training games, while training (mean of the last {_SMOOTH} iterations)"
        axes.plot(x, means, color="tab:gray", linewidth=2, label=label)
    if result.evaluations:
        x, found = sorted(result.evaluations), [e for _, e in sorted(result.evaluations.items())]
        rates = [100 * e.success.value for e in found]
        below = [100 * (e.success.value - e.success.low) for e in found]
        above = [100 * (e.success.high - e.success.value) for e in found]
        label = f"{len(found[0].outcomes)} games of {found[0].source}, 95% interval"
        axes.errorbar(x, rates, [below, above], color="tab:blue", marker="o", capsize=4, label=label)
        for point, rate, up in zip(x, rates, above, strict=True):
            axes.annotate(f"{rate:.0f}%", (point, rate + up), (0, 4), textcoords="offset points", ha="center")
    axes.set(xlabel="iteration", ylabel="success (%)", ylim=(0, 100))
    axes.set_title(f"{run['algorithm']['name']} on {run['environment']['name']}, policy {run['policy']['name']}")
    axes.grid(alpha=0.3)
    if training or result.evaluations:
        axes.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=150)
