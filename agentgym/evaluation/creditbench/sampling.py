"""Groups of episodes, sampled straight from the arrays of a finite decision process into the columns of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentgym.batch import StepBatch
from agentgym.envs.finite import FiniteMDP, return_distribution
from agentgym.errors import ConfigError

__all__ = ["Sample", "fork_means", "play", "sample_groups"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Several batches of groups of one policy, as one ``StepBatch`` in which no two share a group.

    Anchor codes are the process's observations, state codes its states; each row has one token, its action.

    Attributes:
        batch: The rows, by batch, group, episode and step.
        part: Batch of each row, int64 [R], 0 to ``batches`` - 1.
        left: Steps left before each row's action, int64 [R], at least 1.
        action: Action of each row, int64 [R].
        successor: State after each row, int64 [R].
        task: Task of each group, int64 [G].
        batches: Number of batches.
        episodes: Episodes in each batch.
    """

    batch: StepBatch
    part: Ints
    left: Ints
    action: Ints
    successor: Ints
    task: Ints
    batches: int
    episodes: int


def sample_groups(
    mdp: FiniteMDP,
    policy: Floats,
    *,
    horizon: int,
    group_size: int,
    groups: int,
    batches: int,
    rng: np.random.Generator,
) -> Sample:
    """Play episodes of a tabular policy, all at once.

    Args:
        mdp: The process.
        policy: Probability of each action given the observation, [O, A].
        horizon: Step limit; episodes that reach it are truncated.
        group_size: Episodes in a group; they share task and start.
        groups: Groups in a batch, each with a task of its own draw.
        batches: Number of batches.
        rng: Chance of tasks, actions and the world.

    Raises:
        ConfigError: If a number is below 1.
    """
    sizes = {"horizon": horizon, "group_size": group_size, "groups": groups, "batches": batches}
    if small := [f"{name}={size}" for name, size in sizes.items() if size < 1]:
        raise ConfigError(f"{small[0]}: must be at least 1")
    task = rng.integers(len(mdp.tasks), size=batches * groups)
    start = np.repeat(mdp.start[task], group_size)
    states, actions, rewards, alive = play(mdp, policy, start, horizon, rng)
    episode, t = np.nonzero(alive)
    state, after, action = states[:, :-1][alive], states[:, 1:][alive], actions[alive]
    length = alive.sum(1)
    last = states[np.arange(len(start)), length]
    observation = mdp.observation[state]
    reward, rows = rewards[alive], len(episode)
    ended = mdp.terminal[after]
    batch = StepBatch(
        group=episode // group_size,
        episode=episode,
        t=t,
        anchor=observation,
        state=state,
        reward=reward,
        env_reward=reward,
        terminated=ended,
        truncated=(t == horizon - 1) & ~ended,
        valid=np.ones(rows, np.bool_),
        format_ok=np.ones(rows, np.bool_),
        won=mdp.won[last][episode],
        score=mdp.score[last][episode],
        token_offsets=np.arange(rows + 1),
        token_ids=action,
        logprobs=np.log(policy[observation, action]).astype(np.float32),
        observations=tuple(np.array(mdp.texts, object)[observation].tolist()),
        actions=tuple(np.array(mdp.actions, object)[action].tolist()),
    )
    return Sample(
        batch, episode // (group_size * groups), horizon - t, action, after, task, batches, group_size * groups
    )


def play(
    mdp: FiniteMDP, policy: Floats, start: Ints, horizon: int, rng: np.random.Generator
) -> tuple[Ints, Ints, Floats, npt.NDArray[np.bool_]]:
    """Play one episode from each start.

    Returns:
        States [E, H + 1], actions [E, H], rewards [E, H], and which steps were taken, bool [E, H].
    """
    chosen = np.cumsum(policy, axis=1)
    chosen[:, -1] = np.inf  # rounding must not reach past the last action
    last = policy.shape[1] - 1 - (policy[:, ::-1] > 0).argmax(1)
    state = start.copy()
    states = np.tile(start[:, None], (1, horizon + 1))
    actions, rewards = np.zeros((len(start), horizon), np.int64), np.zeros((len(start), horizon))
    alive = np.zeros((len(start), horizon), np.bool_)
    for t in range(horizon):
        going = ~mdp.terminal[state]
        seen = mdp.observation[state]
        action = np.minimum((chosen[seen] <= rng.random(len(start))[:, None]).sum(1), last[seen])
        k = (mdp.thresholds[state, action] <= rng.random(len(start))[:, None]).sum(1)
        alive[:, t], actions[:, t] = going, action
        rewards[:, t] = np.where(going, mdp.reward[state, action, k], 0.0)
        state = np.where(going, mdp.successor[state, action, k], state)
        states[:, t + 1] = state
    return states, actions, rewards, alive


def fork_means(
    mdp: FiniteMDP, policy: Floats, horizon: int, sample: Sample, forks: int, rng: np.random.Generator
) -> Floats:
    """Return the mean return of independent forks of each row's state, undiscounted, [R].

    A fork is put back to the state and steps left before the row, reseeded and played to its end. All that is kept of
    it is its return, so that is drawn from its exact distribution: millions of forks, none of which is walked through.

    Args:
        mdp: The process.
        policy: Probability of each action given the observation, [O, A].
        horizon: Step limit of the sample.
        sample: The sample.
        forks: Forks of each row's state, at least 1.
        rng: Chance of the forks, apart from that of the sample.
    """
    returns, chance = return_distribution(mdp, policy, horizon)
    moments, rows = np.unique(sample.left * len(mdp.states) + sample.batch.state, return_inverse=True)
    of_moment = chance.reshape(-1, len(returns))[moments]
    counts = rng.multinomial(forks, (of_moment / of_moment.sum(1, keepdims=True))[rows])
    means: Floats = counts @ returns / forks
    return means
