"""Entropies and reference log-probabilities against one token at a time."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from agentgym.algos import AEPO, EMPG, ProgressAdvantage
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.learners import EntropyColumn, ReferenceColumn, ReplayedLogprobs
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
    of_tokens = EntropyColumn(tokens=True)
    of_tokens.setup(context_of(policy))
    unsure = of_tokens.update(batch, episodes)
    assert unsure.columns["entropy"].tolist() == entropy.tolist()
    np.testing.assert_allclose(unsure.token_columns["entropy"], each, rtol=1e-4, atol=1e-6)
    assert AEPO().credit(unsure).advantage.shape == (len(each),)


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


def moved(policy: Any, factor: float = 1.5) -> None:
    """Train the policy, in a manner of speaking."""
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(factor)


def replayed_rows(batch: Any) -> Any:
    """Mark the rows of the first and the third episode."""
    return batch.with_columns(replayed=np.isin(batch.episode, [0, 2]).astype(np.float64))


@pytest.mark.parametrize("constrain", ["admissible", "none"])
def test_replayed_rows_get_the_log_probabilities_of_the_present_policy(constrain: Any) -> None:
    policy = small_policy(constrain=constrain, temperature=0.7)
    batch, episodes = play(policy)
    batch = replayed_rows(batch)
    # Many passes of a few tokens, and one pass, say the same.
    learners = [ReplayedLogprobs(), ReplayedLogprobs()]
    for learner, tokens in zip(learners, (20, 10_000), strict=True):
        learner.setup(context_of(policy, tokens_per_microbatch=tokens))
    at_once = learners[1].update(batch, episodes)
    np.testing.assert_allclose(at_once.logprobs, batch.logprobs, rtol=1e-4, atol=1e-5)
    moved(policy)
    few, many = (learner.update(batch, episodes).logprobs for learner in learners)
    np.testing.assert_allclose(few, many, rtol=1e-5, atol=1e-6)
    replayed = np.repeat(batch.columns["replayed"] > 0, np.diff(batch.token_offsets))
    reference = ReferenceColumn(logprob=True)
    reference.setup(context_of(policy, reference=lambda: Reference(policy, context_of(policy).accelerator)))
    now = reference.update(batch, episodes).token_columns["logprob"]
    np.testing.assert_allclose(many[replayed], now[replayed], rtol=1e-5, atol=1e-6)
    assert np.abs(many - batch.logprobs)[replayed].max() > 0.01
    # What was just played keeps what was recorded, to the bit, and so does the batch that was given.
    assert many[~replayed].tolist() == batch.logprobs[~replayed].tolist()
    assert many.dtype == np.float32
    assert replayed.any()
    assert not replayed.all()


def test_recorded_values_are_moved_no_further_than_the_clip_asks() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    batch = replayed_rows(batch)
    moved(policy, 3.0)
    plain, bounded, unbounded = ReplayedLogprobs(), ReplayedLogprobs(0.2, 0.3), ReplayedLogprobs(1.0, 1e9)
    for learner in (plain, bounded, unbounded):
        learner.setup(context_of(policy))
    now = plain.update(batch, episodes).logprobs.astype(np.float64)
    stored, kept = batch.logprobs.astype(np.float64), bounded.update(batch, episodes).logprobs.astype(np.float64)
    ratio = np.exp(now - kept)
    assert (ratio > 0.8).all()
    assert (ratio < 1.3).all()
    far = np.abs(now - stored) > 0.3
    inside = (now - stored > np.log(0.8) + 0.002) & (now - stored < np.log(1.3) - 0.002)
    assert far.any()
    assert inside.any()
    np.testing.assert_allclose(kept[inside], stored[inside], atol=1e-6)
    assert ((now - kept)[far] * (now - stored)[far] > 0).all()
    np.testing.assert_allclose(unbounded.update(batch, episodes).logprobs, stored, atol=1e-5)


def test_replayed_rows_must_be_marked() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    learner = ReplayedLogprobs()
    learner.setup(context_of(policy))
    with pytest.raises(AlgorithmError, match="'replayed', which the collector 'replay' adds"):
        learner.update(batch, episodes)
    nothing = batch.with_columns(replayed=np.zeros(len(batch)))
    assert learner.update(nothing, episodes) is nothing
    with pytest.raises(ConfigError, match=r"clip_low \(0.2\) and clip_high \(None\)"):
        ReplayedLogprobs(clip_low=0.2)
