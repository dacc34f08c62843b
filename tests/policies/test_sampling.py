from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym.policies.sampling import Choices, sample


def test_frequencies_follow_the_tempered_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    n = 20_000
    uniforms = (np.arange(n) + 0.5) / n
    tokens, logps, _ = sample(logits.expand(n, 4), uniforms, temperature=0.5)
    expected = torch.softmax(logits[0] / 0.5, -1)
    counts = np.bincount(tokens, minlength=4) / n
    np.testing.assert_allclose(counts, expected, atol=1e-3)
    np.testing.assert_allclose(np.exp(logps[:5]), [expected[t] for t in tokens[:5]], rtol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0))
def test_nucleus_keeps_the_smallest_sufficient_set(seed: int, top_p: float) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 12)).astype(np.float32) * 2)
    grid = (np.arange(400) + 0.5) / 400
    tokens, _, _ = sample(logits.expand(400, 12), grid, temperature=1.0, top_p=top_p)
    probs = torch.softmax(logits[0], -1)
    ordered = probs.sort(descending=True)
    size = int((ordered.values.cumsum(0) < top_p - 1e-6).sum()) + 1
    assert set(tokens) <= set(ordered.indices[: size + 1].tolist())
    assert int(probs.argmax()) in tokens


def test_the_ends_of_the_unit_interval_never_pick_an_impossible_token() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf")]] * 2)
    tokens, logps, _ = sample(logits, np.array([0.0, np.nextafter(1.0, 0.0)]), temperature=1.0)
    assert tokens == [1, 1]
    assert logps == [0.0, 0.0]


def test_choices_narrow_to_one_response() -> None:
    choices = Choices([(1, 2, 9), (1, 3, 9), (4, 9), (1, 2, 9)])
    assert choices.allowed() == (1, 4)
    choices.take(1)
    assert choices.allowed() == (2, 3)
    choices.take(3)
    assert choices.allowed() == (9,)
    choices.take(9)
    assert choices.taken == ((1, 4), (2, 3), (9,))
