from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.episodes import Context, Episode, Group, Recorder
from agentgym.errors import RecorderError
from tests.worlds import Corridor, play

INFO: dict[str, Any] = {"task_id": "t/1", "task_type": "demo", "goal": "win", "obs_hash": "h0", "state_hash": "s0"}


def _recorded(*tokens: tuple[list[int], list[int]], context: Context | None) -> Episode:
    recorder = Recorder()
    episode = recorder.start("g", "o0", INFO, seed=3, context=context)
    for number, (prompt, response) in enumerate(tokens, 1):
        episode.annotate(prompt_ids=prompt, response_ids=response, logprobs=[-float(i) for i in response])
        episode.step("a", f"o{number}", 0.0, number == len(tokens), False, INFO)
    return recorder.groups()[0].episodes[0]


def test_a_step_holds_what_was_seen_before_it() -> None:
    recorder = Recorder()
    episode = recorder.start("g", "o0", INFO, seed=3)
    episode.annotate(response="say a", format_ok=False)
    episode.step("a", "o1", 10.0, False, False, {**INFO, "obs_hash": "h1", "env_reward": 1.0, "valid": False})
    episode.step("b", "o2", 5.0, True, False, {**INFO, "won": True, "score": 1.0})
    [group] = recorder.groups()
    [recorded] = group.episodes
    first, second = recorded.steps
    assert (first.observation, first.action, first.obs_hash, first.state_hash) == ("o0", "a", "h0", "s0")
    assert (first.reward, first.shaped_reward, first.valid, first.format_ok) == (1.0, 10.0, False, False)
    assert (first.response, second.response) == ("say a", None)
    assert (second.observation, second.obs_hash, second.reward, second.shaped_reward) == ("o1", "h1", 5.0, 5.0)
    assert second.terminated
    assert second.format_ok
    assert (recorded.won, recorded.score, recorded.end, recorded.final_observation) == (True, 1.0, "success", "o2")
    assert (recorded.seed, recorded.task_id, recorded.goal, recorded.total_reward) == (3, "t/1", "win", 6.0)
    assert len(recorded) == 2


@pytest.mark.parametrize(
    ("flags", "won", "end"),
    [
        ((True, False), True, "success"),
        ((True, False), False, "failure"),
        ((False, True), False, "step_limit"),
        ((True, True), True, "success"),
        ((False, False), False, "step_limit"),
    ],
)
def test_how_an_episode_ended(flags: tuple[bool, bool], won: bool, end: str) -> None:
    recorder = Recorder()
    recorder.start("g", "o", INFO).step("a", "o", 0.0, *flags, {**INFO, "won": won})
    assert recorder.groups()[0].episodes[0].end == end


@pytest.mark.parametrize("end", ["token_limit", "environment_fault", "policy_fault"])
def test_stop_records_the_cause(end: Any) -> None:
    recorder = Recorder()
    episode = recorder.start("g", "o", INFO)
    episode.stop(end, "it broke")
    [recorded] = recorder.groups()[0].episodes
    assert recorded.end == end
    assert recorded.fault == (None if end == "token_limit" else "it broke")
    assert recorded.steps == ()


def test_nothing_follows_the_end() -> None:
    recorder = Recorder()
    episode = recorder.start("g", "o", INFO)
    assert not episode.over
    episode.step("a", "o", 0.0, True, False, INFO)
    assert episode.over
    for call in (
        lambda: episode.step("a", "o", 0.0, False, False, INFO),
        lambda: episode.annotate(response="x"),
        lambda: episode.stop("token_limit"),
    ):
        with pytest.raises(RecorderError, match="after the end of episode g/0"):
            call()


def test_unknown_end_and_unequal_token_data_are_refused() -> None:
    episode = Recorder().start("g", "o", INFO)
    with pytest.raises(RecorderError, match="unknown end 'tired'"):
        episode.stop("tired")  # type: ignore[arg-type]
    for part in ({"response_ids": [1]}, {"logprobs": [0.0]}, {"response_ids": [1, 2], "logprobs": [0.0]}):
        with pytest.raises(RecorderError, match="equal length"):
            episode.annotate(**part)  # type: ignore[arg-type]
    with pytest.raises(RecorderError, match="allowed_ids"):
        episode.annotate(response_ids=[1], logprobs=[0.0], allowed_ids=[[1], [2]])
    assert not episode.over


def test_arrays_are_recorded_as_plain_numbers() -> None:
    recorder = Recorder()
    episode = recorder.start("g", "o", INFO, context="window")
    logprobs = np.array([-0.1, -0.2], np.float32)
    episode.annotate(prompt_ids=np.array([1]), response_ids=np.array([2, 3]), logprobs=logprobs)  # type: ignore[arg-type]
    episode.step("a", "o", np.float32(0.5), np.True_, np.False_, INFO)  # type: ignore[arg-type]
    [step] = recorder.groups()[0].episodes[0].steps
    assert {type(i) for i in (*(step.prompt_ids or ()), *(step.response_ids or ()))} == {int}
    assert {type(p) for p in step.logprobs or ()} == {type(step.reward)} == {float}
    assert type(step.terminated) is bool
    assert np.array_equal(np.array(step.logprobs, np.float32), logprobs)


def test_a_parsed_response_is_kept_beside_the_action() -> None:
    recorder = Recorder()
    episode = recorder.start("g", "o", INFO)
    info = {**INFO, "format_ok": False, "parsed_action": "look", "response_text": "I LOOK"}
    episode.step("I LOOK", "o", 0.0, False, False, info)
    [step] = recorder.groups()[0].episodes[0].steps
    assert (step.action, step.response, step.format_ok) == ("look", "I LOOK", False)


def test_members_must_share_their_start() -> None:
    recorder = Recorder()
    recorder.start("g", "o", INFO)
    for other in ({"obs_hash": "h9"}, {"state_hash": "s9"}, {"task_id": "t/9"}):
        with pytest.raises(RecorderError, match="does not share its start"):
            recorder.start("g", "o", {**INFO, **other})
    recorder.start("another", "o", {**INFO, "obs_hash": "h9"})
    assert [len(group) for group in recorder.groups()] == [1, 1]
    with pytest.raises(RecorderError, match="StateHash"):
        recorder.start("g", "o", {})


def test_a_group_checks_its_episodes() -> None:
    env = Corridor()
    episodes = []
    for task in env.tasks[:2]:
        recorder = Recorder()
        observation, info = env.reset(options={"task": task})
        recorder.start("g", observation, info).step("left", *env.step("left"))
        episodes += recorder.groups()[0].episodes
    with pytest.raises(RecorderError, match="2 different starts"):
        Group("g", tuple(episodes))


def test_transcripts_are_one_sequence_and_windows_one_a_step() -> None:
    tokens = (([1, 2], [3]), ([4], [5, 6]))
    [joined] = _recorded(*tokens, context="transcript").sequences()
    assert joined.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert joined.loss_mask.tolist() == [False, False, True, False, True, True]
    assert joined.row.tolist() == [0, 0, 0, 1, 1, 1]
    assert joined.logprobs.tolist() == [0.0, 0.0, -3.0, 0.0, -5.0, -6.0]
    first, second = _recorded(*tokens, context="window").sequences()
    assert (first.ids.tolist(), second.ids.tolist()) == ([1, 2, 3], [4, 5, 6])
    assert (first.row.tolist(), second.row.tolist()) == ([0, 0, 0], [1, 1, 1])


IDS = st.lists(st.integers(0, 99), max_size=4)


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=4))
def test_both_contexts_hold_the_same_tokens(tokens: list[tuple[list[int], list[int]]]) -> None:
    [joined] = _recorded(*tokens, context="transcript").sequences()
    windows = list(_recorded(*tokens, context="window").sequences())
    for name in ("ids", "loss_mask", "row", "logprobs"):
        assert getattr(joined, name).tolist() == [x for w in windows for x in getattr(w, name).tolist()]
    assert joined.ids[joined.loss_mask].tolist() == [i for _, response in tokens for i in response]


def test_sequences_need_a_policy() -> None:
    with pytest.raises(RecorderError, match="recorded without a policy"):
        list(_recorded(([1], [2]), context=None).sequences())
    recorder = Recorder()
    recorder.start("g", "o", INFO, context="transcript").step("a", "o", 0.0, True, False, INFO)
    with pytest.raises(RecorderError, match="step 0 has no token data"):
        list(recorder.groups()[0].episodes[0].sequences())


def test_an_episode_without_steps_has_no_sequences() -> None:
    for context in ("transcript", "window"):
        recorder = Recorder()
        recorder.start("g", "o", INFO, context=context).stop("policy_fault", "no")  # type: ignore[arg-type]
        assert list(recorder.groups()[0].episodes[0].sequences()) == []


def test_copies_go_their_own_way() -> None:
    recorder = Recorder()
    recorder.start("g", "o", INFO).step("a", "o", 0.0, True, False, INFO)
    recorder.start("g", "o", INFO).annotate(response="mine")
    twin = pickle.loads(pickle.dumps(recorder.copy()))
    assert twin.groups() == recorder.groups()
    for which, action in ((recorder, "left"), (twin, "right")):
        assert which.latest is not None
        which.latest.step(action, "o", 0.0, False, False, INFO)
    for which, action in ((recorder, "left"), (twin, "right")):
        [step] = which.groups()[0].episodes[1].steps
        assert (step.action, step.response) == (action, "mine")


def test_clear_forgets() -> None:
    recorder = Recorder()
    recorder.start("g", "o", INFO)
    recorder.clear()
    assert recorder.latest is None
    assert recorder.groups() == []
    recorder.start("g", "o", {**INFO, "obs_hash": "other"})


@given(
    st.lists(st.sampled_from(["left", "right", "take key", "open door", "sing"]), min_size=1, max_size=12),
    st.integers(0, 5),
)
def test_what_is_recorded_replays_to_the_same_returns(actions: list[str], seed: int) -> None:
    env, recorder = Corridor(), Recorder()
    observation, info = env.reset(seed=seed)
    episode = recorder.start("g", observation, info, seed=seed)
    for action in actions:
        answer = env.step(action)
        episode.step(action, *answer)
        if episode.over:
            break
    [recorded] = recorder.groups()[0].episodes
    again = Corridor()
    observation, info = again.reset(seed=recorded.seed)
    answers = play(again, [step.action for step in recorded.steps])
    assert [step.observation for step in recorded.steps] == [observation, *(a[0] for a in answers[:-1])]
    assert [step.reward for step in recorded.steps] == [a[1] for a in answers]
    assert recorded.final_observation == answers[-1][0]


def test_a_fork_shares_the_steps_so_far_and_nothing_after() -> None:
    recorder = Recorder()
    trunk = recorder.start("g", "o0", INFO, seed=3)
    trunk.step("a", "o1", 0.0, False, False, INFO)
    branch = recorder.fork(trunk)
    trunk.step("b", "o2", 1.0, True, False, {**INFO, "won": True})
    branch.step("c", "o3", 0.0, True, False, INFO)
    [group] = recorder.groups()
    first, second = group.episodes
    assert [s.action for s in first.steps] == ["a", "b"]
    assert [s.action for s in second.steps] == ["a", "c"]
    assert (first.index, second.index, second.seed) == (0, 1, 3)
    assert first.steps[0] is second.steps[0]
    assert second.steps[1].observation == "o1"
    with pytest.raises(RecorderError, match="fork"):
        recorder.fork(trunk)
    tree = Group.of_paths("tree", [second, first])
    assert [[s.node for s in e.steps] for e in tree.episodes] == [[0, 1], [0, 2]]
    assert [e.index for e in tree.episodes] == [0, 1]
    assert {e.group for e in tree.episodes} == {"tree"}
    assert tree.episodes[0].steps[0] is tree.episodes[1].steps[0]


def test_equal_steps_of_different_episodes_are_different_decisions() -> None:
    recorder = Recorder()
    for _ in range(2):
        episode = recorder.start("g", "o0", INFO)
        episode.step("a", "o1", 0.0, True, False, INFO)
    one, other = recorder.groups()[0].episodes
    assert one.steps == other.steps
    assert [e.steps[0].node for e in Group.of_paths("g", [one, other]).episodes] == [0, 1]
