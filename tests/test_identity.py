from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agentgym
from agentgym.errors import ConfigError
from agentgym.identity import CANONICALISERS, audit, canonicalise, text_hash, value_hash

ANY_TEXT = st.text(alphabet=st.characters(), max_size=50)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(ANY_TEXT, ANY_TEXT)
def test_hashes_name_texts(a: str, b: str) -> None:
    assert (text_hash(a) == text_hash(b)) == (a == b)
    assert len(text_hash(a)) == 32
    assert set(text_hash(a)) <= set("0123456789abcdef")


def test_the_hash_is_blake2b_with_sixteen_bytes() -> None:
    # from `printf abc | b2sum -l 128`
    assert text_hash("abc") == "cf4ab791c62b8d2b2109c90275287816"


def _reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed_keys(value[key]) for key in reversed(value)}
    return [_reversed_keys(item) for item in value] if isinstance(value, list) else value


@given(PLAIN)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert value_hash(value) == value_hash(_reversed_keys(value))


@given(PLAIN, PLAIN)
def test_equal_hashes_mean_equal_values(a: Any, b: Any) -> None:
    if value_hash(a) == value_hash(b):
        assert a == b


@pytest.mark.parametrize("value", [{1: "a"}, [{"x": {True: 0}}], {"a": {1, 2}}, object()])
def test_what_json_cannot_name_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        value_hash(value)


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}])
def test_what_is_not_a_number_has_no_name(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        value_hash(value)


def test_hashes_do_not_depend_on_process_or_hash_seed() -> None:
    value = {"b": ["字", None], "a": {"y": 1.5, "x": True}}
    program = f"from agentgym.identity import text_hash, value_hash; print(text_hash('déjà'), value_hash({value!r}))"
    root = str(Path(agentgym.__file__).parents[1])
    for seed in ("0", "1", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}
        out = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        ).stdout
        assert out.split() == [text_hash("déjà"), value_hash(value)]


@pytest.mark.parametrize("name", CANONICALISERS)
@given(text=ANY_TEXT)
def test_canonicalisers_settle_at_once(name: str, text: str) -> None:
    once = canonicalise(text, name)
    assert canonicalise(once, name) == once


def test_canonicalisers_compose_from_left_to_right() -> None:
    assert canonicalise("  E\u0301\n A ", "nfc+casefold+whitespace") == "é a"
    assert text_hash("A  b", "whitespace+casefold") == text_hash("a b")
    with pytest.raises(ConfigError, match="Did you mean 'whitespace'"):
        canonicalise("a", "nfc+whitspace")


def test_audit_finds_collisions_and_aliases() -> None:
    assert audit([("h1", "a"), ("h2", "b"), ("h1", "a")]).clean
    found = audit([("h1", "a"), ("h1", "b"), ("h2", "b")])
    assert found.collisions == {"h1": ["a", "b"]}
    assert found.aliases == {"b": ["h1", "h2"]}
    assert not found.clean
