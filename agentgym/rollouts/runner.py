"""The loop that plays: many episodes at once, one policy, every episode recorded; and branches off them.

Episodes that end leave the batch at once and waiting ones take their place. An environment that raises ends its own
episode with the recorded cause; the others go on. A ``Point`` is a moment of an episode that other episodes can go on
from; they share its steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from agentgym.episodes import Episode, EpisodeRecorder, Recorder, Step
from agentgym.errors import SnapshotError
from agentgym.policies.base import Decision, Policy, Session, Turn
from agentgym.text_env import Snapshot, reseed, restore, snapshot

__all__ = ["Branch", "EnvPool", "MakeEnv", "Moment", "Point", "Start", "run_branches", "run_episodes"]

MakeEnv = Callable[[], gym.Env[Any, Any]]


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of an episode, before its next decision, that branches can go on from any number of times.

    Attributes:
        snapshot: The environment and its wrappers.
        recorder: The episode so far; branches copy it and share its steps.
        observation: What the next decision answers.
        info: The environment's info.
    """

    snapshot: Snapshot
    recorder: EpisodeRecorder
    observation: str
    info: Mapping[str, Any]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps so far."""
        return self.recorder.steps

    @property
    def depth(self) -> int:
        """Number of steps so far."""
        return len(self.recorder.steps)


@dataclass(frozen=True, slots=True)
class Start:
    """Where an episode begins.

    Attributes:
        group: Group the episode belongs to.
        seed: Seed of the reset, or None.
        options: Options of the reset, or None.
        noise: Numbers that seed the policy's chance in this episode; equal noise, equal chance.
        point: Go on from there instead of resetting; seed and options are then not used.
        fork: With a point, the number the restored environment is reseeded with, so that the branch is an independent
            sample of what follows; None lets the environment's chance be what it was.
    """

    group: str
    seed: int | None = None
    options: Mapping[str, Any] | None = None
    noise: tuple[int, ...] = (0,)
    point: Point | None = None
    fork: int | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """What came of one start.

    Attributes:
        start: The start.
        episode: The episode, or what was recorded of it so far.
        point: Where it can go on; None where the episode is over.
        lost: Why its point could not be restored, in which case nothing was played; else None.
    """

    start: Start
    episode: Episode
    point: Point | None = None
    lost: str | None = None


class EnvPool:
    """Environments that wait for an episode; made when none waits.

    Args:
        make_env: Makes an environment.
    """

    def __init__(self, make_env: MakeEnv) -> None:
        self._make_env = make_env
        self._idle: list[gym.Env[Any, Any]] = []

    def take(self) -> gym.Env[Any, Any]:
        """Return an environment for one episode."""
        return self._idle.pop() if self._idle else self._make_env()

    def give(self, env: gym.Env[Any, Any]) -> None:
        """Put an environment back."""
        self._idle.append(env)

    def close(self) -> None:
        """Close those that wait."""
        for env in self._idle:
            env.close()
        self._idle.clear()


@dataclass(slots=True)
class _Live:
    start: Start
    env: gym.Env[Any, Any]
    recorder: EpisodeRecorder
    chance: np.random.Generator
    observation: str
    info: Mapping[str, Any]
    decisions: int = 0

    def point(self) -> Point:
        return Point(snapshot(self.env), self.recorder.copy(), self.observation, self.info)


class Moment:
    """What ``on_decision`` is shown: a decision that was made and not carried out yet.

    Attributes:
        start: Where the episode began.
        turn: What the policy was shown.
        decision: What it answered.
    """

    def __init__(self, live: _Live, turn: Turn, decision: Decision) -> None:
        self._live = live
        self.start = live.start
        self.turn = turn
        self.decision = decision

    @property
    def depth(self) -> int:
        """Number of steps before the decision."""
        return len(self._live.recorder.steps)

    def point(self) -> Point:
        """Return the moment before the decision, for branches that decide otherwise."""
        return self._live.point()


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
    pool = EnvPool(make_env)
    try:
        branches = run_branches(
            pool, policy, starts, max_live=max_live, greedy=greedy, recorder=recorder, on_episode=on_episode
        )
    finally:
        pool.close()
    return [branch.episode for branch in branches]


def run_branches(
    pool: EnvPool,
    policy: Policy,
    starts: Sequence[Start],
    *,
    decisions: int | None = None,
    on_decision: Callable[[Moment], Iterable[Start]] | None = None,
    entropies: bool = False,
    max_live: int = 256,
    greedy: bool = False,
    recorder: Recorder | None = None,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Branch]:
    """Play from each start, and from the starts that ``on_decision`` adds on the way.

    Args:
        pool: Where environments come from.
        policy: Who plays.
        starts: Where the episodes begin, from a reset or from a point.
        decisions: Stop each branch after so many decisions of its own, at least 1, and return its point; None plays on
            to the end.
        on_decision: Called with each decision before it is carried out; returns starts to be played too.
        entropies: Whether decisions tell the entropy at each token.
        max_live: Largest number of episodes that run at once, at least 1.
        greedy: Take the most likely token instead of sampling.
        recorder: Records the episodes and checks the starts of groups; a fresh one if None.
        on_episode: Called with each episode as it ends.

    Returns:
        What came of the given starts, in their order, then of the added ones, in the order of their ``noise``.
    """
    # A policy from elsewhere need not know of entropies until they are asked for.
    session = policy.session(greedy=greedy, entropies=True) if entropies else policy.session(greedy=greedy)
    run = _Run(pool, session, policy.context_kind, recorder or Recorder())
    run.decisions, run.on_decision, run.on_episode = decisions, on_decision, on_episode
    return run.play(starts, max_live)


class _Run:
    decisions: int | None
    on_decision: Callable[[Moment], Iterable[Start]] | None
    on_episode: Callable[[Episode], None] | None

    def __init__(self, pool: EnvPool, session: Session, context: Any, recorder: Recorder) -> None:
        self._pool = pool
        self._session = session
        self._context = context
        self._recorder = recorder
        self._waiting: deque[tuple[int, Start]] = deque()
        self._begun = 0
        self._live: dict[int, _Live] = {}
        self._done: dict[int, Branch] = {}

    def play(self, starts: Sequence[Start], max_live: int) -> list[Branch]:
        self._add(starts)
        while self._waiting or self._live:
            while self._waiting and len(self._live) < max_live:
                self._begin(*self._waiting.popleft())
            slots = list(self._live)
            turns = [self._turn(slot) for slot in slots]
            answers = self._session.act(turns) if turns else []
            for slot, turn, decision in zip(slots, turns, answers, strict=True):
                if self.on_decision is not None and decision.action is not None:
                    self._add(self.on_decision(Moment(self._live[slot], turn, decision)))
                self._apply(slot, decision)
        added = sorted(range(len(starts), self._begun), key=lambda slot: self._done[slot].start.noise)
        return [self._done[slot] for slot in (*range(len(starts)), *added)]

    def _add(self, starts: Iterable[Start]) -> None:
        for start in starts:
            self._waiting.append((self._begun, start))
            self._begun += 1

    def _turn(self, slot: int) -> Turn:
        live = self._live[slot]
        return Turn(slot, live.observation, live.info, live.chance, live.env)

    def _begin(self, slot: int, start: Start) -> None:
        env = self._pool.take()
        try:
            if start.point is None:
                options = None if start.options is None else dict(start.options)
                observation, info = env.reset(seed=start.seed, options=options)
            else:
                restore(env, start.point.snapshot)
                if start.fork is not None:
                    reseed(env, start.fork)
        except Exception as error:
            env.close()
            self._done[slot] = _unstarted(start, error, self._context)
            return
        if start.point is None:
            recorder = self._recorder.start(start.group, observation, info, seed=start.seed, context=self._context)
        else:
            recorder = self._recorder.fork(start.point.recorder)
            observation, info = start.point.observation, dict(start.point.info)
            self._session.resume(slot, recorder.steps)
        chance = np.random.Generator(np.random.Philox(np.random.SeedSequence(start.noise)))
        self._live[slot] = _Live(start, env, recorder, chance, observation, info)

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
        if live.recorder.over or live.decisions == self.decisions:
            self._end(slot)

    def _step(self, live: _Live, action: str) -> None:
        live.decisions += 1
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
        point = None if live.recorder.over else live.point()
        episode = live.recorder.finish()
        if episode.end == "environment_fault":
            # Whatever raised in mid-episode is not trusted with another one.
            live.env.close()
        else:
            self._pool.give(live.env)
        self._done[slot] = Branch(live.start, episode, point)
        if self.on_episode is not None and point is None:
            self.on_episode(episode)


def _unstarted(start: Start, error: Exception, context: Any) -> Branch:
    reason = f"{type(error).__name__}: {error}"
    episode = Episode(
        group=start.group,
        index=-1,
        seed=start.seed,
        task_id=str((start.options or {}).get("task", "")),
        task_type="",
        goal="",
        steps=(),
        won=False,
        score=0.0,
        end="environment_fault",
        fault=reason,
        context=context,
    )
    return Branch(start, episode, lost=reason if isinstance(error, SnapshotError) else None)
