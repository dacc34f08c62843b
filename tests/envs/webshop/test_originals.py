"""Catalogues from folders that a user may have: complete, without extras, broken."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentgym.envs.webshop import originals
from agentgym.envs.webshop.env import WebShopEnv
from agentgym.envs.webshop.nouns import Tagger, plain_nouns
from agentgym.envs.webshop.originals import read_catalogue
from agentgym.envs.webshop.sources import find_data, source_text
from agentgym.errors import ConfigError, DataError

MUG, CUP = "B000000001", "B000000002"
PRODUCTS = [
    {"asin": MUG, "name": "Red Mug", "pricing": "$5.00", "customization_options": {"Color": [{"value": "Red"}]}},
    {"asin": "nan", "name": "nothing"},
    {"asin": CUP, "name": "Tea Cup", "pricing": "$7.00"},
    {"asin": MUG, "name": "the same again"},
]
ATTRIBUTES = {
    MUG: {"attributes": ["big"], "instruction": "Find me mugs", "instruction_attributes": ["big"]},
    CUP: {"attributes": ["small"], "instruction": None},
    "B000000009": {
        "attributes": ["gone"],
        "instruction": "Find me what is sold out",
        "instruction_attributes": ["gone"],
    },
}
HUMAN = {CUP: [{"instruction": "a cup.", "instruction_attributes": ["small"], "instruction_options": ["red"]}]}
NOUNS = {MUG: ["mug"], CUP: ["tea", "cup"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of the original's small catalogue."""
    put(tmp_path / "items_shuffle_1000.json", PRODUCTS)
    put(tmp_path / "items_ins_v2_1000.json", ATTRIBUTES)
    return tmp_path


@pytest.fixture(autouse=True)
def untagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "find_tagger", lambda: None)


def put(path: Path, value: Any) -> None:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def test_the_originals_folder(folder: Path) -> None:
    catalogue = read_catalogue(folder / "items_shuffle_1000.json")
    assert (catalogue.name, len(catalogue), catalogue.exact_nouns) == ("small", 2, False)
    assert [catalogue.product(number).title for number in range(2)] == ["Red Mug", "Tea Cup"]
    assert catalogue.nouns(0) == plain_nouns("Red Mug")
    assert [request.text for request in catalogue.requests("synthetic")] == ["Find me mugs"]
    with pytest.raises(IndexError):
        catalogue.product(-1)


def test_an_environment_over_it_says_that_rewards_are_near(folder: Path) -> None:
    split = next(split for split in ("train", "validation", "test") if _has_goals(folder, split))
    env = WebShopEnv(split, folder)
    _, info = env.reset(seed=0)
    assert info["task_id"] == f"small/{split}/0"
    assert not info["reward_exact"]
    for action in ("search[mug]", f"click[{MUG.lower()}]", "click[red]"):
        env.step(action)
    _, reward, terminated, _, info = env.step("click[buy now]")
    assert (reward, terminated, info["won"]) == (1.0, True, True)


def _has_goals(folder: Path, split: str) -> bool:
    try:
        WebShopEnv(split, folder)
    except ConfigError as error:
        assert "has no goal in" in str(error)  # noqa: PT017 - one goal lies in one split
        return False
    return True


def test_extras_beside_the_catalogue(folder: Path) -> None:
    put(folder / "items_human_ins.json", HUMAN)
    put(folder / "title_nouns_1k_spacy3.8.json", NOUNS)
    review = {"title": "Good", "stars": "5.0", "review": "Yes."}
    put(folder / "reviews.json", [{"asin": CUP, "average_rating": 4.5, "reviews": [review]}])
    catalogue = read_catalogue(folder / "items_shuffle_1000.json")
    assert catalogue.exact_nouns
    assert catalogue.nouns(1) == ("tea", "cup")
    assert (catalogue.product(1).rating, len(catalogue.product(1).reviews)) == ("4.5", 1)
    assert [request.text for request in catalogue.requests("human")] == ["a cup"]


def test_nouns_on_file_for_some_products_are_used_for_those(folder: Path) -> None:
    put(folder / "title_nouns_1k_spacy3.8.json", {MUG: []})
    catalogue = read_catalogue(folder / "items_shuffle_1000.json")
    assert (catalogue.nouns(0), catalogue.nouns(1), catalogue.exact_nouns) == ((), ("tea", "cup"), False)


@pytest.mark.parametrize("exact", [True, False])
def test_the_originals_tagger_makes_rewards_exact(folder: Path, monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    tagger = Tagger(lambda title: [SimpleNamespace(text=title, pos_="NOUN")], exact)
    monkeypatch.setattr(originals, "find_tagger", lambda: tagger)
    catalogue = read_catalogue(folder / "items_shuffle_1000.json")
    assert (catalogue.nouns(0), catalogue.exact_nouns) == (("red mug",), exact)


def test_a_catalogue_of_ones_own(folder: Path) -> None:
    (folder / "items_shuffle_1000.json").rename(folder / "mine.json")
    assert read_catalogue(folder / "mine.json").name == "own"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("items_shuffle_1000.json", '[{"asin"', "is truncated or not JSON"),
        ("items_shuffle_1000.json", "\x00", "is truncated or not JSON"),
        ("items_shuffle_1000.json", "[" * 100_000, "is truncated or not JSON"),
        ("items_shuffle_1000.json", {}, "must hold a list of products, not dict"),
        ("items_shuffle_1000.json", [], "holds no product"),
        ("items_shuffle_1000.json", [1], "product 0 is not an object but int"),
        ("items_ins_v2_1000.json", [], "must hold an object with an entry for each product, not list"),
        ("items_ins_v2_1000.json", {MUG: []}, "is not an object but list"),
        ("reviews.json", {}, "must hold a list of objects with an 'asin'"),
        ("reviews.json", [{"asin": MUG, "reviews": 3}], "'reviews' must be a list of reviews"),
        ("title_nouns_1k_spacy3.8.json", {MUG: "mug"}, f"the nouns of '{MUG}' must be a list of texts"),
    ],
)
def test_broken_files(folder: Path, name: str, content: Any, message: str) -> None:
    put(folder / name, content)
    with pytest.raises(DataError, match=message):
        read_catalogue(folder / "items_shuffle_1000.json")


def test_broken_archives(tmp_path: Path) -> None:
    path = tmp_path / "products_1k_processed.json.xz"
    path.write_bytes(b"this is not an xz archive")
    with pytest.raises(DataError, match="is not a readable xz archive"):
        read_catalogue(path)
    path.write_bytes(lzma.compress(b"[]" * 1000)[:-20])
    with pytest.raises(DataError, match="is cut off"):
        read_catalogue(path)


def test_files_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read_catalogue(folder / "items_shuffle_1000.json")


def test_a_missing_file_of_attributes(folder: Path) -> None:
    (folder / "items_ins_v2_1000.json").unlink()
    with pytest.raises(ConfigError, match=r"items_ins_v2_1000\.json is missing beside"):
        read_catalogue(folder / "items_shuffle_1000.json")


def test_what_does_not_fit_the_memory_is_to_be_indexed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "_MOST_BYTES", 10)
    with pytest.raises(ConfigError, match="index it once: agentgym webshop-index"):
        read_catalogue(folder / "items_shuffle_1000.json")


def test_missing_human_goals(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"items_human_ins\.json or items_human_ins_1k\.json is missing"):
        WebShopEnv(data=folder, goals="human")


def test_the_source_in_words(folder: Path) -> None:
    assert source_text(folder) == f"in the original's catalogue from {folder / 'items_shuffle_1000.json'}"
    assert source_text("builtin").startswith("in a built-in shop (task ids builtin/...)")


def test_the_small_catalogue_comes_before_the_index_of_a_large_one(folder: Path) -> None:
    put(folder / "items_shuffle.json", [])
    assert find_data(folder) == folder / "items_shuffle_1000.json"
    (folder / "items_shuffle_1000.json").unlink()
    assert find_data(folder) == folder / "items_shuffle.json"
    (folder / "index").mkdir()
    assert find_data(folder) == folder / "items_shuffle.json"
    put(folder / "index" / "manifest.json", {})
    assert find_data(folder) == find_data(folder / "index") == folder / "index"
