from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentgym.policies.tiny import build_tokenizer

TEXTS = [
    "You arrive at cabinet 4. On the cabinet 4, you see a apple 1, and a mug 2.",
    "You arrive at desk 1. On the desk 1, you see a mug 3, and a apple 2.",
    "go to cabinet 4",
    "go to desk 1",
]


@given(st.text())
def test_any_text_survives_a_round_trip(text: str) -> None:
    if "<|" in text or any(0xD800 <= ord(c) < 0xE000 for c in text):
        return
    tokenizer = TOKENIZER
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


TOKENIZER = build_tokenizer(TEXTS)


def pieces(text: str) -> list[str]:
    return [str(TOKENIZER.decode([i])) for i in TOKENIZER(text)["input_ids"]]


def test_names_kinds_and_phrases_are_one_token_each() -> None:
    assert pieces("You arrive at cabinet 4. On the cabinet 4, you see a apple 1") == [
        "You arrive at ",
        "cabinet 4",
        ". On the ",
        "cabinet 4",
        ", you see a ",
        "apple 1",
    ]
    # A name that the sample did not hold is its kind and a number.
    assert pieces("go to cabinet 7") == ["go to ", "cabinet", " 7"]
