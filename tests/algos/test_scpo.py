from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import GRPO, HGPO, SCPO, GiGPO, get_algorithm
from agentgym.algos.base import LAWS, Algorithm
from agentgym.algos.scpo import shaped_returns
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.identity import text_hash
from agentgym.testing import check_algorithm, make_batch
from agentgym.testing.strategies import step_batches
from tests import reference

BACKBONES: dict[str, Algorithm[Any]] = {"gigpo": GiGPO(), "grpo": GRPO(), "hgpo": HGPO(std="sample")}
ORDERS = ["similarity", "optimal", "length", "chronological"]


class Table:
    """Scores out of a table of texts, 0 where it has none; remembers what it was asked about."""

    def __init__(self, scores: dict[tuple[str, str], float]) -> None:
        self.scores = scores
        self.asked: set[str] = set()

    def __call__(self, failed: Any, reference: Any) -> npt.NDArray[np.float64]:
        self.asked |= {*failed, *reference}
        return np.array([[self.scores.get((a.strip(), b.strip()), 0.0) for b in reference] for a in failed])


class Hashed:
    """Scores that look random but depend on the texts alone, many of them equal."""

    def __call__(self, failed: Any, reference: Any) -> npt.NDArray[np.float64]:
        return np.array([[sum(map(ord, a + b)) * 7 % 11 / 10 for b in reference] for a in failed])


def group(failed: list[str], won: list[str], **columns: Any) -> StepBatch:
    """Return a lost episode and a won one by the texts of their actions, one letter each; no state repeats."""
    rows = len(failed) + len(won)
    settings: dict[str, Any] = {
        "group": [0] * rows,
        "episode": [0] * len(failed) + [1] * len(won),
        "t": [*range(len(failed)), *range(len(won))],
        "reward": [0.0] * (rows - 1) + [1.0],
        "won": [False] * len(failed) + [True] * len(won),
        "observations": ("",) * rows,
        "actions": (*failed, *won),
    }
    return make_batch(**{**settings, **columns})


def share(batch: StepBatch, scores: dict[tuple[str, str], float], **settings: Any) -> list[float]:
    algorithm = SCPO(**settings)
    algorithm.matcher = Table(scores)
    return np.asarray(algorithm.bonus(algorithm.match(batch))).round(12).tolist()


EXAMPLE = {("a", "x"): 0.95, ("b", "y"): 0.92, ("c", "z"): 0.88, ("d", "w"): 0.90, ("e", "x"): 0.40}


def test_published_example_of_the_credit() -> None:
    batch = group(list("eabcd"), list("xyzw"))
    for order in ORDERS:
        assert share(batch, EXAMPLE, order=order) == [0.0, 0.9, 0.84, 0.76, 0.8, *[0.0] * 4]


# Step a fits y best, b fits x, c repeats b; in order b, c, a.
CROSSED = {("b", "x"): 0.8, ("b", "y"): 0.7, ("c", "x"): 0.75, ("a", "y"): 0.9, ("a", "x"): 0.6, ("c", "z"): 0.6}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.6, 0.0, 0.8]),  # b has x, c is a repeat, a has y
        ({"order": "optimal"}, [0.6, 0.0, 0.8]),
        ({"order": "chronological"}, [0.6, 0.0, 0.8]),
        ({"order": "chronological", "on_repeat": "next_best"}, [0.6, 0.2, 0.0]),  # c passes y, which a needed
        ({"on_repeat": "next_best"}, [0.6, 0.0, 0.8]),  # z lies behind a's y
        ({"monotone": False, "on_repeat": "next_best"}, [0.6, 0.2, 0.8]),
        ({"threshold": 0.7}, [1 / 3, 0.0, 2 / 3]),
        ({"max_total": 0.7}, [0.3, 0.0, 0.4]),
    ],
)
def test_allocation(settings: dict[str, Any], expected: list[float]) -> None:
    found = share(group(list("bca"), list("xyz")), CROSSED, **settings)
    assert found[:3] == pytest.approx(expected)
    assert found[3:] == [0.0, 0.0, 0.0]


def test_long_responses_are_matched_first_in_order_of_length() -> None:
    """A mark further along then shuts out the earlier step."""
    batch = group(["a", "b"], ["x", "y"], token_offsets=[0, 1, 3, 4, 5], token_ids=[0] * 5, logprobs=[0.0] * 5)
    scores = {("a", "x"): 0.9, ("b", "y"): 0.8}
    batch = replace(batch, logprobs=batch.logprobs.astype(np.float32))
    assert share(batch, scores, order="length")[:2] == [0.0, 0.6]
    assert share(batch, scores, order="chronological")[:2] == [0.8, 0.6]


def siblings() -> StepBatch:
    """Return a lost episode and three won ones of 1, 2 and 3 steps; the one of 2 has the best score."""
    batch = group(["a"], ["p", *"qr", *"stu"])
    columns = {"episode": [0, 1, 2, 2, 3, 3, 3], "t": [0, 0, 0, 1, 0, 1, 2], "score": [0, 0.5, 0.9, 0.9, 0.5, 0.5, 0.5]}
    return replace(batch, **{name: np.array(values) for name, values in columns.items()})


@pytest.mark.parametrize(("kind", "expected"), [("longest", "stu"), ("shortest", "p"), ("best", "qr")])
def test_reference(kind: Any, expected: str) -> None:
    algorithm = SCPO(reference=kind)
    algorithm.matcher = table = Table({})
    algorithm.credit(siblings())
    assert {text.strip() for text in table.asked} == {"a", *expected}


def test_a_random_reference_depends_on_texts_and_seed_alone() -> None:
    def asked(batch: StepBatch, seed: int) -> set[str]:
        algorithm = SCPO(reference="random", reference_seed=seed)
        algorithm.matcher = table = Table({})
        algorithm.credit(batch)
        return table.asked

    batch = siblings()
    other = replace(batch.take(np.arange(7)[::-1]), episode=np.array([5, 5, 5, 8, 8, 2, 0]))
    picked = [asked(batch, seed) for seed in range(12)]
    assert picked == [asked(other, seed) for seed in range(12)]
    assert len({frozenset(texts) for texts in picked}) == 3


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("won", [True, False])
def test_without_a_success_or_a_failure_it_is_the_backbone_bit_for_bit(backbone: Any, won: bool) -> None:
    batch = replace(siblings(), won=np.full(7, won), anchor=np.array([0, 0, 0, 1, 0, 1, 2]))
    credit, plain = SCPO(backbone=backbone).credit(batch), BACKBONES[backbone].credit(batch)
    assert credit.advantage.tolist() == plain.advantage.tolist()
    assert not credit.components["bonus"].any()
    # No text is needed where nothing is compared.
    assert SCPO(backbone=backbone).credit(replace(batch, actions=None, observations=None)).advantage.any()


@given(step_batches(max_episodes=5, states=3), st.sampled_from(list(BACKBONES)))
def test_groups_without_both_are_left_alone_beside_others(batch: StepBatch, backbone: Any) -> None:
    credit, plain = SCPO(backbone=backbone).credit(batch), BACKBONES[backbone].credit(batch)
    sides = {g: set(batch.won[batch.group == g].tolist()) for g in batch.group.tolist()}
    one_sided = np.array([len(sides[g]) == 1 for g in batch.group.tolist()])
    assert credit.advantage[one_sided].tolist() == plain.advantage[one_sided].tolist()


def mixed(seed: int, groups: int = 3, states: int = 4) -> StepBatch:
    """Return groups of lost and won episodes over a few states, all rows well-formed, in random order."""
    rng = np.random.default_rng(seed)
    episodes = 5 * groups
    lengths = rng.integers(1, 7, episodes)
    episode = np.repeat(np.arange(episodes), lengths)
    rows, t = len(episode), np.concatenate([np.arange(n) for n in lengths])
    won = (rng.random(episodes) < 0.5) | (np.arange(episodes) % 5 == 0)
    state = np.where(t == 0, 0, rng.integers(states, size=rows))
    last = t == lengths[episode] - 1
    lengths = rng.integers(1, 4, rows)
    batch = make_batch(
        group=episode // 5,
        episode=episode,
        t=t,
        anchor=state,
        state=state,
        reward=np.where(last, won[episode] * 1.0, 0.0),
        won=won[episode],
        score=won[episode] * 1.0,
        observations=tuple(f"state {s}" for s in state),
        actions=tuple(f"action {a}" for a in rng.integers(3, size=rows)),
        token_offsets=np.concatenate([[0], np.cumsum(lengths)]),
        token_ids=np.zeros(lengths.sum(), np.int64),
        logprobs=np.zeros(lengths.sum(), np.float32),
    )
    return batch.take(rng.permutation(rows))


def rows_of(batch: StepBatch, episode: int) -> list[int]:
    rows = np.flatnonzero(batch.episode == episode)
    return [int(row) for row in rows[np.argsort(batch.t[rows])]]


def slow_share(batch: StepBatch, order: str, threshold: float, retry: bool) -> list[float]:
    """Match one failed episode at a time to the longest success, as if references of equal length never tied."""
    texts = [f"{o}\n{a}" for o, a in zip(batch.observations or (), batch.actions or (), strict=True)]
    lengths = np.diff(batch.token_offsets)
    result = [0.0] * len(batch)
    for g in np.unique(batch.group):
        members = [rows_of(batch, e) for e in np.unique(batch.episode[batch.group == g])]
        won, lost = ([rows for rows in members if batch.won[rows[0]] == side] for side in (True, False))
        if not (won and lost):
            continue
        longest = max(won, key=len)
        for rows in lost:
            scores = Hashed()([texts[r] for r in rows], [texts[r] for r in longest])
            credit = (np.maximum(scores - threshold, 0) / (1 - threshold)).tolist()
            best = [max((c, j) for j, c in enumerate(row)) for row in credit]
            keys: dict[str, list[Any]] = {
                "similarity": [
                    (-c, -j, text_hash(texts[r]), i) for i, (r, (c, j)) in enumerate(zip(rows, best, strict=True))
                ],
                "length": [(-lengths[r], i) for i, r in enumerate(rows)],
                "chronological": list(range(len(rows))),
            }
            visits = sorted(range(len(rows)), key=keys[order].__getitem__)
            keep = "order" if order == "similarity" else "mark"
            for i, j in reference.allocate(credit, visits, keep, retry).items():
                result[rows[i]] = credit[i][j]
    return result


def one_longest(batch: StepBatch) -> StepBatch:
    """Keep the groups whose longest success is the only one of its length."""
    kept = []
    for g in np.unique(batch.group):
        lengths = [len(rows_of(batch, e)) for e in np.unique(batch.episode[(batch.group == g) & batch.won])]
        kept += [g] if lengths.count(max(lengths)) == 1 else []
    return batch.take(np.flatnonzero(np.isin(batch.group, kept)))


@pytest.mark.parametrize("order", ["similarity", "length", "chronological"])
@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_shares_equal_the_loop(order: Any, retry: bool, seed: int) -> None:
    batch = one_longest(mixed(seed, groups=6))
    algorithm = SCPO(order=order, on_repeat="next_best" if retry else "skip", threshold=0.3)
    algorithm.matcher = Hashed()
    expected = slow_share(batch, order, 0.3, retry)
    assert sum(value > 0 for value in expected) > 5
    np.testing.assert_allclose(algorithm.bonus(algorithm.match(batch)), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_no_order_beats_the_optimal_one(seed: int) -> None:
    totals = {}
    batch = mixed(seed, groups=6)
    for order in ORDERS:
        algorithm = SCPO(order=order, on_repeat="next_best", threshold=0.3)  # type: ignore[arg-type]
        algorithm.matcher = Hashed()
        found = algorithm.bonus(algorithm.match(batch))
        totals[order] = np.array([found[batch.episode == e].sum() for e in range(30)])
    # "length" keeps no order in time, so it may find more.
    for order in ("similarity", "chronological"):
        assert np.all(totals["optimal"] >= totals[order] - 1e-12)
    assert totals["optimal"].sum() > totals["similarity"].sum()


SETTINGS: list[dict[str, Any]] = [
    {},
    {"order": "optimal"},
    {"order": "length", "scope": "group"},
    {"order": "chronological", "scope": "group", "on_repeat": "next_best"},
    {"scope": "group", "monotone": False},
    {"backbone": "hgpo", "backbone_options": {"history": 1}, "singleton": "bonus"},
    {"backbone": "grpo", "reference": "random"},
    {"std": None, "cap": False, "max_total": 0.5},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(2))
def test_rows_in_any_order_with_other_codes_get_the_same_bits(settings: dict[str, Any], seed: int) -> None:
    batch = mixed(seed)
    # Twins: an episode of each group that is another to the last text.
    twins = np.flatnonzero(np.isin(batch.episode, [e for e in range(15) if e % 5 == 1]))
    doubled = batch.take(np.concatenate([np.arange(len(batch)), twins]))
    doubled = replace(doubled, episode=np.concatenate([batch.episode, batch.episode[twins] + 100]))
    algorithm = SCPO(**settings)
    algorithm.matcher = Hashed()
    before = algorithm.credit(doubled)
    assert before.components["bonus"].any()
    shuffle = np.random.default_rng(seed).permutation(len(doubled))
    other = doubled.take(shuffle)
    other = replace(other, episode=200 - other.episode, group=9 - other.group, anchor=50 - other.anchor)
    after = algorithm.credit(other)
    for name, part in before.components.items():
        assert part[shuffle].tolist() == after.components[name].tolist()
    assert before.advantage[shuffle].tolist() == after.advantage.tolist()
    # Nor does a group change another.
    alone = algorithm.credit(doubled.take(np.flatnonzero(doubled.group == 1)))
    assert alone.advantage.tolist() == before.advantage[doubled.group == 1].tolist()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_laws_of_the_shaped_return(settings: dict[str, Any], seed: int) -> None:
    batch = mixed(seed)
    algorithm = SCPO(**settings)
    algorithm.matcher = Hashed()
    matches = algorithm.match(batch)
    found = algorithm.bonus(matches)
    assert np.all((found >= 0) & (found <= 1))
    assert not found[batch.won].any()
    assert found.any()
    if "max_total" in settings:
        totals = np.bincount(batch.episode, found)
        assert totals.max() == pytest.approx(0.5)
    credit = algorithm.credit(batch)
    backbone = algorithm.backbone
    if "episode" in credit.components:
        assert credit.components["episode"].tolist() == backbone.credit(batch).components["episode"].tolist()
    total = np.sum(list(credit.components.values()), axis=0, dtype=np.float32)
    np.testing.assert_allclose(credit.advantage, total, atol=1e-6)


def test_positions_shared_by_a_group_are_taken_once() -> None:
    batch = replace(group(["a", "b"], ["x"]), episode=np.array([0, 1, 2]), t=np.array([0, 0, 0]))
    scores = {("a", "x"): 0.9, ("b", "x"): 1.0}
    assert share(batch, scores) == [0.8, 1.0, 0.0]
    assert share(batch, scores, scope="group") == [0.0, 1.0, 0.0]
    # Two episodes alike to the last text are one, and divide what it gets.
    twins = replace(batch, actions=("b", "b", "x"))
    assert share(twins, scores, scope="group") == [0.5, 0.5, 0.0]


def test_malformed_steps_get_nothing() -> None:
    batch = group(["a", "b"], ["x", "y"], valid=[False, True, True, True], format_ok=[True, True, True, True])
    scores = {("a", "x"): 1.0, ("b", "y"): 1.0}
    assert share(batch, scores)[:2] == [0.0, 1.0]
    assert share(replace(batch, format_ok=~batch.format_ok), scores)[:2] == [0.0, 0.0]
    assert share(batch, scores, require_valid=False)[:2] == [1.0, 1.0]


def test_shaped_returns_stop_at_the_least_success_of_the_anchor_and_never_fall() -> None:
    returns = np.array([0.75, 0.5, 0.0, 0.0, 0.9])
    bonus = np.array([0.0, 0.0, 0.25, 0.75, 0.25])
    success = np.array([True, True, False, False, False])
    place = np.array([0, 0, 0, 0, 0])
    assert shaped_returns(returns, bonus, success, place).tolist() == [0.75, 0.5, 0.25, 0.5, 0.9]
    assert shaped_returns(returns, bonus, success, None).tolist() == [0.75, 0.5, 0.25, 0.75, 1.15]
    assert shaped_returns(returns, bonus, success, place + success).tolist() == [0.75, 0.5, 0.25, 0.75, 1.15]


def test_bonus_by_hand_on_each_backbone() -> None:
    """Step b is matched with credit 0.6, so that α R r = 0.3; its anchor holds it and a success of return 1."""
    batch = group(["b"], ["x"], anchor=[0, 0])
    scores = {("b", "x"): 0.8}
    for backbone, expected in (("gigpo", [0.15, -0.15]), ("hgpo", [0.15, -0.15]), ("grpo", [0.15, -0.15])):
        algorithm = SCPO(backbone=backbone, std=None)  # type: ignore[arg-type]
        algorithm.matcher = Table(scores)
        assert algorithm.credit(batch).components["bonus"].tolist() == pytest.approx(expected)
    # A graded success earns its score, and a reward scaled by 10 scales the bonus.
    graded = replace(batch, won=np.array([False, False]), score=np.array([0.0, 0.5]))
    algorithm = SCPO(std=None, success_score=0.5, success_reward=10.0, omega=0.5)
    algorithm.matcher = Table(scores)
    assert algorithm.credit(replace(graded, reward=np.array([0.0, 5.0]))).components["bonus"].tolist() == pytest.approx(
        [0.375, -0.375]
    )


def test_a_lone_step_loses_its_bonus_unless_it_is_added_as_it_is() -> None:
    batch = group(["b"], ["x"])  # every row has its own anchor
    lost = SCPO(std=None)
    added = SCPO(std=None, singleton="bonus", omega=0.5)
    for algorithm in (lost, added):
        algorithm.matcher = Table({("b", "x"): 0.8})
    credit = lost.credit(batch)
    assert credit.components["bonus"].tolist() == [0.0, 0.0]
    assert credit.diagnostics["lone_match_share"] == 1.0
    assert credit.diagnostics["matched_row_share"] == 0.5
    assert credit.diagnostics["mean_match_credit"] == pytest.approx(0.6)
    assert added.credit(batch).components["bonus"].tolist() == pytest.approx([0.15, 0.0])


@pytest.mark.parametrize("settings", [{"bonus": 0.0}, {"success_reward": 0.0}])
def test_without_a_bonus_it_is_the_backbone(settings: dict[str, Any]) -> None:
    batch = mixed(0)
    for backbone, plain in BACKBONES.items():
        credit = SCPO(backbone=backbone, **settings).credit(batch)  # type: ignore[arg-type]
        assert credit.advantage.tolist() == plain.credit(batch).advantage.tolist()


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"order='optimal' needs monotone=True and scope='episode'"):
        SCPO(order="optimal", scope="group")
    with pytest.raises(ConfigError, match=r"unknown matcher 'token_overlap'\. Did you mean 'token-overlap'"):
        SCPO(matcher="token_overlap")
    with pytest.raises(ConfigError, match=r"HGPOConfig has no setting 'histroy'"):
        SCPO(backbone="hgpo", backbone_options={"histroy": 2})
    assert SCPO(backbone="hgpo", backbone_options={"history": 4}).backbone.config.history == 4


def test_texts_and_scores_are_checked() -> None:
    batch = group(["a"], ["x"])
    with pytest.raises(AlgorithmError, match="this batch dropped its texts"):
        SCPO().credit(replace(batch, observations=None, actions=None))
    for answer in (np.zeros((2, 2)), np.array([[1.5]]), np.array([[np.nan]])):
        algorithm = SCPO()
        algorithm.matcher = lambda *_, answer=answer: answer  # type: ignore[misc, assignment]
        with pytest.raises(AlgorithmError, match=r"expected \(1, 1\) and values in \[0, 1\]"):
            algorithm.credit(batch)


@pytest.mark.parametrize(("text", "expected"), [("action", {"\na", "\nx"}), ("observation", {"o\n", "p\n"})])
def test_what_of_a_step_is_compared(text: Any, expected: set[str]) -> None:
    algorithm = SCPO(text=text)
    algorithm.matcher = table = Table({})
    algorithm.credit(replace(group(["a"], ["x"]), observations=("o", "p")))
    assert table.asked == expected


def test_presets_and_an_empty_batch() -> None:
    assert get_algorithm("scpo_ours").credit(mixed(0)).components["bonus"].any()
    assert get_algorithm("scpo_bge").config.matcher_options == {"model": "BAAI/bge-reranker-v2-m3"}
    empty = SCPO().credit(make_batch(group=[], episode=[], t=[], reward=[]))
    assert empty.advantage.shape == (0,)


def test_every_law_is_named_once() -> None:
    for kind in (HGPO, SCPO):
        assert kind.laws | set(kind.exemptions) == set(LAWS)
        assert not kind.laws & set(kind.exemptions)


class Kept(SCPO):
    """What SCPO keeps on GiGPO where no bonus is added as it is; it is exempt for other settings only."""

    laws: ClassVar[frozenset[str]] = frozenset(LAWS) - {"truncation"}
    exemptions: ClassVar[Mapping[str, str]] = {"truncation": SCPO.exemptions["truncation"]}


@pytest.mark.parametrize("settings", [{}, {"std": None, "order": "optimal", "base": "rows"}])
def test_on_gigpo_the_exempt_laws_hold_too(settings: dict[str, Any]) -> None:
    check_algorithm(Kept(**settings), max_examples=0, laws=["zero-sum", "lone", "scale"])
