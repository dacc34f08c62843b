"""What was recorded: steps, episodes, groups, and the one recorder that makes them.

Wrappers and rollout collectors drive the same ``Recorder``. A step holds what the agent saw *before* it acted, what it
did, and what the environment answered with; token data are null unless a policy adds them by ``annotate``. Nothing is
re-tokenised later: token ids are what the model saw and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from agentgym.errors import RecorderError

__all__ = ["Context", "End", "Episode", "EpisodeRecorder", "Group", "Recorder", "Step", "TokenSequence"]

Context = Literal["transcript", "window"]
End = Literal["success", "failure", "step_limit", "token_limit", "pruned", "environment_fault", "policy_fault"]
_FAULTS = ("environment_fault", "policy_fault")


@dataclass(frozen=True, slots=True)
class Step:
    """One decision.

    Attributes:
        observation: What the agent saw before it acted.
        action: The text sent to the environment.
        response: All the text the policy wrote, or None without a policy.
        prompt_ids: In a transcript the tokens appended since the last response; in a window the whole prompt.
        response_ids: Tokens the policy sampled, end marker included.
        logprobs: Log-probability of each response token under the distribution that was sampled from, natural log.
        allowed_ids: Where sampling was constrained, the token ids each response token was chosen among; else None.
        node: In a group whose episodes are the paths of a tree, the number of this decision, from 0: paths share it up
            to where they fork. None elsewhere: the decision belongs to this episode alone.
        reward: The environment's own reward.
        shaped_reward: The reward after every shaping wrapper; what training uses. Equal to ``reward`` where nothing
            shapes.
        terminated: Whether the task ended here.
        truncated: Whether a limit ended the episode here.
        format_ok: Whether the response had the asked-for form; True where no form is asked for.
        valid: Whether the environment understood the action.
        obs_hash: Name of ``observation``, the anchor.
        state_hash: Name of the true state the action was taken in, or None.
    """

    observation: str
    action: str
    reward: float
    shaped_reward: float
    terminated: bool
    truncated: bool
    valid: bool
    obs_hash: str
    state_hash: str | None = None
    format_ok: bool = True
    response: str | None = None
    prompt_ids: tuple[int, ...] | None = None
    response_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    allowed_ids: tuple[tuple[int, ...], ...] | None = None
    node: int | None = None


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One training sequence of an episode.

    Attributes:
        ids: Token ids, int64 [n].
        loss_mask: True on response tokens, bool [n].
        row: Step index of each token (prompt tokens belong to the step they precede), int64 [n].
        logprobs: Behaviour log-probability on response tokens, 0 elsewhere, float32 [n].
        allowed: For constrained sampling the ids each *response* token was chosen among, in order; else None.
    """

    ids: npt.NDArray[np.int64]
    loss_mask: npt.NDArray[np.bool_]
    row: npt.NDArray[np.int64]
    logprobs: npt.NDArray[np.float32]
    allowed: tuple[tuple[int, ...], ...] | None = None


def _join(parts: Sequence[tuple[int, Step]]) -> TokenSequence:
    ids: list[int] = []
    mask: list[bool] = []
    rows: list[int] = []
    logprobs: list[float] = []
    for row, step in parts:
        if step.prompt_ids is None or step.response_ids is None or step.logprobs is None:
            raise RecorderError(
                f"step {row} has no token data: it was recorded without a policy and cannot be trained on"
            )
        prompt, response = len(step.prompt_ids), len(step.response_ids)
        ids += step.prompt_ids + step.response_ids
        mask += [False] * prompt + [True] * response
        rows += [row] * (prompt + response)
        logprobs += (0.0,) * prompt + step.logprobs
    constrained = [step.allowed_ids for _, step in parts]
    allowed = None if None in constrained else tuple(ids for step in constrained for ids in step or ())
    return TokenSequence(
        np.array(ids, np.int64),
        np.array(mask, np.bool_),
        np.array(rows, np.int64),
        np.array(logprobs, np.float32),
        allowed,
    )


@dataclass(frozen=True, slots=True)
class Episode:
    """One rollout from reset to its end.

    Attributes:
        group: Id of the group it belongs to.
        index: Its number within the group, from 0.
        seed: Seed of the reset, or None.
        task_id: The task, its source included.
        task_type: The kind of task.
        goal: The goal in words.
        steps: Decisions in order.
        won: Whether the task was solved.
        score: Final progress in [0, 1].
        end: How it ended; "pruned" where a search stopped following it.
        fault: The fault's text where ``end`` is a fault, else None.
        final_observation: What the environment answered to the last action.
        context: How prompts were built; None without a policy.
    """

    group: str
    index: int
    seed: int | None
    task_id: str
    task_type: str
    goal: str
    steps: tuple[Step, ...]
    won: bool
    score: float
    end: End
    fault: str | None = None
    final_observation: str = ""
    context: Context | None = None

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def total_reward(self) -> float:
        """Undiscounted sum of the environment's rewards."""
        return float(sum(step.reward for step in self.steps))

    def sequences(self) -> Iterator[TokenSequence]:
        """Yield the training sequences: one for a transcript, one a step for windows.

        Raises:
            RecorderError: If the episode was recorded without a policy.
        """
        numbered = list(enumerate(self.steps))
        if self.context is None:
            raise RecorderError(f"episode {self.group}/{self.index} was recorded without a policy and has no tokens")
        if self.context == "transcript":
            if numbered:
                yield _join(numbered)
        else:
            for pair in numbered:
                yield _join([pair])


@dataclass(frozen=True, slots=True)
class Group:
    """Episodes of one task from one start.

    Raises:
        RecorderError: If the episodes differ in task or in their first observation or state.
    """

    id: str
    episodes: tuple[Episode, ...]

    def __post_init__(self) -> None:
        starts = {(e.task_id, e.steps[0].obs_hash, e.steps[0].state_hash) for e in self.episodes if e.steps}
        if len(starts) > 1:
            raise RecorderError(f"group {self.id!r} has {len(starts)} different starts: {sorted(map(str, starts))}")

    def __len__(self) -> int:
        return len(self.episodes)

    @classmethod
    def of_paths(cls, name: str, paths: Iterable[Episode]) -> Self:
        """Return the group of the paths of a tree: index and nodes are numbered, in the order given.

        Paths share a decision where they hold the very same ``Step`` object, as branches of one run do.

        Args:
            name: Id of the group.
            paths: Its episodes, from the root to a leaf each.
        """
        # The steps are kept alive with their numbers, so that no id is used twice.
        numbered: dict[int, tuple[Step, Step]] = {}
        for path in (paths := list(paths)):
            for step in path.steps:
                if id(step) not in numbered:
                    numbered[id(step)] = (step, replace(step, node=len(numbered)))
        return cls(
            name,
            tuple(
                replace(path, group=name, index=index, steps=tuple(numbered[id(step)][1] for step in path.steps))
                for index, path in enumerate(paths)
            ),
        )


@dataclass(slots=True)
class EpisodeRecorder:
    """Records one running episode; made by ``Recorder.start``."""

    group: str
    index: int
    seed: int | None
    context: Context | None
    _observation: str
    _info: Mapping[str, Any]
    _steps: list[Step] = field(default_factory=list)
    _policy: dict[str, Any] = field(default_factory=dict)
    _end: End | None = None
    _fault: str | None = None

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self._end is not None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps so far."""
        return tuple(self._steps)

    def annotate(
        self,
        *,
        response: str | None = None,
        prompt_ids: Sequence[int] | None = None,
        response_ids: Sequence[int] | None = None,
        logprobs: Sequence[float] | None = None,
        allowed_ids: Sequence[Sequence[int]] | None = None,
        format_ok: bool | None = None,
    ) -> None:
        """Add the policy's part of the decision that the next ``step`` records.

        Raises:
            RecorderError: If token data differ in length, or the episode is over.
        """
        self._check_running("annotate")
        if (response_ids is None) != (logprobs is None) or (
            response_ids is not None and logprobs is not None and len(response_ids) != len(logprobs)
        ):
            raise RecorderError("response_ids and logprobs must both be given and have equal length")
        if allowed_ids is not None and len(allowed_ids) != len(response_ids or ()):
            raise RecorderError("allowed_ids must have one entry for each of response_ids")
        given = {
            "response": response,
            # Arrays and tensors are legal here; plain numbers compare, pickle and store alike wherever they come from.
            "prompt_ids": None if prompt_ids is None else tuple(map(int, prompt_ids)),
            "response_ids": None if response_ids is None else tuple(map(int, response_ids)),
            "logprobs": None if logprobs is None else tuple(map(float, logprobs)),
            "allowed_ids": None if allowed_ids is None else tuple(tuple(ids) for ids in allowed_ids),
            "format_ok": format_ok,
        }
        self._policy |= {key: value for key, value in given.items() if value is not None}

    def step(
        self, action: str, observation: str, reward: float, terminated: bool, truncated: bool, info: Mapping[str, Any]
    ) -> None:
        """Record the answer of the environment to ``action``; the arguments are what ``env.step`` took and returned.

        Where a wrapper parsed the policy's text (``ActionTags``), ``info`` tells the text and the action sent on.
        """
        self._check_running("step")
        before = self._info
        policy = self._policy
        policy.setdefault("format_ok", bool(info.get("format_ok", True)))
        policy.setdefault("response", info.get("response_text"))
        self._steps.append(
            Step(
                observation=self._observation,
                action=info.get("parsed_action", action),
                reward=float(info.get("env_reward", reward)),
                shaped_reward=float(reward),
                terminated=bool(terminated),
                truncated=bool(truncated),
                valid=bool(info.get("valid", True)),
                obs_hash=before["obs_hash"],
                state_hash=before.get("state_hash"),
                **policy,
            )
        )
        self._observation, self._info, self._policy = observation, info, {}
        if terminated:
            self._end = "success" if info.get("won", False) else "failure"
        elif truncated:
            self._end = "step_limit"

    def stop(self, end: End, text: str | None = None) -> None:
        """End the episode for a cause that the environment did not report: a token limit or a fault.

        Args:
            end: The cause.
            text: The fault's text; only with a fault.
        """
        self._check_running("stop")
        if end not in get_args(End):
            raise RecorderError(f"unknown end {end!r}; allowed: {', '.join(get_args(End))}")
        self._end, self._fault = end, text if end in _FAULTS else None

    def copy(self) -> EpisodeRecorder:
        """Return an independent recorder of the same episode so far."""
        return replace(self, _steps=list(self._steps), _policy=dict(self._policy))

    def _check_running(self, call: str) -> None:
        if self._end is not None:
            raise RecorderError(f"{call}() after the end of episode {self.group}/{self.index} ({self._end})")

    def finish(self) -> Episode:
        """Return the episode; one that is still running is recorded as having hit the step limit."""
        info = self._info
        return Episode(
            group=self.group,
            index=self.index,
            seed=self.seed,
            task_id=str(info.get("task_id", "")),
            task_type=str(info.get("task_type", "")),
            goal=str(info.get("goal", "")),
            steps=tuple(self._steps),
            won=bool(info.get("won", False)),
            score=float(info.get("score", 0.0)),
            end=self._end or "step_limit",
            fault=self._fault,
            final_observation=self._observation,
            context=self.context,
        )


class Recorder:
    """Collects episodes into groups and checks that the members of a group share their start.

    >>> recorder = Recorder()
    >>> info = {"task_id": "demo/1", "obs_hash": "00", "won": False}
    >>> episode = recorder.start("g0", "You see a door.", info, seed=7)
    >>> episode.step("open door", "Bright light.", 1.0, True, False, {**info, "won": True})
    >>> [group] = recorder.groups()
    >>> group.episodes[0].end, len(group.episodes[0])
    ('success', 1)
    """

    def __init__(self) -> None:
        self._episodes: dict[str, list[EpisodeRecorder]] = {}
        self._starts: dict[str, tuple[Any, ...]] = {}
        self._latest: EpisodeRecorder | None = None

    def start(
        self,
        group: str,
        observation: str,
        info: Mapping[str, Any],
        *,
        seed: int | None = None,
        context: Context | None = None,
    ) -> EpisodeRecorder:
        """Begin an episode of ``group`` with what ``env.reset`` returned.

        Raises:
            RecorderError: If ``info`` has no ``obs_hash``, or the start differs from the group's first.
        """
        if "obs_hash" not in info:
            raise RecorderError("info has no 'obs_hash'; wrap a foreign environment in agentgym.wrappers.StateHash")
        start = (info.get("task_id"), info["obs_hash"], info.get("state_hash"))
        first = self._starts.setdefault(group, start)
        if start != first:
            raise RecorderError(
                f"group {group!r} does not share its start: first (task, obs_hash, state_hash) {first}, now {start}. "
                "Reset every member with the same seed and task."
            )
        members = self._episodes.setdefault(group, [])
        episode = EpisodeRecorder(group, len(members), seed, context, observation, info)
        members.append(episode)
        self._latest = episode
        return episode

    def fork(self, episode: EpisodeRecorder) -> EpisodeRecorder:
        """Begin a further episode of the group of ``episode``, with its steps so far; the steps are shared.

        Raises:
            RecorderError: If ``episode`` is over.
        """
        episode._check_running("fork")
        members = self._episodes.setdefault(episode.group, [])
        branch = replace(episode.copy(), index=len(members))
        members.append(branch)
        self._latest = branch
        return branch

    def groups(self) -> list[Group]:
        """Return every group recorded so far, in order of their first episode."""
        return [Group(name, tuple(e.finish() for e in members)) for name, members in self._episodes.items()]

    @property
    def latest(self) -> EpisodeRecorder | None:
        """The episode that was started last, or None."""
        return self._latest

    def copy(self) -> Recorder:
        """Return an independent recorder that holds the same; ended episodes never change and are shared."""
        twin = Recorder()
        twin._starts = dict(self._starts)
        for name, members in self._episodes.items():
            twin._episodes[name] = [e if e.over else e.copy() for e in members]
        if self._latest is not None:
            twin._latest = twin._episodes[self._latest.group][self._latest.index]
        return twin

    def clear(self) -> None:
        """Forget what was recorded."""
        self._latest = None
        self._episodes.clear()
        self._starts.clear()
