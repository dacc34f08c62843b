from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.envs.webshop import jsonstream
from agentgym.envs.webshop.jsonstream import read_elements, read_members
from agentgym.errors import DataError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonstream, "_CHUNK", 7)  # every value lies across several windows


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "data.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return path


@pytest.mark.usefixtures("small_window")
@given(values=st.lists(VALUES, max_size=6), indent=st.sampled_from([None, 0, 3]), ascii_only=st.booleans())
def test_elements_are_what_json_loads(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], indent: int | None, ascii_only: bool
) -> None:
    path = write(tmp_path_factory.mktemp("array"), json.dumps(values, indent=indent, ensure_ascii=ascii_only))
    assert list(read_elements(path)) == values


@pytest.mark.usefixtures("small_window")
@given(values=st.dictionaries(st.text(max_size=5), VALUES, max_size=6), indent=st.sampled_from([None, 2]))
def test_members_are_what_json_loads(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], indent: int | None
) -> None:
    path = write(tmp_path_factory.mktemp("object"), json.dumps(values, indent=indent))
    assert dict(read_members(path)) == values


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert list(read_elements(write(tmp_path, b"\xef\xbb\xbf[1]"))) == [1]


@pytest.mark.usefixtures("small_window")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("{}", "must hold a JSON array"),
        ("[1, 2", "cut off"),
        ("[1, 2,", "cut off"),
        ('[{"name": "half of a wor', "cut off"),
        ("[1 2]", "expected ','"),
        ("[1, oops and much more text behind it]", "Expecting value"),
        ("[1] trailing", "end of the file"),
        (b"[1, 2, \xff\xfe, 3]", "no UTF-8"),
        (b"[1, 2, \xe2\x82", "no UTF-8"),
        ("[" + 9 * "1" * 1000 + "]", "digits"),
        (100_000 * "[", "nested too deeply"),
    ],
)
def test_what_is_no_json_is_one_clear_error(tmp_path: Path, text: str | bytes, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=reason) as error:
        list(read_elements(path))
    assert str(path) in str(error.value)


@pytest.mark.usefixtures("small_window")
@pytest.mark.parametrize("text", ["[]", '{"a": 1', '{"a" 1}', "{1: 2}", '{"a": 1,}', '{"a"'])
def test_what_is_no_object_is_one_clear_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError):
        list(read_members(write(tmp_path, text)))


@pytest.mark.usefixtures("small_window")
def test_a_value_that_never_ends_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonstream, "MAX_ELEMENT", 1000)
    path = write(tmp_path, '["' + 100_000 * "a")
    with pytest.raises(DataError, match="more than 1,000 characters"):
        list(read_elements(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json cannot be read"):
        list(read_elements(tmp_path / "nowhere.json"))
