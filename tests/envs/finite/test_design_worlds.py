"""The worlds of reward design are those of the literature; what holds for every finite world is in test_worlds.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentgym.envs.finite import FiniteMDP, build
from agentgym.envs.finite.design_worlds import FourRooms, LineKey, LongChain
from agentgym.errors import ConfigError


def leads(mdp: FiniteMDP, state: str, action: str) -> dict[tuple[str, float], float]:
    """Return (next state, reward) → probability."""
    s, a = mdp.states.index(state), mdp.actions.index(action)
    outcomes = zip(mdp.successor[s, a], mdp.reward[s, a], mdp.probability[s, a], strict=True)
    return {(mdp.states[t], float(reward)): float(chance) for t, reward, chance in outcomes if chance > 0}


def cell(column: int, row: int, end: str = "") -> str:
    return f"column={column}, row={row}, end={end!r}"


def spot(place: int, key: str = "", end: str = "") -> str:
    return f"cell={place}, key={key!r}, end={end!r}"


def link(place: int, end: str = "") -> str:
    return f"link={place}, end={end!r}"


def test_sizes_are_those_of_the_literature() -> None:
    """Ours tell the end with the reward from the end without."""
    assert len(build(FourRooms()).states) == 49 + 2
    assert len(build(FourRooms(repeat=True)).states) == 49 + 1
    assert len(build(LineKey()).states) == 20 + 3
    assert len(build(LongChain(repeat=True)).states) == 61 + 1


def test_four_rooms_have_a_door_between_neighbours() -> None:
    mdp = build(FourRooms(slip=0.0))
    for row in range(7):
        to = cell(3, row) if row in (1, 5) else cell(2, row)
        assert leads(mdp, cell(2, row), "right") == {(to, 0.0): 1.0}
        back = cell(2, row) if row in (1, 5) else cell(3, row)
        assert leads(mdp, cell(3, row), "left") == {(back, 0.0): 1.0}
    for column in range(7):
        to = cell(column, 3) if column in (1, 5) else cell(column, 2)
        assert leads(mdp, cell(column, 2), "up") == {(to, 0.0): 1.0}
    assert leads(mdp, cell(6, 6), "right") == {(cell(6, 6, "won"), 1.0): 1.0}
    assert leads(mdp, cell(0, 0), "down") == {(cell(0, 0, "lost"), 0.0): 1.0}


def test_slips_in_four_rooms_go_where_a_random_action_would() -> None:
    mdp = build(FourRooms(slip=0.2))
    assert leads(mdp, cell(1, 1), "right") == pytest.approx(
        {(cell(2, 1), 0.0): 0.85, (cell(1, 2), 0.0): 0.05, (cell(0, 1), 0.0): 0.05, (cell(1, 0), 0.0): 0.05}
    )
    assert leads(mdp, cell(0, 3), "left") == pytest.approx(  # two walls
        {(cell(0, 3), 0.0): 0.9, (cell(1, 3), 0.0): 0.05, (cell(0, 4), 0.0): 0.05}
    )
    repeated = build(FourRooms(slip=0.2, repeat=True, distractor=0.25))
    assert leads(repeated, cell(6, 6), "right") == pytest.approx(
        {(cell(6, 6), 1.0): 0.9, (cell(5, 6), 1.0): 0.05, (cell(6, 5), 1.0): 0.05}
    )
    assert {reward for _, reward in leads(repeated, cell(1, 0), "up")} == {0.25}
    assert not repeated.won.any()


def test_the_line_pays_for_the_right_key_only() -> None:
    mdp = build(LineKey(decoy=True, distractor=0.25))
    assert leads(mdp, spot(1), "take the golden key") == {(spot(1, "right"), 0.0): 1.0}
    assert leads(mdp, spot(1, "wrong"), "take the golden key") == {(spot(1, "wrong"), 0.0): 1.0}
    assert leads(mdp, spot(2), "take the golden key") == {(spot(2), 0.0): 1.0}
    assert leads(mdp, spot(9, "right"), "right") == {(spot(9, "right", "won"), 1.0): 1.0}
    assert leads(mdp, spot(9, "wrong"), "right") == pytest.approx(
        {(spot(9, "wrong"), 0.25): 0.9, (spot(8, "wrong"), 0.25): 0.1}
    )
    assert leads(mdp, spot(9, "right"), "left") == pytest.approx(
        {(spot(8, "right"), 0.0): 0.9, (spot(9, "right", "lost"), 0.0): 0.1}
    )
    assert leads(mdp, spot(0), "left") == pytest.approx({(spot(0, end="lost"), 0.0): 0.9, (spot(1), 0.0): 0.1})
    assert leads(mdp, spot(0, "right"), "left") == pytest.approx(
        {(spot(0, "right"), 0.0): 0.9, (spot(1, "right"), 0.0): 0.1}
    )


def test_the_chain_has_its_distractor_on_the_wrong_way() -> None:
    mdp = build(LongChain(ahead=3, behind=5, slip=0.5, distractor=0.25, distractor_at=2, repeat=True))
    assert mdp.states[mdp.start[0]] == link(5)
    assert leads(mdp, link(3), "left") == {(link(2), 0.25): 0.75, (link(4), 0.25): 0.25}
    assert leads(mdp, link(8), "right") == {(link(8), 1.0): 0.75, (link(7), 1.0): 0.25}
    assert leads(mdp, link(0), "left") == {(link(0, "lost"), 0.0): 0.75, (link(1), 0.0): 0.25}
    paid = np.argwhere(mdp.reward.max(-1) > 0)
    assert len(paid) == 2


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: FourRooms(size=4), "size=4"),
        (lambda: FourRooms(slip=1.0), "slip=1.0"),
        (lambda: FourRooms(distractor=1.0), "distractor=1.0"),
        (lambda: LineKey(length=3), "length=3"),
        (lambda: LongChain(ahead=0), "ahead=0"),
        (lambda: LongChain(behind=0), "behind=0"),
        (lambda: LongChain(distractor=0.1, distractor_at=41), "distractor_at=41"),
    ],
)
def test_sizes_out_of_range_are_refused_by_name(make: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        make()
