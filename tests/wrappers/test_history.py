from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agentgym
from agentgym.errors import ConfigError
from agentgym.identity import text_hash
from agentgym.wrappers import ActionTags, GroupRecorder, History
from tests.worlds import Bare, Corridor, play


def test_the_template() -> None:
    env = History(Corridor(), k=2)
    assert env.reset(options={"task": "corridor/3"})[0] == "You are at place 1 of 3."
    env.step("right")
    env.step("sing")
    assert env.step("left")[0] == (
        "Goal: open the door\n"
        "Steps taken: 3. The last 2:\n"
        "[2] saw: You are at place 2 of 3.\n"
        "[2] did: sing\n"
        "[3] saw: Nothing happens.\n"
        "[3] did: left\n"
        "Now, at step 4:\n"
        "You are at place 1 of 3."
    )


def test_without_a_goal_the_line_is_left_out() -> None:
    env = History(Bare(), k=1)
    first, _ = env.reset(seed=1)
    text = env.step("sing")[0]
    assert text.startswith(f"Steps taken: 1. The last 1:\n[1] saw: {first}\n[1] did: sing\n")


@given(st.lists(st.sampled_from(["left", "right", "sing"]), max_size=8), st.integers(1, 4))
def test_the_last_k_turns_are_shown_and_the_anchor_stays_raw(actions: list[str], k: int) -> None:
    env, plain = History(Corridor(), k=k), Corridor()
    seen, info = env.reset(seed=1)
    raw = [plain.reset(seed=1)[0]]
    assert seen == raw[0] == info["raw_observation"]
    for number, action in enumerate(actions, 1):
        seen, _, _, _, info = env.step(action)
        raw.append(plain.step(action)[0])
        shown = min(k, number)
        assert [line for line in seen.splitlines() if "] saw: " in line] == [
            f"[{i + 1}] saw: {raw[i]}" for i in range(number - shown, number)
        ]
        assert [line for line in seen.splitlines() if "] did: " in line] == [
            f"[{i + 1}] did: {actions[i]}" for i in range(number - shown, number)
        ]
        assert seen.endswith(f"Now, at step {number + 1}:\n{raw[-1]}")
        assert info["raw_observation"] == raw[-1]
        assert info["obs_hash"] == text_hash(raw[-1])


def test_the_past_ends_with_the_episode() -> None:
    env = History(Corridor(), k=3)
    env.reset(seed=1)
    env.step("left")
    assert "saw" not in env.reset(seed=1)[0]
    assert env.step("sing")[0].count("saw") == 1


def test_it_shows_the_action_that_was_sent_whichever_way_it_is_stacked() -> None:
    for env in (History(ActionTags(Corridor())), ActionTags(History(Corridor()))):
        env.reset(seed=1)
        assert "[1] did: left\n" in env.step("<think></think><action>LEFT</action>")[0]


def test_the_recorder_outside_records_what_the_policy_read() -> None:
    env = GroupRecorder(History(Corridor()), group_size=1)
    seen = [env.reset(options={"task": "corridor/5"})[0], *(answer[0] for answer in play(env, ["left", "sing"]))]
    [episode] = env.groups()[0].episodes
    assert [step.observation for step in episode.steps] == seen[:2]
    assert episode.final_observation == seen[2]
    assert episode.steps[1].obs_hash == text_hash("You are at place 0 of 5. A key lies here.")


def test_snapshots_bring_the_past_back() -> None:
    env = History(Corridor(), k=2)
    env.reset(seed=1)
    play(env, ["left", "right"])
    saved = agentgym.snapshot(env)
    first = play(env, ["sing", "left"])
    env.reset(seed=5)
    agentgym.restore(env, saved)
    assert play(env, ["sing", "left"]) == first


def test_no_history_is_no_wrapper() -> None:
    with pytest.raises(ConfigError, match="leave the wrapper out"):
        History(Corridor(), k=0)
