"""The index on disk gives what the catalogue in memory gives, and refuses what is broken."""

from __future__ import annotations

import copy
import itertools
import json
import lzma
import multiprocessing
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import agentgym
from agentgym.cli import app
from agentgym.envs.webshop.catalogue import MemoryCatalogue
from agentgym.envs.webshop.env import WebShopEnv
from agentgym.envs.webshop.generator import PRESETS, stock_of
from agentgym.envs.webshop.index import MappedCatalogue, open_index
from agentgym.envs.webshop.indexing import Item, build_index, write_index
from agentgym.envs.webshop.products import Catalogue, Product
from agentgym.envs.webshop.search import document_text
from agentgym.errors import ConfigError, DataError

FILES = ("items_shuffle_1000.json", "items_ins_v2_1000.json", "items_human_ins_1k.json", "title_nouns_1k_spacy3.8.json")
STOCK = stock_of(PRESETS["default"])


def index_of_stock(folder: Path) -> MappedCatalogue:
    items = (Item(product, nouns) for product, nouns in zip(STOCK.products, STOCK.nouns, strict=True))
    write_index(folder, items, name="stock", exact_nouns=lambda: True)
    return open_index(str(folder))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[MappedCatalogue, MemoryCatalogue]:
    mapped = index_of_stock(tmp_path_factory.mktemp("stock") / "index")
    return mapped, MemoryCatalogue("stock", STOCK.products, STOCK.nouns.__getitem__, exact_nouns=True)


@pytest.fixture(scope="module")
def real(agentgym_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index of the small catalogue, with its files beside it."""
    folder = tmp_path_factory.mktemp("small")
    for name in FILES:
        (folder / name).symlink_to(agentgym_data / "webshop" / name)
    return build_index(folder)


def sessions(agentgym_data: Path) -> Iterator[dict[str, Any]]:
    with lzma.open(agentgym_data / "golden" / "webshop_sessions.jsonl.xz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


# The same answers -----------------------------------------------------------------------------------------------------


def test_it_is_a_catalogue(pair: tuple[MappedCatalogue, MemoryCatalogue]) -> None:
    mapped, memory = pair
    assert isinstance(mapped, Catalogue)
    assert (mapped.name, mapped.exact_nouns, len(mapped)) == ("stock", True, len(memory))
    mapped.verify()
    for number in range(len(memory)):
        product = memory.product(number)
        assert mapped.product(number) == product
        assert mapped.nouns(number) == memory.nouns(number)
        assert mapped.index_of(product.asin) == number
    for field in ("query", "category"):
        for value in {getattr(product, field) for product in STOCK.products} | {"nothing"}:
            assert mapped.listing(field, value) == memory.listing(field, value)


def test_what_is_not_there(pair: tuple[MappedCatalogue, MemoryCatalogue]) -> None:
    mapped, _ = pair
    for number in (-1, len(mapped)):
        with pytest.raises(IndexError):
            mapped.product(number)
    for asin in ("", "A", "ZZZZZZZZZZ", "\ud800"):
        with pytest.raises(KeyError):
            mapped.index_of(asin)


WORDS = sorted({word for product in STOCK.products for word in document_text(product).split()})


@given(
    words=st.lists(st.sampled_from(WORDS) | st.text(st.characters(), max_size=4), max_size=30),
    limit=st.sampled_from([1, 2, 10, 50, 2000]),
)
def test_searches_agree_with_memory(
    pair: tuple[MappedCatalogue, MemoryCatalogue], words: list[str], limit: int
) -> None:
    mapped, memory = pair
    assert mapped.search(" ".join(words), limit) == memory.search(" ".join(words), limit)


def invented(number: int, rng: random.Random) -> Product:
    words = [f"w{int(2000 * rng.random() ** 4)}" for _ in range(rng.randint(1, 60))]
    return Product(f"B{number * 7919 % 99991:09d}", " ".join(words), "q", "c", "p")


def test_searches_agree_where_lists_are_long_and_uneven(tmp_path: Path) -> None:
    """Thousands of products and words by a power law: bounds cut in, ties abound."""
    rng = random.Random(0)
    products = [invented(number, rng) for number in range(2500)]
    write_index(tmp_path / "index", (Item(p, ()) for p in products), name="x", exact_nouns=lambda: False)
    mapped = MappedCatalogue(tmp_path / "index")
    memory = MemoryCatalogue("x", products, lambda _: (), exact_nouns=False)
    for _ in range(100):
        query = " ".join(f"w{int(2000 * rng.random() ** rng.choice((1, 4)))}" for _ in range(rng.randint(1, 15)))
        assert mapped.search(query, 50) == memory.search(query, 50)


def test_recorded_searches_agree(agentgym_data: Path, real: Path) -> None:
    mapped, memory = open_index(str(real)), WebShopEnv(data=agentgym_data)._shop.catalogue
    queries = {
        step["action"][7:-1]
        for session in sessions(agentgym_data)
        for step in session["steps"]
        if step["action"].startswith("search[")
    }
    assert len(queries) > 200
    for query in sorted(queries):
        assert mapped.search(query, 50) == memory.search(query, 50)


def test_recorded_sessions_play_alike(agentgym_data: Path, real: Path) -> None:
    """Pages, rewards and hashes of states come out as from the files; parity with the original is tested there."""
    names = ("train", "validation", "test")
    envs = {name: WebShopEnv(name, data=real, split_rule="original") for name in names}
    for session in list(sessions(agentgym_data))[::4]:
        number = session["goal_index"]
        split = "test" if number < 500 else "validation" if number < 1500 else "train"
        observation, info = envs[split].reset(options={"task": f"small/{split}-original/{number}"})
        assert (observation, info["goal"]) == (session["reset"], session["instruction"])
        for step in session["steps"]:
            observation, reward, done, _, info = envs[split].step(step["action"])
            assert (observation, reward, done) == (step["obs"], step["reward"], step["done"])
            assert info["reward_exact"]


@pytest.mark.parametrize(("kind", "splits"), [("synthetic", ("train", "test")), ("human", ("train",))])
def test_goals_are_those_of_the_files(agentgym_data: Path, real: Path, kind: str, splits: tuple[str, ...]) -> None:
    for split in splits:
        mapped, files = (WebShopEnv(split, data=data, goals=kind, price_seed=3) for data in (real, agentgym_data))
        assert mapped.tasks == files.tasks
        assert mapped.tasks is not None
        for task in mapped.tasks[:: len(mapped.tasks) // 20 + 1]:
            for env in (mapped, files):
                env.reset(options={"task": task})
            assert mapped.customer_goal == files.customer_goal


# Sharing --------------------------------------------------------------------------------------------------------------


def test_environments_of_a_process_share_one_index(real: Path) -> None:
    first, second = WebShopEnv(data=real), WebShopEnv("test", data=str(real))
    assert first._shop is second._shop
    assert open_index(str(real)) is first._shop.catalogue


def test_a_pickle_is_a_path(pair: tuple[MappedCatalogue, MemoryCatalogue]) -> None:
    mapped, _ = pair
    assert len(pickle.dumps(mapped)) < 500
    assert pickle.loads(pickle.dumps(mapped)) is mapped
    assert copy.deepcopy(mapped) is mapped


def _asked(path: str) -> tuple[str, tuple[int, ...]]:
    catalogue = open_index(path)
    return catalogue.product(17).title, catalogue.search(catalogue.product(17).title, 5)


def test_another_process_reads_the_same(pair: tuple[MappedCatalogue, MemoryCatalogue]) -> None:
    mapped, _ = pair
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_asked, (str(mapped.path),)) == _asked(str(mapped.path))


def test_snapshots_hold_no_catalogue(real: Path) -> None:
    env = gym.make("WebShop-v0", data=str(real))
    env.reset(seed=0)
    env.step("search[women]")
    assert len(pickle.dumps(agentgym.snapshot(env))) < 20_000


def test_equal_files_give_equal_indices(real: Path, tmp_path: Path) -> None:
    again = build_index(real.parent, tmp_path / "again")
    assert (again / "manifest.json").read_bytes() == (real / "manifest.json").read_bytes()


# Broken files ---------------------------------------------------------------------------------------------------------

RECORD = {
    "asin": "B000000001",
    "name": "Red Mug",
    "full_description": "A mug.",
    "small_description": ["It holds tea."],
    "product_category": "Home › Mugs",
    "category": "garden",
    "query": "mugs",
    "pricing": "$5.00",
    "customization_options": {"Color": [{"value": "Red", "image": None}]},
    "images": ["x"],
}


def files(folder: Path, products: Any, attributes: Any = None, **others: Any) -> Path:
    """Write the original's files; what is bytes is written as it is."""
    named = {"items_shuffle_1000": products, "items_ins_v2_1000": {} if attributes is None else attributes, **others}
    for name, value in named.items():
        (folder / f"{name}.json").write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return folder


def test_a_product_comes_back_whatever_its_texts_hold(tmp_path: Path) -> None:
    odd = "\x00\x1b[31m<b>&amp;</b>\u202e\ud800 click[buy now] [SEP] \r\n" + "long " * 20_000
    record = {**RECORD, "name": odd, "full_description": odd, "customization_options": {odd: [{"value": odd}]}}
    catalogue = MappedCatalogue(build_index(files(tmp_path, [record])))
    product = catalogue.product(0)
    assert (product.title, product.description) == (odd, odd)
    assert list(product.options) == [odd.lower()]
    assert catalogue.search("long", 5) == (0,)


def test_products_the_original_leaves_out_are_left_out(tmp_path: Path) -> None:
    again = {**RECORD, "name": "Second of the same name"}
    others = [{**RECORD, "asin": asin} for asin in ("nan", "B0000000001", "")]
    catalogue = MappedCatalogue(build_index(files(tmp_path, [RECORD, again, *others])))
    assert len(catalogue) == 1
    assert catalogue.product(0).title == "Red Mug"


def test_a_catalogue_without_words_can_be_searched(tmp_path: Path) -> None:
    record = {**RECORD, "name": "!", "full_description": "", "small_description": [], "customization_options": ""}
    catalogue = MappedCatalogue(build_index(files(tmp_path, [record])))
    assert catalogue.search("mug", 5) == ()


@pytest.mark.parametrize(
    ("products", "reason"),
    [
        (b"", "is empty"),
        (b"[", "cut off"),
        (json.dumps([RECORD, RECORD]).encode()[:-30], "cut off|Expecting|Unterminated"),
        (b"\xff\xfe[]", "no UTF-8"),
        ({"asin": RECORD}, "must hold a JSON array"),
        ([], "has none"),
        ([{**RECORD, "asin": "nan"}], "has none"),
        (["text"], "product 0"),
        ([RECORD, {**RECORD, "asin": "B2", "name": 7}], "product 1"),
        ([{**RECORD, "pricing": "$1.2.3"}], "'pricing'"),
        ([{**RECORD, "customization_options": {"Color": [{"value": 3}]}}], "'value'"),
        ([{**RECORD, "small_description": [1]}], "'small_description'"),
    ],
)
def test_a_broken_products_file_is_one_clear_error(tmp_path: Path, products: Any, reason: str) -> None:
    folder = files(tmp_path, products)
    with pytest.raises(DataError, match=reason):
        build_index(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["items_ins_v2_1000.json", "items_shuffle_1000.json"]


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"attributes": []}, "must hold a JSON object"),
        ({"attributes": {"B000000001": 3}}, "is not an object"),
        ({"attributes": {"B000000001": {"attributes": 3}}}, "'attributes'"),
        ({"attributes": {"B000000001": {"attributes": [], "instruction": "x"}}}, "asks for no attribute"),
        ({"items_human_ins_1k": {"B000000001": 3}}, "must be a list"),
        ({"items_human_ins_1k": b"{"}, "cut off"),
        ({"reviews": [3]}, "with an 'asin'"),
        ({"title_nouns_1k_spacy3.8": {"B000000001": "mug"}}, "must be a list of texts"),
    ],
)
def test_a_broken_file_beside_is_one_clear_error(tmp_path: Path, others: dict[str, Any], reason: str) -> None:
    folder = files(tmp_path, [RECORD], **others)
    with pytest.raises(DataError, match=reason):
        build_index(folder)
    assert not (folder / "index").exists()


def test_two_products_of_one_identifier_are_refused(tmp_path: Path) -> None:
    product = STOCK.products[0]
    with pytest.raises(DataError, match="share the identifier"):
        write_index(tmp_path / "x", [Item(product, ()), Item(product, ())], name="x", exact_nouns=lambda: True)


def test_a_place_without_products_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no products file"):
        build_index(tmp_path)
    with pytest.raises(ConfigError, match="Did you mean 'plain'"):
        build_index(tmp_path, nouns="plan")


def test_an_archive_is_to_be_unpacked_first(tmp_path: Path) -> None:
    place = files(tmp_path, [RECORD]) / "products_1k_processed.json.xz"
    place.write_bytes(lzma.compress(b"[]"))
    with pytest.raises(ConfigError, match=r"products_1k_processed\.json\.xz is an archive.*unpack it first"):
        build_index(place)


def test_a_target_that_can_be_no_folder_is_named(tmp_path: Path) -> None:
    folder = files(tmp_path, [RECORD])
    with pytest.raises(ConfigError, match=r"items_ins_v2_1000\.json is no folder and cannot be made one"):
        build_index(folder, folder / "items_ins_v2_1000.json" / "index")


def test_a_catalogue_of_ones_own_finds_the_same_files_in_memory_and_indexed(tmp_path: Path) -> None:
    asked = {"attributes": ["tea"], "instruction": "a red mug", "instruction_attributes": ["tea"]}
    place = files(tmp_path, [RECORD], {"B000000001": asked}) / "mine.json"
    (tmp_path / "items_shuffle_1000.json").rename(place)
    index = build_index(place)
    played = []
    for data in (place, index):
        env = WebShopEnv("test", data=data, split_rule="verl_agent")
        played.append([env.reset(seed=0), env.step("search[mug]"), env.step("click[b000000001]")])
    assert played[0] == played[1]
    assert played[0][0][1]["task_id"].startswith("own/")


def test_attributes_must_be_there(tmp_path: Path) -> None:
    files(tmp_path, [RECORD])
    (tmp_path / "items_ins_v2_1000.json").unlink()
    with pytest.raises(ConfigError, match=r"items_ins_v2_1000\.json is missing"):
        build_index(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / "products.blob").write_bytes(b"short"), r"products\.blob has 5 bytes"),
        (lambda folder: (folder / "kinds.npy").unlink(), r"kinds\.npy cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is no JSON"),
        (lambda folder: _edit(folder, version=99), "of version 99"),
        (lambda folder: _edit(folder, format="other"), "is no agentgym"),
        (lambda folder: _edit(folder, tokens=None), "lacks"),
    ],
)
def test_a_damaged_index_is_one_clear_error(tmp_path: Path, change: Callable[[Path], Any], reason: str) -> None:
    folder = build_index(files(tmp_path, [RECORD]))
    change(folder)
    with pytest.raises(DataError, match=reason):
        MappedCatalogue(folder)


def _edit(folder: Path, **change: Any) -> None:
    place = folder / "manifest.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | change))


def test_altered_records_are_found(tmp_path: Path) -> None:
    folder = build_index(files(tmp_path, [RECORD]))
    data = (folder / "products.blob").read_bytes()
    (folder / "products.blob").write_bytes(b"?" * len(data))
    catalogue = MappedCatalogue(folder)
    with pytest.raises(DataError, match=r"product 0 in .* cannot be read"):
        catalogue.product(0)
    with pytest.raises(DataError, match="not as it was written"):
        catalogue.verify()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's list of mappings")
def test_processes_share_the_pages_of_an_index(pair: tuple[MappedCatalogue, MemoryCatalogue]) -> None:
    """Every file is mapped read-only and shared, and reading makes no page of it this process's own."""
    mapped, _ = pair
    for number in range(len(mapped)):
        mapped.product(number)
        mapped.search(mapped.product(number).title, 50)
    modes, own, inside = set(), 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = str(mapped.path) in line
            modes |= {words[1]} if inside else set()
        elif inside and words[0] in ("Private_Dirty:", "Anonymous:"):
            own += int(words[1])
    assert (modes, own) == ({"r--s"}, 0)


NAMES = ["asins", "documents", "kinds", "lengths", "lists", "order", "products", "ranks", "synthetic", "terms"]


@pytest.mark.parametrize("name", NAMES)
def test_bytes_that_changed_are_one_clear_error_or_unseen(tmp_path: Path, name: str) -> None:
    """Sizes are checked at opening, digests when asked for: what is read in between must not fail in its own way."""
    records = [{**RECORD, "asin": f"B{number}", "name": f"Red Mug {number}"} for number in range(12)]
    asked = {"attributes": ["tea"], "instruction": "a red mug", "instruction_attributes": ["tea"]}
    whole = build_index(files(tmp_path, records, {record["asin"]: asked for record in records}))
    refused = 0
    for seed, place in itertools.product(range(5), sorted(whole.glob(f"{name}.*"))):
        folder = tmp_path / f"{seed}{place.suffix}"
        shutil.copytree(whole, folder)
        generator, data = random.Random(seed), bytearray(place.read_bytes())
        for _ in range(8):
            data[generator.randrange(len(data))] = generator.randrange(256)
        (folder / place.name).write_bytes(data)
        try:
            env = WebShopEnv("test", data=folder, split_rule="verl_agent")
            env.reset(seed=seed)
            env.step("search[red mug 7]")
            env.step(env.page.admissible[-1])
            env.step("click[buy now]")
        except DataError:
            refused += 1
    assert refused or name in ("documents", "ranks")


def test_a_file_that_the_manifest_does_not_name_is_missed_by_name(tmp_path: Path) -> None:
    folder = build_index(files(tmp_path, [RECORD]))
    (folder / "terms.blob").unlink()
    names = json.loads((folder / "manifest.json").read_text())["files"]
    _edit(folder, files={name: file for name, file in names.items() if name != "terms.blob"})
    with pytest.raises(DataError, match=r"terms\.blob cannot be read: No such file"):
        MappedCatalogue(folder)


def test_the_command(tmp_path: Path) -> None:
    folder = files(tmp_path, [RECORD])
    run = CliRunner().invoke(app, ["webshop-index", str(folder), "--nouns", "plain"])
    assert run.exit_code == 0, run.output
    assert "1 products" in run.output
    assert "note: not all nouns of titles are those of" in run.output
    assert "pip install 'agentgym-sdk[webshop]'" in run.output.replace("\n", " ")
    again = CliRunner().invoke(app, ["webshop-index", str(folder)])
    assert isinstance(again.exception, ConfigError)
