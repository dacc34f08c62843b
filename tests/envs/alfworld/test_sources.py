"""Where games are found: packed archives, the original tree, environment variables, the built-in generator."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.envs.alfworld import pddl
from agentgym.envs.alfworld.sources import RealGames, find_folder, open_games, source_text, world_of
from agentgym.errors import ConfigError, GameFileError, TaskNotFoundError
from tests.envs.alfworld.problems import RECORD

PLACE = "pick_and_place_simple-Apple-None-Fridge-1"
CLEAN = "pick_clean_then_place_in_recep-Apple-None-Fridge-1"
GRAMMAR = 'grammar :: """{"task": [{"rhs": "Your task is to: win."}]}"""'


@pytest.fixture(autouse=True)
def no_data_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTGYM_DATA", raising=False)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)


def pack(path: Path, *records: dict[str, Any] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_bytes(lzma.compress("\n".join(lines).encode() + b"\n"))
    return path


def record(task: str, trial: str = "trial_1", split: str = "train") -> dict[str, Any]:
    return {**RECORD, "id": f"{split}/{task}/{trial}"}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return ALFWORLD_DATA as alfworld-download fills it."""
    rules = {"pddl_domain": "the domain", "grammar": GRAMMAR}
    known = {"pddl_domain": pddl.rules_digest("the domain"), "grammar": pddl.rules_digest(_without_task(GRAMMAR))}
    monkeypatch.setattr(pddl, "_RULES", known)
    for split, task, solvable in [
        ("train", PLACE, True),
        ("train", CLEAN, True),
        ("train", "pick_two_obj_and_place-Apple-None-Fridge-2", False),
        ("train", "look_at_obj_in_light-AppleSliced-None-DeskLamp-3", True),
        ("train", "pick_and_place_with_movable_recep-Apple-Bowl-Fridge-4", True),
        ("valid_unseen", PLACE, True),
    ]:
        folder = tmp_path / "json_2.1.1" / split / task / "trial_1"
        folder.mkdir(parents=True)
        game = {**rules, "pddl_problem": RECORD["pddl_problem"], "walkthrough": ["look"], "solvable": solvable}
        (folder / "game.tw-pddl").write_text(json.dumps(game), encoding="utf-8")
    return tmp_path


def _without_task(grammar: str) -> str:
    return grammar.replace('"Your task is to: win."', "")


def test_archives_are_found_at_every_level(tmp_path: Path) -> None:
    archive = pack(tmp_path / "alfworld" / "train.jsonl.xz", record(PLACE), record(CLEAN))
    for data in (tmp_path, tmp_path / "alfworld", archive, str(archive)):
        games = open_games("train", data)
        assert games.ids == (f"train/{PLACE}/trial_1", f"train/{CLEAN}/trial_1")
        assert games.load(games.ids[1]).id == games.ids[1]
        assert open_games("train", data, ["pick_clean_then_place_in_recep"]).ids == games.ids[1:]


def test_the_original_tree_is_found_at_every_level(tree: Path) -> None:
    inner = tree / "json_2.1.1"
    for data in (tree, inner, inner / "train"):
        games = open_games("train", data)
        # What the original's loader leaves out is left out: unsolvable, sliced and movable.
        assert games.ids == (f"train/{PLACE}/trial_1", f"train/{CLEAN}/trial_1")
        game = games.load(games.ids[0])
        assert (game.id, game.task, game.walkthrough) == (games.ids[0], "Your task is to: win.", ("look",))
    assert open_games("valid_unseen", tree).ids == (f"valid_unseen/{PLACE}/trial_1",)
    trial = inner / "valid_unseen" / PLACE / "trial_1"
    for data in (trial.parent, trial, trial / "game.tw-pddl"):
        assert open_games("train", data).ids == (f"valid_unseen/{PLACE}/trial_1",)
    with pytest.raises(ConfigError, match=r"split 'train' in .*/valid_unseen; there are: valid_unseen"):
        open_games("train", inner / "valid_unseen")


def test_environment_variables_and_their_order(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_games().ids is None
    assert "built-in games" in source_text()
    assert "alfworld-download" in source_text()
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    assert find_folder(None) is None
    monkeypatch.setenv("ALFWORLD_DATA", str(tree))
    assert find_folder(None) == tree
    assert source_text() == f"real ALFWorld games from {tree} (splits: train, valid_unseen)"
    packed = pack(tmp_path / "packed" / "alfworld" / "train.jsonl.xz", record(PLACE, "trial_9"))
    monkeypatch.setenv("AGENTGYM_DATA", str(packed.parents[1]))
    assert open_games().ids == (f"train/{PLACE}/trial_9",)
    assert open_games(data="builtin").ids is None


def test_a_missing_split_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path / "train.jsonl.xz", record(PLACE))
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=r"'valid_unseen'.*there are: train.*alfworld-download.*ALFWORLD_DATA"):
        open_games("valid_unseen")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid_sen"}, "Did you mean 'valid_seen'"),
        ({"task_types": ["pick_and_place"]}, "Did you mean 'pick_and_place_simple'"),
        ({"task_types": "pick_two_obj_and_place"}, r"write \['pick_two_obj_and_place'\]"),
        ({"data": "nowhere"}, "data='nowhere' does not exist"),
        ({"difficulty": "eazy"}, "Did you mean 'easy'"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_games(**arguments)


def test_difficulty_is_for_builtin_games(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="difficulty='hard' is for built-in games"):
        open_games("train", pack(tmp_path / "train.jsonl.xz", record(PLACE)), difficulty="hard")


def test_no_game_of_the_task_types(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no game of the task types pick_two_obj_and_place"):
        open_games("train", pack(tmp_path / "train.jsonl.xz", record(PLACE)), ["pick_two_obj_and_place"])


def test_unknown_tasks_come_with_the_nearest_names(tmp_path: Path) -> None:
    games = open_games("train", pack(tmp_path / "train.jsonl.xz", record(PLACE), record(CLEAN)))
    with pytest.raises(TaskNotFoundError, match=f"Did you mean 'train/{PLACE}/trial_1'"):
        games.load(f"train/{PLACE}/trial_2")


def test_builtin_games_keep_to_the_task_types() -> None:
    games = open_games(data="builtin", task_types=["look_at_obj_in_light"])
    rng = np.random.default_rng(0)
    drawn = [games.draw(rng) for _ in range(5)]
    assert {games.load(task).task_type for task in drawn} == {"look_at_obj_in_light"}
    assert all(task.startswith("builtin/train/") for task in drawn)


def test_environments_share_the_index_and_the_worlds(tmp_path: Path) -> None:
    archive = pack(tmp_path / "train.jsonl.xz", record(PLACE))
    games, again = open_games("train", archive), open_games("train", archive)
    assert games is again
    assert world_of(games, f"train/{PLACE}/trial_1") is world_of(again, f"train/{PLACE}/trial_1")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is cut off"),
        (b"not xz at all", "not a readable xz archive"),
        (cut(lzma.compress(json.dumps(record(PLACE)).encode())), "is cut off"),
        (
            lzma.compress(json.dumps(record(PLACE)).encode(), check=lzma.CHECK_CRC64)[:-20] + b"\0" * 20,
            "not a readable",
        ),
        (lzma.compress(b"0" * 20_000_000, preset=0), "a line has at most 2,000,000 bytes"),
        (lzma.compress(b"[1]\n"), "line 1 is not a game of ALFWorld: it holds a JSON list"),
        (lzma.compress(b'{"name": 1}\n'), "line 1 is not a game of ALFWorld: its id is None"),
        (lzma.compress(b'{"id": "x"}\n'), "its id is 'x', not split/task/trial"),
        (lzma.compress(b'{"id": "a/b-c/d"}\n{"id": "a/b-c/d"}\n'), "line 2 has the same id as .* line 1"),
    ],
)
def test_bad_archives_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "train.jsonl.xz"
    path.write_bytes(data)
    with pytest.raises(GameFileError, match=reason) as error:
        open_games("train", path)
    assert str(path) in str(error.value)


def test_a_bad_game_is_refused_when_it_is_asked_for(tmp_path: Path) -> None:
    bad = {**record(CLEAN), "pddl_problem": "(define (problem x)"}
    games = open_games("train", pack(tmp_path / "train.jsonl.xz", record(PLACE), bad))
    assert games.load(f"train/{PLACE}/trial_1").goal.item_type == "apple"
    with pytest.raises(GameFileError, match=r"train.jsonl.xz line 2 is not a game of ALFWorld: its PDDL"):
        games.load(bad["id"])


def test_a_bad_tree_file_names_itself(tree: Path) -> None:
    file = tree / "json_2.1.1" / "train" / PLACE / "trial_1" / "game.tw-pddl"
    games = open_games("train", tree)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(GameFileError, match=r"game.tw-pddl is not a game of ALFWorld: it is not JSON, or was cut off"):
        games.load(f"train/{PLACE}/trial_1")
    file.unlink()
    with pytest.raises(GameFileError, match=r"game.tw-pddl cannot be read"):
        games.load(f"train/{PLACE}/trial_1")


def test_the_real_archives(agentgym_data: Path) -> None:
    games = open_games("valid_seen", agentgym_data)
    assert isinstance(games, RealGames)
    assert len(games.ids) == 140
    assert len(open_games("valid_seen", agentgym_data, ["pick_heat_then_place_in_recep"]).ids or ()) == 16
