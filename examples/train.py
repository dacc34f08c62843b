"""Train the built-in tiny policy with GiGPO, in ten lines."""

from agentgym import HFPolicy, TrainConfig, Trainer
from agentgym.algos import GiGPO

if __name__ == "__main__":
    trainer = Trainer(
        env="ALFWorld-v0",
        policy=HFPolicy.from_pretrained("tiny"),
        algorithm=GiGPO(omega=1.0),
        config=TrainConfig(iterations=60),
    )
    print(trainer.train().run_dir)
