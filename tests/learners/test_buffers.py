"""What a buffer of successes holds, and that a checkpoint gives it back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.episodes import Episode, Group, Step
from agentgym.errors import ConfigError
from agentgym.learners import EpisodeBuffer, SuccessBuffer, TransitionBuffer
from agentgym.learners.buffers import episode_of, episode_state, task_of
from agentgym.testing.strategies import groups
from agentgym.training.checkpoint import read_checkpoint, write_checkpoint

REWARDS = st.sampled_from([0.0, 0.0, 0.1, 0.100001, 0.5, 1.0, -1.0])


def episode(reward: float, task: str = "door/1", index: int = 0, start: str = "00", **changes: Any) -> Episode:
    """Return an episode of one step."""
    step = Step("A door.", "open", reward, reward, True, False, True, obs_hash=start, state_hash=None)
    made = Episode("g", index, 7, task, "door", "open it", (step,), reward > 0, max(reward, 0.0), "success")
    return replace(made, **changes)


@given(played=groups(REWARDS, min_groups=2, max_steps=2), capacity=st.integers(1, 3))
def test_it_holds_the_last_successes_of_each_task_and_nothing_else(played: list[Group], capacity: int) -> None:
    buffer = SuccessBuffer(capacity, threshold=0.1)
    model: dict[str, list[Episode]] = {}
    # Twice over, so that capacities are met; the groups take turns, so that tasks interleave.
    everything = [e for group in played for e in group.episodes] * 2
    for number, found in enumerate(everything):
        one = replace(found, index=number)
        success = sum(step.reward for step in one.steps) > 0.1
        assert buffer.push(one) == success
        if success:
            model[one.task_id] = [*model.get(one.task_id, []), one][-capacity:]
    assert (buffer.tasks, len(buffer)) == (len(model), sum(map(len, model.values())))
    for found in everything:
        held = buffer.of(task_of(found))
        assert list(held) == model.get(found.task_id, [])
        assert all(one.total_reward > 0.1 for one in held)


def test_a_task_is_its_id_and_its_start() -> None:
    buffer = SuccessBuffer()
    buffer.push(episode(1.0))
    assert buffer.of(("door/1", "00", None)) == (episode(1.0),)
    assert buffer.of(("door/2", "00", None)) == buffer.of(("door/1", "01", None)) == buffer.of(None) == ()
    assert buffer.sample(("door/2", "00", None), np.random.default_rng(0)) is None


def test_faults_and_episodes_without_a_step_are_no_successes() -> None:
    buffer = SuccessBuffer()
    assert not buffer.push(episode(1.0, end="environment_fault", fault="RuntimeError: no"))
    assert not buffer.push(episode(1.0, steps=()))
    assert len(buffer) == 0


def test_every_stored_success_is_drawn_equally_often() -> None:
    buffer = SuccessBuffer(4)
    for index in range(4):
        buffer.push(episode(1.0, index=index))
    rng = np.random.default_rng(3)
    drawn = [buffer.sample(("door/1", "00", None), rng) for _ in range(2000)]
    counts = np.bincount([one.index for one in drawn if one is not None], minlength=4)
    assert counts.sum() == 2000
    assert np.abs(counts - 500).max() < 100


def odd_episode() -> Episode:
    """Return an episode with every kind of token data, and numbers and text that are easily damaged."""
    plain = episode(1.0).steps[0]
    steps = (
        replace(plain, prompt_ids=(1, 2), response_ids=(3,), logprobs=(-0.1234567890123456789,), response="öpen"),
        replace(
            plain, prompt_ids=(), response_ids=(), logprobs=(), allowed_ids=(), observation="lone \ud800 surrogate"
        ),
        replace(plain, prompt_ids=(5,), response_ids=(1, 2), logprobs=(-1e-300, -0.0), allowed_ids=((1, 9), ())),
        replace(plain, reward=0.1 + 0.2, format_ok=False, node=4),
    )
    return episode(1.0, steps=steps, seed=None, context="window", final_observation="The end.")


@given(played=groups(REWARDS))
def test_an_episode_comes_back_equal(played: list[Group]) -> None:
    for found in [*(e for group in played for e in group.episodes), odd_episode(), episode(1.0, steps=())]:
        assert episode_of(episode_state(found)) == found


def test_a_checkpoint_holds_it_without_pickle(tmp_path: Path) -> None:
    buffer = SuccessBuffer(2)
    for index in range(3):
        buffer.push(replace(odd_episode(), index=index))
        buffer.push(episode(1.0, task="door/2", index=index))
    state = buffer.state_dict()
    path = write_checkpoint(tmp_path, 1, Path.mkdir, {"collector": state}, keep=1)
    other = SuccessBuffer(2)
    other.push(episode(1.0, task="door/3"))
    other.load_state_dict(read_checkpoint(path)["collector"])
    assert (other.tasks, len(other)) == (2, 4)
    for task in (("door/1", "00", None), ("door/2", "00", None), ("door/3", "00", None)):
        assert other.of(task) == buffer.of(task)
    assert [one.index for one in other.of(("door/1", "00", None))] == [1, 2]
    # What a checkpoint was given does not change under it.
    before = len(state["episodes"])
    buffer.push(episode(1.0, task="door/4"))
    assert len(state["episodes"]) == before


def test_no_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        SuccessBuffer(0)
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        EpisodeBuffer(0)
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        TransitionBuffer(0)
    with pytest.raises(ConfigError, match="empty transition buffer"):
        TransitionBuffer().sample(1)


@given(played=groups(REWARDS), capacity=st.integers(1, 4))
def test_the_last_episodes_stay_whatever_became_of_them(played: list[Group], capacity: int) -> None:
    buffer, told = EpisodeBuffer(capacity), [e for group in played for e in group.episodes]
    buffer.extend(told)
    faulty = episode(0.0, end="environment_fault", fault="RuntimeError: no")
    buffer.extend([faulty, episode(1.0, steps=()), episode(0.5)])
    assert buffer.episodes == (*told, episode(0.5))[-capacity:]
    assert len(buffer) == min(capacity, len(told) + 1)


def test_a_checkpoint_holds_the_last_episodes(tmp_path: Path) -> None:
    buffer = EpisodeBuffer(2)
    buffer.extend(replace(odd_episode(), index=index) for index in range(3))
    path = write_checkpoint(tmp_path, 1, Path.mkdir, {"learner": buffer.state_dict()}, keep=1)
    other = EpisodeBuffer(2)
    other.extend([episode(0.0)])
    other.load_state_dict(read_checkpoint(path)["learner"])
    assert other.episodes == buffer.episodes
    assert [one.index for one in other.episodes] == [1, 2]


def turns_of(buffer: TransitionBuffer, draws: int = 400) -> set[tuple[int, int]]:
    """Return which turns are in a small buffer, as the indices of their episodes and their numbers."""
    return {(turn.episode.index, turn.t) for turn in buffer.sample(draws)}


def walk(index: int, turns: int) -> Episode:
    """Return an episode of several turns."""
    return replace(episode(0.0, index=index), steps=episode(0.0).steps * turns)


@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=6), capacity=st.integers(1, 6))
def test_a_ring_holds_the_last_turns_and_knows_how_many(lengths: list[int], capacity: int) -> None:
    buffer = TransitionBuffer(capacity)
    told: list[tuple[int, int]] = []
    for index, turns in enumerate(lengths):
        buffer.extend([walk(index, turns), replace(walk(99, 2), end="policy_fault", fault="ValueError: no")])
        told += [(index, t) for t in range(turns)]
        assert len(buffer) == min(capacity, len(told))
    assert not told or turns_of(buffer) == set(told[-capacity:])


def test_turns_are_drawn_equally_often_once_the_ring_is_full() -> None:
    buffer = TransitionBuffer(4, seed=3)
    buffer.extend([walk(0, 3), walk(1, 3)])
    drawn = [(turn.episode.index, turn.t) for turn in buffer.sample(4000)]
    assert sorted(set(drawn)) == [(0, 2), (1, 0), (1, 1), (1, 2)]
    assert all(abs(drawn.count(turn) - 1000) < 120 for turn in set(drawn))


def test_draws_follow_from_the_seed_alone() -> None:
    def draws(seed: int) -> list[list[tuple[int, int]]]:
        buffer = TransitionBuffer(8, seed)
        buffer.extend([walk(0, 3), walk(1, 4)])
        return [[(turn.episode.index, turn.t) for turn in buffer.sample(5)] for _ in range(3)]

    assert draws(1) == draws(1) != draws(2)
    assert draws(1)[0] != draws(1)[1]


def test_a_checkpoint_holds_the_ring_and_every_episode_once(tmp_path: Path) -> None:
    buffer = TransitionBuffer(5, seed=2)
    buffer.extend([walk(0, 4), odd_episode()])
    buffer.sample(3)
    state = buffer.state_dict()
    assert len(state["episodes"]) == 2
    path = write_checkpoint(tmp_path, 1, Path.mkdir, {"learner": state}, keep=1)
    other = TransitionBuffer(5, seed=2)
    other.extend([walk(7, 3)])
    other.load_state_dict(read_checkpoint(path)["learner"])
    for ring in (buffer, other):
        ring.extend([walk(1, 2)])  # the oldest leave first, here and there
    assert len(other) == 5
    assert [(one.episode, one.t) for one in other.sample(50)] == [(one.episode, one.t) for one in buffer.sample(50)]


def test_what_a_transition_says_of_its_turn() -> None:
    buffer = TransitionBuffer()
    buffer.extend([walk(0, 2)])
    for turn in buffer.sample(20):
        assert turn.step is turn.episode.steps[turn.t]
        assert turn.is_last == (turn.t == 1)
