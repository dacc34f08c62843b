"""Which methods are measured, with the columns that a learner would bring filled in exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.algos import get_algorithm, list_algorithms
from agentgym.algos.base import Algorithm
from agentgym.algos.spa import SPA
from agentgym.batch import StepBatch
from agentgym.envs.finite import FiniteMDP, solve
from agentgym.errors import AgentGymError, ConfigError, MissingExtraError
from agentgym.evaluation.creditbench.sampling import Sample, fork_means, play

__all__ = ["ORACLES", "VARIANTS", "Method", "find_methods", "method_credit", "with_oracles"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

VARIANTS = (
    "grpo:base=rows",
    "grpo:std=null",
    "gigpo:gamma=1",
    "gigpo:std=null",
    "gigpo:std=null+gamma=1",
    "gigpo:anchor=state",
    "hgpo_code",
    "scpo:backbone=grpo",
    "ppo:lam=1",
    "vineppo:whiten=false",
    "vineppo:whiten=false+forks=1000",
)
"""Settings and presets that are measured beside the defaults, if no methods are named."""


@dataclass(frozen=True)
class Method:
    """A method under a name.

    Attributes:
        name: As it was asked for, ``gigpo`` or ``gigpo:gamma=1``.
        algorithm: The method, or None for the exact advantage itself.
    """

    name: str
    algorithm: Algorithm[Any] | None

    @property
    def gamma(self) -> float:
        """The method's own discount, 1 if it has none."""
        return float(getattr(getattr(self.algorithm, "config", None), "gamma", 1.0))

    @property
    def forks(self) -> int:
        """How many forks the method plays from a state, 1 if it plays none."""
        return int(getattr(getattr(self.algorithm, "config", None), "forks", 1))


def find_methods(names: Sequence[str] | None = None) -> tuple[list[Method], dict[str, str]]:
    """Build methods by name.

    Args:
        names: Names of algorithms or presets, with settings behind a colon: ``gigpo:gamma=1+std=null``; ``oracle`` is
            the exact advantage. None for the oracle, every algorithm, and ``VARIANTS``.

    Returns:
        The methods, and for each that was not asked for by name and cannot be measured the reason.

    Raises:
        ConfigError: If a named one does not exist, a setting is wrong, or it cannot be measured.
    """
    found, left_out = [], {}
    for name in names if names is not None else ("oracle", *list_algorithms(), *VARIANTS):
        try:
            method = _method(name)
            reason = _obstacle(method)
        except MissingExtraError as error:
            reason = str(error)
        if not reason:
            found.append(method)
        elif names is not None:
            raise ConfigError(f"{name} cannot be measured here: {reason}")
        else:
            left_out[name] = reason
    return found, left_out


def _method(name: str) -> Method:
    return Method(name, None if name == "oracle" else get_algorithm(name))


def _obstacle(method: Method) -> str:
    """Return why a method cannot be measured, or nothing."""
    if method.algorithm is None:
        return ""
    if method.algorithm.collector().name == "filtered":
        return "it credits all turns alike and chooses episodes instead, which is done by its collector"
    columns = method.algorithm.columns
    if missing := sorted(set(columns) - set(ORACLES)):
        return f"it reads the column {missing[0]!r}, which has no exact counterpart in a finite world"
    if {"value", "utterance_v"} <= set(columns):
        return "its 'value' is a baseline of the advantage, and here 'value' is the exact value of a state"
    if isinstance(method.algorithm, SPA) and (changed := _changes_what_is_dealt_out(method.algorithm)):
        return f"its critic learns the rewards that it deals out, whose exact values are not known with {changed}"
    return ""


def _changes_what_is_dealt_out(algorithm: SPA) -> str:
    """Return a setting with which rewards are other than the progress itself, or discounted, or nothing."""
    known = {"redistribution": "progress", "alpha": 1.0, "beta": 0.0, "gamma": 1.0}
    known |= {"residual": False, "legacy_horizon_weight": False}
    given = {name: getattr(algorithm.config, name) for name in known}
    return next((f"{name}={value!r}" for name, value in given.items() if value != known[name]), "")


@dataclass(frozen=True, eq=False)
class _Setting:
    mdp: FiniteMDP
    policy: Floats
    horizon: int
    sample: Sample
    gamma: float
    forks: int
    rng: np.random.Generator
    dealt_out: bool

    @cached_property
    def forecast(self) -> Floats:
        """E[return | all up to the row's action], undiscounted, [R]."""
        q = solve(self.mdp, self.policy, self.horizon).q
        on_rows: Floats = q[self.sample.left, self.sample.batch.state, self.sample.action]
        return on_rows

    @cached_property
    def forecast_before(self) -> Floats:
        """The same of the row before, 0 for the first of an episode, [R]."""
        return np.where(self.sample.batch.t > 0, np.append(0.0, self.forecast[:-1]), 0.0)

    @cached_property
    def goes_on(self) -> npt.NDArray[np.bool_]:
        """Whether a row follows in the episode, [R]."""
        return np.asarray(np.diff(self.sample.batch.episode, append=-1) == 0)

    @cached_property
    def fork_means(self) -> Floats:
        """Mean return of forks of each row's state, [R]; they are played once, whoever reads them."""
        return fork_means(self.mdp, self.policy, self.horizon, self.sample, self.forks, self.rng)


def _value(s: _Setting) -> Floats:
    v = solve(s.mdp, s.policy, s.horizon, s.gamma).v
    # What was dealt out before is not still to come; with γ = 1 that is all that differs.
    return v[s.sample.left, s.sample.batch.state] - (s.forecast_before if s.dealt_out else 0.0)


def _next_value(s: _Setting) -> Floats:
    v = solve(s.mdp, s.policy, s.horizon, s.gamma).v
    return v[s.sample.left - 1, s.sample.successor] - (np.where(s.goes_on, s.forecast, 0.0) if s.dealt_out else 0.0)


def _progress(s: _Setting) -> Floats:
    return s.forecast - s.forecast_before


def _quality(s: _Setting) -> Floats:
    q = solve(s.mdp, s.policy, s.horizon, s.gamma).q
    return q[s.sample.left, s.sample.batch.state, s.sample.action]


def _entropy(s: _Setting) -> Floats:
    logs = np.log(np.where(s.policy > 0, s.policy, 1.0))
    of_text: Floats = -(s.policy * logs).sum(1)
    return of_text[s.sample.batch.anchor]


def _reference(s: _Setting) -> Floats:
    return np.log(s.mdp.uniform()[s.sample.batch.anchor, s.sample.action])


def _logprob(s: _Setting) -> Floats:
    return np.log(s.policy[s.sample.batch.anchor, s.sample.action])


def _baseline(s: _Setting) -> Floats:
    greedy = np.zeros(s.policy.shape)
    greedy[np.arange(len(greedy)), s.policy.argmax(1)] = 1.0
    _, _, rewards, _ = play(s.mdp, greedy, s.mdp.start[s.sample.task], s.horizon, s.rng)
    of_group: Floats = rewards.sum(1)
    return of_group[s.sample.batch.group]


def _mc_value(s: _Setting) -> Floats:
    return s.fork_means


def _mc_next_value(s: _Setting) -> Floats:
    # The state after a row is the one before the next row, and has the same forks; nothing is ahead of the last one.
    return np.where(s.goes_on, np.append(s.fork_means[1:], 0.0), 0.0)


ORACLES: Mapping[str, tuple[str, Callable[[_Setting], Floats]]] = {
    "value": ("V of the hidden state and steps left, exact, at the method's own gamma; in [0, 1]", _value),
    "next_value": (
        "the same of the state after the row, 0 at the limit, which counts as failure; in [0, 1]",
        _next_value,
    ),
    "progress": (
        "by how much the best forecast of the return rises with the row's action; a critic beside it, too, counts what "
        "was dealt out so far as gone",
        _progress,
    ),
    "utterance_q": ("Q of the hidden state, steps left and action, as `value`; in [0, 1]", _quality),
    "utterance_v": ("the same as `value`", _value),
    "entropy": ("entropy of the policy given the text, exact; in [0, log A]", _entropy),
    "ref_logprob": ("log-probability of the action under the uniform policy", _reference),
    "logprob": ("log-probability of the action under the policy that acts", _logprob),
    "mc_value": (
        "mean return of the method's number of forks of the state, sampled; undiscounted, in [0, 1]",
        _mc_value,
    ),
    "mc_next_value": ("the same of the state after the row, from that state's forks; 0 after the last", _mc_next_value),
    "baseline": ("return of one greedy episode of the group's task, sampled; in [0, 1]", _baseline),
}
"""Column that a learner or collector would bring → what it holds here, and how it is made. Each row has one token."""


def with_oracles(
    method: Method, mdp: FiniteMDP, policy: Floats, horizon: int, sample: Sample, rng: np.random.Generator
) -> StepBatch:
    """Return the sample's batch with the columns that a method reads, exactly as ``ORACLES`` says."""
    batch = sample.batch
    if method.algorithm is None:
        return batch
    columns = method.algorithm.columns
    setting = _Setting(mdp, policy, horizon, sample, method.gamma, method.forks, rng, "progress" in columns)
    for name, column in columns.items():
        values = ORACLES[name][1](setting)
        if column.level == "row":
            batch = batch.with_columns(**{name: values})
        else:
            batch = batch.with_token_columns(**{name: values.astype(np.float32)})
    return batch


def method_credit(method: Method, batch: StepBatch, sample: Sample, advantage: Floats) -> tuple[Floats, Floats | None]:
    """Return the credit of each row and, if the method has one, its step component.

    A method that promises locality sees all batches at once, another one batch at a time, as in training.

    Args:
        method: The method.
        batch: The sample's batch with the columns that the method reads.
        sample: The sample.
        advantage: The exact advantage of each row, which is the oracle's credit, [R].

    Raises:
        ConfigError: If the method fails; the message names it.
    """
    if method.algorithm is None:
        return advantage, None
    if "locality" in method.algorithm.laws:
        rows = [np.arange(len(batch))]
    else:
        rows = np.split(np.arange(len(batch)), np.flatnonzero(np.diff(sample.part)) + 1)
    credits, steps = [], []
    for chosen in rows:
        part = batch if len(rows) == 1 else batch.take(chosen)
        try:
            credit = method.algorithm.credit(part)
        except AgentGymError as error:
            raise ConfigError(f"{method.name} cannot be measured: {error}") from error
        credits.append(credit.per_token(part))  # rows and tokens are one and the same here
        if "step" in credit.components:
            steps.append(credit.components["step"])
    step = np.concatenate(steps).astype(np.float64) if steps else None
    return np.concatenate(credits).astype(np.float64), step
