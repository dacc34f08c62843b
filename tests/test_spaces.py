from __future__ import annotations

import multiprocessing
import pickle
from copy import deepcopy

import pytest
from gymnasium.vector.utils import (
    batch_space,
    concatenate,
    create_empty_array,
    create_shared_memory,
    iterate,
    read_from_shared_memory,
    write_to_shared_memory,
)
from hypothesis import given
from hypothesis import strategies as st

from agentgym.spaces import UnicodeText, shown

ANY_TEXT = st.text(alphabet=st.characters(), max_size=50)


@given(ANY_TEXT)
def test_every_string_is_in_it_and_nothing_else(text: str) -> None:
    space = UnicodeText()
    assert text in space
    assert text.encode("utf-8", "surrogatepass") not in space
    assert [text] not in space


def test_samples_depend_on_the_seed_and_keep_the_length() -> None:
    space = UnicodeText(sample_length=5, seed=1)
    samples = [space.sample() for _ in range(50)]
    space.seed(1)
    assert samples == [space.sample() for _ in range(50)]
    assert {len(sample) for sample in samples} == {1, 2, 3, 4, 5}


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        UnicodeText(sample_length=0)
    with pytest.raises(ValueError, match="neither mask"):
        UnicodeText().sample(mask=1)


def test_equality_pickling_and_copying() -> None:
    space = UnicodeText(7)
    assert pickle.loads(pickle.dumps(space)) == deepcopy(space) == space
    assert hash(space) == hash(UnicodeText(7))
    assert space != UnicodeText(8)
    assert repr(space) == "UnicodeText(sample_length=7)"
    assert not space.is_np_flattenable


def test_vector_utilities_know_it() -> None:
    space = UnicodeText()
    texts = ("a", "字")
    assert texts in batch_space(space, 2)
    assert concatenate(space, texts, create_empty_array(space, 2)) == texts
    assert tuple(iterate(batch_space(space, 2), texts)) == texts


@given(st.lists(ANY_TEXT, min_size=3, max_size=3), st.lists(ANY_TEXT, min_size=3, max_size=3))
def test_shared_memory_shows_what_was_written_last(first: list[str], second: list[str]) -> None:
    space = UnicodeText()
    memory = create_shared_memory(space, n=3, ctx=multiprocessing)
    view = read_from_shared_memory(space, memory, n=3)
    for texts in (first, second):
        for index, text in enumerate(texts):
            write_to_shared_memory(space, index, text, memory)
        assert deepcopy(view) == tuple(texts)
        assert view[-1] == texts[-1]
        assert view[1:] == tuple(texts[1:])


def test_a_text_too_long_for_shared_memory_is_refused_not_cut() -> None:
    space = UnicodeText()
    memory = create_shared_memory(space, n=1, ctx=multiprocessing)
    write_to_shared_memory(space, 0, "x" * (1 << 17), memory)
    assert read_from_shared_memory(space, memory, n=1)[0] == "x" * (1 << 17)
    with pytest.raises(ValueError, match="'shared_memory': False"):
        write_to_shared_memory(space, 0, "x" * ((1 << 17) + 1), memory)


@pytest.mark.parametrize("text", ["", "a mug\n\tof tea", "Prüfung \N{ZERO WIDTH JOINER}字🙂", "C:\\mugs 'n' \"cups\""])
def test_what_a_terminal_takes_is_shown_as_it_is(text: str) -> None:
    assert shown(text) == text


def test_what_steers_a_terminal_is_shown_escaped() -> None:
    steering = "\x1b]0;title\x07 \x00\r\x9b31m \u202e\ud800"
    assert shown(steering) == r"\x1b]0;title\x07 \x00\r\x9b31m \u202e\ud800"
    shown(steering).encode("ascii")
