"""Wrappers composed by hand, a group recorded through them, and the credit two methods give the same decisions.

Needs no extra: nothing here loads torch.
"""

import gymnasium as gym
import numpy as np

from agentgym import StepBatch
from agentgym.algos import GRPO, GiGPO
from agentgym.wrappers import ActionTags, GroupRecorder, History, InvalidActionPenalty, ScaleReward

GROUP_SIZE = 8


def make_env() -> GroupRecorder:
    """Build the stack, from the inside out."""
    env = gym.make("agentgym:ALFWorld-v0", data="builtin")  # the module before the colon is imported first
    env = ActionTags(env, require_think=False)  # the agent writes text with <action>...</action> in it
    env = InvalidActionPenalty(env, coef=0.1)  # a response without the tags costs a tenth
    env = ScaleReward(env, 10.0)  # success pays 10, as in the literature
    env = History(env, k=2)  # observations show the last two turns
    return GroupRecorder(env, group_size=GROUP_SIZE)


def play_group(env: GroupRecorder, rng: np.random.Generator) -> None:
    """Play one group with an agent that mostly follows the expert, and sometimes forgets the format."""
    for episode in range(GROUP_SIZE):
        _, info = env.reset(seed=7 if episode == 0 else None)  # the others repeat task and start
        over = False
        while not over:
            follows = rng.random() < 0.8
            action = env.get_wrapper_attr("expert_action")() if follows else rng.choice(info["admissible"])
            response = f"<action>{action}</action>" if rng.random() < 0.95 else action
            _, _, terminated, truncated, info = env.step(response)
            over = terminated or truncated


if __name__ == "__main__":
    recorder = make_env()
    play_group(recorder, np.random.default_rng(0))
    groups = recorder.groups()
    batch = StepBatch.from_groups(groups)
    steps = [(e, s) for group in groups for e in group.episodes for s in e.steps]
    print(f"{len(batch)} decisions in {GROUP_SIZE} episodes; the goal: {steps[0][0].goal}\n")

    grpo, gigpo = GRPO().credit(batch), GiGPO().credit(batch)
    print("GRPO    GiGPO   episode  the decisions on which they differ most")
    for row in np.argsort(-np.abs(gigpo.advantage - grpo.advantage))[:10]:
        episode, step = steps[row]
        outcome = "won " if episode.won else "lost"
        print(f"{grpo.advantage[row]:+.3f}  {gigpo.advantage[row]:+.3f}  {outcome}     {step.action}")
