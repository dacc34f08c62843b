"""How near credit comes to the truth, with bootstrap intervals over batches.

Group-relative credit estimates the advantage up to a positive scale and up to a baseline, which is right for the policy
gradient and yet not the advantage. So credit c is multiplied by the k ≥ 0 that brings its expectation nearest to A, and
what a baseline changes is told apart from what it does not. With cells x = (h, s, a), visited with frequency p(x):

    k = max(Σ p E[c | x] A, 0) / Σ p E[c | x]²      bias² = Σ p (k E[c | x] - A)²      spread² = Σ p Var[k c | x]

Squares of expectations are estimated from pairs of different batches, E[X]² from Σ_{b≠b'} X_b X_b', so that noise does
not count as bias or as length of the expected gradient. Every metric is a function of sums over batches; the bootstrap
draws batches with replacement, and pairs of one batch with itself stay out there too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.envs.finite import FiniteMDP, given_observation, policy_gradient, solve
from agentgym.evaluation.creditbench.sampling import Sample

__all__ = ["METRICS", "Ground", "bootstrap_weights", "gradients", "measure", "true_advantage"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

METRICS = {
    "cosine": "cosine of the expected gradient with the true policy gradient",
    "batch_cosine": "cosine of one batch's gradient with the true policy gradient, on average",
    "bias": "root of the mean of (k E[c | h, s, a] - A)², in units of the RMS of A",
    "spread": "root of the mean of Var[k c | h, s, a], in units of the RMS of A",
    "centred_bias": "bias after the mean of c in each (h, s) is taken off: what no baseline explains",
    "correlation": "correlation of c with A over all rows",
    "centred_correlation": "correlation of c with A, both centred within (h, s)",
    "sign_agreement": "share of equal signs among rows with |A| > tol and c ≠ 0",
    "silent": "share of zero credit among rows with |A| > tol",
    "signal": "share of rows with credit",
    "step_correlation": "centred correlation of the step component with A at the method's own gamma",
}
"""Name of each metric → what it says."""

_TOLERANCE = 1e-6


def _codes(*columns: Ints) -> Ints:
    """Return one dense code for each combination of columns, [R]."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        code = np.unique(code * (column.max(initial=0) + 1) + column, return_inverse=True)[1]
    return code


def bootstrap_weights(batches: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Return how often each resample draws each batch, [resamples + 1, B]; row 0 takes each once."""
    drawn = rng.multinomial(batches, np.full(batches, 1 / batches), size=resamples)
    return np.concatenate([np.ones((1, batches)), drawn.astype(np.float64)])


@dataclass(frozen=True, eq=False)
class Ground:
    """The truth about one sample, and what measuring against it shares between methods.

    Attributes:
        sample: The sample.
        policy: The policy it was drawn with, [O, A].
        gradient: True policy gradient per episode, [O, A].
        advantage: True advantage of each row, γ = 1, [R].
        weights: Bootstrap weights of the batches, [resamples + 1, B].
        moment: Code of each row's (h, s), or (h, o) if advantages are averaged given the observation, [R].
        cell: Code of each row's (h, s, a), [R].
    """

    sample: Sample
    policy: Floats
    gradient: Floats
    advantage: Floats
    weights: Floats
    moment: Ints
    cell: Ints

    @classmethod
    def of(
        cls, mdp: FiniteMDP, policy: Floats, horizon: int, sample: Sample, weights: Floats, *, averaged: bool
    ) -> Ground:
        """Compute the truth.

        Args:
            mdp: The process.
            policy: The policy that the sample was drawn with, [O, A].
            horizon: The step limit.
            sample: The sample.
            weights: From ``bootstrap_weights``.
            averaged: Average the advantage given the observation, instead of taking that of the hidden state.
        """
        advantage = true_advantage(mdp, policy, horizon, sample, 1.0, averaged)
        shown = sample.batch.anchor if averaged else sample.batch.state
        moment = _codes(sample.left, shown)
        return cls(
            sample,
            policy,
            policy_gradient(mdp, policy, horizon),
            advantage,
            weights,
            moment,
            _codes(moment, sample.action),
        )

    def table(self, values: Floats) -> Floats:
        """Return the sum of a column over each batch's rows of each cell, [B, cells]."""
        batches, cells = self.sample.batches, int(self.cell.max()) + 1
        sums: Floats = np.bincount(self.sample.part * cells + self.cell, values, batches * cells).astype(np.float64)
        return sums.reshape(batches, cells)

    @cached_property
    def visits(self) -> tuple[npt.NDArray[np.bool_], Floats, Floats]:
        """For each resample and cell: whether two batches visit it, its rows if so, and its pairs of rows from two."""
        count, w = self.table(np.ones(len(self.cell))), self.weights
        pairs = (w @ count) ** 2 - (w * w) @ (count * count)
        seen = pairs > 0.5
        return seen, np.where(seen, w @ count, 0.0), pairs

    def sums(self, *values: Floats) -> list[Floats]:
        """Return the sum over each batch of each column, [B] each."""
        part, batches = self.sample.part, self.sample.batches
        return [np.bincount(part, value, batches).astype(np.float64) for value in values]


def true_advantage(
    mdp: FiniteMDP, policy: Floats, horizon: int, sample: Sample, gamma: float, averaged: bool
) -> Floats:
    """Return the exact advantage of each row at a discount, of the hidden state or averaged given the text, [R]."""
    advantage = solve(mdp, policy, horizon, gamma).advantage
    if averaged:
        advantage = given_observation(mdp, policy, advantage)
    on_rows: Floats = advantage[sample.left, sample.batch.state, sample.action]
    return on_rows


def _centre(values: Floats, moment: Ints) -> Floats:
    means = np.bincount(moment, values) / np.bincount(moment)
    centred: Floats = values - means[moment]
    return centred


def _ratio(a: Floats, b: Floats) -> Floats:
    ratio: Floats = np.divide(a, b, out=np.full(np.broadcast_shapes(a.shape, b.shape), np.nan), where=b > 0)
    return ratio


def _correlation(ground: Ground, x: Floats, y: Floats) -> Floats:
    n, sx, sy, sxx, syy, sxy = (ground.weights @ s for s in ground.sums(np.ones(len(x)), x, y, x * x, y * y, x * y))
    spread = (sxx - sx * sx / n).clip(0) * (syy - sy * sy / n).clip(0)
    # What rounding leaves of the spread of constants is no spread.
    return _ratio(sxy - sx * sy / n, np.sqrt(np.where(spread > 1e-20 * sxx * syy, spread, 0.0)))


def _bias_and_spread(ground: Ground, credit: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Return bias and spread of k c for ``truth``, which is the same on all rows of a cell, in units of its RMS."""
    w, (seen, weight, pairs) = ground.weights, ground.visits
    of_cell = np.zeros(len(seen[0]))
    of_cell[ground.cell] = truth
    sums = ground.table(credit)
    total = w @ sums
    squares = np.divide(total**2 - (w * w) @ (sums * sums), pairs, out=np.zeros(pairs.shape), where=seen)
    visits = weight.sum(1)  # 0 where a resample draws one batch only, which has no pair
    expected = _ratio((weight * squares).sum(1), visits)  # mean of E[c | x]²
    along = _ratio((np.where(seen, total, 0.0) @ of_cell).clip(0), visits)
    size = _ratio(weight @ of_cell**2, visits)
    own = _ratio(np.where(seen, w @ ground.table(credit**2), 0.0).sum(1), visits)
    k = _ratio(along, expected)
    return np.sqrt(_ratio((size - k * along).clip(0), size)), np.sqrt(_ratio(k * k * (own - expected).clip(0), size))


def gradients(policy: Floats, sample: Sample, credit: Floats) -> Floats:
    """Return Σ credit ∇ log π(a | o) of each batch, divided by its episodes, [B, O, A]."""
    texts, actions = policy.shape
    seen = sample.part * texts + sample.batch.anchor
    size = sample.batches * texts
    taken = np.bincount(seen * actions + sample.action, credit, size * actions)
    total = np.bincount(seen, credit, size).reshape(sample.batches, texts, 1)
    gradient: Floats = taken.reshape(sample.batches, texts, actions) - total * policy
    return gradient / sample.episodes


def _cosines(ground: Ground, credit: Floats) -> tuple[Floats, Floats]:
    batch = gradients(ground.policy, ground.sample, credit).reshape(ground.sample.batches, -1)
    truth, w = ground.gradient.ravel(), ground.weights
    along, length = batch @ truth, np.linalg.norm(truth)
    gram = batch @ batch.T
    own = np.diag(gram)
    pairs = np.einsum("rb,rb->r", w @ gram, w) - (w * w) @ own
    square = _ratio(pairs, w.sum(1) ** 2 - (w * w).sum(1))
    cosine = _ratio(w @ along / w.sum(1), np.sqrt(square.clip(0)) * length)
    each = np.divide(along, np.sqrt(own) * length, out=np.zeros(len(own)), where=own * length > 0)
    return cosine.clip(-1, 1), w @ each / w.sum(1)


def measure(
    ground: Ground, credit: Floats, step: Floats | None = None, step_truth: Floats | None = None
) -> dict[str, Floats]:
    """Return every metric, [resamples + 1] each: the estimate, then its bootstrap resamples; NaN where undefined.

    Args:
        ground: The truth.
        credit: Credit of each row, [R].
        step: Step component of the credit, [R], or None.
        step_truth: Advantage at the method's own discount, [R], where ``step`` is given.
    """
    w, truth = ground.weights, ground.advantage
    large = np.abs(truth) > _TOLERANCE
    columns = (large, large & (credit != 0), large & (credit * truth > 0), credit != 0, np.ones(len(credit)))
    strong, heard, right, signal, rows = (w @ s for s in ground.sums(*(np.asarray(x, np.float64) for x in columns)))
    centred = _centre(credit, ground.moment)
    true_centred = _centre(truth, ground.moment)
    bias, spread = _bias_and_spread(ground, credit, truth)
    centred_bias, _ = _bias_and_spread(ground, centred, true_centred)
    cosine, batch_cosine = _cosines(ground, credit)
    found: dict[str, Any] = {
        "cosine": cosine,
        "batch_cosine": batch_cosine,
        "bias": bias,
        "centred_bias": centred_bias,
        "spread": spread,
        "correlation": _correlation(ground, credit, truth),
        "centred_correlation": _correlation(ground, centred, true_centred),
        "sign_agreement": _ratio(right, heard),
        "silent": _ratio(strong - heard, strong),
        "signal": signal / rows,
    }
    if step is not None and step_truth is not None:
        found["step_correlation"] = _correlation(
            ground, _centre(step, ground.moment), _centre(step_truth, ground.moment)
        )
    return found
