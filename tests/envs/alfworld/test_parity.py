"""The native engine against the original: recorded transcripts, walkthroughs, fresh random play."""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentgym.envs.alfworld.engine import Play, World
from agentgym.envs.alfworld.game import KNIVES
from agentgym.envs.alfworld.pddl import game_from_record
from agentgym.envs.alfworld.sources import RealGames, open_games, world_of


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


@pytest.mark.parametrize("split", ["train", "valid_seen"])
def test_transcripts_of_the_original(agentgym_data: Path, split: str) -> None:
    games = open_games(split, agentgym_data)
    states = 0
    for transcript in lines(agentgym_data / "golden" / f"alfworld_{split}.jsonl.xz"):
        play = Play(world_of(games, transcript["game"]))
        assert play.intro() == transcript["reset"]
        assert list(play.admissible) == transcript["admissible"]
        for number, step in enumerate(transcript["steps"]):
            known = step["cmd"] in play.admissible
            observation, valid = play.act(step["cmd"])
            place = (transcript["game"], transcript["run"], number)
            assert observation == step["obs"], place
            assert list(play.admissible) == step["admissible"], place
            assert (play.won, valid) == (step["won"], known), place
            assert (play.won, int(play.won)) == (step["done"], step["score"]), place
            states += 1
    assert states > 2000


@pytest.mark.parametrize(("split", "count"), [("train", 3553), ("valid_seen", 140), ("valid_train", 200)])
def test_every_walkthrough_wins_with_its_last_command(agentgym_data: Path, split: str, count: int) -> None:
    games = 0
    for record in lines(agentgym_data / "alfworld" / f"{split}.jsonl.xz"):
        game = game_from_record(record, split)
        assert game.task_type == game.id.split("/")[1].split("-")[0]
        assert game.walkthrough
        play = Play(World(game))
        for command in game.walkthrough:
            assert not play.won, game.id
            assert play.act(command)[1], (game.id, command)
        assert play.won, game.id
        games += 1
    assert games == count


@pytest.mark.textworld
@pytest.mark.filterwarnings("ignore")
def test_fresh_random_play_against_the_original(agentgym_data: Path) -> None:
    pytest.importorskip("textworld")
    pytest.importorskip("alfworld")
    from agentgym.envs.alfworld.textworld_backend import OriginalEngine

    games = open_games("valid_seen", agentgym_data)
    assert isinstance(games, RealGames)
    engine = OriginalEngine(games)
    rng = random.Random()
    for task_id in rng.sample(games.ids, 2):
        ours, theirs = Play(world_of(games, task_id)), engine.start(games.load(task_id))
        assert ours.intro() == theirs.intro()
        commands = []
        for _ in range(25):
            assert (ours.admissible, ours.won) == (theirs.admissible, theirs.won), (task_id, commands)
            odd = rng.choice(["", "LOOK", " look\n", "go  to bed 1", "xyzzy", "é 字"])
            commands.append(rng.choice(ours.admissible) if rng.random() < 0.8 else odd)
            assert ours.act(commands[-1]) == theirs.act(commands[-1]), (task_id, commands)


def treatments(world: World) -> list[str]:
    """Return commands that slice what can be sliced, then heat, cool, clean and examine what was."""
    play, commands = Play(world), []

    def do(*wanted: str) -> None:
        for command in wanted:
            if play.act(command)[1]:
                commands.append(command)

    def visit(place: int) -> str:
        name = world.receptacle_names[place]
        do(f"go to {name}", f"open {name}")
        return name

    def put_down(name: str) -> None:
        for place in range(len(world.place)):
            if play.held >= 0:
                do(f"move {name} to {visit(place)}")

    items = [(item.name, item) for item in world.game.items if item.receptacles]
    knife, tool = next((name, item) for name, item in items if item.type in KNIVES)
    food = [(name, item) for name, item in items if item.sliceable]
    do(f"take {knife} from {visit(tool.receptacles[0])}")
    for name, item in food:
        visit(item.receptacles[0])
        do(f"slice {name} with {knife}")
    put_down(knife)
    for name, item in food[:2]:
        do(f"take {name} from {visit(item.receptacles[0])}", f"examine {name}")
        for verb, kind in (("cool", "fridge"), ("heat", "microwave"), ("clean", "sinkbasin"), ("cool", "fridge")):
            for place, receptacle in enumerate(world.game.receptacles):
                if receptacle.type == kind:
                    do(f"{verb} {name} with {visit(place)}", f"examine {name}", "inventory")
        put_down(name)
        do("look")
    return commands


@pytest.mark.textworld
@pytest.mark.filterwarnings("ignore")
def test_treatments_against_the_original(agentgym_data: Path) -> None:
    pytest.importorskip("textworld")
    pytest.importorskip("alfworld")
    from agentgym.envs.alfworld.textworld_backend import OriginalEngine

    games = open_games("valid_seen", agentgym_data, ["pick_heat_then_place_in_recep"])
    assert isinstance(games, RealGames)
    world = next(world for world in (world_of(games, task) for task in games.ids) if world.knives)
    ours, theirs = Play(world), OriginalEngine(games).start(world.game)
    commands = treatments(world)
    assert {command.split()[0] for command in commands} >= {"slice", "heat", "cool", "clean", "examine", "move", "look"}
    for command in commands:
        assert ours.act(command) == theirs.act(command), command
        assert (ours.admissible, ours.won) == (theirs.admissible, theirs.won), command
