"""The rules on a hand-made game: texts that recorded play seldom reaches, snapshots, and names for states."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.envs.alfworld.engine import NOTHING_HAPPENS, Play, World
from agentgym.envs.alfworld.game import Game, Goal, Item, Receptacle

GAME = Game(
    id="builtin/test/1",
    task="Your task is to: put a clean apple in drawer.",
    receptacles=(
        Receptacle("countertop 1", "countertop", 1),
        Receptacle("drawer 2", "drawer", 2, openable=True),
        Receptacle("drawer 1", "drawer", 2, openable=True, opened=True),
        Receptacle("fridge 1", "fridge", 3, openable=True),
        Receptacle("microwave 1", "microwave", 4, openable=True),
        Receptacle("sinkbasin 1", "sinkbasin", 5),
    ),
    items=(
        Item("apple 1", "apple", (0,), (1,), cleanable=True, heatable=True, coolable=True, sliceable=True),
        Item("bowl 1", "bowl", (0,), (1,), cleanable=True, is_receptacle=True, contents=(0,)),
        Item("cup 1", "cup", (5,), (5,), is_receptacle=True),
        Item("desklamp 1", "desklamp", (0,), (1,), pickupable=False, toggleable=True),
        Item("keychain 1", "keychain", (2, 5), (2,)),
        Item("knife 1", "knife", (2,), (2,)),
        Item("laptop 1", "laptop", (0,), (1,), toggleable=True),
        Item("lightswitch 1", "lightswitch", (), (6,), pickupable=False),
    ),
    can_contain=frozenset({
        *(("countertop", kind) for kind in ("apple", "bowl", "knife", "laptop")),
        *(("drawer", kind) for kind in ("apple", "knife", "keychain")),
        *((kind, "apple") for kind in ("fridge", "microwave", "sinkbasin")),
    }),
    start_location=0,
    goal=Goal("apple", receptacle_type="drawer", state="clean"),
)  # fmt: skip
WORLD = World(GAME)


def play(*commands: str) -> list[str]:
    game = Play(WORLD)
    texts = []
    for command in commands:
        text, valid = game.act(command)
        assert valid == (text != NOTHING_HAPPENS)
        texts.append(text)
    return texts


def test_first_observation() -> None:
    assert Play(WORLD).intro() == (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see a "
        "countertop 1, a drawer 2, a drawer 1, a fridge 1, a microwave 1, and a sinkbasin 1.\n\n"
        "Your task is to: put a clean apple in drawer."
    )
    assert play("look") == ["You are in the middle of a room. Looking quickly around you, you see nothing."]


def test_winning() -> None:
    game = Play(WORLD)
    for command in ("go to countertop 1", "take apple 1 from countertop 1", "go to sinkbasin 1"):
        assert game.act(command)[1]
    assert game.act("clean apple 1 with sinkbasin 1") == ("You clean the apple 1 using the sinkbasin 1.", True)
    game.act("go to drawer 1")
    assert not game.won
    assert game.act("move apple 1 to drawer 1") == ("You move the apple 1 to the drawer 1.", True)
    assert game.won


def test_item_texts() -> None:
    apple = ("go to countertop 1", "take apple 1 from countertop 1", "examine apple 1")
    assert play(*apple)[-1] == "There's nothing special about apple 1."
    texts = play(
        *apple, "go to fridge 1", "cool apple 1 with fridge 1", "examine apple 1", "go to sinkbasin 1",
        "clean apple 1 with sinkbasin 1", "examine apple 1", "go to microwave 1", "heat apple 1 with microwave 1",
        "examine apple 1", "inventory",
    )  # fmt: skip
    assert texts[3] == "You arrive at fridge 1. The fridge 1 is closed."
    assert texts[5] == "This is a cold apple 1."
    assert texts[8] == "This is a cool and clean apple 1."
    assert texts[10] == "You heat the apple 1 using the microwave 1."
    assert texts[11:] == ["This is a hot and clean apple 1.", "You are carrying: a apple 1."]
    sliced = ("go to drawer 1", "take knife 1 from drawer 1", "go to countertop 1", "slice apple 1 with knife 1")
    assert play(*sliced)[-1] == "You sliced the apple 1 with the knife 1."
    after = (*sliced, "move knife 1 to countertop 1", "take apple 1 from countertop 1", "examine apple 1")
    assert play(*after)[-1] == "This is a sliced apple 1."
    assert play(*after, "go to fridge 1", "cool apple 1 with fridge 1", "examine apple 1")[-1] == (
        "This is a cool sliced apple 1."
    )
    assert play(*apple[:1], "take bowl 1 from countertop 1", "examine bowl 1")[-1] == (
        "This is a normal bowl 1. In it, you see a apple 1."
    )
    assert play("go to sinkbasin 1", "take cup 1 from sinkbasin 1", "examine cup 1")[-1] == (
        "This is a normal cup 1. In it, you see nothing."
    )


def test_use_never_switches_off() -> None:
    laptop = ("go to countertop 1", "take laptop 1 from countertop 1", "examine laptop 1")
    assert play(*laptop)[-1] == "There's nothing special about laptop 1."
    used = ("go to countertop 1", "use laptop 1", "use laptop 1", *laptop[1:])
    assert play(*used)[1:3] == ["You turn on the laptop 1."] * 2
    assert play(*used)[-1] == "This laptop 1 is on."


def test_look_remembers_where_things_were_moved_from() -> None:
    moved = ("go to drawer 1", "open drawer 2", "take knife 1 from drawer 1", "move knife 1 to drawer 2", "look")
    assert play(*moved)[-1] == "You are facing the drawer 2, and drawer 1. Next to it, you see a knife 1."
    back = (*moved[:-1], "take knife 1 from drawer 2", "move knife 1 to drawer 1", "look")
    assert play(*back)[-1].endswith("Next to it, you see a knife 1.")
    fresh = ("go to drawer 1", "take knife 1 from drawer 1", "move knife 1 to drawer 1", "look")
    assert play(*fresh)[-1].endswith("Next to it, you see nothing.")
    # Both states have the knife in drawer 1, and differ in what look says: so must their names.
    states = [Play(WORLD), Play(WORLD)]
    for state, commands in zip(states, (back[:-1], ("go to drawer 1", "open drawer 2")), strict=True):
        for command in commands:
            state.act(command)
    assert states[0].contents == states[1].contents
    assert states[0].state_hash != states[1].state_hash


def test_a_thing_in_two_receptacles_leaves_one_when_taken() -> None:
    texts = play("go to drawer 1", "take keychain 1 from drawer 1", "go to sinkbasin 1", "go to drawer 1")
    assert texts[2] == "You arrive at sinkbasin 1. On the sinkbasin 1, you see a cup 1, and a keychain 1."
    assert texts[3] == "You arrive at drawer 1. The drawer 1 is open. In it, you see a knife 1."


def test_receptacles_that_share_a_spot() -> None:
    game = Play(WORLD)
    game.act("go to drawer 2")
    assert not {"go to drawer 1", "go to drawer 2"} & set(game.admissible)
    assert {"close drawer 1", "open drawer 2", "examine drawer 1", "take knife 1 from drawer 1"} <= set(game.admissible)
    assert "take desklamp 1 from countertop 1" not in Play(WORLD).admissible
    assert game.act("close drawer 1")[0] == "You close the drawer 1."
    assert game.act("take knife 1 from drawer 1") == (NOTHING_HAPPENS, False)


@pytest.mark.parametrize(
    "command", ["Look", "LOOK", "go  to fridge 1", "look.", "put apple 1 in/on fridge 1", "", "字"]
)
def test_other_spellings_are_refused_and_change_nothing(command: str) -> None:
    game = Play(WORLD)
    before = game.save()
    assert game.act(command) == (NOTHING_HAPPENS, False)
    assert game.save() == before


@pytest.mark.parametrize("command", [" look", "look\n", "\u00a0look\u2003"])
def test_white_space_around_a_command_is_ignored(command: str) -> None:
    assert Play(WORLD).act(command)[1]


CHOICES = st.lists(st.integers(0, 99), max_size=40)


def wander(choices: list[int], start: Play | None = None) -> Play:
    game = start or Play(WORLD)
    for choice in choices:
        acting = [c for c in game.admissible if not c.startswith(("go", "look", "help", "inv", "exa"))]
        commands = acting if choice % 3 and acting else game.admissible
        game.act(commands[choice // 3 % len(commands)])
    return game


def everything(game: Play) -> tuple[object, ...]:
    texts = []
    for command in game.admissible:
        copy_ = Play(WORLD, game.save())
        texts.append((command, copy_.act(command), copy_.state_hash, copy_.admissible, copy_.won))
    return game.state_text(), game.state_hash, game.admissible, game.won, texts


@given(CHOICES, CHOICES)
def test_a_restored_state_behaves_as_it_did(first: list[int], second: list[int]) -> None:
    game = wander(first)
    saved, before = game.save(), everything(game)
    wander(second, game)
    travelled = pickle.loads(pickle.dumps(saved))
    for state in (saved, copy.deepcopy(saved), travelled):
        game.load(state)
        assert everything(game) == before
    assert copy.deepcopy(saved).world is WORLD
    # A world that travelled is compiled once, whatever number of snapshots came.
    assert pickle.loads(pickle.dumps(saved)).world is travelled.world


@given(CHOICES, CHOICES, CHOICES)
def test_branches_do_not_touch_each_other(trunk: list[int], left: list[int], right: list[int]) -> None:
    game = wander(trunk)
    saved = game.save()
    one, other = Play(WORLD, saved), Play(WORLD, saved)
    wander(left, one)
    after = everything(one)
    wander(right, other)
    assert everything(one) == after
    assert everything(Play(WORLD, saved)) == everything(game)


@given(CHOICES, CHOICES)
def test_equal_states_and_only_they_have_equal_hashes(first: list[int], second: list[int]) -> None:
    one, other = wander(first), wander(second)
    same = one.save()[:-1] == other.save()[:-1]
    assert (one.state_hash == other.state_hash) == same
    assert (one.state_text() == other.state_text()) == same


@given(CHOICES)
def test_equal_hashes_mean_equal_futures(choices: list[int]) -> None:
    game = wander(choices)
    for command in game.admissible:
        there = Play(WORLD, game.save())
        there.act(command)
        if there.state_hash == game.state_hash:
            assert everything(there) == everything(game)


def test_two_ways_to_one_state_give_one_hash() -> None:
    one = wander([])
    other = Play(WORLD)
    for command in ("go to fridge 1", "open fridge 1", "close fridge 1", "go to countertop 1"):
        other.act(command)
    for command in ("take apple 1 from countertop 1", "move apple 1 to countertop 1"):
        other.act(command)
    one.act("go to countertop 1")
    assert one.state_hash == other.state_hash


SCRIPT = """
from tests.envs.alfworld.test_engine import wander
game = wander(list(range(0, 99, 2)))
print(game.state_hash, *game.admissible, sep="|")
"""


def test_hashes_are_the_same_in_every_process() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1", "random")
    }  # fmt: skip
    game = wander(list(range(0, 99, 2)))
    assert printed == {"|".join([game.state_hash, *game.admissible]) + "\n"}


def test_any_text_can_name_a_game() -> None:
    game = Play(World(replace(GAME, id="builtin/\ud800/字")))
    assert game.state_hash != Play(WORLD).state_hash


def test_caches_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentgym.envs.alfworld.world._CACHE_LIMIT", 5)
    world = World(GAME)
    game, same = Play(world), Play(WORLD)
    for choice in range(200):
        command = game.admissible[choice * 7 % len(game.admissible)]
        assert game.act(command) == same.act(command)
        assert len(world.commands) <= 5
    assert game.state_hash == same.state_hash
