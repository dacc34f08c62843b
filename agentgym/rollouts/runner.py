"""The loop that plays: many episodes at once, one policy, every episode recorded.

Episodes that end leave the batch at once and waiting ones take their place. An environment that raises ends its own
episode with the recorded cause; the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from agentgym.episodes import Episode, EpisodeRecorder, Recorder
from agentgym.policies.base import Decision, Policy, Turn

__all__ = ["MakeEnv", "Start", "run_episodes"]

MakeEnv = Callable[[], gym.Env[Any, Any]]


@dataclass(frozen=True, slots=True)
class Start:
    """Where an episode begins.

    Attributes:
        group: Group the episode belongs to.
        seed: Seed of the reset, or None.
        options: Options of the reset, or None.
        noise: Numbers that seed the policy's chance in this episode; equal noise, equal chance.
    """

    group: str
    seed: int | None = None
    options: Mapping[str, Any] | None = None
    noise: tuple[int, ...] = (0,)


@dataclass(slots=True)
class _Live:
    env: gym.Env[Any, Any]
    recorder: EpisodeRecorder
    chance: np.random.Generator
    observation: str
    info: dict[str, Any]


class _Pool:
    """Environments that wait for an episode; made when none waits."""

    def __init__(self, make_env: MakeEnv) -> None:
        self._make_env = make_env
        self._idle: list[gym.Env[Any, Any]] = []

    def take(self) -> gym.Env[Any, Any]:
        return self._idle.pop() if self._idle else self._make_env()

    def give(self, env: gym.Env[Any, Any]) -> None:
        self._idle.append(env)

    def close(self) -> None:
        for env in self._idle:
            env.close()
        self._idle.clear()


def run_episodes(
    make_env: MakeEnv,
    policy: Policy,
    starts: Sequence[Start],
    *,
    max_live: int = 256,
    greedy: bool = False,
    recorder: Recorder | None = None,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """Play one episode from each start.

    Args:
        make_env: Makes an environment; called at most ``max_live`` times.
        policy: Who plays.
        starts: Where the episodes begin.
        max_live: Largest number of episodes that run at once, at least 1.
        greedy: Take the most likely token instead of sampling.
        recorder: Records the episodes and checks the starts of groups; a fresh one if None.
        on_episode: Called with each episode as it ends.

    Returns:
        The episodes in the order of ``starts``. One whose environment could not be reset has no steps and says why.
    """
    run = _Run(_Pool(make_env), policy, starts, greedy, recorder or Recorder(), on_episode)
    try:
        return run.play(max_live)
    finally:
        run.pool.close()


class _Run:
    def __init__(
        self,
        pool: _Pool,
        policy: Policy,
        starts: Sequence[Start],
        greedy: bool,
        recorder: Recorder,
        on_episode: Callable[[Episode], None] | None,
    ) -> None:
        self.pool = pool
        self._starts = starts
        self._session = policy.session(greedy=greedy)
        self._context = policy.context_kind
        self._recorder = recorder
        self._on_episode = on_episode
        self._live: dict[int, _Live] = {}
        self._done: dict[int, Episode] = {}

    def play(self, max_live: int) -> list[Episode]:
        waiting = deque(enumerate(self._starts))
        while waiting or self._live:
            while waiting and len(self._live) < max_live:
                self._begin(*waiting.popleft())
            slots = list(self._live)
            turns = [self._turn(slot) for slot in slots]
            for slot, decision in zip(slots, self._decide(turns), strict=True):
                self._apply(slot, decision)
        return [self._done[i] for i in range(len(self._starts))]

    def _turn(self, slot: int) -> Turn:
        live = self._live[slot]
        return Turn(slot, live.observation, live.info, live.chance, live.env)

    def _begin(self, slot: int, start: Start) -> None:
        env = self.pool.take()
        try:
            options = None if start.options is None else dict(start.options)
            observation, info = env.reset(seed=start.seed, options=options)
        except Exception as error:
            self._done[slot] = _unstarted(start, error, self._context)
            return
        recorder = self._recorder.start(start.group, observation, info, seed=start.seed, context=self._context)
        chance = np.random.Generator(np.random.Philox(np.random.SeedSequence(start.noise)))
        self._live[slot] = _Live(env, recorder, chance, observation, info)

    def _decide(self, turns: Sequence[Turn]) -> list[Decision]:
        return self._session.act(turns) if turns else []

    def _apply(self, slot: int, decision: Decision) -> None:
        live = self._live[slot]
        if decision.action is None:
            live.recorder.stop("token_limit")
        else:
            live.recorder.annotate(
                response=decision.response if decision.response_ids is not None else None,
                prompt_ids=decision.prompt_ids,
                response_ids=decision.response_ids,
                logprobs=decision.logprobs,
                allowed_ids=decision.allowed_ids,
            )
            self._step(live, decision.action)
        if live.recorder.over:
            self._end(slot)

    def _step(self, live: _Live, action: str) -> None:
        try:
            observation, reward, terminated, truncated, info = live.env.step(action)
        except Exception as error:
            live.recorder.stop("environment_fault", f"{type(error).__name__}: {error}")
            return
        live.recorder.step(action, observation, float(reward), terminated, truncated, info)
        live.observation, live.info = observation, info

    def _end(self, slot: int) -> None:
        live = self._live.pop(slot)
        self._session.drop(slot)
        episode = live.recorder.finish()
        if episode.end == "environment_fault":
            # Whatever raised in mid-episode is not trusted with another one.
            live.env.close()
        else:
            self.pool.give(live.env)
        self._done[slot] = episode
        if self._on_episode is not None:
            self._on_episode(episode)


def _unstarted(start: Start, error: Exception, context: Any) -> Episode:
    task = str((start.options or {}).get("task", ""))
    return Episode(
        group=start.group,
        index=-1,
        seed=start.seed,
        task_id=task,
        task_type="",
        goal="",
        steps=(),
        won=False,
        score=0.0,
        end="environment_fault",
        fault=f"{type(error).__name__}: {error}",
        context=context,
    )
