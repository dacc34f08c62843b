"""Experts: plans that win from any state, none longer than the recorded one; searching that uses only what it saw."""

from __future__ import annotations

import json
import lzma
import pickle
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import agentgym
from agentgym.envs.alfworld.engine import Play, World
from agentgym.envs.alfworld.expert import SearchingExpert, plan
from agentgym.envs.alfworld.game import Game, Goal, Item, Receptacle
from agentgym.envs.alfworld.generator import BuiltinGames
from agentgym.envs.alfworld.pddl import game_from_record

STEP_LIMIT = 50


def builtin(split: str = "valid_unseen", preset: str = "default", n: int = 120) -> list[Game]:
    games = BuiltinGames(split, preset)
    return [games.load(task_id) for task_id in games.ids(n)]


def real(folder: Path, split: str, n: int | None = None) -> list[Game]:
    with lzma.open(folder / "alfworld" / f"{split}.jsonl.xz", "rt", encoding="utf-8") as lines:
        rows = list(lines)
    if n is not None:
        rows = [rows[i] for i in sorted(np.random.default_rng(0).choice(len(rows), n, replace=False))]
    return [game_from_record(json.loads(row), split) for row in rows]


def wander(game: Game, rng: np.random.Generator) -> Play:
    """Return a state that random commands lead to."""
    play = Play(World(game))
    for _ in range(rng.integers(1, 40)):
        if play.won:
            break
        play.act(play.admissible[rng.integers(len(play.admissible))])
    return play


def search(game: Game, expert: SearchingExpert) -> tuple[Play, list[str]]:
    play = Play(World(game))
    observation, commands = play.intro(), []
    while not play.won and len(commands) < STEP_LIMIT:
        commands.append(expert.act(play, observation))
        observation, valid = play.act(commands[-1])
        assert valid, (game.id, commands)
    return play, commands


def assert_plans_win(games: list[Game], rng: np.random.Generator, starts: int) -> tuple[int, int]:
    """Follow plans from random states, planning anew each step; return the numbers of states and of hopeless ones."""
    hopeless = 0
    for game in games:
        for _ in range(starts):
            play = wander(game, rng)
            steps = plan(game, play)
            if steps is None:
                hopeless += 1
                kind = game.items[play.held].type
                assert not any((place.type, kind) in game.can_contain for place in game.receptacles)
                continue
            while not play.won:
                before = len(steps)
                assert play.act(steps[0])[1], (game.id, steps)
                steps = plan(game, play)
                assert steps is not None
                assert len(steps) == before - 1, game.id  # a shorter way would show here
            assert steps == []
    return len(games) * starts, hopeless


@pytest.mark.parametrize("preset", ["easy", "default", "hard"])
def test_plans_win_from_any_state_of_built_in_games(preset: str) -> None:
    states, hopeless = assert_plans_win(builtin("train", preset, 40), np.random.default_rng(0), 2)
    assert (states, hopeless) == (80, 0)


@pytest.mark.parametrize(("split", "n"), [("valid_seen", None), ("valid_train", None), ("train", 150)])
def test_plans_win_the_real_games_as_fast_as_the_recorded_ones(agentgym_data: Path, split: str, n: int | None) -> None:
    games = real(agentgym_data, split, n)
    for game in games:
        play = Play(World(game))
        steps = plan(game, play)
        assert steps == plan(game)
        assert steps is not None
        assert game.walkthrough is not None
        assert len(steps) <= len(game.walkthrough)
        for command in steps:
            assert play.act(command)[1]
        assert play.won


def test_plans_win_from_any_state_of_real_games(agentgym_data: Path) -> None:
    states, hopeless = assert_plans_win(real(agentgym_data, "valid_seen"), np.random.default_rng(1), 1)
    assert states == 140
    assert hopeless < 5  # in hand something that this game's rules let nobody put down


@pytest.mark.parametrize("preset", ["easy", "default", "hard"])
def test_searching_wins_built_in_games(preset: str) -> None:
    games = builtin("valid_unseen", preset)
    expert = SearchingExpert()  # one expert, many games: a first observation starts it afresh
    played = [search(game, expert) for game in games]
    assert all(play.won for play, _ in played)
    steps = np.mean([len(commands) for _, commands in played])
    assert np.mean([len(game.walkthrough or ()) for game in games]) + 1.5 < steps < 16


def test_searching_wins_real_games(agentgym_data: Path) -> None:
    played = [search(game, SearchingExpert()) for game in real(agentgym_data, "valid_seen")]
    assert np.mean([play.won for play, _ in played]) >= 0.98
    assert np.mean([len(commands) for _, commands in played]) < 12


def test_searching_knows_nothing_that_it_has_not_seen() -> None:
    # Whatever lies in places it has not looked into must not change what it does: move those things about and compare.
    rng = np.random.default_rng(0)
    compared = 0
    for game in builtin("train", n=60):
        play, commands = search(game, SearchingExpert())
        looked = set()
        observation, shown = Play(World(game)).intro(), []
        replay = Play(World(game))
        for command in commands[:-1]:
            shown.append(observation)
            observation, _ = replay.act(command)
        for text in [*shown, observation]:
            looked |= {r for r, place in enumerate(game.receptacles) if f"On the {place.name}, you see" in text}
            looked |= {r for r, place in enumerate(game.receptacles) if f"The {place.name} is open." in text}
        dark = [r for r in range(len(game.receptacles)) if r not in looked]
        elsewhere = [r for r in dark if game.receptacles[r].type != game.goal.receptacle_type]
        if not elsewhere:
            continue
        compared += 1
        moved = tuple(
            replace(item, receptacles=(int(rng.choice(elsewhere)),)) if item.receptacles[0] in dark else item
            for item in game.items
        )
        _, again = search(replace(game, items=moved), SearchingExpert())
        assert play.won
        assert again == commands
    assert compared > 40


def test_searching_chooses_no_target_for_a_door_it_has_not_seen() -> None:
    item = Item("cup 1", "cup", (2,), (3,))
    first_steps = []
    for doors in ((True, False), (False, True)):
        drawers = [Receptacle(f"drawer {n}", "drawer", n, openable=door) for n, door in zip((2, 1), doors, strict=True)]
        game = room(
            *drawers, Receptacle("desk 1", "desk", 3), items=(item,), goal=Goal("cup", receptacle_type="drawer")
        )
        _, commands = search(game, SearchingExpert({"cup": {"desk": 1000.0}}))
        first_steps.append(commands[:3])
    assert first_steps[0] == first_steps[1]


def test_searching_looks_first_where_it_is_told_that_things_are() -> None:
    game = next(game for game in builtin("train", n=60) if game.task_type == "pick_heat_then_place_in_recep")
    for place in ("fridge", "garbagecan", "countertop"):
        expert = SearchingExpert({game.goal.item_type: {place: 1000.0}})
        play = Play(World(game))
        assert expert.act(play, play.intro()).startswith(f"go to {place}")


def test_searching_gives_up_looking_when_all_is_seen() -> None:
    game = builtin("train", n=1)[0]
    nowhere = replace(game, items=tuple(item for item in game.items if item.type != game.goal.item_type))
    _, commands = search(nowhere, SearchingExpert())
    doors = {place.name for place in game.receptacles if place.openable}
    assert {f"open {name}" for name in doors} <= set(commands)
    assert commands[-1] == "look"


def room(*receptacles: Receptacle, items: tuple[Item, ...], goal: Goal) -> Game:
    pairs = {(place.type, item.type) for place in receptacles for item in items} - {("shelf", "pan")}
    return Game("test/room/0", "Your task is to: win.", receptacles, items, frozenset(pairs), 0, goal)


def after(game: Game, *commands: str) -> Play:
    play = Play(World(game))
    for command in commands:
        assert play.act(command)[1], command
    return play


SINK, SHELF = Receptacle("sinkbasin 1", "sinkbasin", 1), Receptacle("shelf 1", "shelf", 2)
DRAWER, DESK = Receptacle("drawer 1", "drawer", 3, openable=True), Receptacle("desk 1", "desk", 4)
CUP = Item("cup 1", "cup", (2,), (3,), cleanable=True)
PAN = Item("pan 1", "pan", (3,), (4,))
LAMP = Item("desklamp 1", "desklamp", (3,), (4,), pickupable=False, toggleable=True)


def lamp_room() -> Game:
    return room(SINK, SHELF, DRAWER, DESK, items=(CUP, LAMP, PAN), goal=Goal("cup", lamp_type="desklamp"))


def clean_room() -> Game:
    goal = Goal("cup", receptacle_type="shelf", state="clean")
    return room(SINK, SHELF, DRAWER, DESK, items=(CUP, PAN), goal=goal)


FETCH = ["go to drawer 1", "open drawer 1", "take cup 1 from drawer 1"]
CLEAN = ["go to sinkbasin 1", "clean cup 1 with sinkbasin 1"]
SHELVE = ["go to shelf 1", "move cup 1 to shelf 1"]


@pytest.mark.parametrize(
    ("done", "rest"),
    [
        ([], [*FETCH, *CLEAN, *SHELVE]),
        (["go to drawer 1", "open drawer 1"], ["take cup 1 from drawer 1", *CLEAN, *SHELVE]),
        (["go to drawer 1", "open drawer 1", "close drawer 1"], [*FETCH[1:], *CLEAN, *SHELVE]),
        ([*FETCH, *CLEAN], SHELVE),
        ([*FETCH, *SHELVE], ["take cup 1 from shelf 1", *CLEAN, *SHELVE]),
        ([*FETCH, *CLEAN, "move cup 1 to sinkbasin 1"], ["take cup 1 from sinkbasin 1", *SHELVE]),
        # The pan in hand is in the way; it fits in the drawer, which must be opened anyway.
        (
            ["go to desk 1", "take pan 1 from desk 1", "go to shelf 1"],
            [*FETCH[:2], "move pan 1 to drawer 1", FETCH[2], *CLEAN, *SHELVE],
        ),
        ([*FETCH, *CLEAN, *SHELVE], []),
    ],
)
def test_plans_go_on_from_where_things_stand(done: list[str], rest: list[str]) -> None:
    game = clean_room()
    assert plan(game, after(game, *done)) == rest


def test_a_lamp_that_is_on_need_not_be_used_again() -> None:
    game = lamp_room()
    assert plan(game) == [*FETCH, "go to desk 1", "use desklamp 1"]
    lit = after(game, "go to desk 1", "use desklamp 1")
    assert plan(game, lit) == [*FETCH, "go to desk 1"]


def test_what_cannot_be_won_has_no_plan() -> None:
    game = clean_room()
    assert plan(replace(game, items=(replace(CUP, cleanable=False), PAN))) is None
    assert plan(replace(game, items=(PAN,))) is None
    assert plan(replace(game, receptacles=(replace(SINK, type="bin"), SHELF, DRAWER, DESK))) is None
    stuck = replace(game, can_contain=frozenset((place, kind) for place, kind in game.can_contain if kind != "pan"))
    assert plan(stuck, after(stuck, "go to desk 1", "take pan 1 from desk 1")) is None


def test_a_target_at_hand_is_taken_before_others_of_its_type() -> None:
    drawers = tuple(Receptacle(f"drawer {n}", "drawer", n) for n in (2, 1))
    desk = Receptacle("desk 1", "desk", 2)
    goal = Goal("cup", receptacle_type="drawer")
    game = room(*drawers, desk, items=(Item("cup 1", "cup", (2,), (2,)),), goal=goal)
    assert plan(game) == ["go to desk 1", "take cup 1 from desk 1", "move cup 1 to drawer 2"]


def test_what_is_in_the_way_is_put_where_that_costs_least() -> None:
    closet = Receptacle("cabinet 1", "cabinet", 4, openable=True)
    hook = Receptacle("hook 1", "hook", 1)
    items = (Item("cup 1", "cup", (2,), (1,)), Item("pan 1", "pan", (1,), (4,)))
    game = room(closet, DESK, hook, SHELF, items=items, goal=Goal("cup", receptacle_type="shelf"))
    game = replace(game, can_contain=game.can_contain - {("hook", "pan")})
    # Cabinet and desk are both at hand, and the cabinet would have to be opened.
    assert (plan(game, after(game, "go to desk 1", "take pan 1 from desk 1")) or [])[0] == "move pan 1 to desk 1"


def test_two_items_go_into_one_receptacle() -> None:
    shelves = tuple(Receptacle(f"shelf {n}", "shelf", n) for n in (2, 1))
    items = tuple(Item(f"cup {n}", "cup", (place,), (spot,)) for n, place, spot in ((2, 0, 2), (1, 2, 3)))
    game = room(
        *shelves, Receptacle("desk 1", "desk", 3), items=items, goal=Goal("cup", receptacle_type="shelf", count=2)
    )
    # One cup is on shelf 2 already, so that the other has to join it there.
    assert plan(game) == ["go to desk 1", "take cup 1 from desk 1", "go to shelf 2", "move cup 1 to shelf 2"]


@pytest.mark.parametrize("searching", [True, False])
def test_the_environment_offers_its_expert(searching: bool) -> None:
    env = gym.make("ALFWorld-v0", data="builtin", split="valid_unseen")
    for seed in range(12):
        env.reset(seed=seed)
        terminated = truncated = False
        while not (terminated or truncated):
            _, reward, terminated, truncated, _ = env.step(env.unwrapped.expert_action(searching))  # type: ignore[attr-defined]
        assert reward == 1.0


def test_what_it_has_seen_is_part_of_a_snapshot() -> None:
    env, other = (gym.make("ALFWorld-v0", data="builtin", split="valid_unseen") for _ in range(2))
    for seed in range(4):
        env.reset(seed=seed)
        saved, actions, over = [], [], False
        while not over:
            saved.append(pickle.dumps(agentgym.snapshot(env)))
            actions.append(env.unwrapped.expert_action())  # type: ignore[attr-defined]
            _, _, over, _, _ = env.step(actions[-1])
        for number in range(0, len(saved), 3):
            other.reset(seed=99)
            other.unwrapped.expert_action()  # type: ignore[attr-defined]
            agentgym.restore(other, pickle.loads(saved[number]))
            again = []
            for _ in actions[number:]:
                again.append(other.unwrapped.expert_action())  # type: ignore[attr-defined]
                other.step(again[-1])
            assert again == actions[number:]
