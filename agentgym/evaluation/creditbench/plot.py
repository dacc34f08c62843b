"""The benchmark as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agentgym.evaluation.creditbench.bench import Report
from agentgym.evaluation.intervals import Interval

__all__ = ["draw"]

_LINE = 44


def draw(report: Report, path: Path) -> None:
    """Draw gradients, bias and worlds, one line a method, the best batch cosine on top; needs matplotlib.

    Args:
        report: What to draw.
        path: Where to write the picture; its ending says the format.
    """
    from matplotlib.figure import Figure

    def order(names: Sequence[str]) -> float:
        found = report.mean(names[0], "batch_cosine")
        return 2.0 if found is None else -found.value

    families = sorted(report.families(), key=order)
    figure = Figure(figsize=(15, 1.8 + 0.42 * len(families)), layout="constrained")
    gradient, bias, worlds = figure.subplots(1, 3, sharey=True, width_ratios=[1.2, 1, 1.1])
    _dots(gradient, report, families, {"cosine": ("expected gradient", "D"), "batch_cosine": ("one batch", "o")})
    _dots(bias, report, families, {"bias": ("with baseline", "D"), "centred_bias": ("centred within (h, s)", "o")})
    gradient.set(title="cosine with the true policy gradient", xlabel="cosine")
    bias.set(title="bias of the credit, best scale", xlabel="bias / RMS of A")
    gradient.set_yticks(range(len(families)), [_wrap(names) for names in families], fontsize="small")
    _heat(worlds, report, families)  # a picture's first line is on top, so all three count downwards
    settings = report.settings
    figure.suptitle(
        f"CreditBench: mean over {len(report.returns)} policies and group sizes "
        f"{', '.join(map(str, settings['group_sizes']))}; {settings['batches']} batches of {settings['groups']} groups "
        "a setting, 95% bootstrap intervals",
        fontsize="medium",
    )
    figure.savefig(path, dpi=110)


def _wrap(names: Sequence[str]) -> str:
    lines = [""]
    for name in names:
        joined = f"{lines[-1]}, {name}" if lines[-1] else name
        if len(joined) > _LINE:
            lines.append(name)
        else:
            lines[-1] = joined
    return ",\n".join(lines)


def _dots(axes: Any, report: Report, families: Sequence[Sequence[str]], marks: dict[str, tuple[str, str]]) -> None:
    for (metric, (label, marker)), colour in zip(marks.items(), ("tab:orange", "tab:blue"), strict=True):
        found = [(y, report.mean(names[0], metric)) for y, names in enumerate(families)]
        known: list[tuple[int, Interval]] = [(y, i) for y, i in found if i is not None]
        x = [i.value for _, i in known]
        # A percentile interval need not hold the estimate; a bar does not reach back.
        below = [max(i.value - i.low, 0.0) for _, i in known]
        above = [max(i.high - i.value, 0.0) for _, i in known]
        axes.errorbar(
            x, [y for y, _ in known], xerr=[below, above], fmt=marker, color=colour, capsize=2, ms=5, label=label
        )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="best")


def _heat(axes: Any, report: Report, families: Sequence[Sequence[str]]) -> None:
    names = list(report.worlds)
    cells = np.full((len(families), len(names)), np.nan)
    for (y, family), (x, world) in ((a, b) for a in enumerate(families) for b in enumerate(names)):
        found = report.mean(family[0], "batch_cosine", world=world)
        if found is not None:
            cells[y, x] = found.value
            axes.text(x, y, f"{found.value:.2f}", ha="center", va="center", fontsize="small")
    axes.imshow(cells, aspect="auto", cmap="RdYlGn", vmin=0, vmax=1, alpha=0.7)
    axes.set_xticks(range(len(names)), [name.removesuffix("-v0") for name in names], rotation=20, fontsize="small")
    axes.set_title("cosine of one batch, by world")
