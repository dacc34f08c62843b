from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agentgym.algos import GRPO, TEMPO, get_algorithm
from agentgym.algos.tempo import paths
from agentgym.batch import Credit, StepBatch
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.testing import battery, check_algorithm, make_batch
from tests import reference
from tests.drawn import drawn_batch

KEYS = ("token", "step", "action")


def with_actions(batch: StepBatch, seed: int = 0) -> StepBatch:
    """Return the batch with few different actions, tokens and observations, so that episodes share a lot."""
    rng = np.random.default_rng(seed)
    return replace(
        batch,
        anchor=np.where(batch.t == 0, 0, batch.anchor % 2),
        actions=tuple(f"way {way}" for way in rng.integers(0, 2, len(batch))),
        token_ids=batch.token_ids % 2,
    )


def walk(batch: StepBatch, key: str) -> dict[int, list[tuple[Any, ...]]]:
    """Return the entries of each episode: what it is, and the row or token that holds its difference, or None."""
    found: dict[int, list[tuple[Any, ...]]] = {}
    for row in np.lexsort((batch.t, batch.episode)).tolist():
        entries = found.setdefault(int(batch.episode[row]), [])
        entries.append((("seen", 0 if key == "action" else int(batch.anchor[row])), None))
        if key == "token":
            span = range(int(batch.token_offsets[row]), int(batch.token_offsets[row + 1]))
            entries += [(("token", int(batch.token_ids[i])), i) for i in span]
        else:
            assert batch.actions is not None
            entries.append((("action", batch.actions[row]), row))
        entries.append((("end of response",), None))
    return {episode: [*entries, (("end of episode",), None)] for episode, entries in found.items()}


def one_by_one(batch: StepBatch, key: str) -> tuple[dict[int, float], dict[int, float], dict[int, list[float]]]:
    """Return the difference of value of each row or token, what no entry holds of each episode, and its returns."""
    episodes = walk(batch, key)
    group = dict(zip(batch.episode.tolist(), batch.group.tolist(), strict=True))
    total: dict[int, float] = defaultdict(float)
    for episode, reward in zip(batch.episode.tolist(), batch.reward.tolist(), strict=True):
        total[episode] += reward
    through: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for episode, entries in episodes.items():
        for i in range(len(entries) + 1):
            through[(group[episode], *(symbol for symbol, _ in entries[:i]))].append(total[episode])
    value = {prefix: math.fsum(outcomes) / len(outcomes) for prefix, outcomes in through.items()}
    held: dict[int, float] = {}
    masked: dict[int, float] = defaultdict(float)
    ends: dict[int, list[float]] = {}
    for episode, entries in episodes.items():
        prefix: tuple[Any, ...] = (group[episode],)
        for symbol, at in entries:
            difference = value[(*prefix, symbol)] - value[prefix]
            prefix = (*prefix, symbol)
            if at is None:
                masked[episode] += difference
            else:
                held[at] = difference
        ends[episode] = [value[prefix], value[(group[episode],)], total[episode]]
    return held, masked, ends


def per_episode(batch: StepBatch, credit: Credit, name: str) -> dict[int, float]:
    part = credit.components[name].astype(np.float64)
    owner = batch.episode if credit.level == "row" else np.repeat(batch.episode, np.diff(batch.token_offsets))
    return {int(e): math.fsum(part[owner == e].tolist()) for e in np.unique(batch.episode)}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_loop(seed: int, key: Any) -> None:
    batch = with_actions(drawn_batch(seed), seed)
    credit = TEMPO(std=None, key=key).credit(batch)
    held, masked, ends = one_by_one(batch, key)
    assert credit.level == ("token" if key == "token" else "row")
    np.testing.assert_allclose(credit.components["tree"], [held[i] for i in range(len(held))], rtol=1e-5, atol=2e-6)
    # Along an episode the differences of decisions and of the world sum to V of the end less the mean.
    for episode, total in per_episode(batch, credit, "tree").items():
        end, start, _ = ends[episode]
        assert total + masked[episode] == pytest.approx(end - start, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_where_no_two_episodes_went_exactly_alike_the_differences_sum_to_the_return_less_the_mean(seed: int) -> None:
    batch = with_actions(drawn_batch(seed, least_tokens=1), seed)
    tokens = batch.token_ids.copy()
    tokens[batch.token_offsets[1:] - 1] = 100 + batch.episode
    batch = replace(batch, token_ids=tokens)
    credit = TEMPO(std=None).credit(batch)
    _, masked, ends = one_by_one(batch, "token")
    for episode, total in per_episode(batch, credit, "tree").items():
        _, mean, own = ends[episode]
        assert total + masked[episode] == pytest.approx(own - mean, abs=1e-5)


@pytest.mark.parametrize("std", [None, "sample", "population"])
@pytest.mark.parametrize("seed", range(3))
def test_both_terms_are_divided_by_the_std_of_the_group(seed: int, std: Any) -> None:
    batch = with_actions(drawn_batch(seed), seed)
    credit = TEMPO(std=std, eps=1e-3, key="step").credit(batch)
    held, _, _ = one_by_one(batch, "step")
    outcome = reference.grpo(batch, "episodes", std, 1e-3, "zero", [0.0] * len(batch))
    np.testing.assert_allclose(credit.components["episode"], outcome, rtol=1e-5, atol=2e-6)
    totals = {int(e): math.fsum(batch.reward[batch.episode == e].tolist()) for e in np.unique(batch.episode)}
    for row in range(len(batch)):
        own = [totals[int(e)] for e in np.unique(batch.episode[batch.group == batch.group[row]])]
        spread = float(np.std(own, ddof=std == "sample")) if len(own) > 1 and std else 0.0
        divisor = 1.0 if std is None else spread + 1e-3
        assert credit.components["tree"][row] == pytest.approx(held[row] / divisor, rel=1e-4, abs=2e-6)


def responses(*tokens: list[int], reward: list[float], **columns: Any) -> StepBatch:
    """Return one group of one-step episodes with the given response tokens."""
    size, flat = len(tokens), [token for own in tokens for token in own]
    return make_batch(
        group=[0] * size,
        episode=range(size),
        t=[0] * size,
        anchor=[0] * size,
        reward=reward,
        token_offsets=np.cumsum([0, *map(len, tokens)]),
        token_ids=flat,
        logprobs=np.zeros(len(flat), np.float32),
        **columns,
    )


def tree(batch: StepBatch, **settings: Any) -> list[float]:
    found: list[float] = TEMPO(std=None, **settings).credit(batch).components["tree"].tolist()
    return found


def test_only_tokens_before_which_responses_part_have_a_difference() -> None:
    batch = responses([5, 6, 1, 9], [5, 6, 2, 9], [5, 6, 2, 8], [5, 6, 1, 9], reward=[1, 0, 0, 1])
    assert tree(batch) == [0, 0, 0.5, 0, 0, 0, -0.5, 0, 0, 0, -0.5, 0, 0, 0, 0.5, 0]
    assert TEMPO(std=None).credit(batch).diagnostics["branch_share"] == 6 / 16  # 9 and 8 part too, but fared alike


def test_differences_of_a_node_sum_to_zero_over_the_responses_through_it() -> None:
    batch = responses([1, 1], [1, 2], [1, 3], [2, 1], [2, 1], reward=[1, 0.25, 0, 0.5, 1])
    found = np.array(tree(batch)).reshape(5, 2)
    assert found[:, 0].sum() == pytest.approx(0, abs=1e-6)  # of the start, and of depth 0
    assert found[:3, 1].sum() == pytest.approx(0, abs=1e-6)  # of the node behind a first 1
    assert found[3:, 1].tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_differences_of_a_depth_sum_to_zero_where_all_responses_are_as_long(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch = responses(*rng.integers(0, 2, (7, 6)).tolist(), reward=rng.choice([0.0, 1.0, 10 * 0.95**7], 7).tolist())
    np.testing.assert_allclose(np.array(tree(batch)).reshape(7, 6).sum(axis=0), 0, atol=1e-5)


def test_the_units_it_names_are_nodes_and_those_with_an_end_among_their_ways_do_not_count() -> None:
    batch = responses([1, 1], [1], [2, 1], reward=[1, 0, 0])
    units = TEMPO().zero_sum_units(batch)
    assert units["tree"][0] == units["tree"][2] == units["tree"][3] >= 0  # the first tokens
    assert units["tree"][1] == -1  # another response ends there
    assert units["episode"].tolist() == [0, -1, 0, 0, -1]
    silent = responses([1, 1], [], reward=[1, 0])
    assert TEMPO().zero_sum_units(silent)["episode"].tolist() == [-1, -1]


def test_with_different_first_tokens_all_further_credit_is_on_those() -> None:
    batch = responses([1, 7, 7], [2, 7], [3, 7, 7, 7], reward=[1, 0, 0.5])
    assert tree(batch) == [0.5, 0, 0, -0.5, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("key", KEYS)
def test_equal_paths_or_equal_rewards_get_literally_nothing(key: Any) -> None:
    same = responses(*[[4, 5, 6]] * 3, reward=[1, 0, 10 * 0.95**7], actions=("go",) * 3)
    assert tree(same, key=key) == [0.0] * (9 if key == "token" else 3)
    equal = responses([1, 2], [1, 3], [2, 2], reward=[10 * 0.95**7] * 3, actions=("a", "b", "c"))
    assert TEMPO(key=key).credit(equal).advantage.tolist() == [0.0] * (6 if key == "token" else 3)


def test_responses_that_are_alike_share_the_mean_of_their_rewards() -> None:
    batch = responses([1, 2], [1, 2], [3, 4], reward=[1, 0, 0])
    assert tree(batch) == pytest.approx([1 / 6, 0, 1 / 6, 0, -1 / 3, 0])


def test_a_response_that_is_the_beginning_of_another_has_an_end_of_its_own() -> None:
    """V(1) = 1/2; behind it one response stops with 1 and one goes on to 0. No token chose to stop."""
    batch = responses([1], [1, 2], [3], reward=[1, 0, 0.5])
    assert tree(batch) == [0, 0, -0.5, 0]
    credit = TEMPO(std=None).credit(batch)
    assert credit.diagnostics["masked_share"] == 0.5
    with_end_token = responses([1, 0], [1, 2, 0], [3, 0], reward=[1, 0, 0.5])
    assert tree(with_end_token) == [0, 0.5, 0, -0.5, 0, 0, 0]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_group_and_names_of_tokens_change_nothing(seed: int, key: Any) -> None:
    batch = with_actions(drawn_batch(seed), seed)
    algorithm = TEMPO(key=key)
    before = algorithm.credit(batch)
    named = np.array([7, 3, 9, 0, 1, 2, 4, 5, 6])[batch.token_ids]
    assert batch.actions is not None
    other = replace(batch, token_ids=named, actions=tuple(action[::-1] for action in batch.actions))
    assert algorithm.credit(other).advantage.tolist() == before.advantage.tolist()
    swapped = replace(batch, episode=99 - batch.episode)
    assert algorithm.credit(swapped).advantage.tolist() == before.advantage.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_where_a_response_is_alone_it_is_grpo(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = [[1, *rng.integers(0, 2, 3), 10 + i, *rng.integers(0, 2, 4)] for i in range(5)]
    batch = responses(*tokens, reward=rng.choice([0.0, 1.0, 0.3], 5).tolist())
    tempo = TEMPO().credit(batch).advantage.reshape(5, 9)
    grpo = GRPO().credit(batch).advantage
    assert (tempo[:, 5:] == grpo[:, None]).all()
    assert (tempo[:, 0] == grpo).all()


def two_worlds() -> StepBatch:
    """One action; the world answers in two ways, and only then the agents part."""
    return make_batch(
        group=[0] * 8,
        episode=[0, 0, 1, 1, 2, 2, 3, 3],
        t=[0, 1] * 4,
        anchor=[0, 1, 0, 1, 0, 2, 0, 2],
        reward=[0, 1, 0, 0.5, 0, 0, 0, 0],
        actions=("go", "left", "go", "right", "go", "left", "go", "right"),
        token_offsets=np.arange(9) * 2,
        token_ids=[5, 5, 6, 1, 5, 5, 6, 2, 5, 5, 6, 1, 5, 5, 6, 2],
        logprobs=np.zeros(16, np.float32),
    )


def test_what_the_world_did_is_nobodys_merit() -> None:
    """V goes from 3/8 to 3/4 or 0 by the observation; the agents' own choice then moves it by 1/4, or not at all."""
    assert tree(two_worlds(), key="step") == [0, 0.25, 0, -0.25, 0, 0, 0, 0]
    assert tree(two_worlds()) == [0, 0, 0, 0.25, 0, 0, 0, -0.25, *[0] * 8]
    masked = TEMPO(key="step").credit(two_worlds()).diagnostics["masked_share"]
    assert masked == (4 * 3 / 8) / (4 * 3 / 8 + 2 * 0.25)


def test_with_actions_alone_the_worlds_answers_are_pooled() -> None:
    assert tree(two_worlds(), key="action") == [0, 0.125, 0, -0.125, 0, 0.125, 0, -0.125]


def test_an_episode_that_the_world_ended_early_has_an_end_of_its_own() -> None:
    batch = make_batch(
        group=[0] * 3, episode=[0, 1, 1], t=[0, 0, 1], anchor=[0, 0, 1], reward=[1, 0, 0], actions=("go", "go", "on")
    )
    assert tree(batch, key="step") == tree(batch, key="action") == [0, 0, 0]


@pytest.mark.parametrize("key", KEYS)
def test_paths_of_recorded_trees_share_what_they_share(key: Any) -> None:
    """Decisions of which a tree has several rows get the same difference on each."""
    batch = battery()["trees with rewards on the way"]
    credit = TEMPO(key=key).credit(batch)
    part = credit.components["tree"]
    if key == "token":
        firsts = np.minimum(batch.token_offsets[:-1], len(part) - 1)
        part = part[firsts]
    for node in np.unique(batch.node):
        assert np.unique(part[batch.node == node]).size == 1


def test_the_layout_has_each_episode_once_and_finds_its_tokens() -> None:
    batch = with_actions(drawn_batch(4), 4)
    laid = paths(batch, "token")
    assert laid.symbols[laid.at].tolist() == (3 * batch.token_ids + 1).tolist()
    assert np.sort(batch.episode[laid.first]).tolist() == np.unique(batch.episode).tolist()
    assert laid.lengths.sum() == len(laid.symbols) == len(batch.token_ids) + 2 * len(batch) + len(laid.first)


def test_texts_are_needed_for_actions_and_rows_are_no_base() -> None:
    batch = responses([1], [2], reward=[1, 0])
    with pytest.raises(AlgorithmError, match=r"key='step' compares actions.*use key='token'"):
        TEMPO(key="step").credit(batch)
    with pytest.raises(ConfigError, match=r"base = 'rows'"):
        TEMPO(base="rows")


def test_a_batch_without_rows_has_no_credit() -> None:
    assert TEMPO().credit(make_batch(group=[], episode=[], t=[], reward=[])).advantage.shape == (0,)


@pytest.mark.parametrize(
    "settings",
    [
        {"key": "step"},
        {"key": "action", "std": None},
        {"std": "population", "lone": "raw"},
        {"key": "step", "std": None, "lone": "raise"},
    ],
    ids=str,
)
def test_other_settings_keep_the_laws(settings: dict[str, Any]) -> None:
    check_algorithm(get_algorithm("tempo", **settings), max_examples=0)
