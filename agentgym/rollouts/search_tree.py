"""The search of one task: which state is expanded next, what became of its samples, and how it is kept.

A search is a depth-first walk with backtracking: of the children of a state the best is expanded next, the others wait
on a stack, the next best on top. It is saved as what was done (seed, forks, recorded steps), without snapshots of the
environment, and replayed when it is loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import gymnasium as gym

from agentgym.algos.three_spo import SearchBudget, rollout_count, step_reward
from agentgym.episodes import Context, Episode, Group, Recorder, Step
from agentgym.errors import AlgorithmError
from agentgym.identity import text_hash, value_hash
from agentgym.learners.state_store import StateStore
from agentgym.rollouts.replayed_paths import load_episode, load_steps, replay, save_episode, save_steps
from agentgym.rollouts.runner import Branch, Point, Start
from agentgym.text_env import snapshot
from agentgym.wrappers import ReplaySnapshot

__all__ = ["COLUMNS", "TALLIED", "Expansion", "GivenUp", "Novelty", "Search", "SearchRules", "Ties"]

Novelty = Literal["changed", "unseen_on_path", "unseen_ever"]
GivenUp = Literal["resolved", "unresolved"]
Ties = Literal["hash", "frequency"]

COLUMNS = ("score", "next_score", "visits", "novel", "success")
"""Row columns of an expansion, in the order of its values."""

TALLIED = (
    *("episodes", "env_steps", "generated_tokens", "prompt_tokens", "faults"),
    *("nodes", "samples", "pruned", "restores", "replay_mismatch", "replayed_steps", "resumed_tokens"),
)
"""What searches count, beside how many samples each state asked for."""


@dataclass(frozen=True, slots=True)
class SearchRules:
    """What every search of a run goes by.

    Attributes:
        most: G_max, actions sampled in an unresolved state.
        omega: ωₖ of the step reward.
        state: What names a state.
        novelty: When R_novel is 1.
        given_up: What a next state counts as that was given up: "resolved" scores 0, "unresolved" by its success rate.
        ties: Which of equally rewarded children is better: the greater "hash" of what it did and saw, or first the one
            that was sampled more often.
        reseed: Whether samples get a chance of their own.
        budget: What one search may cost; ``samples`` is a number.
        seed: Seed of the run.
    """

    most: int
    omega: float
    state: Literal["obs", "state"]
    novelty: Novelty
    given_up: GivenUp
    ties: Ties
    reseed: bool
    budget: SearchBudget
    seed: int


@dataclass(frozen=True, slots=True)
class _Open:
    """A state that waits to be expanded, and the forks that led to it."""

    point: Point
    forks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Child:
    """One sampled transition; ``twin`` marks what an earlier sibling did and saw already."""

    branch: Branch
    values: tuple[float, ...]
    reward: float
    content: str
    twin: bool


@dataclass(slots=True)
class Expansion:
    """What came of expanding one state.

    Attributes:
        score: S of the state.
        group: The sampled transitions as episodes of one step, or None where there are no two to compare.
        columns: Values of ``COLUMNS``, for each row of the group.
        finished: Distinct states of each trajectory that ended, and whether it succeeded.
        seen: The state, and those it led to.
    """

    score: float
    group: Group | None = None
    columns: list[tuple[float, ...]] = field(default_factory=list)
    finished: list[tuple[list[str], bool]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)


class Search:
    """The search of one task.

    Args:
        place: Number of the place that it fills.
        number: Number of the search among those of its place, from 0.
        seed: Seed of the environment's reset.
        rules: What it goes by.

    Attributes:
        name: Name of its tree.
        key: Numbers that order it among others.
    """

    def __init__(self, place: int, number: int, seed: int, rules: SearchRules) -> None:
        self.name = f"{place}/{number}"
        self.key = (place, number)
        self._seed = seed
        self._rules = rules
        self._stack: list[_Open] = []
        self._paths: list[Episode] = []
        self._forks = 0
        self._nodes = 0
        self._env_steps = 0

    @property
    def over(self) -> bool:
        """Whether nothing is left to expand."""
        return not self._stack

    @property
    def tree(self) -> Group:
        """Every path that ended or was given up."""
        return Group.of_paths(self.name, self._paths)

    def open(self, env: gym.Env[Any, Any], context: Context | None) -> bool:
        """Reset ``env`` to the task and put its start on the stack; return whether the environment did not raise."""
        try:
            observation, info = env.reset(seed=self._seed)
        except Exception as error:
            self._paths.append(_fault(self.name, self._seed, context, error))
            return False
        recorder = Recorder().start(self.name, observation, info, seed=self._seed, context=context)
        self._stack.append(_Open(Point(snapshot(env), recorder, observation, info), ()))
        return True

    # Forward ----------------------------------------------------------------------------------------------------------

    def plan(self, store: StateStore, tally: dict[str, float]) -> list[Start]:
        """Return the samples of the state to expand next, none where the search is over.

        States that are given up leave the stack, and so does everything once the budget is spent.

        Args:
            store: The history of states.
            tally: Counts to add to.
        """
        budget = self._rules.budget
        spent = (self._forks, budget.samples), (self._nodes, budget.nodes), (self._env_steps, budget.env_steps)
        if any(limit is not None and used >= limit for used, limit in spent):
            while self._stack:
                self._give_up(self._stack.pop().point, tally)
        count = 0
        while self._stack and not count:
            score = store.scores([self._key(store, self._stack[-1].point.info)])
            count = int(rollout_count(score, self._rules.most)[0])
            tally[f"n_{count}"] += 1
            if not count:
                self._give_up(self._stack.pop().point, tally)
        if not count:
            return []
        assert budget.samples is not None
        point, first = self._stack[-1].point, self._forks
        self._forks += min(count, budget.samples - first)
        return [
            Start(
                self.name,
                noise=(self._rules.seed, *self.key, fork),
                point=point,
                fork=fork if self._rules.reseed else None,
            )
            for fork in range(first, self._forks)
        ]

    def grow(self, branches: Sequence[Branch], store: StateStore, tally: dict[str, float]) -> Expansion:
        """Take what came of the planned samples; the state leaves the stack, its children go there.

        Args:
            branches: One for each start of ``plan``, in order.
            store: The history as it was when they were planned.
            tally: Counts to add to.
        """
        node = self._stack.pop()
        self._nodes += 1
        self._env_steps += len(branches) * (1 + _replayed(node.point))
        key = self._key(store, node.point.info)
        result = Expansion(float(store.scores([key])[0]), seen=[key])
        if any(branch.lost is not None for branch in branches):
            tally["replay_mismatch"] += 1
            self._give_up(node.point, tally)
            return result
        self._stuck([b.episode for b in branches if len(b.episode) <= node.point.depth], store, result)
        children = self._children(node, [b for b in branches if len(b.episode) > node.point.depth], store, result)
        if len(children) > 1:
            result.group = _group(f"{self.name}/{self._nodes - 1}", children)
            result.columns = [child.values for child in children]
        often = Counter(child.content for child in children if self._rules.ties == "frequency")
        # The worst is pushed first, so that the best is on top.
        for child in sorted(children, key=lambda child: (child.reward, often[child.content], child.content)):
            self._settle(node, child, store, result)
        self._count(node.point, branches, children, result, tally)
        return result

    def _children(self, node: _Open, branches: Sequence[Branch], store: StateStore, result: Expansion) -> list[_Child]:
        """Score the samples that made a step."""
        before = result.seen[0]
        after = [self._key_after(store, branch) for branch in branches]
        result.seen += after
        on_path = {before, *self._keys_of(store, str(node.point.info["task_id"]), node.point.steps)}
        novel = {
            "changed": [key != before for key in after],
            "unseen_on_path": [key not in on_path for key in after],
            "unseen_ever": [key not in on_path and not old for key, old in zip(after, store.seen(after), strict=True)],
        }[self._rules.novelty]
        visits = float(store.visits([before])[0])
        children: list[_Child] = []
        contents: set[str] = set()
        scores = store.scores(after, filtered=self._rules.given_up == "resolved").tolist()
        for branch, key, next_score, is_new in zip(branches, after, scores, novel, strict=True):
            episode = branch.episode
            values = (result.score, 0.0 if episode.won else next_score, visits, float(is_new), float(episode.won))
            step = episode.steps[-1]
            content = value_hash([step.action, key, step.reward, branch.point is None])
            reward = float(step_reward(*values, omega=self._rules.omega))
            children.append(_Child(branch, values, reward, content, content in contents))
            contents.add(content)
        return children

    def _settle(self, node: _Open, child: _Child, store: StateStore, result: Expansion) -> None:
        """Push a child that goes on, write back one that ended, and give up twins."""
        episode, point, depth = child.branch.episode, child.branch.point, self._rules.budget.depth
        if child.twin:
            self._paths.append(replace(episode, end="pruned"))
            return
        if point is not None and (depth is None or point.depth < depth):
            self._stack.append(_Open(point, (*node.forks, child.branch.start.noise[-1])))
            return
        self._finish(episode, store, result)

    def _stuck(self, episodes: Sequence[Episode], store: StateStore, result: Expansion) -> None:
        """Record samples that made no step: a full context fails, once for all of them; a fault counts as nothing."""
        full = [episode for episode in episodes if episode.fault is None]
        self._paths += [episode for episode in episodes if episode.fault is not None]
        if full:
            self._finish(full[0], store, result)

    def _finish(self, episode: Episode, store: StateStore, result: Expansion) -> None:
        self._paths.append(episode)
        result.finished.append((self._keys_of(store, episode.task_id, episode.steps), episode.won))

    def _give_up(self, point: Point, tally: dict[str, float]) -> None:
        tally["pruned"] += 1
        self._paths.append(replace(point.recorder.finish(), end="pruned"))

    def _count(
        self,
        point: Point,
        branches: Sequence[Branch],
        children: Sequence[_Child],
        result: Expansion,
        tally: dict[str, float],
    ) -> None:
        steps = [child.branch.episode.steps[-1] for child in children]
        tally["nodes"] += 1
        tally["samples"] += len(branches)
        tally["restores"] += len(branches)
        tally["episodes"] += len(result.finished)
        tally["env_steps"] += len(steps)
        tally["replayed_steps"] += len(branches) * _replayed(point)
        tally["generated_tokens"] += sum(len(step.response_ids or ()) for step in steps)
        tally["prompt_tokens"] += sum(len(step.prompt_ids or ()) for step in steps)
        tally["resumed_tokens"] += sum(len(s.prompt_ids or ()) + len(s.response_ids or ()) for s in point.steps)
        tally["faults"] += sum(branch.episode.fault is not None for branch in branches)

    # States -----------------------------------------------------------------------------------------------------------

    def _key(self, store: StateStore, info: Mapping[str, Any]) -> str:
        return store.key(str(info["task_id"]), _named(info[f"{self._rules.state}_hash"], self._rules.state))

    def _keys_of(self, store: StateStore, task: str, steps: Sequence[Step]) -> list[str]:
        """Return the distinct states in which decisions were made."""
        names = [step.obs_hash if self._rules.state == "obs" else step.state_hash for step in steps]
        return list(dict.fromkeys(store.key(task, _named(name, self._rules.state)) for name in names))

    def _key_after(self, store: StateStore, branch: Branch) -> str:
        if branch.point is not None:
            return self._key(store, branch.point.info)
        # Of an end only the text is recorded.
        return store.key(branch.episode.task_id, text_hash(branch.episode.final_observation))

    # Saved and brought back -------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what was done, as plain data; decisions that paths share are held once."""
        waiting = [node.point.steps for node in self._stack]
        steps, numbers = save_steps([*waiting, *(path.steps for path in self._paths)])
        return {
            "key": list(self.key),
            "seed": self._seed,
            "counters": [self._forks, self._nodes, self._env_steps],
            "steps": steps,
            "stack": [
                {"forks": list(node.forks), "steps": path, "obs_hash": node.point.info["obs_hash"]}
                for node, path in zip(self._stack, numbers, strict=False)
            ],
            "paths": [
                {**save_episode(path), "steps": own}
                for path, own in zip(self._paths, numbers[len(waiting) :], strict=True)
            ],
        }

    @classmethod
    def replayed(
        cls,
        state: Mapping[str, Any],
        rules: SearchRules,
        take: Callable[[], gym.Env[Any, Any]],
        give: Callable[[gym.Env[Any, Any]], None],
        context: Context | None,
    ) -> tuple[Search, int]:
        """Return a saved search, its states restored by replay, and how many of them could not be.

        Args:
            state: What ``state_dict`` returned.
            rules: What the run goes by.
            take: Returns an environment.
            give: Takes it back.
            context: How prompts are built.
        """
        place, number = map(int, state["key"])
        search = cls(place, number, int(state["seed"]), rules)
        search._forks, search._nodes, search._env_steps = map(int, state["counters"])
        steps = load_steps(state["steps"])

        def path_of(saved: Mapping[str, Any]) -> tuple[Step, ...]:
            return tuple(steps[number] for number in saved["steps"])

        search._paths = [load_episode(path, path_of(path)) for path in state["paths"]]
        lost = 0
        env = take()
        for saved in state["stack"]:
            forks = tuple(map(int, saved["forks"]))
            point = replay(env, search.name, search._seed, path_of(saved), forks if rules.reseed else (), context)
            if point is None or point.info["obs_hash"] != saved["obs_hash"]:
                lost += 1
            else:
                search._stack.append(_Open(point, forks))
        give(env)
        return search, lost


def _replayed(point: Point) -> int:
    """Return how many steps of the environment it takes to restore a point."""
    replays = any(name.endswith(ReplaySnapshot.__qualname__) for name, _ in point.snapshot.layers)
    return point.depth if replays else 0


def _named(name: str | None, state: str) -> str:
    if name is None:
        raise AlgorithmError(
            f"state={state!r} needs a hash of every state, but this environment gives none; use state='obs'"
        )
    return name


def _group(name: str, children: Sequence[_Child]) -> Group:
    """Return sampled transitions as episodes of one step, whose prompts are whole."""
    episodes = []
    prompts: dict[tuple[int, ...] | None, tuple[int, ...] | None] = {}
    for index, child in enumerate(children):
        episode = child.branch.episode
        *past, step = episode.steps
        if step.prompt_ids not in prompts:
            prompts[step.prompt_ids] = _whole_prompt(past, step, episode.context)
        episodes.append(
            replace(
                episode,
                group=name,
                index=index,
                steps=(replace(step, prompt_ids=prompts[step.prompt_ids]),),
                context=None if episode.context is None else "window",
            )
        )
    return Group(name, tuple(episodes))


def _whole_prompt(past: Sequence[Step], step: Step, context: Context | None) -> tuple[int, ...] | None:
    if context != "transcript" or step.prompt_ids is None:
        return step.prompt_ids
    ids = [i for before in past for part in (before.prompt_ids, before.response_ids) for i in part or ()]
    return (*ids, *step.prompt_ids)


def _fault(name: str, seed: int, context: Context | None, error: Exception) -> Episode:
    return Episode(
        group=name,
        index=0,
        seed=seed,
        task_id="",
        task_type="",
        goal="",
        steps=(),
        won=False,
        score=0.0,
        end="environment_fault",
        fault=f"{type(error).__name__}: {error}",
        context=context,
    )
