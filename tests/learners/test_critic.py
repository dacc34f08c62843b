"""Where a critic reads its values, alone and through the policy's trunk, and what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from agentgym.batch import StepBatch
from agentgym.contracts import LearnerContext, ValueLearner
from agentgym.episodes import Episode
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.learners import Critic
from agentgym.policies import HFPolicy, RandomPolicy, Transcript, Window
from agentgym.policies.prompts import next_prompt
from agentgym.rollouts import GroupCollector
from tests.training.small import make_corridor, small_policy

CONTEXTS = [Transcript(instruction=None), Window(2, instruction=None, show_admissible=False)]


def context_of(policy: HFPolicy, **options: Any) -> LearnerContext:
    def no_reference() -> None:
        raise AssertionError("nobody should ask for a reference here")

    settings = {"seed": 0, "tokens_per_microbatch": 150, "reference": no_reference, **options}
    return LearnerContext(policy=policy, accelerator=Accelerator(cpu=True), **settings)


def play(policy: HFPolicy, iteration: int = 0) -> tuple[StepBatch, list[Episode]]:
    rollout = GroupCollector(make_corridor, policy, groups=2, group_size=2).collect(iteration)
    return rollout.batch(), [episode for group in rollout.groups for episode in group.episodes]


def trained(critic: Critic, context: LearnerContext) -> Critic:
    """Give the critic a head that says something."""
    critic.setup(context)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in critic.value_model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return critic


def by_hand(critic: Critic, policy: HFPolicy, ids: Sequence[int]) -> float:
    """Return the value after ``ids``, of a sequence by itself."""
    model = critic.value_model
    trunk = model.trunk if model.trunk is not None else policy.model.get_decoder()
    with torch.no_grad():
        states = trunk.eval()(input_ids=torch.tensor([list(ids)])).last_hidden_state
        return float(model.head(states[0, -1]))


def pasts(episode: Episode) -> list[list[int]]:
    """Return everything the policy had read before each of its responses."""
    found, past = [], []
    for step in episode.steps:
        past = [*(past if episode.context == "transcript" else []), *(step.prompt_ids or ())]
        found.append(list(past))
        past += step.response_ids or ()
    return found


@pytest.mark.parametrize("context", CONTEXTS, ids=["transcript", "window"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("level", ["row", "token"])
def test_a_value_is_read_where_the_policy_is_about_to_speak(
    level: Any, shared: bool, context: Transcript | Window
) -> None:
    policy = small_policy(context=context, constrain="admissible")
    batch, episodes = play(policy)
    critic = trained(Critic(level, shared), context_of(policy))
    was_training = policy.model.training
    valued = critic.update(batch, episodes)
    assert policy.model.training == was_training
    values, next_values, token_values = [], [], []
    for episode in episodes:
        before = pasts(episode)
        here = [by_hand(critic, policy, past) for past in before]
        values += here
        for past, step in zip(before, episode.steps, strict=True):
            said = list(step.response_ids or ())
            token_values += [by_hand(critic, policy, past + said[:n]) for n in range(len(said))]
        last = [*before[-1], *(episode.steps[-1].response_ids or ())] if episode.context == "transcript" else []
        closing = [*last, *next_prompt(policy.chat, policy.context, episode)]
        end = 0.0 if episode.steps[-1].terminated else by_hand(critic, policy, closing)
        next_values += [*here[1:], end]
    column = valued.columns["value"] if level == "row" else valued.token_columns["value"]
    np.testing.assert_allclose(column, values if level == "row" else token_values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(valued.columns["next_value"], next_values, rtol=1e-4, atol=1e-5)
    assert np.std(values) > 0.01
    assert {bool(episode.steps[-1].truncated) for episode in episodes} == {True}


def test_the_end_of_a_task_is_worth_nothing() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    critic = trained(Critic(), context_of(policy))
    ended = np.zeros(len(batch), np.bool_)
    ended[np.flatnonzero(batch.truncated)[0]] = True
    valued = critic.update(replace(batch, terminated=ended, truncated=batch.truncated & ~ended), episodes)
    assert (valued.columns["next_value"][ended] == 0).all()
    assert (valued.columns["next_value"][~ended] != 0).all()


@pytest.mark.parametrize("context", CONTEXTS, ids=["transcript", "window"])
def test_the_prompt_that_would_have_followed_is_the_one_that_did(context: Transcript | Window) -> None:
    """Cut an episode short after each step: what would have come next is what came next."""
    policy = small_policy(context=context, constrain="admissible")
    _, episodes = play(policy)
    for episode in episodes:
        for n in range(1, len(episode)):
            short = replace(episode, steps=episode.steps[:n], final_observation=episode.steps[n].observation)
            assert next_prompt(policy.chat, policy.context, short) == list(episode.steps[n].prompt_ids or ())


def test_a_fresh_critic_says_zero_and_leaves_the_policy_alone() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    critic = Critic()
    critic.setup(context_of(policy))
    assert isinstance(critic, ValueLearner)
    valued = critic.update(batch, episodes)
    assert not valued.columns["value"].any()
    assert not valued.columns["next_value"].any()
    mine = {id(parameter) for parameter in critic.value_model.parameters()}
    assert mine.isdisjoint(id(parameter) for parameter in policy.model.parameters())


def test_a_shared_critic_owns_its_head_alone() -> None:
    policy = small_policy()
    critic = Critic(shared=True)
    critic.setup(context_of(policy))
    assert set(critic.state_dict()) == {"head.weight", "head.bias"}
    own = Critic()
    own.setup(context_of(policy))
    assert {"head.weight", "head.bias"} < set(own.state_dict())


@pytest.mark.parametrize("shared", [False, True])
def test_weights_come_back(shared: bool) -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    first = trained(Critic(shared=shared), context_of(policy))
    state = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    second = Critic(shared=shared)
    second.setup(context_of(policy))
    second.load_state_dict(state)
    one, two = (critic.update(batch, episodes).columns for critic in (first, second))
    np.testing.assert_array_equal(one["value"], two["value"])
    np.testing.assert_array_equal(one["next_value"], two["next_value"])


def test_a_closing_prompt_is_cut_to_the_context() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    whole = trained(Critic(), context_of(policy)).update(batch, episodes)
    policy.max_tokens = max(len(next(e.sequences()).ids) for e in episodes) - 1
    cut = trained(Critic(), context_of(policy)).update(batch, episodes)
    np.testing.assert_array_equal(cut.columns["value"], whole.columns["value"])
    assert (cut.columns["next_value"] != whole.columns["next_value"]).any()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="level is 'row' or 'token'"):
        Critic("turn")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rate must be above 0"):
        Critic(rate=0.0)
    policy = small_policy()
    critic = Critic()
    critic.setup(context_of(policy))
    rollout = GroupCollector(make_corridor, RandomPolicy(), groups=1, group_size=1).collect(0)
    with pytest.raises(AlgorithmError, match="row 0 has no response tokens"):
        critic.update(rollout.batch(), list(rollout.groups[0].episodes))
