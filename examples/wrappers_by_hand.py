"""Wrappers composed by hand, a group of rollouts recorded through them, and the credit two methods give it.

Needs no extra: nothing here loads torch.
"""

import gymnasium as gym
import numpy as np

import agentgym  # registers ALFWorld-v0
from agentgym.algos import GRPO, GiGPO
from agentgym.wrappers import ActionTags, GroupRecorder, History, InvalidActionPenalty, ScaleReward

GROUP_SIZE = 8

env = gym.make("ALFWorld-v0", max_episode_steps=30)
env = ActionTags(env, require_think=False)  # the agent writes text with <action>...</action> in it
env = InvalidActionPenalty(env, coef=0.1)  # a response without the tags costs a tenth
env = ScaleReward(env, 10.0)  # success pays 10, as in the literature
env = History(env, k=2)  # observations show the last two turns
env = recorder = GroupRecorder(env, group_size=GROUP_SIZE)

rng = np.random.default_rng(0)
for episode in range(GROUP_SIZE):
    observation, info = env.reset(seed=3 if episode == 0 else None)  # the others repeat task and start
    over = False
    while not over:
        action = rng.choice(info["admissible"])
        response = f"<action>{action}</action>" if rng.random() < 0.9 else action  # sometimes a sloppy format
        observation, reward, terminated, truncated, info = env.step(response)
        over = terminated or truncated

batch = agentgym.StepBatch.from_groups(recorder.groups())
print(f"{len(batch)} decisions on {info['task_id']}; the goal: {info['goal']}\n")
grpo, gigpo = GRPO(std=None).credit(batch), GiGPO(std=None).credit(batch)

print("the credit of the decisions it matters most for:")
for row in np.argsort(-np.abs(gigpo.advantage - grpo.advantage))[:10]:
    step, _ = batch.texts[row] if batch.texts else (None, None)
