"""The laws of designed rewards, on drawn processes and on small copies of the thesis's worlds."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentgym.algos.functional.design_programmes import design_adaptive, design_reward, select_states
from agentgym.algos.functional.discounted import (
    Process,
    greedy_actions,
    one_hot_policy,
    optimal_values,
    policy_values,
    visitation,
)
from agentgym.algos.functional.potentials import expected_shaping
from agentgym.algos.functional.reward_design import (
    adaptive_informativeness,
    adaptive_weights,
    exploration_bonus,
    find_target,
    gaps,
    informativeness,
    keeps_target,
    return_baseline,
    self_shaping,
)
from agentgym.envs.finite import build
from agentgym.envs.finite.design_worlds import FourRooms, LineKey, LongChain
from agentgym.errors import AlgorithmError, MissingExtraError
from agentgym.evaluation.tabular_learners import process_of
from tests.algos.functional.processes import PROCESSES, drawn_process, some_policy

WORLDS = {
    "rooms": process_of(build(FourRooms(size=5)), 0.95),
    "line": process_of(build(LineKey(length=6)), 0.95),
    "chain": process_of(build(LongChain(ahead=5, behind=7)), 0.9),
}
HORIZONS = (1, 4, 8)


def clear_enough(process: Process) -> bool:
    """Whether the gaps are far above the solver's tolerance."""
    gap = find_target(process).gap
    return bool((gap[gap > 0] > 1e-3).all())


def bound_of(process: Process) -> float:
    """The least R_max with which I = 0 can be reached in every process: the reward's size and the advantages'."""
    return max(1.0, float(np.abs(find_target(process).advantage).max()))


def check_design(process: Process, reward: np.ndarray, states: list[int] | None, largest: float) -> None:
    """The law of EXPRD and EXPADARD: what is optimal, gaps, box, sparsity."""
    target = find_target(process)
    assert keeps_target(process, target, reward)
    others = process.legal & ~target.optimal
    gap = gaps(process, target.choice, reward)
    assert (gap[others] >= np.broadcast_to(target.gap[:, None], gap.shape)[others] - 2e-5).all()
    assert (gap[process.legal] >= -1e-6).all()
    assert np.abs(reward).max() <= largest + 1e-7
    assert not reward[~process.legal].any()
    if states is not None:
        assert not np.delete(reward, states, axis=0).any()


@given(process=PROCESSES, steps=st.sampled_from([0, 1, 3, 200]))
def test_gaps_are_differences_of_values_along_the_target(process: Process, steps: int) -> None:
    choice = find_target(process).choice
    policy = one_hot_policy(choice, process.legal)
    q = process.reward
    for _ in range(steps):
        q = np.where(process.legal, process.reward + process.gamma * process.transition @ (policy * q).sum(1), 0.0)
    expected = np.where(process.legal, (policy * q).sum(1)[:, None] - q, 0.0)
    assert np.allclose(gaps(process, choice, process.reward, steps), expected, atol=1e-9)
    unlimited = policy_values(process, process.reward, policy)
    expected = np.where(process.legal, (policy * unlimited).sum(1)[:, None] - unlimited, 0.0)
    assert np.allclose(gaps(process, choice, process.reward), expected, atol=1e-9)


@given(process=PROCESSES)
def test_the_best_potential_is_as_informative_as_a_reward_can_be(process: Process) -> None:
    """Shaping by V* gives I = 0, the maximum; the original reward gives no more."""
    target = find_target(process)
    best = np.where(process.legal, optimal_values(process, process.reward), -np.inf).max(1)
    shaped = process.reward + expected_shaping(process, np.where(process.ends, 0.0, best))
    assert informativeness(process, target, shaped, HORIZONS) == pytest.approx(0.0, abs=1e-9)
    assert informativeness(process, target, process.reward, HORIZONS) <= 1e-12
    assert keeps_target(process, target, shaped)


@given(process=PROCESSES)
@settings(max_examples=25)
def test_designs_keep_what_is_optimal(process: Process) -> None:
    """With all states EXPRD reaches the maximum 0; both keep policy, gaps and box."""
    assume(clear_enough(process))
    target, largest = find_target(process), bound_of(process)
    design = design_reward(process, target, horizons=HORIZONS, largest=largest)
    check_design(process, design.reward, None, largest)
    assert -1e-6 <= design.value <= 0
    weights = adaptive_weights(process, target, some_policy(process), visitation(process, some_policy(process, 1)))
    adapted = design_adaptive(process, target, weights, largest=largest)
    check_design(process, adapted.reward, None, largest)
    assert adapted.value >= adaptive_informativeness(weights, process.reward) - 1e-6, "the original reward was allowed"


@given(process=PROCESSES, seed=st.integers(0, 9))
@settings(max_examples=15)
def test_a_reward_that_may_differ_in_more_states_is_no_worse(process: Process, seed: int) -> None:
    assume(clear_enough(process))
    target, largest = find_target(process), bound_of(process)
    paying = np.flatnonzero(process.reward.any(1)).tolist()
    others = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(process.start)), paying)).tolist()
    values = [
        design_reward(process, target, states=[*paying, *others[:more]], horizons=HORIZONS, largest=largest).value
        for more in sorted({0, len(others) // 2, len(others)})
    ]
    assert all(after >= before - 1e-6 for before, after in itertools.pairwise(values))


@pytest.mark.parametrize("name", WORLDS)
def test_potentials_and_adaptive_designs_of_the_worlds(name: str) -> None:
    """Any potential keeps exactly the optimal actions, and EXPADARD the law, whoever learns."""
    process = WORLDS[name]
    target = find_target(process)
    for seed in range(3):
        phi = np.where(process.ends, 0.0, np.random.default_rng(seed).normal(size=len(process.start)))
        shaped = process.reward + expected_shaping(process, phi)
        assert np.array_equal(greedy_actions(optimal_values(process, shaped), process.legal), target.optimal)
        weights = adaptive_weights(
            process, target, some_policy(process, seed), visitation(process, some_policy(process, seed + 1))
        )
        adapted = design_adaptive(process, target, weights)
        check_design(process, adapted.reward, None, 1.0)
        assert adapted.value > adaptive_informativeness(weights, process.reward)


@pytest.mark.parametrize("name", WORLDS)
def test_sparse_designs_of_the_worlds(name: str) -> None:
    """States are added where they tell most: I never falls, the sets are nested, and every design keeps the law."""
    process = WORLDS[name]
    target = find_target(process)
    designs = select_states(process, target, 2, candidates=list(range(0, len(process.start), 3)), horizons=HORIZONS)
    original = np.flatnonzero(process.reward.any(1)).tolist()
    for number, design in enumerate(designs):
        assert list(design.states[: len(original)]) == original
        assert len(design.states) == len(original) + number
        check_design(process, design.reward, list(design.states), 1.0)
    values = [design.value for design in designs]
    assert values == sorted(values)
    assert values[-1] > values[0] >= informativeness(process, target, process.reward, HORIZONS) - 1e-9
    everywhere = design_reward(process, target, horizons=HORIZONS)
    assert everywhere.value >= max(values[-1] - 1e-9, -1e-8)
    with_more = design_reward(process, target, states=[*designs[0].states, 0, 1], horizons=HORIZONS)
    assert with_more.value >= values[0] - 1e-9, "more states are never worse"


def test_small_gaps_do_not_look_infeasible() -> None:
    """Four rooms of full size have gaps of 4e-5, which HiGHS once took for a contradiction with these states."""
    process = process_of(build(FourRooms()), 0.95)
    target = find_target(process)
    assert target.gap[target.gap > 0].min() < 1e-4
    paying = np.flatnonzero(process.reward.any(1)).tolist()
    designs = select_states(process, target, 3, candidates=[0, 9, 10, 11, 12, 16])
    assert [design.value for design in designs] == sorted(design.value for design in designs)
    assert list(designs[0].states) == paying
    for design in designs:
        check_design(process, design.reward, list(design.states), 1.0)


def test_a_budget_larger_than_the_candidates_takes_them_all() -> None:
    process = WORLDS["line"]
    designs = select_states(process, find_target(process), 5, candidates=[0, 1], horizons=(1,))
    assert [len(design.states) for design in designs] == [1, 2, 3]


def test_the_cost_of_size_makes_rewards_smaller() -> None:
    process = WORLDS["chain"]
    target = find_target(process)
    free, dear = (design_reward(process, target, horizons=HORIZONS, l1=cost) for cost in (0.0, 0.01))
    assert np.abs(dear.reward).sum() < np.abs(free.reward).sum()
    assert dear.value <= free.value + 1e-9
    check_design(process, dear.reward, None, 1.0)


def test_features_tie_rewards_together() -> None:
    """One weight for each action of all states but the one with the reward, which has weights of its own."""
    process = WORLDS["chain"]
    target = find_target(process)
    paying = process.reward.any(1)
    states, actions = process.legal.shape
    features = np.zeros((states, actions, 2 * actions))
    for action in range(actions):
        features[:, action, action] = ~paying & ~process.ends
        features[:, action, actions + action] = paying
    for design in (
        design_reward(process, target, horizons=HORIZONS, features=features),
        design_adaptive(process, target, np.zeros((states, actions)), features=features),
    ):
        check_design(process, design.reward, None, 1.0)
        tied = design.reward[~paying & ~process.ends]
        assert np.allclose(tied, tied[0])


@given(process=PROCESSES, seed=st.integers(0, 9))
def test_adaptive_objective_is_what_it_says(process: Process, seed: int) -> None:
    """Σ μ_T μ_L π (A - Ā)(R - R̄) by loops; 0 for learners that always do the same and rewards of the state alone."""
    target, learner = find_target(process), some_policy(process, seed)
    teacher_visits = visitation(process, some_policy(process, seed + 1))
    weights = adaptive_weights(process, target, learner, teacher_visits)
    reward = np.random.default_rng(seed).normal(size=process.legal.shape)
    visits, expected = visitation(process, learner), 0.0
    for s, a in np.argwhere(process.legal):
        excess = target.advantage[s, a] - learner[s] @ target.advantage[s]
        ahead = reward[s, a] - learner[s] @ reward[s]
        expected += teacher_visits[s] * visits[s] * learner[s, a] * learner[s, a] * excess * ahead
    assert adaptive_informativeness(weights, reward) == pytest.approx(expected, abs=1e-12)
    assert np.allclose(weights.sum(1), 0.0, atol=1e-12)
    assert adaptive_informativeness(weights, np.ones(reward.shape) * reward[:, :1]) == pytest.approx(0.0, abs=1e-12)
    fixed = one_hot_policy(process.legal.argmax(1), process.legal)
    assert np.allclose(adaptive_weights(process, target, fixed, teacher_visits), 0.0, atol=1e-15)


def test_a_reward_without_room_is_refused() -> None:
    process = WORLDS["line"]
    with pytest.raises(AlgorithmError, match="found no reward"):
        design_reward(process, find_target(process), states=[0], horizons=(1,))
    with pytest.raises(AlgorithmError, match="found no reward"):
        design_adaptive(process, find_target(process), np.zeros(process.legal.shape), largest=0.01)
    for wrong in ({"largest": 0.0}, {"l1": -1.0}, {"horizons": ()}):
        with pytest.raises(AlgorithmError, match="must be"):
            design_reward(process, find_target(process), **wrong)  # type: ignore[arg-type]
    with pytest.raises(AlgorithmError, match="features have shape"):
        design_reward(process, find_target(process), features=np.ones((2, 2, 2)))


def test_without_scipy_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingExtraError, match=r"agentgym-sdk\[design\]"):
        design_reward(WORLDS["line"], find_target(WORLDS["line"]))


def test_keeping_the_target_can_fail() -> None:
    """The check bites: a reward that makes a wrong action as good as the right one does not pass."""
    process = WORLDS["line"]
    target = find_target(process)
    assert keeps_target(process, target, process.reward)
    assert not keeps_target(process, target, np.zeros(process.legal.shape))
    wrong = process.reward.copy()
    wrong[process.start.argmax(), (target.choice[process.start.argmax()] + 1) % 3] = 1.0
    assert not keeps_target(process, target, wrong)


@given(
    visits=st.lists(st.integers(0, 10**6), min_size=2, max_size=9),
    lam=st.sampled_from([0.01, 0.5, 1.0, 7.0]),
    largest=st.sampled_from([0.1, 1.0, 20.0]),
)
def test_the_bonus_falls_from_its_largest_value(visits: list[int], lam: float, largest: float) -> None:
    bonus = exploration_bonus(np.sort(np.array(visits, np.float64)), lam, largest)
    assert ((bonus > 0) & (bonus <= largest * (1 + 1e-12))).all()
    assert (np.diff(bonus) <= 0).all()
    assert exploration_bonus(np.zeros(1), lam, largest)[0] == pytest.approx(largest)
    assert not exploration_bonus(np.array(visits), 0.0, largest).any()


def test_a_wrong_bonus_is_refused() -> None:
    for lam, largest in ((-1.0, 1.0), (1.0, 0.0)):
        with pytest.raises(AlgorithmError, match="must be"):
            exploration_bonus(np.zeros(1), lam, largest)


@given(seed=st.integers(0, 99), clip=st.sampled_from([None, 0.001]))
def test_learned_terms_sum_to_zero(seed: int, clip: float | None) -> None:
    """An update is that of the loop, leaves the sum of every state alone, and is 0 where returns equal their mean."""
    rng = np.random.default_rng(seed)
    process = drawn_process(seed % 7)
    phi, policy = rng.normal(size=process.legal.shape), some_policy(process, seed)
    state = rng.integers(0, len(phi) - 1, size=12)
    action = np.array([rng.choice(np.flatnonzero(process.legal[s])) for s in state])
    excess = rng.normal(size=12)
    moved = self_shaping(phi, state, action, policy[state], excess, 0.1, clip)
    expected = phi.copy()
    for s, a, e in zip(state, action, excess, strict=True):
        for b in range(phi.shape[1]):
            expected[s, b] += 0.1 * policy[s, a] * e * (float(a == b) - policy[s, b])
    if clip is not None:
        assert np.allclose(moved, np.clip(expected, -clip, clip))
        return
    assert np.allclose(moved, expected)
    assert np.allclose(moved.sum(1), phi.sum(1))
    assert np.array_equal(self_shaping(phi, state, action, policy[state], 0 * excess, 0.1), phi)
    assert np.array_equal(self_shaping(phi, state, action, policy[state], excess, 0.0), phi)


def test_the_mean_of_returns_moves_by_its_share() -> None:
    moved = return_baseline(np.array([1.0, 0.0, 5.0]), np.array([0, 0, 1]), np.array([2.0, 3.0, 6.0]), 0.5)
    assert moved.tolist() == [1.0 + 0.5 * 3 / 3, 0.5 * 6 / 3, 5.0]


def test_explors_need_not_keep_what_is_optimal() -> None:
    """The counter-example: leave the room for 1, or go to the corridor, where there is nothing but a bonus.

    While the corridor is new (N = 0) standing in it pays B_max = 1 a step, and that beats leaving once for 1.
    """
    transition = np.zeros((3, 2, 3))
    transition[0, 0, 2] = transition[0, 1, 1] = transition[1, 0, 2] = transition[1, 1, 1] = 1.0
    legal = np.array([[True, True], [True, True], [False, False]])
    process = Process(transition, np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), legal, np.array([1.0, 0, 0]), 0.9)
    target = find_target(process)
    assert target.optimal[0].tolist() == [True, False]
    bonus = np.where(process.ends, 0.0, exploration_bonus(np.zeros(3), 1.0, 1.0))
    shaped = process.reward + transition @ bonus
    assert greedy_actions(optimal_values(process, shaped), legal)[0].tolist() == [False, True]
    assert not keeps_target(process, target, shaped)
    phi = np.zeros((3, 2))
    for _ in range(200):  # a lucky wrong action, and the learned term keeps it: φ alone is no potential either
        phi = self_shaping(phi, np.array([0]), np.array([1]), np.array([[0.5, 0.5]]), np.array([0.5]), 0.1)
    assert not keeps_target(process, target, process.reward + phi)
