"""Learners and teachers: what is paid is learned from, what is own is measured, and chances are the same for all."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.algos.functional.discounted import one_hot_policy
from agentgym.algos.functional.reward_design import find_target, keeps_target
from agentgym.envs.finite import build
from agentgym.envs.finite.design_worlds import LineKey, LongChain
from agentgym.envs.finite.worlds import AliasedCorridor
from agentgym.errors import ConfigError
from agentgym.evaluation.reward_design import (
    AdaptiveReward,
    ExplorationReward,
    FixedReward,
    OriginalReward,
    Plan,
    Teacher,
    teach,
)
from agentgym.evaluation.tabular_learners import Episode, Learner, QLearner, Reinforce, policy_return, process_of

GAMMA = 0.95
CHAIN = build(LongChain(ahead=3, behind=3, slip=0.1))
LINE = build(LineKey(length=5))
PROCESS = process_of(CHAIN, GAMMA)
LEARNERS: dict[str, Callable[[], Learner]] = {
    "reinforce": lambda: Reinforce(PROCESS, 0.5),
    "q-learning": lambda: QLearner(PROCESS, 0.5, 0.1),
    "replay": lambda: QLearner(PROCESS, 0.1, 0.2, replay=True),
    "first": lambda: QLearner(PROCESS, 0.5, 0.8, first=True),
}


def test_a_process_has_the_probabilities_of_its_world() -> None:
    process = process_of(LINE, GAMMA)
    for s in range(len(LINE.states)):
        for a in range(len(LINE.actions)):
            for t in range(len(LINE.states)):
                expected = LINE.probability[s, a][LINE.successor[s, a] == t].sum()
                assert process.transition[s, a, t] == pytest.approx(expected)
    assert np.array_equal(process.ends, LINE.terminal)
    with pytest.raises(ConfigError, match="look alike"):
        process_of(build(AliasedCorridor()), GAMMA)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_finds_the_end_and_is_measured_by_the_own_reward(name: str) -> None:
    """Its curve ends near the best value, which no policy exceeds, though a constant was added to what it was paid."""
    best = policy_return(CHAIN, one_hot_policy(find_target(PROCESS).choice, PROCESS.legal), 20, GAMMA)
    curve = teach(CHAIN, GAMMA, OriginalReward(), LEARNERS[name](), Plan(600, 20, evaluate_every=200), seed=3)
    assert curve.episodes == [0, 200, 400, 600]
    assert all(0 <= value <= best + 1e-9 for value in curve.values)
    assert curve.values[-1] > 0.9 * best
    nothing = FixedReward(np.zeros(PROCESS.legal.shape))
    flat = teach(CHAIN, GAMMA, nothing, LEARNERS[name](), Plan(100, 20), seed=3)
    assert flat.values[0] == flat.values[-1], "what is not paid is not learned"


@pytest.mark.parametrize("name", LEARNERS)
@given(chance=st.floats(0, 1, exclude_max=True), seed=st.integers(0, 20))
@settings(max_examples=15)
def test_actions_are_drawn_as_the_behaviour_says(name: str, chance: float, seed: int) -> None:
    learner = LEARNERS[name]()
    rng = np.random.default_rng(seed)
    for _ in range(30):
        state = int(rng.choice(np.flatnonzero(~PROCESS.ends)))
        learner.step(state, int(rng.integers(2)), float(rng.normal()), int(rng.integers(len(PROCESS.start))))
    behaviour = learner.behaviour()
    assert np.allclose(behaviour.sum(1), ~PROCESS.ends)
    state = int(np.flatnonzero(~PROCESS.ends)[seed % 6])
    assert behaviour[state, learner.draw(state, chance)] > 0
    drawn = np.bincount([learner.draw(state, (i + 0.5) / 1000) for i in range(1000)], minlength=2) / 1000
    assert np.allclose(drawn, behaviour[state], atol=2e-3)


def test_reinforce_takes_the_step_of_its_formula() -> None:
    learner = Reinforce(PROCESS, 0.5, logits=np.tile([0.3, -0.2], (len(PROCESS.start), 1)))
    before, policy = learner.logits.copy(), learner.policy().copy()
    episode = Episode([4, 5], [1, 0], [0.0, 0.0], [1.0, 2.0], [5, 4], policy)
    learner.learn([episode])
    expected = before.copy()
    for state, action, ahead in ((4, 1, 1.0 + GAMMA * 2.0), (5, 0, 2.0)):
        for a in range(2):
            expected[state, a] += 0.5 * ahead * (float(a == action) - policy[state, a]) / 2
    assert np.allclose(learner.logits, expected)


def test_a_step_limit_is_no_end_for_the_backup() -> None:
    """After the last step of a truncated episode the value goes on; after an end it does not."""
    learner = QLearner(PROCESS, 1.0, 0.1)
    learner.step(3, 1, 1.0, 4)
    learner.step(2, 1, 0.5, 3)
    assert learner.q[2][1] == 0.5 + GAMMA * 1.0
    end = int(np.flatnonzero(PROCESS.ends)[0])
    learner.step(2, 0, 0.25, end)
    assert learner.q[2][0] == 0.25


@pytest.mark.parametrize("name", LEARNERS)
def test_exploration_without_its_terms_is_the_original_reward(name: str) -> None:
    """λ = η = 0 gives the same curve with the same chances, to the last bit."""
    plan = Plan(60, 15, evaluate_every=10)

    def curve(teacher: Teacher) -> list[float]:
        return teach(CHAIN, GAMMA, teacher, LEARNERS[name](), plan, seed=5).values

    original = curve(OriginalReward())
    assert curve(ExplorationReward(PROCESS, lam=0.0, eta=0.0)) == original
    assert curve(ExplorationReward(PROCESS)) == curve(ExplorationReward(PROCESS)), "a seed decides all"
    if name == "reinforce":  # which learns a little from every reward, so either term alone shows
        assert curve(ExplorationReward(PROCESS, lam=1.0, eta=0.0)) != original
        assert curve(ExplorationReward(PROCESS, lam=0.0, eta=1.0)) != original


def test_exploration_pays_for_the_new_but_not_for_ends() -> None:
    teacher = ExplorationReward(PROCESS, lam=1.0, largest=2.0)
    end = int(np.flatnonzero(PROCESS.ends)[0])
    assert teacher.pay(2, 0, 0.25, end) == 0.25
    assert teacher.pay(3, 0, 0.0, 4) == pytest.approx(2.0)
    assert teacher.pay(4, 0, 0.0, 3) == pytest.approx(1 / np.sqrt(0.25 + 1.0))
    teacher.visits[4] = 500
    assert teacher.pay(3, 0, 0.0, 4) == pytest.approx(1 / np.sqrt(0.25 + 500.0))
    assert teacher.visits[3] == 2


def test_learned_terms_favour_what_returned_more_than_usual() -> None:
    """One episode that went right and was rewarded: φ rises for its actions and falls for the others, sums stay 0."""
    teacher = ExplorationReward(PROCESS, eta=0.5, clip=0.1)
    policy = np.where(PROCESS.legal, 0.5, 0.0)
    right = CHAIN.actions.index("right")
    episode = Episode([3, 4], [right, right], [0.0, 1.0], [9.0, 9.0], [4, 5], policy)
    teacher.update([episode], Reinforce(PROCESS, 0.1))
    assert teacher.phi[3, right] == pytest.approx(0.1)  # clipped: 0.5 · 0.5 · 0.95 · 0.5 = 0.119
    assert teacher.phi[3].sum() == pytest.approx(0.0)
    assert not teacher.phi[0].any()
    assert teacher.values[4] == pytest.approx(0.01 * 1.0 / 2)


def test_the_adaptive_teacher_follows_the_learner_and_keeps_the_law() -> None:
    process = process_of(LINE, GAMMA)
    target = find_target(process)
    teacher = AdaptiveReward(process, target, every=2)
    assert not teacher.reward.any()
    teacher.update([], Reinforce(process, 0.1))
    first = teacher.reward
    assert keeps_target(process, target, first)
    learned = Reinforce(process, 0.1, logits=2.0 * one_hot_policy(target.choice, process.legal))
    teacher.update([], learned)
    assert teacher.reward is first, "every second update only"
    teacher.update([], learned)
    assert not np.array_equal(teacher.reward, first)
    assert keeps_target(process, target, teacher.reward)
    assert teacher.pay(0, 0, 9.0, 0) == teacher.reward[0, 0], "its reward stands in place of the world's"


def test_a_run_leaves_its_world_alone() -> None:
    """Teachers and learners share the arrays of the process; none writes to them."""
    process = process_of(LINE, GAMMA)
    kept = copy.deepcopy(process)
    for teacher in (AdaptiveReward(process, find_target(process)), ExplorationReward(process)):
        teach(LINE, GAMMA, teacher, Reinforce(process, 0.1), Plan(12, 8), seed=0)
    assert np.array_equal(process.transition, kept.transition)
    assert np.array_equal(process.reward, kept.reward)
