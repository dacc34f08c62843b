"""Agents for dynamical linear bandits, DynLin-UCB and its baselines, and the regret they run up.

Mussi, Metelli and Restelli, *Dynamical Linear Bandits* (ICML 2023, arXiv 2211.08997). An agent plays many runs of one
system at once: everything is an array with a row for each run, and a run's chance is its own, so that it does not
depend on how many others there are. The regret of a round is J(u*) - J(u), by the long-run values of the best and the
chosen action, as in the paper; it is not what was paid.

Deviations: the first epoch lasts one round (two in the released code, by an off-by-one); the spectral radius is the
largest modulus of an eigenvalue (the release orders complex ones by their real parts); bonuses take the noise σ of a
single signal, as released, though the reward sums m of them.
"""

from __future__ import annotations

from agentgym.evaluation.bandits.agent import Agent as Agent
from agentgym.evaluation.bandits.agent import Bounds as Bounds
from agentgym.evaluation.bandits.agent import Setting as Setting
from agentgym.evaluation.bandits.arms import AR2 as AR2
from agentgym.evaluation.bandits.arms import UCB1 as UCB1
from agentgym.evaluation.bandits.arms import Exp3 as Exp3
from agentgym.evaluation.bandits.arms import FixedAction as FixedAction
from agentgym.evaluation.bandits.linear import DiscountedLinearUCB as DiscountedLinearUCB
from agentgym.evaluation.bandits.linear import LinearUCB as LinearUCB
from agentgym.evaluation.bandits.linear import dynlin_bonus as dynlin_bonus
from agentgym.evaluation.bandits.linear import epoch_length as epoch_length
from agentgym.evaluation.bandits.linear import fixed_bonus as fixed_bonus
from agentgym.evaluation.bandits.linear import ridge_bonus as ridge_bonus
from agentgym.evaluation.bandits.playing import AGENTS as AGENTS
from agentgym.evaluation.bandits.playing import Regret as Regret
from agentgym.evaluation.bandits.playing import expert_regret as expert_regret
from agentgym.evaluation.bandits.playing import make_agent as make_agent
from agentgym.evaluation.bandits.playing import play as play

__all__ = [
    "AGENTS",
    "AR2",
    "UCB1",
    "Agent",
    "Bounds",
    "DiscountedLinearUCB",
    "Exp3",
    "FixedAction",
    "LinearUCB",
    "Regret",
    "Setting",
    "dynlin_bonus",
    "epoch_length",
    "expert_regret",
    "fixed_bonus",
    "make_agent",
    "play",
    "ridge_bonus",
]
