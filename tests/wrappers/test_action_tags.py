from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.errors import ConfigError
from agentgym.wrappers import ActionTags, InvalidActionPenalty, ReplaySnapshot, ScaleReward
from tests.worlds import Corridor

THINK = "<think>hm</think>"


@pytest.mark.parametrize(
    ("response", "action", "good"),
    [
        (f"{THINK}<action>Go LEFT </action>", "go left", True),
        (f"{THINK}<ACTION>left</Action>", "left", True),
        ("<action>left</action>", "left", False),  # no thought
        ("<THINK>hm</THINK><action>left</action>", "left", False),  # thought tags are looked for as they are
        ("<think>hm<action>left</action>", "left", False),
        (f"{THINK}<action>左</action>", "左", False),
        (f"{THINK}<action>a</action> <action>b</action>", "a", True),
        (f"{THINK}<action>a <action>b</action>", "a <action>b", True),
        (f"{THINK}</action>a<action>", "", True),  # tags in the wrong order, as the reference has it
        (f"{THINK}<action></action>", "", True),
        (f"{THINK}<action>go left", "hink>hm</think><action>go left", False),
        ("Left", "left", False),
        ("x" * 40 + "END ", "x" * 26 + "end ", False),  # the last 30 characters, spaces and all
        ("", "", False),
    ],
)
def test_the_rules_of_the_reference(response: str, action: str, good: bool) -> None:
    tags = ActionTags(Corridor())
    parsed, flag = tags.parse(response)
    assert parsed == action
    assert flag is good


def test_options() -> None:
    env = Corridor()
    assert ActionTags(env, require_think=False).parse("<action>left</action>") == ("left", True)
    assert ActionTags(env, allow_cjk=True).parse(f"{THINK}<action>左</action>") == ("左", True)
    assert ActionTags(env, lowercase=False).parse(f"{THINK}<Action>Left</ACTION>") == ("Left", True)
    assert ActionTags(env, fallback_chars=3).parse("abcdef") == ("def", False)
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        ActionTags(env, fallback_chars=0)


def test_characters_that_grow_when_lowered_do_not_shift_the_action() -> None:
    response = "İİİ<action>Left</action>"
    assert ActionTags(Corridor(), require_think=False, lowercase=False).parse(response) == ("Left", True)
    assert ActionTags(Corridor(), require_think=False).parse(response) == ("left", True)


@given(st.text(alphabet=st.characters()))
def test_any_text_can_be_parsed_and_sent(response: str) -> None:
    env = ActionTags(Corridor())
    env.reset(seed=1)
    info = env.step(response)[4]
    assert info["response_text"] == response
    assert (info["parsed_action"], info["format_ok"]) == env.parse(response)


@given(st.text(alphabet=st.characters(exclude_characters="<>", max_codepoint=0x2FFF)))
def test_a_tagged_action_arrives(action: str) -> None:
    response = f"<think></think><action>{action}</action>"
    assert ActionTags(Corridor(), lowercase=False).parse(response) == (action.strip(), True)


def test_the_world_gets_the_action_and_the_flags_say_two_things() -> None:
    env, plain = ActionTags(Corridor()), Corridor()
    env.reset(seed=1)
    plain.reset(seed=1)
    observation, _, _, _, info = env.step("<action>LEFT</action>")
    assert observation == plain.step("left")[0]
    assert (info["valid"], info["format_ok"]) == (True, False)
    info = env.step(f"{THINK}<action>sing</action>")[4]
    assert (info["valid"], info["format_ok"]) == (False, True)


def test_a_penalty_that_would_never_see_the_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"InvalidActionPenalty\(ActionTags\(env\)\)"):
        ActionTags(ReplaySnapshot(ScaleReward(InvalidActionPenalty(Corridor()), 2.0)))
    ActionTags(InvalidActionPenalty(Corridor(), on="valid"))
