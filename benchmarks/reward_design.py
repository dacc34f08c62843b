"""The learning curves of the thesis on reward design (arXiv 2503.21949), at a reduced budget.

Three groups of experiments, each a world, a learner and several teachers; see docs/reward_design.md for what is the
same as in the released code and what is not. Every point is the exact value of the learner's policy under the world's
own reward.

    exprd     four rooms and the line with Q-learning: the original reward, potential-based shaping by V*, EXPRD with
              five further states (the smallest of equally informative rewards, and the one the solver happens to
              give), by learners that take a random one and the first one of equally good actions
    expadard  four rooms and the line with REINFORCE, and rewards tied together by features: the original reward, any
              reward that keeps the policy, EXPRD, EXPADARD
    explors   the chain, four rooms and the line with REINFORCE, and with distractors: the original reward, the bonus
              alone, the learned term alone, both

    python benchmarks/reward_design.py [group ...] [--runs N] [--scale X]

A group that was run takes the place of what the record has of it.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agentgym.algos.functional.design_programmes import design_adaptive, design_reward, select_states
from agentgym.algos.functional.discounted import Process, one_hot_policy, optimal_values
from agentgym.algos.functional.potentials import expected_shaping
from agentgym.algos.functional.reward_design import Target, find_target
from agentgym.envs.finite import FiniteMDP, build
from agentgym.envs.finite.design_worlds import FourRooms, LineKey, LongChain
from agentgym.evaluation.reward_design import (
    AdaptiveReward,
    Curve,
    ExplorationReward,
    FixedReward,
    OriginalReward,
    Plan,
    Teacher,
    teach,
)
from agentgym.evaluation.tabular_learners import Learner, QLearner, Reinforce, policy_return, process_of

__all__ = ["GROUPS", "Measured", "Setting", "main"]

Floats = npt.NDArray[np.float64]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "reward_design.json"
PLOT = ROOT / "docs" / "assets" / "reward_design.png"
RUNS = 10
SMALLEST = 1e-6
REACHED = 0.9


@dataclass(frozen=True)
class Setting:
    """One experiment.

    Attributes:
        name: What it is called.
        mdp: The world.
        gamma: γ.
        plan: How long, and how often who learns.
        learner: Makes the learner of a run.
        teachers: Name → makes the teacher of a run.
    """

    name: str
    mdp: FiniteMDP
    gamma: float
    plan: Plan
    learner: Callable[[], Learner]
    teachers: dict[str, Callable[[], Teacher]]


@dataclass(frozen=True)
class Measured:
    """What one teacher gave in one experiment.

    Attributes:
        setting: Name of the experiment.
        teacher: Name of the teacher.
        best: Value of the policy that is optimal for an unlimited horizon.
        episodes: Where the curve was read.
        mean: Mean value of all runs there.
        lowest: Lowest of all runs.
        highest: Highest of all runs.
        reached: Episodes until the mean is 90% of the best value, or None.
        seconds: Processor time of all runs, designs included.
    """

    setting: str
    teacher: str
    best: float
    episodes: list[int]
    mean: list[float]
    lowest: list[float]
    highest: list[float]
    reached: int | None
    seconds: float


def shaped_by_values(process: Process) -> Floats:
    """Return the original reward with potential-based shaping by V*, in expectation over the next state."""
    best = np.where(process.legal, optimal_values(process, process.reward), -np.inf).max(1)
    return process.reward + expected_shaping(process, np.where(process.ends, 0.0, best))


def exprd() -> list[Setting]:
    """Return the experiments of EXPRD: γ = 0.95, 10% slips, 50 steps, α = 0.5, ε = 0.1, B = 5."""
    settings = []
    for name, mdp in (("rooms", build(FourRooms(slip=0.1))), ("line", build(LineKey(slip=0.1)))):
        process = process_of(mdp, 0.95)
        target = find_target(process)
        sparse = select_states(process, target, 5, l1=SMALLEST)[-1]
        corner = design_reward(process, target, states=sparse.states)
        print(f"exprd {name}: I(R) = {sparse.value:.4f}; states {[mdp.states[s] for s in sparse.states]}")
        rewards = {
            "original": process.reward,
            "potential": shaped_by_values(process),
            "EXPRD": sparse.reward,
            "EXPRD, corner": corner.reward,
        }
        for first in (False, True):
            settings.append(
                Setting(
                    f"exprd {name}, {'first' if first else 'random'} of equal actions",
                    mdp,
                    0.95,
                    Plan(4000 if first else 1000, 50, evaluate_every=100 if first else 20),
                    lambda process=process, first=first: QLearner(process, 0.5, 0.1, first=first),  # type: ignore[misc]
                    {key: lambda reward=reward: FixedReward(reward) for key, reward in rewards.items()},  # type: ignore[misc]
                )
            )
    return settings


def tied(process: Process, leaves: list[set[int]]) -> Floats:
    """Return features that give all states of a leaf the same reward for the same action, [S, A, leaves * A]."""
    states, actions = process.legal.shape
    features = np.zeros((states, actions, len(leaves) * actions))
    for number, leaf in enumerate(leaves):
        for action in range(actions):
            features[sorted(leaf), action, number * actions + action] = 1.0
    return features * process.legal[..., None]


def room_leaves(mdp: FiniteMDP) -> list[set[int]]:
    """Return the squares of three by three cells that lie within a room, which overlap, and the last corner."""
    cells = {
        (int(found[1]), int(found[2])): s
        for s, text in enumerate(mdp.states)
        if (found := re.fullmatch(r"column=(\d+), row=(\d+), end=''", text))
    }
    sides = {0: [0], 3: [3, 4]}  # first column of each square, by the first column of its room; rows alike
    corners = [(x, y) for left in sides for low in sides for x in sides[left] for y in sides[low]]
    squares = [{cells[x + i, y + j] for i in range(3) for j in range(3)} for x, y in corners]
    return [*squares, {cells[6, 6]}]


def line_leaves(mdp: FiniteMDP) -> list[set[int]]:
    """Return the leaves of the released tree: without the key where it hangs or not, with it at the end or not."""
    leaves: dict[str, set[int]] = {}
    for s, text in enumerate(mdp.states):
        cell, key, end = re.fullmatch(r"cell=(\d+), key='(\w*)', end='(\w*)'", text).groups()  # type: ignore[union-attr]
        if not end:
            place = ("at the end" if cell == "9" else "") if key else ("at the key" if cell == "1" else "")
            leaves.setdefault(f"{key} {place}", set()).add(s)
    return list(leaves.values())


def expadard_teachers(
    process: Process, target: Target, features: Floats, epsilon: float, every: int
) -> dict[str, Callable[[], Teacher]]:
    """Return the four teachers, all but the first bound to the features."""
    nothing = np.zeros(process.legal.shape)
    invariant = design_adaptive(process, target, nothing, features=features).reward
    once = design_reward(process, target, features=features, l1=SMALLEST).reward
    return {
        "original": OriginalReward,
        "invariance": lambda: FixedReward(invariant),
        "EXPRD": lambda: FixedReward(once),
        "EXPADARD": lambda: AdaptiveReward(process, target, epsilon=epsilon, features=features, every=every),
    }


def expadard() -> list[Setting]:
    """Return the experiments of EXPADARD: γ = 0.95, 30 steps, η = 0.1 for a reward of 1 (0.01 for 10 in the code)."""
    settings = []
    for name, mdp, leaves, epsilon, every, episodes in (
        ("rooms", build(FourRooms(slip=0.05)), room_leaves, 0.4, 10, 12_000),  # a design in 50 episodes; 5 in the code
        ("line", build(LineKey(slip=0.1)), line_leaves, 0.3, 2, 6_000),
    ):
        process = process_of(mdp, 0.95)
        teachers = expadard_teachers(process, find_target(process), tied(process, leaves(mdp)), epsilon, every)
        plan = Plan(episodes, 30, evaluate_every=episodes // 40)
        learner = lambda process=process: Reinforce(process, 0.1)  # noqa: E731
        settings.append(Setting(f"expadard {name}", mdp, 0.95, plan, learner, teachers))
    return settings


def explors() -> list[Setting]:
    """Return the experiments of EXPLORS: γ = 0.99, 5% slips, rewards that repeat, η = 0.1 of the learner."""
    settings = []
    for name, mdp, plan in (
        ("chain", build(LongChain(repeat=True)), Plan(14_000, 40, evaluate_every=500)),
        ("chain, distractor", build(LongChain(repeat=True, distractor=0.01)), Plan(14_000, 40, evaluate_every=500)),
        (
            "rooms, distractor",
            build(FourRooms(slip=0.05, repeat=True, distractor=0.01)),
            Plan(20_000, 30, evaluate_every=500),
        ),
        (
            "line, distractor",
            build(LineKey(slip=0.05, repeat=True, decoy=True, distractor=0.01)),
            Plan(14_000, 60, evaluate_every=500),
        ),
    ):
        process = process_of(mdp, 0.99)
        teachers: dict[str, Callable[[], Teacher]] = {
            "original": OriginalReward,
            "bonus": lambda process=process: ExplorationReward(process, eta=0.0),  # type: ignore[misc]
            "learned": lambda process=process: ExplorationReward(process, lam=0.0),  # type: ignore[misc]
            "EXPLORS": lambda process=process: ExplorationReward(process),  # type: ignore[misc]
        }
        learner = lambda process=process: Reinforce(process, 0.1)  # noqa: E731
        settings.append(Setting(f"explors {name}", mdp, 0.99, plan, learner, teachers))
    return settings


GROUPS: dict[str, Callable[[], list[Setting]]] = {"exprd": exprd, "expadard": expadard, "explors": explors}


def measure(setting: Setting, teacher: str, runs: int, scale: float) -> Measured:
    """Run one teacher of one experiment; seeds are the number of the run, the same for all teachers."""
    began = time.process_time()
    plan = Plan(**{**asdict(setting.plan), "episodes": max(1, round(scale * setting.plan.episodes))})
    curves: list[Curve] = [
        teach(setting.mdp, setting.gamma, setting.teachers[teacher](), setting.learner(), plan, seed)
        for seed in range(runs)
    ]
    process = process_of(setting.mdp, setting.gamma)
    greedy = one_hot_policy(find_target(process).choice, process.legal)
    best = policy_return(setting.mdp, greedy, plan.horizon, setting.gamma)
    values = np.array([curve.values for curve in curves])
    episodes, mean = curves[0].episodes, values.mean(0)
    reached = next((episodes[i] for i in range(len(mean)) if mean[i] >= REACHED * best), None)
    return Measured(
        setting.name,
        teacher,
        round(best, 4),
        episodes,
        mean.round(4).tolist(),
        values.min(0).round(4).tolist(),
        values.max(0).round(4).tolist(),
        reached,
        round(time.process_time() - began, 1),
    )


def plot(found: list[Measured], path: Path) -> None:
    """Draw the curves, a panel for each experiment; bands reach from the lowest run to the highest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(one.setting for one in found))
    rows = -(-len(names) // 2)
    figure, panels = pyplot.subplots(rows, 2, figsize=(9, 2.6 * rows), squeeze=False)
    for panel, name in zip(panels.flat, names, strict=False):
        for one in (one for one in found if one.setting == name):
            panel.plot(one.episodes, one.mean, label=one.teacher)
            panel.fill_between(one.episodes, one.lowest, one.highest, alpha=0.15)
            panel.axhline(one.best, color="grey", linewidth=0.8, linestyle=":")
        panel.set_title(name, fontsize=9)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    for panel in panels.flat[len(names) :]:
        panel.set_visible(False)
    figure.supxlabel("episodes", fontsize=9)
    figure.supylabel("value under the original reward", fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    """Run the experiments, print a table, write the record and the plot."""
    parser = argparse.ArgumentParser(description="Learning curves of designed rewards.")
    parser.add_argument("groups", nargs="*", help=f"which of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the episodes")
    arguments = parser.parse_args()
    record = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    print(f"{'experiment':45} {'teacher':>13} {'best':>8} {'half':>8} {'end':>8} {'90% after':>10} {'seconds':>8}")
    for group in arguments.groups or GROUPS:
        found = []
        for setting in GROUPS[group]():
            for teacher in setting.teachers:
                one = measure(setting, teacher, arguments.runs, arguments.scale)
                half = one.mean[len(one.mean) // 2]
                reached = "never" if one.reached is None else f"{one.reached:,}"
                print(
                    f"{one.setting:45} {teacher:>13} {one.best:8.3f} {half:8.3f} {one.mean[-1]:8.3f} {reached:>10} "
                    f"{one.seconds:8.1f}",
                    flush=True,
                )
                found.append(asdict(one))
        record[group] = {"runs": arguments.runs, "scale": arguments.scale, "curves": found}
        text = json.dumps({name: record[name] for name in GROUPS if name in record}, separators=(",", ":"))
        RESULTS.write_text(text.replace('{"setting"', '\n{"setting"') + "\n", "utf-8")
    plot([Measured(**one) for name in GROUPS for one in record.get(name, {"curves": []})["curves"]], PLOT)


if __name__ == "__main__":
    main()
