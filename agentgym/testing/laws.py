"""The laws of credit as checks of one batch; each yields what it finds wrong.

A check makes what it needs out of the batch it is given (copies of an episode, other rewards, another row order), the
same way each time, so that a batch which breaks a law still breaks it when it is looked at again, and can be shrunk.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.algos.base import Algorithm
from agentgym.algos.functional.returns import discounted_returns, episode_returns
from agentgym.batch import Credit, StepBatch
from agentgym.errors import AlgorithmError

__all__ = ["CREDIT_LAWS", "Law", "entries", "variant"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Law = Callable[[Algorithm[Any], StepBatch], Iterator[str]]

_REWARD_COLUMNS = ("value", "next_value", "mc_value", "mc_next_value", "baseline")  # columns in units of the reward


def variant(algorithm: Algorithm[Any], **settings: Any) -> Algorithm[Any]:
    """Return the algorithm with other settings; those its configuration lacks are passed over."""
    config = algorithm.config
    known = {name: value for name, value in settings.items() if name in type(config).model_fields}
    other = copy.copy(algorithm)
    other.config = type(config)(**{**config.model_dump(), **known})
    return other


def entries(batch: StepBatch, rows: npt.NDArray[Any], level: str) -> npt.NDArray[Any]:
    """Return where the credit of the given rows stands: the rows themselves, or in level "token" their tokens."""
    if level == "row":
        return rows
    starts, ends = batch.token_offsets[rows], batch.token_offsets[rows + 1]
    return np.concatenate([np.arange(0), *map(np.arange, starts, ends)])


def _parts(credit: Credit) -> dict[str, npt.NDArray[np.float32]]:
    return {"advantage": credit.advantage, **credit.components}


def _outcome(credit: Credit) -> npt.NDArray[np.float32] | None:
    """Return the part that depends on the outcome of episodes alone, or None where the credit does not name it."""
    if "episode" in credit.components:
        return credit.components["episode"]
    return credit.advantage if len(credit.components) <= 1 and "step" not in credit.components else None


def _episode_rows(batch: StepBatch) -> dict[int, Ints]:
    """Return the rows of each episode in order of their step."""
    return {int(e): _in_order(batch, np.flatnonzero(batch.episode == e)) for e in np.unique(batch.episode)}


def _in_order(batch: StepBatch, rows: Ints) -> Ints:
    return rows[np.argsort(batch.t[rows])]


def _last(batch: StepBatch) -> Bools:
    lengths = np.bincount(batch.episode)
    return np.asarray(batch.t == lengths[batch.episode] - 1)


def _rewarded(batch: StepBatch, reward: npt.NDArray[Any]) -> StepBatch:
    return replace(batch, reward=reward, env_reward=reward)


def _plain(batch: StepBatch, reward: npt.NDArray[Any]) -> StepBatch:
    """Return the batch with other rewards, where no action was refused and no episode counts as won."""
    rows = len(batch)
    return replace(
        _rewarded(batch, reward),
        valid=np.ones(rows, np.bool_),
        format_ok=np.ones(rows, np.bool_),
        won=np.zeros(rows, np.bool_),
        score=np.zeros(rows),
    )


def _placed(batch: StepBatch, place: Ints) -> StepBatch:
    """Return the batch with other states, whose texts are not similar."""
    words = ("north", "a sunlit garden", "under the oak", "9 doors", "cellar", "hall, dark", "x")
    texts = tuple(f"{words[number % len(words)]} " * (number // len(words) + 1) for number in place.tolist())
    return replace(batch, anchor=place, state=place, observations=texts)


def _lone_groups(batch: StepBatch) -> Bools:
    """Return which rows belong to a group with a single episode."""
    sizes = {g: np.unique(batch.episode[batch.group == g]).size for g in np.unique(batch.group)}
    return np.array([sizes[g] == 1 for g in batch.group], np.bool_)


def _with_peers(batch: StepBatch) -> StepBatch:
    """Return the batch without lone episodes, which have a law of their own."""
    return batch.take(np.flatnonzero(~_lone_groups(batch)))


def _differing(first: Credit, second: Credit, at: npt.NDArray[Any], rows: npt.NDArray[Any]) -> str | None:
    """Return the name and place of the first part in which ``second`` is not bit for bit ``first[at]``."""
    if first.components.keys() != second.components.keys():
        return f"has the components {sorted(second.components)} instead of {sorted(first.components)}"
    for name, part in _parts(first).items():
        other = _parts(second)[name]
        if len(at) != len(other):
            return f"has {len(other)} values instead of {len(at)}"
        if (wrong := np.flatnonzero(part[at] != other)).size:
            i = wrong[0]
            return f"differs in {name!r} at entry {rows[i]}: {part[at][i]!s} became {other[i]!s}"
    return None


def zero_sum(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """Centred parts sum to zero over the units of their base, within max|x| n 2⁻²² / (std + ε)."""
    if not len(batch := _with_peers(batch)):
        return
    credit, units = algorithm.credit(batch), algorithm.zero_sum_units(batch)
    named = {name: codes for name, codes in units.items() if name in _parts(credit)}
    if not named:
        named = {"advantage": units["episode"]}
    std, eps = getattr(algorithm.config, "std", "unknown"), getattr(algorithm.config, "eps", 1e-6)
    for name, codes in named.items():
        values = _parts(credit)[name].astype(np.float64)
        if len(codes) != len(values):
            yield f"zero_sum_units gives {len(codes)} codes for the {len(values)} values of {name!r}"
            return
        gamma = getattr(algorithm.config, "gamma", 1.0) if name == "step" else 1.0
        behind = discounted_returns(batch.reward, batch.episode, batch.t, gamma)
        if name != "step":
            behind = episode_returns(batch.reward, batch.episode, batch.t)
        if credit.level == "token":
            behind = np.repeat(behind, np.diff(batch.token_offsets))
        for code in np.unique(codes[codes >= 0]):
            inside = codes == code
            if inside.sum() == 1 and name == "step":
                continue  # a lone anchor has a law of its own
            x, v = behind[inside], values[inside]
            divisor = 1.0 if std is None else x.std() + eps
            tolerance = len(v) * 2.0**-22 * (np.abs(v).max() + np.abs(x).max() / divisor)
            if abs(v.sum()) > tolerance:
                entry = np.flatnonzero(inside).tolist()
                yield f"{name!r} over the units at entries {entry} should sum to 0, but sums to {v.sum():.6g}"


def ties(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """Equal returns give literally 0, on values that are not dyadic too."""
    first = {int(batch.group[rows[0]]): rows for rows in reversed(_episode_rows(batch).values())}
    copies = [(rows, 3 + 4 * (i % 2)) for i, rows in enumerate(first.values())]
    same = batch.take(np.concatenate([rows for rows, times in copies for _ in range(times)]))
    lengths = [len(rows) for rows, times in copies for _ in range(times)]
    same = _placed(replace(same, episode=np.repeat(np.arange(len(lengths)), lengths)), same.t)
    credit = algorithm.credit(_plain(same, 10 * 0.95 ** (same.t + same.group + 1.0)))
    for name, part in _parts(credit).items():
        if (wrong := np.flatnonzero(part != 0)).size:
            yield f"episodes that went exactly alike should get literally 0, but {name!r} is {part[wrong[0]]!s}"
    if not len(batch := _with_peers(batch)):
        return
    value = 10 * 0.95 ** (batch.group + 7.0)
    batch = _plain(batch, np.where(_last(batch), value, 0.0))
    credit = algorithm.credit(batch)
    if (outcome := _outcome(credit)) is not None and (wrong := np.flatnonzero(outcome != 0)).size:
        yield (
            f"all episodes of a group return the same ({value.min():.6g}), so their outcome should get literally 0, "
            f"but entry {wrong[0]} got {outcome[wrong[0]]!s}"
        )
    if "step" in credit.components:
        yield from _tied_places(algorithm, batch)


def _tied_places(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """Rows of one place that are equally far from an equal end have equal returns, so no step credit."""
    lengths = np.bincount(batch.episode)
    place = np.where(batch.t == 0, 0, lengths[batch.episode] - batch.t)
    batch = _placed(batch, place)
    credit = algorithm.credit(batch)
    _, code, sizes = np.unique(np.stack([batch.group, place]), axis=1, return_inverse=True, return_counts=True)
    shared = np.flatnonzero((batch.t > 0) & (sizes[code.reshape(-1)] > 1))
    step = credit.components["step"][entries(batch, shared, credit.level)]
    if np.any(step != 0):
        yield f"rows of one state with equal returns should get literally 0, but 'step' is {step[step != 0][0]!s}"


def lone(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """A lone episode gives 0, its raw return or an error, as ``lone`` asks; a lone anchor gives 0."""
    chosen = {int(batch.group[rows[0]]): rows for rows in reversed(_episode_rows(batch).values())}
    single = batch.take(np.concatenate(list(chosen.values())))
    single = _plain(single, np.where(_last(single), np.where(single.reward == 0, 0.7, single.reward), 0.0))
    by_rows = getattr(algorithm.config, "base", "episodes") == "rows"
    alone = (np.bincount(single.group)[single.group] == 1) | (not by_rows)
    modes = ("zero", "raw", "raise") if "lone" in type(algorithm.config).model_fields else (None,)
    returns = episode_returns(single.reward, single.episode, single.t)
    for mode in modes:
        try:
            credit = variant(algorithm, lone=mode).credit(single)
        except AlgorithmError as error:
            if mode in (None, "zero"):
                raise  # refuses this batch
            if mode == "raw" or not alone.any():
                yield f"lone={mode!r} should give credit, but raised: {error}"
            continue
        if mode == "raise" and alone.any():
            yield "lone='raise' should raise AlgorithmError for a group with a single value, but gave credit"
        if mode == "raise" or (outcome := _outcome(credit)) is None:
            continue
        expected = np.where(alone, returns, 0.0) if mode == "raw" else np.zeros(len(single))
        if credit.level == "token":
            expected = np.repeat(expected, np.diff(single.token_offsets))
        allowed = np.isclose(outcome, expected, rtol=1e-6, atol=0)
        allowed |= np.isclose(outcome, expected / (1 + getattr(algorithm.config, "eps", 0.0)), rtol=1e-6, atol=0)
        if (wrong := np.flatnonzero(~allowed)).size:
            i = wrong[0]
            yield f"with lone={mode!r} a lone episode should get {expected[i]:.6g}, but got {outcome[i]!s}"
    yield from _lone_places(variant(algorithm, lone="zero"), batch)


def _lone_places(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    credit, units = algorithm.credit(batch), algorithm.zero_sum_units(batch)
    if "step" not in credit.components or "step" not in units:
        return
    codes, sizes = np.unique(units["step"], return_counts=True)
    alone = np.isin(units["step"], codes[sizes == 1])
    if (wrong := np.flatnonzero(alone & (credit.components["step"] != 0))).size:
        i = wrong[0]
        yield f"row {i} is alone in its anchor and should get 0, but 'step' is {credit.components['step'][i]!s}"


def _eighths(reward: Floats) -> Floats:
    """Round rewards so that they and their sums are exact, in float32 too."""
    return np.asarray(np.round(reward * 8) / 8)


def shift(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """A constant on every return of one group changes nothing (γ = 1, so that it reaches every step's return)."""
    algorithm = variant(algorithm, gamma=1.0, eps=1e-3)
    if not len(batch := _with_peers(batch)):
        return
    batch = _rewarded(batch, _eighths(batch.reward))
    before = algorithm.credit(batch)
    everything = hasattr(algorithm.config, "gamma") or "step" not in before.components
    for number, group in enumerate(np.unique(batch.group)):
        constant = 3.0 if number % 2 else -0.875
        moved = np.where(_last(batch) & (batch.group == group), batch.reward + constant, batch.reward)
        after = algorithm.credit(_rewarded(batch, moved))
        tolerance = 1e-5 + 2.0**-20 * np.abs(batch.reward).max(initial=0.0)
        for name, part in _parts(before).items():
            if not everything and name != "episode":
                continue
            error = np.abs(part.astype(np.float64) - _parts(after)[name])
            if (wrong := np.flatnonzero(~(error <= tolerance * (1 + np.abs(part))))).size:
                i = wrong[0]
                yield (
                    f"{constant:+} on every return of group {group} should change nothing, but {name!r} at entry {i} "
                    f"went from {part[i]!s} to {_parts(after)[name][i]!s}"
                )
                return


def _grown(batch: StepBatch, c: float) -> StepBatch:
    """Return the batch with rewards, and columns in their units, times c."""
    batch = _rewarded(batch, c * batch.reward)
    rows = {name: c * batch.columns[name] for name in _REWARD_COLUMNS if name in batch.columns}
    tokens = {name: c * batch.token_columns[name] for name in _REWARD_COLUMNS if name in batch.token_columns}
    return batch.with_columns(**rows).with_token_columns(**tokens)


def scale(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """A(cR) / A(R) = c (s + ε) / (c s + ε), or c without a standard deviation s; penalties are scaled too."""
    known = {name: getattr(algorithm.config, name) for name in _reward_settings(algorithm)}
    std = getattr(algorithm.config, "std", "undeclared")
    if not len(batch := _with_peers(batch)):
        return
    for c in (0.125, 3.0, 10.0):
        if "eps" in known:
            # Scaling rewards, penalties and ε alike must leave normalised credit alone: the formula for any s.
            small = {name: 0.25 if value else 0.0 for name, value in known.items()} | {"eps": 1e-3 / c}
            plain = variant(algorithm, **small).credit(batch)
            large = variant(algorithm, **{name: c * value for name, value in small.items()}).credit(_grown(batch, c))
            rtol, atol = 1e-5, 1e-4 * max(1.0, c)
        else:  # an unknown ε: rewards large enough for it not to matter
            exact = _rewarded(batch, _eighths(batch.reward))
            plain, large = algorithm.credit(exact), algorithm.credit(_grown(exact, c * 8))
            c, rtol, atol = c * 8, 5e-3, 1e-4 * max(1.0, c * 8)
        factors = (c,) if std is None else (1.0,) if std in ("sample", "population") else (1.0, c)
        for name, part in _parts(plain).items():
            other = _parts(large)[name].astype(np.float64)
            fits = [np.isclose(other, factor * part.astype(np.float64), rtol=rtol, atol=atol) for factor in factors]
            if not any(fit.all() for fit in fits):
                i = int(np.flatnonzero(~fits[0])[0])
                yield f"with rewards times {c:g}, {name!r} at entry {i} went from {part[i]!s} to {other[i]:.6g}"
                return
    if std in ("sample", "population") and "eps" in known:
        yield from _near_epsilon(variant(algorithm, **{n: 0.0 for n in known if n != "eps"}), batch, std)


def _reward_settings(algorithm: Algorithm[Any]) -> list[str]:
    return [name for name in algorithm.reward_settings if hasattr(algorithm.config, name)]


def _near_epsilon(algorithm: Algorithm[Any], batch: StepBatch, std: str) -> Iterator[str]:
    """Where s is as small as ε the ratio tells which standard deviation was taken."""
    batch = _rewarded(batch, np.where(_last(batch), _eighths(batch.reward), 0.0))
    counted = (batch.t == 0) | (getattr(algorithm.config, "base", "episodes") == "rows")
    returns = episode_returns(batch.reward, batch.episode, batch.t)
    spread = np.zeros(len(batch))
    for group in np.unique(batch.group):
        x = returns[counted & (batch.group == group)]
        if len(x) > 1:
            spread[batch.group == group] = x.std(ddof=1 if std == "sample" else 0)
    if not spread.any():
        return
    eps, c = algorithm.config.eps, 10.0
    unit = eps / spread.max()
    credits = [algorithm.credit(_grown(batch, k * unit)) for k in (1.0, c)]
    plain, large = map(_outcome, credits)
    if plain is None or large is None:
        return
    if credits[0].level == "token":
        spread = np.repeat(spread, np.diff(batch.token_offsets))
    expected = plain * c * (spread * unit + eps) / (c * spread * unit + eps)
    if (wrong := np.flatnonzero(~np.isclose(large, expected, rtol=1e-4, atol=1e-6))).size:
        i = wrong[0]
        yield (
            f"with rewards times {c:g} and the {std} standard deviation s = {spread[i] * unit:.4g}, c (s + ε) / (c s + "
            f"ε) times {plain[i]!s} is {expected[i]:.6g}, but entry {i} got {large[i]!s}"
        )


def permutation(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """Shuffled rows and other codes permute the answer bit for bit."""
    before = algorithm.credit(batch)
    rng = np.random.default_rng(len(batch))
    for order in (np.arange(len(batch))[::-1], rng.permutation(len(batch)), rng.permutation(len(batch))):
        at = entries(batch, order, before.level)
        if problem := _differing(before, algorithm.credit(batch.take(order)), at, at):
            yield f"with its rows in the order {order.tolist()} the credit {problem}"
            return
    renamed = {}
    for name in ("group", "episode", "anchor", "state"):
        codes = getattr(batch, name)
        names = rng.permutation(int(codes.max()) + 4)
        renamed[name] = np.where(codes < 0, codes, names[np.maximum(codes, 0)])
    if batch.tree_node is not None:
        renamed["tree_node"] = rng.permutation(int(batch.tree_node.max()) + 4)[batch.tree_node]
    everywhere = np.arange(len(before.advantage))
    if problem := _differing(before, algorithm.credit(replace(batch, **renamed)), everywhere, everywhere):
        yield f"with other codes for the same groups, episodes, decisions and states the credit {problem}"


def locality(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """A group's credit is the same, bit for bit, with and without the others."""
    whole = algorithm.credit(batch)
    for group in np.unique(batch.group):
        rows = np.flatnonzero(batch.group == group)
        if len(rows) == len(batch):
            return
        at = entries(batch, rows, whole.level)
        if problem := _differing(whole, algorithm.credit(batch.take(rows)), at, at):
            yield f"without the other groups the credit of group {group} {problem}"
            return


def truncation(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """Truncation adds γ V to the last step and (γλ)ᵏ γ V to the one k steps earlier, before whitening."""
    bootstrap = next((name for name in ("next_value", "mc_next_value") if name in algorithm.columns), None)
    if bootstrap is None:
        return  # nothing is bootstrapped
    algorithm = variant(algorithm, whiten=False)
    last = _last(batch)
    value = batch.columns[bootstrap]
    value = np.where(last, np.where(value == 0, 0.75, value), value)
    batch = _rewarded(batch, np.clip(batch.reward, -2, 2))  # the difference must not drown in float32
    cut = replace(batch, terminated=np.zeros_like(last), truncated=last).with_columns(**{bootstrap: value})
    done = replace(batch, terminated=last, truncated=np.zeros_like(last)).with_columns(
        **{bootstrap: np.where(last, 0.0, value)}
    )
    first, second = algorithm.credit(cut), algorithm.credit(done)
    difference = first.advantage.astype(np.float64) - second.advantage
    # Values of forks need no λ: what a step changed ends with the next value.
    no_lam = 1.0 if bootstrap == "next_value" else 0.0
    gamma, lam = getattr(algorithm.config, "gamma", 1.0), getattr(algorithm.config, "lam", no_lam)
    for rows in _episode_rows(batch).values():
        at = entries(batch, rows, first.level)
        behind = np.arange(len(at))[::-1]
        expected = (gamma * lam) ** behind * gamma * value[rows[-1]]
        if (wrong := np.flatnonzero(~np.isclose(difference[at], expected, rtol=1e-4, atol=1e-4))).size:
            i = wrong[-1]
            yield (
                f"{behind[i]} steps before its end an episode that was cut off should have (γλ)^{behind[i]} γ V = "
                f"{expected[i]:.6g} more than one that ended, but entry {at[i]} has {difference[at][i]:.6g} more"
            )
            return


def answers(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """Advantage and components are float32, finite, of the shape of the level, and the components sum up."""
    credit = algorithm.credit(batch)
    size = len(batch) if credit.level == "row" else int(batch.token_offsets[-1])
    for name, part in _parts(credit).items():
        if part.shape != (size,) or part.dtype != np.float32:
            yield f"{name!r} in level {credit.level!r} should be float32 [{size}], but is {part.dtype} {part.shape}"
            return
        if (wrong := np.flatnonzero(~np.isfinite(part))).size:
            yield f"{name!r} should be finite, but is {part[wrong[0]]!s} at entry {wrong[0]}"
            return
    for name, number in credit.diagnostics.items():
        if not np.isfinite(number):
            yield f"diagnostic {name!r} should be a finite number, but is {number!r}"
    if not credit.components:
        return
    parts = np.array(list(credit.components.values()), np.float64)
    error = np.abs(parts.sum(axis=0) - credit.advantage)
    if (wrong := np.flatnonzero(error > 1e-30 + 2.0**-21 * np.abs(parts).sum(axis=0))).size:
        i = wrong[0]
        yield (
            f"the components {sorted(credit.components)} should sum to the advantage, but at entry {i} they sum to "
            f"{parts[:, i].sum():.6g}, and the advantage is {credit.advantage[i]!s}"
        )


def _arrays(batch: StepBatch) -> dict[str, npt.NDArray[Any]]:
    own = {item.name: value for item in fields(batch) if isinstance(value := getattr(batch, item.name), np.ndarray)}
    return {**own, **batch.columns, **{f"token {name}": value for name, value in batch.token_columns.items()}}


def purity(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """Credit is a function of the batch and the saved state; it leaves the batch alone.

    Only copies are asked, so that the algorithm that is passed in has seen nothing yet.
    """
    used, fresh = copy.deepcopy(algorithm), copy.deepcopy(algorithm)
    used.credit(copy.deepcopy(_rewarded(batch, 2.0 - batch.reward[::-1])))
    state = copy.deepcopy(used.state_dict())
    fresh.load_state_dict(state)
    given = copy.deepcopy(batch)
    first = used.credit(given)
    before = _arrays(batch)
    for name, column in _arrays(given).items():
        if not np.array_equal(column, before[name], equal_nan=column.dtype.kind == "f"):
            yield f"credit() should leave the batch as it was, but changed {name!r}"
            return
    everywhere = np.arange(len(first.advantage))
    again = [("from a new instance with the saved state", fresh.credit(copy.deepcopy(batch)))]
    if not state:
        again.append(("when asked again", used.credit(copy.deepcopy(batch))))
    for who, second in again:
        if problem := _differing(first, second, everywhere, everywhere):
            yield f"{who} the credit of the same batch {problem}"
            return


CREDIT_LAWS: Mapping[str, Law] = {
    "answers": answers,
    "purity": purity,
    "permutation": permutation,
    "locality": locality,
    "ties": ties,
    "zero-sum": zero_sum,
    "shift": shift,
    "scale": scale,
    "lone": lone,
    "truncation": truncation,
}
"""Checks by name, in the order in which they are made; "answers" and "purity" hold for every algorithm."""
