"""What the critics of utterances read and learn; twins, the end of a task, warm-up, and fresh utterances."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym.batch import StepBatch
from agentgym.contracts import ReportingLearner, WarmingLearner
from agentgym.episodes import Episode
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.learners import UtteranceCritics
from agentgym.learners.buffers import Transition
from agentgym.learners.utterance_critics import expectile_loss, td_targets
from agentgym.learners.utterances import draw_utterances, state_ids, successor_ids
from agentgym.policies import HFPolicy, RandomPolicy, Transcript, Window
from agentgym.policies.prompts import next_prompt
from agentgym.rollouts import GroupCollector
from tests.learners.test_critic import CONTEXTS, context_of, pasts, play
from tests.training.small import make_corridor, small_policy

SMALL: dict[str, Any] = {"steps": 2, "minibatch": 8, "learning_rate": 1e-3}


def ready(policy: HFPolicy, seed: int = 0, **options: Any) -> UtteranceCritics:
    """Return critics whose last layers say something, the targets something else."""
    critics = UtteranceCritics(**{**SMALL, **options})
    critics.setup(context_of(policy, seed=seed))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for model in (critics._model, critics._target):
            for head in (*model.v, *model.q):
                for parameter in head.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.1)
    return critics


def by_hand(critics: UtteranceCritics, policy: HFPolicy, state: Sequence[int], said: Sequence[int]) -> list[float]:
    """Return V1, V2, Q1, Q2 of one turn, of a sequence by itself."""
    model = critics._model
    trunk = model.trunk if model.trunk is not None else policy.model.get_decoder()
    with torch.no_grad():
        hidden = trunk.eval()(input_ids=torch.tensor([[*state, *said]])).last_hidden_state[0]
        before, after = hidden[len(state) - 1], hidden[-1]
        return [*(float(v(before)) for v in model.v), *(float(q(torch.cat([before, after]))) for q in model.q)]


@pytest.mark.parametrize("context", CONTEXTS, ids=["transcript", "window"])
@pytest.mark.parametrize("shared", [False, True])
def test_columns_are_the_lower_of_twins_read_behind_state_and_utterance(
    shared: bool, context: Transcript | Window
) -> None:
    policy = small_policy(context=context, constrain="admissible")
    batch, episodes = play(policy)
    critics = ready(policy, shared=shared)
    valued = critics.update(batch, episodes)
    q, v = [], []
    for episode in episodes:
        for state, step in zip(pasts(episode), episode.steps, strict=True):
            v1, v2, q1, q2 = by_hand(critics, policy, state, step.response_ids or ())
            q.append(min(q1, q2))
            v.append(min(v1, v2))
    np.testing.assert_allclose(valued.columns["utterance_q"], q, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(valued.columns["utterance_v"], v, rtol=1e-4, atol=1e-5)
    assert np.std(q) > 1e-3
    assert isinstance(critics, ReportingLearner)
    assert isinstance(critics, WarmingLearner)
    assert critics.metrics()["critics/buffer_turns"] == len(batch)


@pytest.mark.parametrize("context", CONTEXTS, ids=["transcript", "window"])
def test_the_state_after_a_turn_is_the_next_one_or_what_would_have_been(context: Transcript | Window) -> None:
    policy = small_policy(context=context, constrain="admissible")
    _, episodes = play(policy)
    for episode in episodes:
        before = pasts(episode)
        for t, state in enumerate(before):
            assert state_ids(Transition(episode, t)) == state
        after = [successor_ids(Transition(episode, t), policy) for t in range(len(episode))]
        assert after[:-1] == before[1:]
        last = [*before[-1], *(episode.steps[-1].response_ids or ())] if episode.context == "transcript" else []
        assert after[-1] == [*last, *next_prompt(policy.chat, policy.context, episode)]


@given(reward=st.floats(-2, 2), first=st.floats(-9, 9), other=st.floats(-9, 9), gamma=st.floats(0, 1))
def test_the_end_of_a_task_has_nothing_after_it(reward: float, first: float, other: float, gamma: float) -> None:
    rewards, ended = np.array([reward, reward]), np.array([True, False])
    one = td_targets(rewards, ended, np.array([[first, other]] * 2), gamma)
    changed = td_targets(rewards, ended, np.array([[other, np.nan], [first, other]]), gamma)
    np.testing.assert_array_equal(one, changed)
    assert one[0].tolist() == [reward, reward]
    assert one[1].tolist() == pytest.approx([reward + gamma * first, reward + gamma * other])


def test_what_follows_the_end_is_not_even_built() -> None:
    policy = small_policy(constrain="admissible")
    _, episodes = play(policy)
    critics = ready(policy)
    last = episodes[0].steps[-1]
    ended = [
        replace(
            episodes[0],
            steps=(*episodes[0].steps[:-1], replace(last, terminated=True, truncated=False)),
            final_observation=text,
        )
        for text in ("A door.", "Nothing happens.")
    ]
    one, other = (critics._td_targets([Transition(episode, len(episode) - 1)]) for episode in ended)
    np.testing.assert_array_equal(one, np.full((1, 2), last.shaped_reward))
    np.testing.assert_array_equal(one, other)
    cut_off = critics._td_targets([Transition(episodes[0], len(episodes[0]) - 1)])
    assert (cut_off != last.shaped_reward).all()


@given(errors=st.lists(st.floats(-3, 3), min_size=1, max_size=8))
def test_expectile_a_half_is_half_the_squared_error(errors: list[float]) -> None:
    error = torch.tensor(errors, dtype=torch.float64)
    torch.testing.assert_close(expectile_loss(error, 0.5), error.square() / 2)


@given(
    targets=st.lists(st.floats(-3, 3), min_size=2, max_size=6),
    low=st.floats(0.05, 0.9),
    rise=st.floats(0.01, 0.09),
)
def test_a_higher_expectile_asks_for_a_higher_value(targets: list[float], low: float, rise: float) -> None:
    """The slope of the loss at any value falls as the expectile rises, so its minimum moves up."""
    points = torch.tensor(targets, dtype=torch.float64)

    def slope(value: float, expectile: float) -> float:
        at = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        (grad,) = torch.autograd.grad(expectile_loss(points - at, expectile).sum(), at)
        return float(grad)

    for value in np.linspace(min(targets) - 1, max(targets) + 1, 5):
        assert slope(float(value), low + rise) <= slope(float(value), low) + 1e-9


@pytest.mark.parametrize("options", [{}, {"expectile": 0.8}, {"shared": True}], ids=str)
def test_twins_can_be_swapped(options: dict[str, Any]) -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    one, other = (ready(policy, **options) for _ in range(2))
    for model in (other._model, other._target):
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        swap = {"v.0": "v.1", "v.1": "v.0", "q.0": "q.1", "q.1": "q.0"}
        model.load_state_dict({swap.get(name[:3], name[:3]) + name[3:]: tensor for name, tensor in state.items()})
    columns, swapped = one.update(batch, episodes).columns, other.update(batch, episodes).columns
    for name in ("utterance_q", "utterance_v"):
        np.testing.assert_allclose(columns[name], swapped[name], rtol=1e-4, atol=1e-6)
    assert one.metrics() == pytest.approx(other.metrics(), rel=1e-5)
    assert one.metrics()["critics/td_loss"] > 0


@pytest.mark.parametrize(
    ("options", "share"),
    [({}, 0.7), ({"expectile": 0.8}, 0.7), ({"shared": True, "learning_rate": 1e-2}, 0.95)],
    ids=["online", "iql", "shared"],
)
def test_the_critics_learn_and_leave_the_policy_alone(options: dict[str, Any], share: float) -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    critics = UtteranceCritics(**{**SMALL, "steps": 8, "minibatch": 16, "tau": 0.5, "gamma": 0.5, **options})
    critics.setup(context_of(policy, tokens_per_microbatch=4000))
    first = critics.update(batch, episodes)
    early = critics.metrics()
    later = critics.update(batch, episodes)
    assert critics.metrics()["critics/td_loss"] < share * early["critics/td_loss"]
    assert (later.columns["utterance_q"] != first.columns["utterance_q"]).all()
    for name, tensor in policy.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(p.grad is None for p in policy.model.parameters())
    assert all(p.grad is None for p in critics._target.parameters())


def test_fresh_critics_say_zero_and_the_targets_follow() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    critics = UtteranceCritics(**SMALL, tau=0.0)
    critics.setup(context_of(policy))
    still = {name: tensor.clone() for name, tensor in critics._target.state_dict().items()}
    critics.update(batch, episodes)
    assert all(torch.equal(tensor, still[name]) for name, tensor in critics._target.state_dict().items())
    assert not any(bool(head[-1].weight.any()) for head in (*critics._target.v, *critics._target.q))
    copying = UtteranceCritics(**SMALL, tau=1.0)
    copying.setup(context_of(policy))
    copying.update(batch, episodes)
    for name, tensor in copying._target.state_dict().items():
        assert torch.equal(tensor, copying._model.state_dict()[name]), name


def test_micro_batches_do_not_change_what_is_learned() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    outcomes = []
    for budget in (60, 4000):
        critics = UtteranceCritics(**SMALL)
        critics.setup(context_of(policy, tokens_per_microbatch=budget))
        outcomes.append((critics.update(batch, episodes).columns, critics.metrics()))
    (one, figures), (other, same) = outcomes
    np.testing.assert_allclose(one["utterance_q"], other["utterance_q"], rtol=1e-3, atol=1e-5)
    assert figures == pytest.approx(same, rel=1e-4)


def test_warm_up_is_counted_in_batches() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    critics = UtteranceCritics(**SMALL, warmup=2)
    critics.setup(context_of(policy))
    seen = []
    for _ in range(4):
        critics.update(batch, episodes)
        seen.append(critics.warming)
        assert critics.metrics()["critics/warming"] == critics.warming
    assert seen == [True, True, False, False]


# Fresh utterances -----------------------------------------------------------------------------------------------------


def recorded(policy: HFPolicy) -> list[Transition]:
    _, episodes = play(policy)
    return [Transition(episode, t) for episode in episodes for t in range(len(episode))]


@pytest.mark.parametrize("context", CONTEXTS, ids=["transcript", "window"])
def test_a_cold_policy_says_again_what_it_said(context: Transcript | Window) -> None:
    """At a temperature near 0 the fresh utterances are the recorded ones, turn by turn."""
    policy = small_policy(context=context, temperature=1e-4)
    turns = recorded(policy)[::3]
    drawn = draw_utterances(context_of(policy), turns, (0, 1))
    assert drawn == [turn.step.response_ids for turn in turns]


def test_fresh_utterances_follow_from_their_key() -> None:
    policy = small_policy()
    turns = recorded(policy)
    one, again, other = (draw_utterances(context_of(policy), turns, key) for key in ((0, 1), (0, 1), (0, 2)))
    assert one == again != other
    policy.max_tokens = 5
    assert draw_utterances(context_of(policy), turns, (0, 1)) == [None] * len(turns)
    assert draw_utterances(context_of(policy), [], (0, 1)) == []


def test_values_can_learn_from_fresh_utterances() -> None:
    policy = small_policy()
    batch, episodes = play(policy)
    critics = ready(policy, actions="fresh")
    valued = critics.update(batch, episodes)
    assert np.isfinite(valued.columns["utterance_v"]).all()
    assert critics.metrics()["critics/drawn_tokens"] >= SMALL["steps"] * SMALL["minibatch"]
    assert critics.metrics()["critics/v_loss"] > 0


def test_fresh_utterances_need_prompts_that_can_be_built_again() -> None:
    with pytest.raises(ConfigError, match=r"constrain='admissible'.*take actions='batch'"):
        ready(small_policy(constrain="admissible"), actions="fresh")
    policy = small_policy(context=Window(2, instruction=None, show_admissible=True))
    with pytest.raises(AlgorithmError, match="prompts of recorded turns cannot be built again"):
        draw_utterances(context_of(policy), recorded(policy), (0, 1))


# What is kept and refused ---------------------------------------------------------------------------------------------


def test_what_was_saved_goes_on_bit_for_bit() -> None:
    policy = small_policy(constrain="admissible")
    (batch, episodes), (after, later) = play(policy, 0), play(policy, 1)
    one = UtteranceCritics(**SMALL, warmup=1)
    one.setup(context_of(policy))
    one.update(batch, episodes)
    state = copy.deepcopy(one.state_dict())
    other = UtteranceCritics(**SMALL, warmup=1)
    other.setup(context_of(policy))
    other.load_state_dict(state)
    assert other.warming
    columns, again = one.update(after, later).columns, other.update(after, later).columns
    for name in ("utterance_q", "utterance_v"):
        np.testing.assert_array_equal(columns[name], again[name])
    assert one.warming == other.warming


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actions": "old"}, "'batch' or 'fresh', not 'old'"),
        ({"gamma": 1.5}, "gamma of utterance critics"),
        ({"tau": -0.5}, "tau of utterance critics"),
        ({"expectile": 1.0}, "expectile of utterance critics"),
        ({"learning_rate": 0.0}, "learning_rate of utterance critics"),
        ({"steps": 0}, "steps of utterance critics"),
        ({"minibatch": 0}, "minibatch of utterance critics"),
        ({"warmup": -1}, "warmup of utterance critics"),
        ({"capacity": 0}, "capacity of a transition buffer"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UtteranceCritics(**options)


def test_episodes_without_tokens_are_refused() -> None:
    critics = UtteranceCritics(**SMALL)
    critics.setup(context_of(small_policy()))
    rollout = GroupCollector(make_corridor, RandomPolicy(), groups=1, group_size=1).collect(0)
    batch: StepBatch = rollout.batch()
    episodes: list[Episode] = list(rollout.groups[0].episodes)
    with pytest.raises(AlgorithmError, match="was recorded without tokens"):
        critics.update(batch, episodes)
