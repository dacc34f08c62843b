from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.envs.webshop import postings
from agentgym.envs.webshop.mapped import MappedFolder, TextWriter, decode, encode, new_folder, write_array
from agentgym.envs.webshop.postings import PostingsWriter
from agentgym.errors import ConfigError, DataError

HEADER = {"format": "things", "version": 3}
ANY_TEXT = st.text(st.characters(), max_size=12)  # lone surrogates included


def build(target: Path, texts: list[str]) -> MappedFolder:
    with new_folder(target, HEADER) as (folder, content):
        with TextWriter(folder, "texts") as writer:
            for text in texts:
                writer.add(encode(text))
        write_array(folder, "order", sorted(range(len(texts)), key=lambda i: encode(texts[i])), "<i4")
        content["count"] = len(texts)
    return MappedFolder(target, "things", 3)


@given(texts=st.lists(ANY_TEXT, unique=True, max_size=20), absent=ANY_TEXT)
def test_texts_come_back_and_are_found(tmp_path_factory: pytest.TempPathFactory, texts: list[str], absent: str) -> None:
    mapped = build(tmp_path_factory.mktemp("folder") / "new", texts)
    found, order = mapped.texts("texts"), mapped.array("order")
    assert [decode(data) for data in found] == texts
    assert [found.find(encode(text), order) for text in texts] == list(range(len(texts)))
    assert absent in texts or found.find(encode(absent), order) == -1
    assert mapped.manifest["count"] == len(texts)
    mapped.verify()


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        build(tmp_path / "new", ["a", 3])  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_replaced(tmp_path: Path) -> None:
    build(tmp_path / "new", ["a"])
    with pytest.raises(ConfigError, match="exists"):
        build(tmp_path / "new", ["b"])


def test_of_two_that_make_the_same_folder_one_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "index"
    block = new_folder(target, HEADER)
    folder, _ = block.__enter__()
    write_array(folder, "numbers", [1], "<i4")
    target.mkdir()
    (target / "theirs").touch()
    with pytest.raises(ConfigError, match="came up meanwhile"):
        block.__exit__(None, None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert [path.name for path in target.iterdir()] == ["theirs"]


def test_arrays_cannot_be_written_to(tmp_path: Path) -> None:
    order = build(tmp_path / "new", ["a", "b"]).array("order")
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 7


@pytest.mark.parametrize("change", ["remove", "truncate", "grow"])
@pytest.mark.parametrize("name", ["texts.blob", "texts.npy", "order.npy", "manifest.json"])
def test_a_damaged_folder_is_one_clear_error(tmp_path: Path, name: str, change: str) -> None:
    build(tmp_path / "new", ["one", "two"])
    path = tmp_path / "new" / name
    data = path.read_bytes()
    path.unlink()
    if change != "remove":
        path.write_bytes(data[:-1] if change == "truncate" else data + b"}")
        if name == "manifest.json" and change == "truncate":
            return  # it lost its line break alone
    with pytest.raises(DataError, match=name):
        MappedFolder(tmp_path / "new", "things", 3)


def test_a_changed_byte_is_found_by_verify(tmp_path: Path) -> None:
    build(tmp_path / "new", ["one", "two"])
    (tmp_path / "new" / "texts.blob").write_bytes(b"onetwq")
    with pytest.raises(DataError, match="not as it was written"):
        MappedFolder(tmp_path / "new", "things", 3).verify()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "other"}, "is no things"),
        ({"version": 4}, "of version 4"),
        ({"files": [1]}, "lists no files"),
        ({"files": {"texts.blob": 3}}, "lists no files"),
    ],
)
def test_a_foreign_manifest_is_one_clear_error(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    build(tmp_path / "new", ["one"])
    place = tmp_path / "new" / "manifest.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | change))
    with pytest.raises(DataError, match=reason):
        MappedFolder(tmp_path / "new", "things", 3)


def test_a_folder_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.json cannot be read"):
        MappedFolder(tmp_path, "things", 3)


DOCUMENTS = st.lists(st.lists(st.sampled_from(["a", "b", "cc", "é", "\ud800", ""]), max_size=9), max_size=12)


@given(documents=DOCUMENTS, block=st.integers(1, 5))
def test_postings_are_those_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[str]], block: int
) -> None:
    target = tmp_path_factory.mktemp("folder") / "new"
    with pytest.MonkeyPatch.context() as patch, new_folder(target, HEADER) as (folder, content):
        patch.setattr(postings, "BLOCK", block)
        with PostingsWriter(folder, lambda length: length // 2) as writer:
            for document in documents:
                writer.add(document)
            content |= writer.write()
    mapped = MappedFolder(target, "things", 3)
    terms, lists = mapped.texts("terms"), mapped.array("lists")
    found = {
        decode(terms[t]): [
            (int(mapped.array("documents")[p]), *(int(mapped.array(name)[kind]) for name in ("counts", "lengths")))
            for p in range(lists[t], lists[t + 1])
            for kind in [mapped.array("kinds")[p]]
        ]
        for t in range(len(terms))
    }
    expected: dict[str, list[tuple[int, int, int]]] = {}
    for number, document in enumerate(documents):
        for term, count in Counter(document).items():
            expected.setdefault(term, []).append((number, count, len(document) // 2))
    assert found == expected
    assert list(terms) == sorted(terms)
    assert content["tokens"] == sum(map(len, documents))


def test_postings_are_the_same_whatever_the_size_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    documents = [[f"t{n}" for n in rng.integers(0, 50, rng.integers(0, 40))] for _ in range(200)]
    made = []
    for block in (64, 1 << 20):
        monkeypatch.setattr(postings, "BLOCK", block)
        with new_folder(tmp_path / str(block), HEADER) as (folder, _), PostingsWriter(folder, int) as writer:
            for document in documents:
                writer.add(document)
            writer.write()
        made.append(MappedFolder(tmp_path / str(block), "things", 3).manifest)
    assert made[0] == made[1]
