"""The benchmark: every method in every world, at every horizon, group size and skill."""

from __future__ import annotations

import itertools
import json
import platform
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from agentgym.envs.finite import FiniteMDP, FiniteTextEnv, best_policy, skilled_policy, start_value
from agentgym.errors import ConfigError, suggest
from agentgym.evaluation.creditbench.methods import ORACLES, Method, find_methods, method_credit, with_oracles
from agentgym.evaluation.creditbench.metrics import METRICS, Ground, bootstrap_weights, measure, true_advantage
from agentgym.evaluation.creditbench.sampling import sample_groups
from agentgym.evaluation.intervals import Interval

__all__ = ["METRICS", "WORLDS", "Record", "Report", "credit_bench"]

Floats = npt.NDArray[np.float64]

WORLDS = ("Chain-v0", "KeyRoom-v0", "AliasedCorridor-v0", "MiniHousehold-v0", "DistractorShop-v0")

_KEYS = ("world", "horizon", "group_size", "skill", "target", "method")


@dataclass(frozen=True, eq=False)
class Record:
    """How one method did in one setting.

    Attributes:
        world: Environment id.
        horizon: Step limit.
        group_size: Episodes in a group.
        skill: Share of the way from the uniform to the best policy, in expected return.
        target: "state" where A is that of the hidden state, "observation" where it is averaged given the text.
        method: Name of the method.
        metrics: Name of each metric → the estimate, then its bootstrap resamples, [resamples + 1].
    """

    world: str
    horizon: int
    group_size: int
    skill: float
    target: str
    method: str
    metrics: dict[str, Floats]


def interval(values: Floats) -> Interval | None:
    """Return the estimate with the 95% percentile interval of its resamples, or None where it is undefined."""
    if np.isnan(values[0]):
        return None
    low, high = np.quantile(_defined(values)[1:], [0.025, 0.975])
    return Interval(float(values[0]), float(low), float(high))


def _defined(values: Floats) -> Floats:
    """Let resamples in which a metric is undefined fall back on the estimate, so that means keep their settings."""
    return np.where(np.isnan(values), values[0], values)


@dataclass(frozen=True, eq=False)
class Report:
    """What the benchmark found.

    Attributes:
        settings: What was asked for.
        worlds: Environment id → number of states, actions and texts, and whether states look alike.
        returns: Expected return of the acting policy: rows of world, horizon, skill, value.
        records: One a method and setting.
        left_out: Methods that were not measured, with the reason.
        seconds: Wall-clock time.
    """

    settings: dict[str, Any]
    worlds: dict[str, dict[str, Any]]
    returns: list[dict[str, Any]]
    records: list[Record]
    left_out: dict[str, str]
    seconds: float

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in the order they were measured."""
        return tuple(dict.fromkeys(record.method for record in self.records))

    def families(self) -> list[tuple[str, ...]]:
        """Return the methods, those together whose every metric is the same: equal credit, up to a positive scale."""
        found: list[tuple[list[str], list[Floats]]] = []
        for method in self.methods:
            own = [self._row(record) for record in self.records if record.method == method]
            for names, first in found:
                if all(np.allclose(a, b, atol=1e-4, equal_nan=True) for a, b in zip(own, first, strict=True)):
                    names.append(method)
                    break
            else:
                found.append(([method], own))
        return [tuple(names) for names, _ in found]

    @staticmethod
    def _row(record: Record) -> Floats:
        """Return the estimates, NaN for what the method does not have."""
        return np.array([record.metrics[name][0] if name in record.metrics else np.nan for name in METRICS])

    def mean(self, method: str, metric: str, target: str = "state", **where: Any) -> Interval | None:
        """Return a metric's mean over settings, each counting alike, with its bootstrap interval.

        Settings in which the metric is undefined do not count.

        Args:
            method: Name of the method.
            metric: Name out of ``METRICS``.
            target: "state" or "observation".
            where: Restricts the settings, such as ``world="Chain-v0"`` or ``group_size=8``.
        """
        where |= {"method": method, "target": target}
        chosen = [
            record.metrics[metric]
            for record in self.records
            if metric in record.metrics and all(getattr(record, key) == value for key, value in where.items())
        ]
        kept = [values for values in chosen if not np.isnan(values[0])]
        if not kept:
            return None
        return interval(np.mean([_defined(values) for values in kept], axis=0))

    def to_dict(self) -> dict[str, Any]:
        """Return what was found as JSON-ready data; metrics are null where they are undefined.

        ``summary`` has [value, low, high] of each method's means over settings. ``records`` is a table whose columns
        ``columns`` names, with the estimate of every metric in every setting; its resamples are in ``Record`` alone.
        Of methods that ``same_credit`` has on one line, the table holds the first.
        """
        families = self.families()
        shown = {names[0] for names in families}
        return {
            "agentgym": sys.modules["agentgym"].__version__,  # not imported: the package stands above every floor
            "machine": {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
            "seconds": round(self.seconds, 1),
            "settings": self.settings,
            "worlds": self.worlds,
            "returns": self.returns,
            "metrics": METRICS,
            "oracle_columns": {name: text for name, (text, _) in ORACLES.items()},
            "left_out": self.left_out,
            "same_credit": [list(names) for names in families if len(names) > 1],
            "summary": {
                method: {metric: _plain(self.mean(method, metric)) for metric in METRICS} for method in self.methods
            },
            "columns": [*_KEYS, *METRICS],
            "records": [
                [
                    *(getattr(record, key) for key in _KEYS),
                    *(_rounded(record.metrics[name][0]) if name in record.metrics else None for name in METRICS),
                ]
                for record in self.records
                if record.method in shown
            ],
        }

    def to_json(self) -> str:
        """Return ``to_dict`` as JSON text, one entry a line, so that two reports can be compared by eye."""

        def plain(value: Any) -> str:
            return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

        entries = []
        for key, value in self.to_dict().items():
            lines, (left, right) = [plain(value)], ("", "")
            if isinstance(value, dict):
                lines, (left, right) = [f"{plain(name)}: {plain(item)}" for name, item in value.items()], "{}"
            elif isinstance(value, list):
                lines, (left, right) = [plain(item) for item in value], "[]"
            inner = ",\n    ".join(lines)
            entries.append(f"  {plain(key)}: {left}\n    {inner}\n  {right}" if left else f"  {plain(key)}: {inner}")
        return "{\n" + ",\n".join(entries) + "\n}\n"


def _plain(found: Interval | None) -> list[float | None] | None:
    return None if found is None else [_rounded(x) for x in (found.value, found.low, found.high)]


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)


def credit_bench(
    *,
    algos: Sequence[str] | None = None,
    worlds: Sequence[str] = WORLDS,
    horizons: Sequence[int] = (10, 20),
    group_sizes: Sequence[int] = (4, 8),
    skills: Sequence[float] = (0.1, 0.5, 0.9),
    groups: int = 8,
    batches: int = 100,
    resamples: int = 200,
    seed: int = 0,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] | None = None,
) -> Report:
    """Sample groups in finite worlds and measure the credit of methods against the exact truth.

    What happens in a setting follows from it and the seed alone, whatever else is measured. Groups come from the plain
    group collector whatever a method asks for: dropping groups of equal returns would change nothing here but the
    scale of batch-wide statistics, as such groups get no credit from those methods.

    Args:
        algos: See ``find_methods``.
        worlds: Environment ids of finite worlds.
        horizons: Step limits.
        group_sizes: Episodes in a group, at least 2.
        skills: Shares of the way from the uniform to the best policy, in [0, 1].
        groups: Groups in a batch.
        batches: Batches in a setting, at least 3.
        resamples: Bootstrap resamples, at least 1.
        seed: Seed of everything.
        progress: Wraps the settings, given them and their number, to show how far it is.

    Raises:
        ConfigError: If a world, method or number cannot be used; said before any work.
    """
    began = time.perf_counter()
    _check(horizons=(horizons, 1), group_sizes=(group_sizes, 2), groups=([groups], 1))
    _check(batches=([batches], 3), resamples=([resamples], 1))
    methods, left_out = find_methods(algos)
    processes = {world: _process(world) for world in worlds}
    policies, returns = _policies(processes, horizons, skills)
    plan = list(itertools.product(processes, horizons, skills, group_sizes))
    records: list[Record] = []
    for world, horizon, skill, group_size in progress(plan, len(plan)) if progress else plan:
        key = [seed, zlib.crc32(world.encode()), horizon, round(skill * 1000), group_size]
        rng = np.random.default_rng(np.random.SeedSequence(key))
        setting = _Setting(processes[world], policies[world, horizon, skill], horizon, group_size, groups, batches)
        for target, method, metrics in setting.measure(methods, resamples, rng):
            records.append(Record(world, horizon, group_size, skill, target, method, metrics))
    settings: dict[str, Any] = {
        "algos": [method.name for method in methods],
        "worlds": list(worlds),
        "horizons": list(horizons),
        "group_sizes": list(group_sizes),
        "skills": list(skills),
        **{"groups": groups, "batches": batches, "resamples": resamples, "seed": seed},
    }
    about = {world: _about(mdp) for world, mdp in processes.items()}
    return Report(settings, about, returns, records, left_out, time.perf_counter() - began)


def _check(**limits: tuple[Sequence[int], int]) -> None:
    for name, (numbers, least) in limits.items():
        if not numbers or min(numbers) < least:
            raise ConfigError(f"{name}={list(numbers)}: must be at least {least}")


def _process(world: str) -> FiniteMDP:
    if world not in gym.registry and ":" not in world:
        raise ConfigError(f"no environment {world!r}. {suggest(world, WORLDS)}Finite worlds: {', '.join(WORLDS)}")
    env = gym.make(world).unwrapped
    if not isinstance(env, FiniteTextEnv):
        raise ConfigError(f"{world} is no finite world, so its true advantages are unknown; use {', '.join(WORLDS)}")
    return env.mdp


def _about(mdp: FiniteMDP) -> dict[str, Any]:
    sizes = {"states": len(mdp.states), "actions": len(mdp.actions), "texts": len(mdp.texts), "tasks": len(mdp.tasks)}
    return {**sizes, "aliased": mdp.aliased}


def _policies(
    processes: dict[str, FiniteMDP], horizons: Sequence[int], skills: Sequence[float]
) -> tuple[dict[tuple[str, int, float], Floats], list[dict[str, Any]]]:
    policies, returns = {}, []
    for (world, mdp), horizon in itertools.product(processes.items(), horizons):
        best = best_policy(mdp, horizon)
        for skill in skills:
            policy = skilled_policy(mdp, best, horizon, skill)
            policies[world, horizon, skill] = policy
            value = round(start_value(mdp, policy, horizon), 4)
            returns.append({"world": world, "horizon": horizon, "skill": skill, "return": value})
    return policies, returns


@dataclass(frozen=True, eq=False)
class _Setting:
    mdp: FiniteMDP
    policy: Floats
    horizon: int
    group_size: int
    groups: int
    batches: int

    def measure(
        self, methods: Sequence[Method], resamples: int, rng: np.random.Generator
    ) -> Iterable[tuple[str, str, dict[str, Floats]]]:
        """Yield (target, method, metrics); where states look alike each method is held to both targets."""
        sample = sample_groups(
            self.mdp,
            self.policy,
            horizon=self.horizon,
            group_size=self.group_size,
            groups=self.groups,
            batches=self.batches,
            rng=rng,
        )
        weights = bootstrap_weights(self.batches, resamples, rng)
        greedy_seed = int(rng.integers(2**63))
        targets = {"state": False, "observation": True} if self.mdp.aliased else {"state": False}
        grounds = {
            target: Ground.of(self.mdp, self.policy, self.horizon, sample, weights, averaged=averaged)
            for target, averaged in targets.items()
        }
        for method in methods:
            chance = np.random.default_rng(greedy_seed)
            batch = with_oracles(method, self.mdp, self.policy, self.horizon, sample, chance)
            credit, step = method_credit(method, batch, sample, grounds["state"].advantage)
            for target, ground in grounds.items():
                own = None
                if step is not None:
                    own = true_advantage(self.mdp, self.policy, self.horizon, sample, method.gamma, targets[target])
                yield target, method.name, measure(ground, credit, step, own)
