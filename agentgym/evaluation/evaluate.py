"""Evaluation on fixed tasks: every task once, with an interval, and outcomes that can be paired with another's."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Self

import gymnasium as gym
import numpy as np

from agentgym.episodes import Episode
from agentgym.errors import ConfigError, DataError
from agentgym.evaluation.intervals import Interval, paired_bootstrap, wilson
from agentgym.policies.base import Policy
from agentgym.rollouts import Start, run_episodes

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Evaluation", "Outcome", "compare", "evaluate", "plan_starts"]

_DEFAULT_EPISODES = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one task went.

    Attributes:
        start: Which start it was: task and seed of the reset, the key that pairs two evaluations.
        task_id: The task, its source included.
        task_type: The kind of task.
        won: Whether it was solved.
        score: Final progress in [0, 1].
        reward: Sum of the environment's own rewards.
        length: Number of decisions.
        tokens: Number of generated tokens.
        end: How the episode ended.
    """

    start: str
    task_id: str
    task_type: str
    won: bool
    score: float
    reward: float
    length: int
    tokens: int
    end: str


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        outcomes: One a task, in the order of the starts.
        temperature: Sampling temperature; 0 is greedy, None a policy without one.
        seconds: Wall-clock time.
        episodes: The episodes that this process played; not part of ``to_dict``.
    """

    outcomes: tuple[Outcome, ...]
    temperature: float | None
    seconds: float
    episodes: tuple[Episode, ...] = ()

    @property
    def success(self) -> Interval:
        """Success rate with its 95% Wilson interval."""
        return wilson(sum(o.won for o in self.outcomes), len(self.outcomes))

    @property
    def by_type(self) -> dict[str, Interval]:
        """Success rate of each task type."""
        types: defaultdict[str, list[bool]] = defaultdict(list)
        for outcome in self.outcomes:
            types[outcome.task_type].append(outcome.won)
        return {name: wilson(sum(won), len(won)) for name, won in sorted(types.items())}

    @property
    def source(self) -> str:
        """Where the tasks come from, as their ids say, such as ``builtin/valid_unseen``."""
        folders = [outcome.task_id.split("/")[:-1] for outcome in self.outcomes]
        # zip stops at the shallowest id, takewhile at the first level on which they part.
        common = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))]
        return "/".join(common) or ", ".join(sorted({outcome.task_id.partition("/")[0] for outcome in self.outcomes}))

    def mean(self, name: str) -> float:
        """Return the mean over tasks of a numeric field of ``Outcome``, such as ``"length"``."""
        return float(np.mean([getattr(o, name) for o in self.outcomes]))

    def metrics(self) -> dict[str, float]:
        """Return the scalars to log, under the names verl-agent uses."""
        faults = sum(o.end.endswith("_fault") for o in self.outcomes)
        return {
            "val/success_rate": self.success.value,
            "val/success_rate/low": self.success.low,
            "val/success_rate/high": self.success.high,
            "val/score": self.mean("score"),
            "val/reward": self.mean("reward"),
            "val/episode/length": self.mean("length"),
            "val/episodes": float(len(self.outcomes)),
            "val/faults": float(faults),
            "val/tokens": float(sum(o.tokens for o in self.outcomes)),
            "val/seconds": self.seconds,
            **{f"val/success_rate/{name}": interval.value for name, interval in self.by_type.items() if name},
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as JSON-ready data, without the episodes."""
        outcomes = [asdict(o) for o in self.outcomes]
        return {"temperature": self.temperature, "seconds": self.seconds, "outcomes": outcomes}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what ``to_dict`` returned.

        Raises:
            DataError: If the data are of another shape.
        """
        try:
            outcomes = tuple(Outcome(**outcome) for outcome in data["outcomes"])
            return cls(outcomes, data["temperature"], float(data["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"these are not the results of an evaluation: {error!r}") from error


def compare(before: Evaluation, after: Evaluation) -> Interval:
    """Return the gain in success over the same tasks, with its 95% paired bootstrap interval.

    Raises:
        ConfigError: If the two did not play the same starts.
    """
    if [o.start for o in before.outcomes] != [o.start for o in after.outcomes]:
        raise ConfigError(
            "the two evaluations played different tasks: use the same environment, seed and number of episodes"
        )
    return paired_bootstrap([float(o.won) for o in before.outcomes], [float(o.won) for o in after.outcomes])


def plan_starts(
    split: Sequence[str] | None, *, episodes: int | None = None, tasks: Sequence[str] | None = None, seed: int = 0
) -> list[Start]:
    """Choose the starts: the named tasks, or the finite split once, or ``episodes`` seeds where the split is endless.

    Args:
        split: Task ids of a finite split, or None where it is endless.
        episodes: How many; None for a whole finite split or 200 seeds. A finite split larger than this is sampled
            without replacement, a smaller one is played once.
        tasks: Names the tasks instead.
        seed: Decides on the sample, the seeds of the resets and the sampling noise.

    Raises:
        ConfigError: If both ``episodes`` and ``tasks`` are given, or there is nothing to play.
    """
    if tasks is not None and episodes is not None:
        raise ConfigError("give either episodes or tasks, not both")
    names: Sequence[str | None]
    if tasks is not None:
        names = tasks
    elif split is not None:
        chosen = np.random.default_rng(seed).permutation(len(split))[:episodes]
        names = [split[i] for i in sorted(chosen)]
    else:
        names = [None] * (_DEFAULT_EPISODES if episodes is None else episodes)
    if not names:
        raise ConfigError("nothing to evaluate on: the list of tasks is empty")
    return [
        Start(
            group=f"eval-{i:05d}",
            seed=int(np.random.SeedSequence([seed, i]).generate_state(1)[0]),
            options=None if name is None else {"task": name},
            noise=(seed, i),
        )
        for i, name in enumerate(names)
    ]


def evaluate(
    make_env: Callable[[], gym.Env[Any, Any]],
    policy: Policy,
    *,
    episodes: int | None = None,
    tasks: Sequence[str] | None = None,
    seed: int = 0,
    temperature: float | None = None,
    max_live: int = 256,
    accelerator: Accelerator | None = None,
) -> Evaluation:
    """Play fixed tasks and report how it went; the same arguments give the same starts and the same sampling noise.

    Args:
        make_env: Makes one environment.
        policy: Who plays.
        episodes: How many tasks; see ``plan_starts``.
        tasks: Names the tasks instead.
        seed: Decides on the tasks and the sampling noise.
        temperature: 0 plays greedily; None keeps the policy's own temperature.
        max_live: Largest number of episodes that run at once.
        accelerator: Shares the tasks out over its processes and gathers the outcomes on all of them.

    Raises:
        ConfigError: If the arguments contradict each other.
    """
    begin = time.perf_counter()
    env = make_env()
    starts = plan_starts(getattr(env.unwrapped, "tasks", None), episodes=episodes, tasks=tasks, seed=seed)
    env.close()
    rank, world = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    mine = starts[rank::world]
    with _at_temperature(policy, temperature) as used:
        played = run_episodes(make_env, policy, mine, max_live=max_live, greedy=used == 0) if mine else []
    numbered = [
        (i, _outcome(start, episode))
        for i, start, episode in zip(range(rank, len(starts), world), mine, played, strict=True)
    ]
    if accelerator is not None and world > 1:
        from accelerate.utils import gather_object

        numbered = gather_object(numbered)
    outcomes = tuple(outcome for _, outcome in sorted(numbered, key=lambda pair: pair[0]))
    return Evaluation(outcomes, used, time.perf_counter() - begin, tuple(played))


def _outcome(start: Start, episode: Episode) -> Outcome:
    return Outcome(
        start=f"{episode.task_id}#{start.seed}",
        task_id=episode.task_id,
        task_type=episode.task_type,
        won=episode.won,
        score=episode.score,
        reward=episode.total_reward,
        length=len(episode),
        tokens=sum(len(step.response_ids or ()) for step in episode.steps),
        end=episode.end,
    )


@contextmanager
def _at_temperature(policy: Policy, temperature: float | None) -> Iterator[float | None]:
    """Let the policy play at ``temperature``; yields the temperature in use, 0 for greedy play."""
    own: float | None = getattr(policy, "temperature", None)
    if temperature is None or temperature == 0 or own is None:
        yield own if temperature is None or own is None else temperature
        return
    if temperature < 0:
        raise ConfigError(f"temperature {temperature} must be at least 0 (0 is greedy)")
    policy.temperature = temperature  # type: ignore[attr-defined]
    try:
        yield temperature
    finally:
        policy.temperature = own  # type: ignore[attr-defined]
