"""Slow, readable twins of the fast functions: plain Python over one row or token at a time."""

from __future__ import annotations

import difflib
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

from agentgym.batch import StepBatch


def discounted_returns(batch: StepBatch, gamma: float) -> list[float]:
    rows = {(int(e), int(t)): i for i, (e, t) in enumerate(zip(batch.episode, batch.t, strict=True))}
    returns = [0.0] * len(batch)
    for (episode, t), row in sorted(rows.items(), reverse=True):
        ahead = rows.get((episode, t + 1))
        returns[row] = float(batch.reward[row]) + (0.0 if ahead is None else gamma * returns[ahead])
    return returns


def normalise(
    values: Sequence[float], codes: Sequence[Hashable], std: str | None, eps: float, lone: str
) -> list[float]:
    members = defaultdict(list)
    for code, value in zip(codes, values, strict=True):
        members[code].append(value)
    return [_relative(value, members[code], std, eps, lone) for code, value in zip(codes, values, strict=True)]


def _relative(value: float, peers: list[float], std: str | None, eps: float, lone: str) -> float:
    if len(peers) == 1 and lone == "raw":
        return value if std is None else value / (1 + eps)
    if max(peers) == min(peers):
        return 0.0
    mean = math.fsum(peers) / len(peers)
    if std is None:
        return value - mean
    squares = math.fsum((peer - mean) ** 2 for peer in peers)
    return (value - mean) / (math.sqrt(squares / (len(peers) - (std == "sample"))) + eps)


def grpo(batch: StepBatch, base: str, std: str | None, eps: float, lone: str, penalty: Sequence[float]) -> list[float]:
    totals: dict[int, float] = defaultdict(float)
    for row in sorted(range(len(batch)), key=lambda i: int(batch.t[i])):
        totals[int(batch.episode[row])] += float(batch.reward[row])
    if base == "rows":
        scores = [totals[int(e)] - p for e, p in zip(batch.episode, penalty, strict=True)]
        return normalise(scores, batch.group.tolist(), std, eps, lone)
    group_of = dict(zip(batch.episode.tolist(), batch.group.tolist(), strict=True))
    episodes = list(totals)
    relative = normalise([totals[e] for e in episodes], [group_of[e] for e in episodes], std, eps, lone)
    of_episode = dict(zip(episodes, relative, strict=True))
    return [of_episode[e] for e in batch.episode.tolist()]


def step_advantage(
    batch: StepBatch, anchor: Sequence[int], gamma: float, std: str | None, eps: float, penalty: Sequence[float]
) -> list[float]:
    returns = [g - p for g, p in zip(discounted_returns(batch, gamma), penalty, strict=True)]
    return normalise(returns, list(zip(batch.group.tolist(), anchor, strict=True)), std, eps, "zero")


def gae(
    reward: Sequence[float],
    value: Sequence[float],
    segment: Sequence[int],
    position: Sequence[int],
    gamma: float,
    lam: float,
    bootstrap: Sequence[float],
) -> list[float]:
    """Run backwards through each segment, one item at a time."""
    advantage = [0.0] * len(reward)
    places = {(s, p): n for n, (s, p) in enumerate(zip(segment, position, strict=True))}
    for (s, p), n in sorted(places.items(), reverse=True):
        after = places.get((s, p + 1))
        next_value = bootstrap[n] if after is None else value[after]
        carried = 0.0 if after is None else advantage[after]
        advantage[n] = reward[n] + gamma * next_value - value[n] + gamma * lam * carried
    return advantage


def surrogate(ratio: float, advantage: float, low: float, high: float, dual: float | None) -> float:
    clipped = min(max(ratio, 1 - low), 1 + high)
    loss = max(-advantage * ratio, -advantage * clipped)
    return min(loss, -advantage * dual) if advantage < 0 and dual is not None else loss


def kl(logp: float, ref_logp: float, estimator: str) -> float:
    d = ref_logp - logp
    return {"k1": -d, "k2": d * d / 2, "k3": min(math.exp(d) - d - 1, 10.0), "abs": abs(d)}[estimator]


def aggregate(rows: Sequence[Sequence[float]], aggregation: str, norm_tokens: int = 1) -> float:
    """Average per-token losses given as a list of rows; a row may be empty."""
    if aggregation == "token-mean":
        return math.fsum(x for row in rows for x in row) / sum(map(len, rows))
    if aggregation == "seq-mean-token-sum-norm":
        return math.fsum(math.fsum(row) / norm_tokens for row in rows) / len(rows)
    if aggregation == "seq-mean-token-sum":
        return math.fsum(math.fsum(row) for row in rows) / len(rows)
    return math.fsum(math.fsum(row) / len(row) for row in rows if row) / len(rows)


def hgpo(
    batch: StepBatch,
    anchor: Sequence[int],
    gamma: float,
    penalty: Sequence[float],
    *,
    history: int,
    weight: Callable[[int], float],
    std: str | None,
    eps: float,
    dropped: float,
) -> list[float]:
    """Average the items of each row; ``dropped`` is the largest item left out, -1 for none."""
    returns = [g - p for g, p in zip(discounted_returns(batch, gamma), penalty, strict=True)]
    rows = {(int(e), int(t)): i for i, (e, t) in enumerate(zip(batch.episode, batch.t, strict=True))}
    members = defaultdict(list)
    keys: list[list[Hashable]] = []
    for row in range(len(batch)):
        episode, t = int(batch.episode[row]), int(batch.t[row])
        keys.append([])
        for k in range(min(t, history) + 1):
            states = tuple(anchor[rows[episode, step]] for step in range(t - k, t + 1))
            keys[row].append((k, int(batch.group[row]), states))
            members[keys[row][k]].append(returns[row])
    result = []
    for row, own in enumerate(keys):
        items = [
            (weight(k), _relative(returns[row], members[key], std, eps, "zero"))
            for k, key in enumerate(own)
            if len(members[key]) > 1
        ]
        items = [(w, item) for w, item in items if abs(item) > dropped]
        result.append(sum(w * item for w, item in items) / sum(w for w, _ in items) if items else 0.0)
    return result


def first_fit(texts: Sequence[str], threshold: float) -> list[int]:
    heads: list[str] = []
    clusters = []
    for text in texts:
        alike = [difflib.SequenceMatcher(None, text, head).ratio() >= threshold for head in heads]
        clusters.append(alike.index(True) if True in alike else len(heads))
        heads += [] if True in alike else [text]
    return clusters


def matchings(steps: int, positions: int) -> Iterator[dict[int, int]]:
    """Yield every matching of steps to positions in which both go up."""
    for size in range(min(steps, positions) + 1):
        for chosen in itertools.combinations(range(steps), size):
            for at in itertools.combinations(range(positions), size):
                yield dict(zip(chosen, at, strict=True))


def best_total(credit: Sequence[Sequence[float]]) -> float:
    found = matchings(len(credit), len(credit[0]))
    return max(math.fsum(credit[i][j] for i, j in matching.items()) for matching in found)


def allocate(credit: Sequence[Sequence[float]], order: Sequence[int], keep: str, retry: bool) -> dict[int, int]:
    """Give the steps, in the given order, their best position that is allowed; ties go to the furthest."""
    matched: dict[int, int] = {}
    for i in order:
        wanted = sorted(range(len(credit[i])), key=lambda j: (credit[i][j], j), reverse=True)
        for j in wanted if retry else wanted[:1]:
            further = {
                "order": all((i < other) == (j < at) for other, at in matched.items()),
                "mark": not matched or j > list(matched.values())[-1],
                "nothing": True,
            }[keep]
            if credit[i][j] > 0 and j not in matched.values() and further:
                matched[i] = j
                break
    return matched
