"""Rollouts: playing many episodes at once, in groups, and recording them."""

from agentgym.rollouts.branching import BranchingCollector as BranchingCollector
from agentgym.rollouts.collectors import COLLECTORS as COLLECTORS
from agentgym.rollouts.collectors import DynamicCollector as DynamicCollector
from agentgym.rollouts.collectors import GreedyBaselineCollector as GreedyBaselineCollector
from agentgym.rollouts.collectors import UncertaintyCollector as UncertaintyCollector
from agentgym.rollouts.collectors import build_collector as build_collector
from agentgym.rollouts.demonstrations import demonstrate as demonstrate
from agentgym.rollouts.entropy import EntropyCollector as EntropyCollector
from agentgym.rollouts.filtered import FilteredCollector as FilteredCollector
from agentgym.rollouts.group import GroupCollector as GroupCollector
from agentgym.rollouts.group import Rollout as Rollout
from agentgym.rollouts.recorded import RecordedCollector as RecordedCollector
from agentgym.rollouts.replay import ReplayCollector as ReplayCollector
from agentgym.rollouts.runner import Branch as Branch
from agentgym.rollouts.runner import EnvPool as EnvPool
from agentgym.rollouts.runner import MakeEnv as MakeEnv
from agentgym.rollouts.runner import Moment as Moment
from agentgym.rollouts.runner import Point as Point
from agentgym.rollouts.runner import Start as Start
from agentgym.rollouts.runner import run_branches as run_branches
from agentgym.rollouts.runner import run_episodes as run_episodes
from agentgym.rollouts.search import SearchCollector as SearchCollector
from agentgym.rollouts.tasks import TaskPool as TaskPool
from agentgym.rollouts.tasks import select_tasks as select_tasks
from agentgym.rollouts.tree import TreeCollector as TreeCollector
from agentgym.rollouts.vine import VineCollector as VineCollector

__all__ = [
    "COLLECTORS",
    "Branch",
    "BranchingCollector",
    "DynamicCollector",
    "EntropyCollector",
    "EnvPool",
    "FilteredCollector",
    "GreedyBaselineCollector",
    "GroupCollector",
    "MakeEnv",
    "Moment",
    "Point",
    "RecordedCollector",
    "ReplayCollector",
    "Rollout",
    "SearchCollector",
    "Start",
    "TaskPool",
    "TreeCollector",
    "UncertaintyCollector",
    "VineCollector",
    "build_collector",
    "demonstrate",
    "run_branches",
    "run_episodes",
    "select_tasks",
]
