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

from agentgym.algos import ArCHer
from agentgym.batch import StepBatch
from agentgym.contracts import DrawingLearner, ReportingLearner, WarmingLearner
from agentgym.episodes import Episode
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.learners import UtteranceCritics
from agentgym.learners.buffers import Transition
from agentgym.learners.utterance_critics import expectile_loss, td_targets
from agentgym.learners.utterances import draw_utterances, state_ids, successor_ids
from agentgym.policies import Decision, HFPolicy, RandomPolicy, Transcript, Window
from agentgym.policies.packing import TrainSequence, collate, sequences_of
from agentgym.policies.prompts import next_prompt
from agentgym.policies.scoring import TokenScorer
from agentgym.rollouts import GroupCollector
from agentgym.training.packing import TokenColumns
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
    assert [decision.response_ids for decision in drawn] == [turn.step.response_ids for turn in turns]


def test_fresh_utterances_follow_from_their_key() -> None:
    policy = small_policy()
    turns = recorded(policy)
    one, again, other = (draw_utterances(context_of(policy), turns, key) for key in ((0, 1), (0, 1), (0, 2)))
    assert one == again != other
    policy.max_tokens = 5
    assert draw_utterances(context_of(policy), turns, (0, 1)) == [Decision(action=None)] * len(turns)
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
    for setting in ("actions", "actor"):
        with pytest.raises(ConfigError, match=rf"^{setting}='fresh'.*constrain='admissible'.*take {setting}='batch'"):
            ready(small_policy(constrain="admissible"), **{setting: "fresh"})
    ready(small_policy(constrain="admissible"), actions="fresh", expectile=0.9)  # which does not read it
    policy = small_policy(context=Window(2, instruction=None, show_admissible=True))
    with pytest.raises(AlgorithmError, match="prompts of recorded turns cannot be built again"):
        draw_utterances(context_of(policy), recorded(policy), (0, 1))


# What the policy learns from ------------------------------------------------------------------------------------------

ACTOR: dict[str, Any] = {"actor": "fresh", "actor_steps": 2, "actor_minibatch": 6}


def logp_of(policy: HFPolicy, sequences: Sequence[TrainSequence]) -> torch.Tensor:
    micro = collate(sequences)
    scored: torch.Tensor = TokenScorer(policy.model)(micro.ids, micro.lengths, micro.select)[0]
    return scored


@pytest.mark.parametrize("context", CONTEXTS, ids=["transcript", "window"])
def test_the_policy_is_given_what_it_says_now_and_nothing_that_was_said_before(context: Transcript | Window) -> None:
    policy = small_policy(context=context)
    batch, episodes = play(policy)
    critics = ready(policy, **ACTOR)
    assert isinstance(critics, DrawingLearner)
    critics.update(batch, episodes)
    assert critics.drawn_tokens == 0
    draws = critics.draws()
    assert draws is not None
    states = {tuple(state) for episode in episodes for state in pasts(episode)}
    tokens = 0
    for drawn, spoken in draws:
        assert len(drawn) == len(spoken) == 6
        sequences = sequences_of(spoken)
        for row, sequence in enumerate(sequences):
            state, said = sequence.ids[: sequence.positions[0]].tolist(), sequence.ids[sequence.positions].tolist()
            assert tuple(state) in states
            assert [*state, *said] == sequence.ids.tolist()
            v1, v2, q1, q2 = by_hand(critics, policy, state, said)
            assert drawn.columns["utterance_q"][row] == pytest.approx(min(q1, q2), rel=1e-4, abs=1e-5)
            assert drawn.columns["utterance_v"][row] == pytest.approx(min(v1, v2), rel=1e-4, abs=1e-5)
        assert not drawn.reward.any()
        tokens += len(drawn.token_ids)
        assert critics.drawn_tokens == tokens
        with torch.no_grad():
            np.testing.assert_allclose(drawn.logprobs, logp_of(policy, sequences), rtol=1e-4, atol=1e-4)
            for parameter in policy.model.parameters():  # as a step would
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    assert tokens > 12
    critics.update(batch, episodes)
    assert critics.drawn_tokens == 0
    assert ready(policy).draws() is None


def test_where_no_state_has_room_nothing_is_drawn() -> None:
    policy = small_policy()
    batch, episodes = play(policy)
    critics = ready(policy, **ACTOR)
    critics.update(batch, episodes)
    everything = policy.max_tokens
    policy.max_tokens = 5
    assert list(critics.draws() or ()) == []
    assert critics.drawn_tokens == 0
    lengths = [len(state) for episode in episodes for state in pasts(episode)]
    policy.max_tokens = int(np.median(lengths)) + policy.max_new_tokens
    for drawn, spoken in critics.draws() or ():
        assert 0 < len(drawn) == len(spoken) < 6
        assert all(len(e.steps[0].prompt_ids or ()) + policy.max_new_tokens <= policy.max_tokens for e in spoken)
    policy.max_tokens = everything
    assert [len(drawn) for drawn, _ in critics.draws() or ()] == [6, 6]


def test_reinforce_on_fresh_utterances_climbs_the_exact_gradient() -> None:
    """Under exact critics the mean over draws of A ∇log π is Σ π A ∇log π over all utterances, and the loss has it.

    Utterances are one token long, so all of them can be listed. Gradients are compared along one direction.
    """
    policy = small_policy(max_new_tokens=1, temperature=1.0)
    _, episodes = play(policy)
    critics = ready(policy, actor="fresh", actor_steps=4, actor_minibatch=500)
    critics._buffer.extend(episodes)
    states = [tuple(state) for episode in episodes for state in pasts(episode)]
    generator = torch.Generator().manual_seed(3)
    along = [torch.randn(p.shape, generator=generator) for p in policy.model.parameters()]

    def log_policy(step: float) -> torch.Tensor:
        moved = copy.deepcopy(policy.model).double().eval()
        with torch.no_grad():
            for parameter, direction in zip(moved.parameters(), along, strict=True):
                parameter.add_(step * direction)
            return torch.stack([moved(torch.tensor([state])).logits[0, -1].log_softmax(-1) for state in states])

    slope = ((log_policy(1e-5) - log_policy(-1e-5)) / 2e-5).numpy()  # of log π along the direction, [states, tokens]
    prob = log_policy(0.0).exp().numpy()
    quality = slope  # any table will do; this one has a gradient along the direction
    value = (prob * quality).sum(1)
    place = {state: number for number, state in enumerate(states)}

    def exact(model: object, sequences: Sequence[TrainSequence]) -> np.ndarray[Any, Any]:
        found = [(place[tuple(s.ids[: s.positions[0]].tolist())], int(s.ids[-1])) for s in sequences]
        return np.array([[value[s], value[s], quality[s, a], quality[s, a]] for s, a in found])

    critics._read = exact  # type: ignore[method-assign]
    terms: list[float] = []
    for drawn, spoken in critics.draws() or ():
        credit, sequences = ArCHer().credit(drawn), sequences_of(spoken)
        columns = TokenColumns(drawn, credit, torch.device("cpu"))
        logp = logp_of(policy, sequences)
        loss = ArCHer().loss(columns.take(collate(sequences), columns.totals(sequences), logp, None, None))
        policy.model.zero_grad()
        loss.total.backward()
        pull = sum(float((p.grad * d).sum()) for p, d in zip(policy.model.parameters(), along, strict=True))
        said = [(place[e.steps[0].prompt_ids or ()], (e.steps[0].response_ids or ())[0]) for e in spoken]
        mine = [(quality[s, a] - value[s]) * slope[s, a] for s, a in said]
        assert pull == pytest.approx(-np.mean(mine), rel=1e-3)
        terms += mine
    each = (quality - value[:, None]) * slope
    truth = (prob * each).sum(1).mean()
    error = np.sqrt(((prob * each**2).sum(1).mean() - truth**2) / len(terms))
    assert abs(np.mean(terms) - truth) < 4 * error
    assert truth > 10 * error, "the comparison says something"


# What is kept and refused ---------------------------------------------------------------------------------------------


def test_what_the_policy_is_given_goes_on_where_it_was_saved() -> None:
    policy = small_policy()
    batch, episodes = play(policy)
    one, other = ready(policy, **ACTOR), ready(policy, **ACTOR)
    one.update(batch, episodes)
    earlier = [drawn.token_ids.tolist() for drawn, _ in one.draws() or ()]
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for (drawn, spoken), (again, same) in zip(one.draws() or (), other.draws() or (), strict=True):
        assert spoken == same
        assert drawn.token_ids.tolist() not in earlier
        for name in ("utterance_q", "utterance_v"):
            np.testing.assert_array_equal(drawn.columns[name], again.columns[name])


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
        ({"actions": "old"}, "actions of utterance critics must be 'batch' or 'fresh', not 'old'"),
        ({"actor": "old"}, "actor of utterance critics must be 'batch' or 'fresh', not 'old'"),
        ({"actor_steps": 0}, "actor_steps of utterance critics"),
        ({"actor_minibatch": 0}, "actor_minibatch of utterance critics"),
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
