"""The parser: what it reads, and that everything else is refused by one clear error, quickly."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.envs.alfworld.engine import Play, World
from agentgym.envs.alfworld.game import Goal
from agentgym.envs.alfworld.pddl import game_from_record, game_from_tree, load_json, parse_problem
from agentgym.errors import GameFileError
from tests.envs.alfworld.problems import GOALS, PROBLEM, RECORD, with_goal


def parse(problem: str) -> Any:
    return parse_problem(problem, where="here", task_id="train/t/x", task="Your task is to: win.")


def test_reads_a_problem() -> None:
    game = parse(PROBLEM)
    assert [r.name for r in game.receptacles] == ["drawer 2", "drawer 1", "fridge 1", "sinkbasin 1"]
    assert [r.type for r in game.receptacles] == ["drawer", "drawer", "fridge", "sinkbasin"]
    assert [r.openable for r in game.receptacles] == [True, True, True, False]
    assert [i.name for i in game.items] == ["apple 1", "bowl 1", "desklamp 1", "egg 1", "knife 1"]
    apple, bowl, lamp, egg, knife = game.items
    assert (apple.receptacles, apple.coolable, apple.sliceable, apple.cool) == ((2,), True, True, True)
    assert (bowl.is_receptacle, bowl.contents) == (True, (3,))
    assert (lamp.toggleable, lamp.pickupable, knife.type, egg.type) == (True, False, "knife", "")
    assert ("fridge", "apple") in game.can_contain
    assert game.goal == Goal("apple", receptacle_type="fridge")
    assert game.receptacles[game.items[4].receptacles[0]].name == "drawer 2"


def test_letter_case_comments_and_white_space_do_not_matter() -> None:
    other = PROBLEM.upper().replace("\n", "  ; a (comment)\n\t")
    assert parse(other) == parse(PROBLEM)


@pytest.mark.parametrize(("formula", "goal"), GOALS.items())
def test_reads_the_six_goals(formula: str, goal: Goal) -> None:
    assert parse(with_goal(formula)).goal == goal
    renamed = formula.replace("?o", "?thing").replace("?r", "?q")
    assert parse(with_goal(renamed)).goal == goal


@pytest.mark.parametrize("formula", GOALS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(inReceptacle", "(wasInReceptacle"),
        ("(objectType", "(isSliced ?o) (objectType"),
        ("(and (exists", "(or (exists"),
        ("?o - object", "?r - object"),
        ("Type)", "Kind)"),
    ],
)
def test_refuses_other_goals(formula: str, old: str, new: str) -> None:
    changed = formula.replace(old, new, 1)
    assert changed != formula
    with pytest.raises(GameFileError, match=r"^here is not a game of ALFWorld: its (goal|type|PDDL)"):
        parse(with_goal(changed))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("(:domain alfred)", "(:domain blocks)", "domain is 'blocks'"),
        ("(atLocation agent1 loc_bar_0)", "", "agent is at 0 locations"),
        ("(atLocation agent1 loc_bar_0)", "(atLocation agent1 loc_bar_0) (atLocation agent1 loc_bar_1)", "at 2"),
        ("(pickupable Apple_bar_1)", "(pickupable Apple_bar_1 Egg_bar_1)", "wrong number of arguments"),
        ("(pickupable Apple_bar_1)", "(edible Apple_bar_1)", "(edible apple_bar_1"),
        ("(pickupable Apple_bar_1)", "(not (pickupable Apple_bar_1))", "(not (pickupable apple_bar_1"),
        ("(pickupable Apple_bar_1)", "(= (total-cost) 0)", "(= (total-cost"),
        ("(pickupable Apple_bar_1)", "()", "'(' where a fact"),
        ("(pickupable Apple_bar_1)", "loose (pickupable Apple_bar_1)", "loose (pickupable"),
        ("(pickupable Apple_bar_1)", "((pickupable Apple_bar_1)", "((pickupable"),
        ("(openable Fridge_bar_1)", "(openable Apple_bar_1)", "'apple_bar_1', which is no receptacle"),
        ("(receptacleAtLocation Fridge_bar_1 loc_bar_3)", "", "'fridge_bar_1' has no location"),
        ("(inReceptacle Apple_bar_1 Fridge_bar_1)", "(inReceptacle Apple_bar_1 Oven_bar_1)", "one is undefined"),
        ("(receptacleType Fridge_bar_1 FridgeType)", "(receptacleType Fridge_bar_1 Cold)", "'cold' does not end"),
        (
            "(receptacleType Fridge_bar_1 FridgeType)",
            "(receptacleType Fridge_bar_1 FridgeType) (receptacleType Fridge_bar_1 SafeType)",
            "two values",
        ),
        ("Apple_bar_1", "apple1", "'apple1' has no '_bar_'"),
    ],
)
def test_refuses_other_facts_and_says_which(old: str, new: str, reason: str) -> None:
    assert old in PROBLEM
    with pytest.raises(GameFileError, match=re.escape(reason)) as error:
        parse(PROBLEM.replace(old, new))
    assert str(error.value).startswith("here is not a game of ALFWorld: ")


@given(cut=st.integers(0, len(PROBLEM.rstrip()) - 1))
def test_every_truncation_is_refused(cut: int) -> None:
    with pytest.raises(GameFileError):
        parse(PROBLEM[:cut])


@given(st.lists(st.tuples(st.integers(0, len(PROBLEM)), st.sampled_from(["(", ")", ";", " ", "x", "\0", "(and", "é"]))))
def test_a_damaged_problem_is_played_or_refused(damage: list[tuple[int, str]]) -> None:
    text = PROBLEM
    for place, junk in damage:
        text = text[:place] + junk + text[place:]
    try:
        game = parse(text)
    except GameFileError:
        return
    play = Play(World(game))
    for command in play.admissible:
        assert play.act(command)[1] or command not in play.admissible


@given(st.text(alphabet="()?:-_ adefhiort\n", max_size=200))
def test_text_that_is_no_problem_is_refused(text: str) -> None:
    with pytest.raises(GameFileError):
        parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["id", "task", "pddl_problem", "walkthrough"]), JSON)
def test_fields_of_wrong_types_are_refused(key: str, value: Any) -> None:
    fine = value is None or (isinstance(value, list) and all(isinstance(x, str) for x in value))
    if (key == "walkthrough" and fine) or (key in ("id", "task") and isinstance(value, str)):
        game_from_record({**RECORD, key: value}, "here")
        return
    with pytest.raises(GameFileError, match=r"^here is not"):
        game_from_record({**RECORD, key: value}, "here")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b'{"id": "a', "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[1, 2]", "JSON list"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b" " * 3_000_000, "3,000,000 bytes"),
    ],
)
def test_hostile_json_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(GameFileError, match=reason):
        load_json(data, "here")


@pytest.mark.parametrize(
    "problem",
    [
        "(" * 500_000,
        "(define (problem x) (:domain alfred) (:objects" + " a" * 500_000,
        with_goal("(and " * 1000 + ")" * 1000),
        with_goal("(and " + "(exists (?o) " * 25 + "(x ?o)" + ")" * 26),
        with_goal("(and " + "(x ?y) " * 100_000 + ")"),
        PROBLEM.replace("(:init", "(:init " + " ".join(f"(pickupable Egg_bar_{i})" for i in range(30_000))),
        PROBLEM.replace("(:init", "(:init" + " " * 1_500_000),
        PROBLEM.replace("(:goal", ")" * 100_000 + "(:goal"),
        PROBLEM + ")" * 100_000,
        PROBLEM + PROBLEM,
    ],
)
def test_hostile_problems_cost_little(problem: str) -> None:
    started = time.process_time()
    message = ""
    try:
        parse(problem)
    except GameFileError as error:
        message = str(error)
    assert len(message) < 400
    assert time.process_time() - started < 2


def test_tree_files_must_bring_the_rules_the_engine_knows(agentgym_data: Any) -> None:
    folder = agentgym_data / "alfworld"
    domain, grammar = (folder / "alfred.pddl").read_text(), (folder / "alfred.twl2").read_text()
    record = {
        "pddl_domain": domain,
        "grammar": grammar.replace("{TASK}", 'Your task is to: put \\"some\\" apple in fridge.'),
        "pddl_problem": PROBLEM,
        "walkthrough": None,
    }
    assert game_from_tree(record, "here", "train/t/x").task == 'Your task is to: put "some" apple in fridge.'
    put = {**record, "grammar": record["grammar"].replace("move {o} to {r}", "put {o} in/on {r}")}
    with pytest.raises(GameFileError, match=r"its grammar is not ALFWorld 0.4's.*backend='textworld'"):
        game_from_tree(put, "here", "train/t/x")
    with pytest.raises(GameFileError, match="its pddl_domain is not"):
        game_from_tree({**record, "pddl_domain": domain.replace("(not (holdsAny ?a))", "")}, "here", "train/t/x")
    with pytest.raises(GameFileError, match="no single task sentence"):
        game_from_tree({**record, "grammar": "{}"}, "here", "train/t/x")
    with pytest.raises(GameFileError, match="'pddl_domain' is missing"):
        game_from_tree({key: value for key, value in record.items() if key != "pddl_domain"}, "here", "train/t/x")


def test_a_packed_line_is_read() -> None:
    game = game_from_record(load_json(json.dumps(RECORD), "here"), "here")
    assert (game.id, game.goal_text, game.walkthrough) == (RECORD["id"], "put some apple on fridge.", ("look",))
