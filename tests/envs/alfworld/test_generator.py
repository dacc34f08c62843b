"""Built-in games: splits that never meet, ids that rebuild a game, games the expert wins, a difficulty to choose."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from agentgym.envs.alfworld.engine import Play, World
from agentgym.envs.alfworld.game import TASK_TYPES, Game
from agentgym.envs.alfworld.generator import PRESETS, SPLITS, BuiltinGames, GeneratorConfig
from agentgym.envs.alfworld.rooms import CONTENTS, FURNITURE, ITEMS, KINDS, draw_room
from agentgym.envs.stream import Stream
from agentgym.errors import ConfigError, TaskNotFoundError
from agentgym.identity import text_hash

DRAWS = 400


def census(game: Game) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(r.type for r in game.receptacles).items()))


def layout(game: Game) -> tuple[tuple[str, int, bool], ...]:
    return tuple((r.name, r.location, r.openable) for r in game.receptacles)


def drawn(split: str, config: GeneratorConfig | str = "default", n: int = DRAWS) -> list[Game]:
    games = BuiltinGames(split, config)
    rng = np.random.default_rng(7)
    return [games.load(games.draw(rng)) for _ in range(n)]


@pytest.fixture(scope="module")
def sample() -> dict[str, list[Game]]:
    return {split: drawn(split) for split in SPLITS}


def test_unseen_rooms_are_never_generated_for_training(sample: dict[str, list[Game]]) -> None:
    unseen = {census(game) for game in sample["valid_unseen"]}
    hard_unseen = {census(game) for game in drawn("valid_unseen", "hard", 100)}
    assert len(unseen) > 100
    for split in ("train", "valid_seen", "valid_train"):
        assert not (unseen | hard_unseen) & {census(game) for game in sample[split]}
    for preset in ("easy", "hard"):
        assert not unseen & {census(game) for game in drawn("train", preset, 100)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("receptacles", [(8, 10), (10, 14), (16, 24)])
def test_no_room_is_drawn_on_both_sides(kind: str, receptacles: tuple[int, int]) -> None:
    rooms: dict[bool, set[str]] = {False: set(), True: set()}
    for unseen in rooms:
        stream = Stream(kind, receptacles, unseen)
        for _ in range(400):
            room = draw_room(stream, kind, receptacles, 0.8, unseen)
            assert room is not None
            rooms[unseen].add(room.census)
    assert not rooms[False] & rooms[True]
    assert min(map(len, rooms.values())) >= 5


def test_seen_games_are_new_tasks_in_training_rooms(sample: dict[str, list[Game]]) -> None:
    tasks = {split: {(layout(game), game.goal) for game in games} for split, games in sample.items()}
    assert not tasks["train"] & tasks["valid_seen"]
    assert not tasks["train"] & tasks["valid_train"]
    assert not tasks["valid_seen"] & tasks["valid_train"]
    train_rooms = {layout(game) for game in sample["train"]}
    shared = [layout(game) in train_rooms for game in sample["valid_seen"]]
    assert np.mean(shared) > 0.3  # 400 training games do not visit all 4 x 256 rooms


def test_training_reaches_every_room_of_the_seen_split() -> None:
    config = GeneratorConfig(rooms=2)
    train = {layout(game) for game in drawn("train", config, 200)}
    assert {layout(game) for game in drawn("valid_seen", config, 200)} <= train


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("split", SPLITS)
def test_the_expert_wins_every_game(split: str, preset: str) -> None:
    config = PRESETS[preset]
    games = BuiltinGames(split, preset)
    for task_id in games.ids(60):
        game = games.load(task_id)
        play = Play(World(game))
        assert not play.won
        assert game.walkthrough is not None
        assert config.steps[0] <= len(game.walkthrough) <= config.steps[1]
        for command in game.walkthrough:
            assert not play.won
            assert play.act(command)[1], (task_id, command)
        assert play.won
        assert config.receptacles[0] <= len(game.receptacles) <= config.receptacles[1]
        assert 0.8 * config.items[0] <= len(game.items) <= config.items[1]


def test_the_default_is_as_hard_as_promised(sample: dict[str, list[Game]]) -> None:
    for split, games in sample.items():
        assert {game.task_type for game in games} == set(TASK_TYPES)
        assert np.mean([len(game.walkthrough or ()) for game in games]) >= 6, split
        assert min(len(game.receptacles) for game in games) == 10
        assert max(len(game.receptacles) for game in games) == 14
    evaluation = BuiltinGames("valid_unseen")
    lengths = [len(evaluation.load(task_id).walkthrough or ()) for task_id in evaluation.ids(200)]
    assert np.mean(lengths) >= 6


def test_names_and_types_are_consistent(sample: dict[str, list[Game]]) -> None:
    for game in sample["train"][:300]:
        names = [thing.name for thing in (*game.receptacles, *game.items)]
        assert len(set(names)) == len(names)
        for thing in (*game.receptacles, *game.items):
            assert thing.name.rsplit(" ", 1)[0] == thing.type
        for item in game.items:
            (place,) = item.receptacles
            assert (game.receptacles[place].type, item.type) in game.can_contain
            assert item.locations == (game.receptacles[place].location,)
            if item.type == game.goal.item_type:
                assert game.receptacles[place].type != game.goal.receptacle_type


def test_listing_order_is_types_rising_and_numbers_falling(sample: dict[str, list[Game]]) -> None:
    for game in sample["train"][:100]:
        for things in (game.receptacles, game.items):
            keys = [(thing.type, -int(thing.name.rsplit(" ", 1)[1])) for thing in things]
            assert keys == sorted(keys)


def test_an_id_rebuilds_its_game_in_another_process() -> None:
    ids = [*BuiltinGames("train").ids(3), *BuiltinGames("valid_unseen").ids(3)]
    script = (
        "from agentgym.envs.alfworld.generator import BuiltinGames\n"
        f"for i in {ids!r}:\n"
        "    game = BuiltinGames(i.split('/')[1]).load(i)\n"
        "    print(repr((game.id, game.task, game.receptacles, game.items, game.goal, game.walkthrough)))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    here = "".join(
        repr((g.id, g.task, g.receptacles, g.items, g.goal, g.walkthrough)) + "\n"
        for g in (BuiltinGames(i.split("/")[1]).load(i) for i in ids)
    )
    assert outputs == {here}


def test_the_games_behind_the_ids_are_fixed_for_good() -> None:
    # Changing tables or draws changes what published ids mean: do it knowingly, with an entry in the changelog.
    texts = []
    for split in SPLITS:
        games = BuiltinGames(split)
        for task_id in games.ids(30):
            game = games.load(task_id)
            texts.append(f"{game.task} {layout(game)} {[(i.name, i.receptacles) for i in game.items]}")
    assert text_hash("\n".join(texts)) == "9d3253ee37b5acba7d933f611730ecf6"


def test_ids_deal_the_task_types_in_turn_and_are_all_different() -> None:
    games = BuiltinGames("valid_unseen")
    ids = games.ids(200)
    assert len(set(ids)) == 200
    assert [games.load(task_id).task_type for task_id in ids[:12]] == [*TASK_TYPES, *TASK_TYPES]
    signatures = {(games.load(i).task, layout(games.load(i)), games.load(i).items) for i in ids}
    assert len(signatures) == 200


def test_draw_depends_on_the_generator_alone() -> None:
    games = BuiltinGames()
    assert games.draw(np.random.default_rng(3)) == games.draw(np.random.default_rng(3))
    rng = np.random.default_rng(3)
    assert len({games.draw(rng) for _ in range(100)}) == 100


def test_sentences_read_as_the_original_ones() -> None:
    starts = Counter(game.goal_text.split(" ")[0] for game in drawn("train", n=400))
    assert set(starts) == {"put", "look", "examine", "clean", "heat", "cool", "find"}
    games = BuiltinGames("train")
    game = next(g for g in map(games.load, games.ids(300)) if g.goal_text.startswith("put a clean"))
    assert game.task == f"Your task is to: put a clean {game.goal.item_type} in {game.goal.receptacle_type}."


def test_hidden_and_closed_set_the_difficulty() -> None:
    open_ = drawn("train", GeneratorConfig(closed=0.0, hidden=0.0), 60)
    assert {r.type for game in open_ for r in game.receptacles if r.openable} <= {"fridge", "microwave"}
    hidden = drawn("train", GeneratorConfig(closed=1.0, hidden=1.0), 60)

    def opened(games: list[Game]) -> float:
        return float(np.mean([sum(c.startswith("open") for c in g.walkthrough or ()) for g in games]))

    assert opened(open_) < 0.4 < 0.8 < opened(hidden)


def test_other_configurations_have_ids_and_rooms_of_their_own() -> None:
    easy = BuiltinGames("train", "easy")
    (first,) = easy.ids(1)
    assert first == "builtin/train/easy/0"
    assert easy.load(first).id == first
    assert BuiltinGames("train", replace(PRESETS["easy"])).ids(1) == (first,)
    custom = GeneratorConfig(receptacles=(9, 9), task_types=("look_at_obj_in_light",))
    (own,) = BuiltinGames("train", custom).ids(1)
    assert own.startswith("builtin/train/c")
    assert own == BuiltinGames("train", replace(custom)).ids(1)[0]
    assert BuiltinGames("train", custom).load(own).task_type == "look_at_obj_in_light"


@pytest.mark.parametrize(
    ("task_id", "says"),
    [
        ("builtin/train/x", "such as 'builtin/train/17'"),
        ("builtin/train/007", "such as"),
        ("builtin/train/99999999999", "such as"),
        ("builtin/train/2147483648", "such as"),
        ("train/some/game", "such as"),
        ("builtin/valid_unseen/3", "'builtin/train/3'"),
        ("builtin/train/hard/3", "'builtin/train/3'"),
        ("builtin/train/default/3", "'builtin/train/3'"),
    ],
)
def test_foreign_ids_are_refused(task_id: str, says: str) -> None:
    with pytest.raises(TaskNotFoundError) as caught:
        BuiltinGames("train").load(task_id)
    assert says in str(caught.value)
    assert repr(task_id) in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"task_types": ("look_at_obj",)}, "look_at_obj_in_light"),
        ({"task_types": ()}, "task_types is empty"),
        ({"kinds": ("kitchn",)}, "kitchen"),
        ({"kinds": ("bathroom",)}, "look_at_obj_in_light"),
        ({"receptacles": (4, 6)}, "receptacles=(4, 6)"),
        ({"receptacles": (14, 10)}, "receptacles=(14, 10)"),
        ({"items": (1, 90)}, "items=(1, 90)"),
        ({"hidden": 1.5}, "hidden=1.5"),
        ({"closed": -0.1}, "closed=-0.1"),
        ({"steps": (0, 5)}, "steps=(0, 5)"),
        ({"rooms": 0}, "rooms=0"),
    ],
)
def test_wrong_settings_are_refused_by_name(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=r".") as caught:
        GeneratorConfig(**fields)  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_what_cannot_be_generated_is_refused_not_searched_for_ever() -> None:
    games = BuiltinGames("train", GeneratorConfig(task_types=("pick_and_place_simple",), steps=(20, 30)))
    with pytest.raises(ConfigError, match="steps"):
        games.load(games.ids(1)[0])


def test_unknown_splits_and_presets_are_refused() -> None:
    with pytest.raises(ConfigError, match="valid_unseen"):
        BuiltinGames("valid_unsen")
    with pytest.raises(ConfigError, match="hard"):
        BuiltinGames("train", "hrd")


def test_tables_agree_with_each_other() -> None:
    for kind in KINDS:
        assert set(CONTENTS[kind]) <= set(ITEMS)
        for name in CONTENTS[kind]:
            # Everything has a place in every room, whatever the census.
            always = {place for place, (least, _, _) in FURNITURE[kind].items() if least}
            holders = {place for place, weight in ITEMS[name].places.items() if weight} & set(FURNITURE[kind])
            assert holders, (kind, name)
            if name not in ("television", "teddybear", "handtowel", "wateringcan", "kettle", "winebottle"):
                assert holders & always, (kind, name)
        assert sum(least for least, _, _ in FURNITURE[kind].values()) <= 8
        assert sum(most for _, most, _ in FURNITURE[kind].values()) >= 24
    known = {place for furniture in FURNITURE.values() for place in furniture}
    for name, item in ITEMS.items():
        assert item.places.keys() <= known, name


def test_a_stream_is_raw_words_and_so_the_same_for_ever() -> None:
    stream = Stream("a", 1)
    assert [stream.below(1000) for _ in range(5)] == [656, 420, 393, 893, 218]
    stream = Stream("b")
    picks = Counter(stream.weighted("xyz", (1, 0, 3)) for _ in range(4000))
    assert picks["y"] == 0
    assert 0.2 < picks["x"] / 4000 < 0.3
    order = list(range(20))
    stream.shuffle(order)
    assert sorted(order) == list(range(20)) != order


def test_a_room_that_does_not_exist_is_none() -> None:
    # Eight receptacles are a kitchen's least, so there is one census; it lies on one side only.
    sides = [draw_room(Stream("side"), "kitchen", (8, 8), 1.0, unseen) for unseen in (False, True)]
    assert sum(room is None for room in sides) == 1
