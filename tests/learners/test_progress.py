"""Where progress is read, what it learns, that it never learns first, and what a checkpoint keeps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agentgym.batch import StepBatch
from agentgym.contracts import ReportingLearner
from agentgym.episodes import Episode
from agentgym.errors import AlgorithmError, ConfigError, RecorderError
from agentgym.learners import ProgressEstimator
from agentgym.learners.progress import turn_ends
from agentgym.policies import HFPolicy, RandomPolicy, Transcript, Window
from agentgym.rollouts import GroupCollector
from agentgym.training.checkpoint import read_checkpoint, write_checkpoint
from tests.learners.test_critic import CONTEXTS, context_of, play
from tests.training.small import make_corridor, small_policy


def estimator_of(policy: HFPolicy, head: float = 0.3, **options: Any) -> ProgressEstimator:
    """Return an estimator whose head says something."""
    estimator = ProgressEstimator(**{"min_r2": None, **options})
    estimator.setup(context_of(policy))
    with torch.no_grad():
        for parameter in estimator._model.head.parameters():
            parameter.add_(head * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return estimator


def scores(estimator: ProgressEstimator, episodes: Sequence[Episode]) -> list[float]:
    return list(estimator._score(turn_ends(episodes)))


@pytest.mark.parametrize("context", CONTEXTS, ids=["transcript", "window"])
@pytest.mark.parametrize("shared", [False, True])
def test_progress_is_read_at_the_final_token_of_each_turn(shared: bool, context: Transcript | Window) -> None:
    policy = small_policy(context=context, constrain="admissible")
    _, episodes = play(policy)
    estimator = estimator_of(policy, shared=shared)
    model = estimator._model
    trunk = policy.model.get_decoder() if model.trunk is None else model.trunk
    expected = []
    for episode in episodes:
        past: list[int] = []
        for step in episode.steps:
            past = [*(past if episode.context == "transcript" else []), *(step.prompt_ids or ())]
            past += step.response_ids or ()
            with torch.no_grad():
                states = trunk.eval()(input_ids=torch.tensor([past])).last_hidden_state
                expected.append(float(model.head(states[0, -1])))
    found = scores(estimator, episodes)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.std(found) > 0.01


def test_a_fresh_estimator_says_nothing_and_draws_from_no_global_generator() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    before = torch.random.get_rng_state()
    estimator = ProgressEstimator(every=5)
    estimator.setup(context_of(policy))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(scores(estimator, episodes))
    assert isinstance(estimator, ReportingLearner)
    # Before it has learned, progress is the environment's own reward.
    np.testing.assert_array_equal(estimator.update(batch, episodes).columns["progress"], batch.reward)
    assert estimator.metrics() == {"progress/trusted": 0.0}


def test_no_episode_is_scored_by_weights_that_saw_it() -> None:
    policy = small_policy(constrain="admissible")
    estimator = estimator_of(policy, learning_rate=1e-2)
    seen: list[Episode] = []
    for number in range(4):
        batch, episodes = play(policy, number)
        learned, expected = list(estimator._buffer.episodes), scores(estimator, episodes)
        assert learned == seen  # what is kept to learn from is exactly what came before
        assert not set(map(id, learned)) & set(map(id, episodes))
        progress = estimator.update(batch, episodes).columns["progress"]
        if number:
            np.testing.assert_array_equal(progress, expected)  # by the weights from before the batch was learned
        assert scores(estimator, episodes) != expected
        seen += episodes


def test_it_trains_on_a_schedule_and_forgets_what_is_old() -> None:
    policy = small_policy(constrain="admissible")
    estimator = estimator_of(policy, every=2, capacity=6)
    states = []
    for number in range(4):
        estimator.update(*play(policy, number))
        states.append({name: tensor.clone() for name, tensor in estimator._model.state_dict().items()})
        assert ("progress/loss" in estimator.metrics()) == (number % 2 == 1)
    changed = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in itertools.pairwise(states)]
    assert changed == [True, False, True]
    assert estimator.metrics()["progress/buffer_episodes"] == 6


def numerical(estimator: ProgressEstimator, episodes: Sequence[Episode], parameter: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the loss by its definition: (Σ c - R)², averaged over episodes."""
    losses = []
    for episode in episodes:
        total = torch.zeros(())
        for sequence in turn_ends([episode]):
            ids = torch.from_numpy(sequence.ids)[None]
            total = total + estimator._model(ids, torch.from_numpy(sequence.positions), torch.zeros(0)).sum()
        losses.append((total - sum(step.shaped_reward for step in episode.steps)) ** 2)
    (gradient,) = torch.autograd.grad(torch.stack(losses).mean(), [parameter])
    return gradient


@pytest.mark.parametrize("context", CONTEXTS, ids=["transcript", "window"])
@pytest.mark.parametrize("budget", [60, 4000])
def test_the_gradient_is_that_of_the_loss_however_turns_are_cut(
    monkeypatch: pytest.MonkeyPatch, context: Any, budget: int
) -> None:
    monkeypatch.setattr("agentgym.learners.progress._MAX_GRAD_NORM", 1e9)
    policy = small_policy(context=context, constrain="admissible")
    _, episodes = play(policy)
    estimator = estimator_of(policy)
    estimator._context = context_of(policy, tokens_per_microbatch=budget)
    parameter = estimator._model.head[1].weight
    expected = numerical(estimator, episodes, parameter)
    sums = np.array([sum(scores(estimator, [episode])) for episode in episodes])
    loss = estimator._step(episodes)
    assert parameter.grad is not None
    torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)
    returns = np.array([sum(s.shaped_reward for s in episode.steps) for episode in episodes])
    assert loss == pytest.approx(np.mean((sums - returns) ** 2), rel=1e-4)


@pytest.mark.parametrize(("shared", "rate"), [(False, 3e-3), (True, 1e-2)])
def test_it_learns_to_forecast_returns_of_episodes_it_never_saw(shared: bool, rate: float) -> None:
    policy = small_policy(constrain="admissible")
    weights = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    estimator = estimator_of(policy, head=0.0, learning_rate=rate, epochs=6, shared=shared)
    for number in range(3):
        estimator.update(*play(policy, number))
    batch, episodes = play(policy, 3)
    errors = np.bincount(batch.episode, batch.reward - scores(estimator, episodes))
    assert np.mean(errors**2) < 0.5 * np.mean(np.bincount(batch.episode, batch.reward) ** 2)
    assert all(name.startswith("head.") for name in estimator.state_dict()["model"]) == shared
    # Neither way does it touch the policy.
    assert all(torch.equal(tensor, policy.model.state_dict()[name]) for name, tensor in weights.items())


def test_estimates_that_forecast_badly_are_not_used() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    strict, lax = (estimator_of(policy, min_r2=least) for least in (0.99, None))
    for estimator in (strict, lax):
        estimator.update(*play(policy, 7))
    np.testing.assert_array_equal(strict.update(batch, episodes).columns["progress"], batch.reward)
    assert (lax.update(batch, episodes).columns["progress"] != batch.reward).all()
    assert strict.metrics()["progress/trusted"] == 0
    assert lax.metrics()["progress/trusted"] == 1
    # Both say how bad they are, before anything is made of them.
    assert strict.metrics()["progress/r2"] == lax.metrics()["progress/r2"] < 0.99


def test_equal_returns_tell_nothing_and_faults_do_not_count() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    estimator = estimator_of(policy, min_r2=-1e9)
    estimator.update(batch, episodes)
    equal = replace(batch, reward=np.where(batch.t == 0, 1.0, 0.0))
    judged = estimator_of(policy, min_r2=-1e9)
    judged.load_state_dict({**estimator.state_dict(), "judged": np.zeros((0, 3))})
    np.testing.assert_array_equal(judged.update(equal, episodes).columns["progress"], equal.reward)
    assert "progress/r2" not in judged.metrics()
    faulty = [replace(episode, end="environment_fault", fault="RuntimeError: no") for episode in episodes]
    counted = len(judged._judged)
    judged.update(batch, faulty)
    assert len(judged._judged) == counted


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path: Path) -> None:
    policy = small_policy(constrain="admissible")
    one, two = (estimator_of(policy, minibatch=2, every=1, l2=0.01) for _ in range(2))
    for number in range(2):
        one.update(*play(policy, number))
    path = write_checkpoint(tmp_path, 1, Path.mkdir, {"learner": one.state_dict()}, keep=1)
    two.load_state_dict(read_checkpoint(path)["learner"])
    for number in range(2, 4):
        played: tuple[StepBatch, list[Episode]] = play(policy, number)
        first, second = (estimator.update(*played).columns["progress"] for estimator in (one, two))
        np.testing.assert_array_equal(first, second)
        assert one.metrics() == two.metrics()
    for name, tensor in one._model.state_dict().items():
        assert torch.equal(tensor, two._model.state_dict()[name]), name


def test_what_cannot_be_is_refused() -> None:
    for options in ({"every": 0}, {"learning_rate": 0.0}, {"window": 1}, {"l2": -1.0}, {"capacity": 0}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))}.* {next(iter(options.values()))}"):
            ProgressEstimator(**options)  # type: ignore[arg-type]
    policy = small_policy(constrain="admissible")
    _, episodes = play(policy)
    silent = replace(episodes[0].steps[0], prompt_ids=(), response_ids=(), logprobs=())
    with pytest.raises(AlgorithmError, match="has a turn without tokens"):
        turn_ends([replace(episodes[0], steps=(silent, *episodes[0].steps[1:]))])
    rollout = GroupCollector(make_corridor, RandomPolicy(), groups=1, group_size=1).collect(0)
    with pytest.raises(RecorderError, match="recorded without a policy"):
        turn_ends(rollout.groups[0].episodes)
