"""Entropies and reference log-probabilities against one token at a time."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from agentgym.algos import EMPG, ProgressAdvantage
from agentgym.learners import EntropyColumn, ReferenceColumn
from agentgym.training.reference import Reference
from tests.learners.test_critic import context_of, pasts, play
from tests.training.small import small_policy


def distributions(policy: Any, episodes: Any) -> list[tuple[torch.Tensor, int]]:
    """Return for each response token the log-probabilities it was drawn from, and its id."""
    found = []
    for episode in episodes:
        for past, step in zip(pasts(episode), episode.steps, strict=True):
            said = list(step.response_ids)
            for n, (token, allowed) in enumerate(zip(said, step.allowed_ids, strict=True)):
                with torch.no_grad():
                    logits = policy.model.eval()(torch.tensor([past + said[:n]])).logits[0, -1] / policy.temperature
                mask = torch.full_like(logits, float("-inf"))
                mask[list(allowed)] = 0
                found.append(((logits + mask).log_softmax(-1), token))
    return found


def test_entropy_is_the_mean_over_the_response() -> None:
    policy = small_policy(constrain="admissible", temperature=0.7)
    batch, episodes = play(policy)
    learner = EntropyColumn()
    learner.setup(context_of(policy))
    entropy = learner.update(batch, episodes).columns["entropy"]
    each = []
    for logps, _ in distributions(policy, episodes):
        kept = logps[logps.isfinite()]
        each.append(float(-(kept.exp() * kept).sum()))
    row = np.repeat(np.arange(len(batch)), np.diff(batch.token_offsets))
    expected = [np.array(each)[row == r].mean() for r in range(len(batch))]
    np.testing.assert_allclose(entropy, expected, rtol=1e-4, atol=1e-6)
    assert (entropy >= 0).all()
    assert entropy.std() > 0
    assert EMPG().credit(batch.with_columns(entropy=entropy)).advantage.shape == (len(batch),)
    assert learner.state_dict() == {}


@pytest.mark.parametrize("logprob", [False, True])
def test_the_reference_is_the_policy_as_it_was(logprob: bool) -> None:
    policy = small_policy(constrain="admissible", temperature=0.7)
    batch, episodes = play(policy)
    before = copy.deepcopy(policy.model)
    learner = ReferenceColumn(logprob)
    context = context_of(policy)
    reference = Reference(policy, context.accelerator)
    learner.setup(context_of(policy, reference=lambda: reference))
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.5)
    columns = learner.update(batch, episodes).token_columns
    assert set(columns) == ({"ref_logprob", "logprob"} if logprob else {"ref_logprob"})
    # The recorded log-probabilities are those of the policy that played, which is the reference.
    np.testing.assert_allclose(columns["ref_logprob"], batch.logprobs, rtol=1e-4, atol=1e-5)
    if logprob:
        now = [float(logps[token]) for logps, token in distributions(policy, episodes)]
        np.testing.assert_allclose(columns["logprob"], now, rtol=1e-4, atol=1e-5)
        assert np.abs(columns["logprob"] - columns["ref_logprob"]).max() > 0.01
    assert all(torch.equal(a, b) for a, b in zip(reference._model.parameters(), before.parameters(), strict=True))
    assert ProgressAdvantage().credit(batch.with_token_columns(**columns)).advantage.shape == (len(batch),)
