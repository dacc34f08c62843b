from __future__ import annotations

import math
from statistics import fmean

import pytest
import torch

from agentgym.episodes import Episode
from agentgym.errors import ConfigError
from agentgym.policies import HFPolicy
from agentgym.policies.packing import collate, sequences_of
from agentgym.policies.scoring import TokenScorer
from agentgym.rollouts import demonstrate
from agentgym.training import SFTConfig, finetune
from agentgym.training.sft import _backward
from agentgym.training.weights import weights_digest
from tests.training.small import corridor_expert, make_corridor, small_policy


@pytest.fixture(scope="module")
def lessons() -> list[Episode]:
    return demonstrate(make_corridor, small_policy(), corridor_expert, 20)


def likelihood(policy: HFPolicy, episodes: list[Episode]) -> float:
    """Mean negative log-likelihood of the responses, one sequence at a time."""
    scorer, total, tokens = TokenScorer(policy.model).eval(), 0.0, 0
    for sequence in sequences_of(episodes):
        micro = collate([sequence])
        with torch.no_grad():
            total -= float(scorer(micro.ids, micro.lengths, micro.select)[0].sum())
        tokens += len(sequence.tokens)
    return total / tokens


def test_it_learns_what_it_is_shown(lessons: list[Episode]) -> None:
    policy = small_policy()
    before = likelihood(policy, lessons)
    steps: list[tuple[int, float]] = []
    config = SFTConfig(steps=40, learning_rate=0.01, warmup=5, batch_tokens=10**6)
    result = finetune(policy, lessons, config, on_step=lambda *step: steps.append(step))
    # The first loss is that of the untouched weights over the whole of the data, the last is close to that of the end.
    assert result.losses[0] == pytest.approx(before, rel=1e-4)
    assert likelihood(policy, lessons) < 0.6 < 3 < before
    assert steps == list(enumerate(result.losses, start=1))
    assert result.tokens == 40 * sum(len(s.tokens) for s in sequences_of(lessons))
    assert not policy.model.training


def test_the_gradient_is_that_of_the_mean_over_response_tokens(lessons: list[Episode]) -> None:
    """Observations are not learned: their share of the loss, and so of the gradient, is none."""
    policy, twin = small_policy(), small_policy()
    sequences = sequences_of(lessons)
    scorer = TokenScorer(policy.model).train()
    loss = _backward(scorer, list(scorer.parameters()), sequences, None, policy.device)
    logits = [twin.model(input_ids=torch.from_numpy(s.ids)[None]).logits[0].log_softmax(-1) for s in sequences]
    chosen = [-row[p - 1, s.ids[p]] for row, s in zip(logits, sequences, strict=True) for p in s.positions]
    mean = torch.stack(chosen).mean()
    mean.backward()
    assert loss == pytest.approx(float(mean.detach()), rel=1e-5)
    for ours, theirs in zip(policy.model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)


def test_equal_seeds_give_equal_weights(lessons: list[Episode]) -> None:
    digests = []
    for seed in (0, 0, 1):
        policy = small_policy()
        finetune(policy, lessons, SFTConfig(steps=6, batch_tokens=100, seed=seed))
        digests.append(weights_digest(policy.model))
    assert digests[0] == digests[1] != digests[2]


def test_the_learning_rate_rises_and_falls_to_nothing(lessons: list[Episode], monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    finetune(small_policy(), lessons, SFTConfig(steps=10, warmup=3, learning_rate=1e-3, batch_tokens=100))
    assert rates[:4] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] < 1e-4
    assert all(math.isfinite(rate) for rate in rates)


def test_nothing_to_learn_from_is_said_so() -> None:
    with pytest.raises(ConfigError, match="no episode to learn from"):
        finetune(small_policy(), [])


def test_training_stops_once_the_loss_is_low_enough(lessons: list[Episode]) -> None:
    config = SFTConfig(steps=60, learning_rate=1e-2, warmup=0, batch_tokens=100)
    every = finetune(small_policy(), lessons, config).losses
    means = [fmean(every[end - 20 : end]) for end in range(20, len(every) + 1)]
    target = means[15] + 1e-6
    stopped = finetune(small_policy(), lessons, config.model_copy(update={"target_loss": target})).losses
    assert len(stopped) == 20 + next(i for i, mean in enumerate(means) if mean <= target)
    assert stopped == every[: len(stopped)]
    assert len(finetune(small_policy(), lessons, config.model_copy(update={"target_loss": 0.0})).losses) == 60
