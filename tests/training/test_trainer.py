from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentgym.algos import GRPO, Algorithm, AlgorithmConfig, GiGPO
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import LearnerContext, LearnerSpec, Loss, TokenBatch
from agentgym.episodes import Episode
from agentgym.errors import AlgorithmError, ConfigError, MissingExtraError, TrainingError
from agentgym.storage import read_groups
from agentgym.training import Callback, Trainer
from agentgym.training.display import Display
from agentgym.training.update import learning_rate
from agentgym.training.weights import weights_digest
from tests.training.small import corridor_expert, make_corridor, small_config, small_policy
from tests.worlds import Fragile


def rows(folder: Path, key: str = "loss") -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if key in line]


def run(folder: Path, algorithm: Any = None, policy: Any = None, callbacks: Any = (), **settings: Any) -> Trainer:
    trainer = Trainer(
        make_corridor,
        policy or small_policy(constrain="admissible"),
        algorithm or GiGPO(),
        small_config(folder, **settings),
        callbacks=callbacks,
        display=False,
    )
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A run of three iterations with evaluations, that the tests below only read."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    return run(folder, iterations=3, eval_every=2, eval_episodes=4, keep_checkpoints=2, report_to="tensorboard")


class TestRun:
    def test_the_run_directory_says_everything(self, finished: Trainer) -> None:
        folder = finished.run_dir
        config = json.loads((folder / "config.json").read_text())
        assert config["algorithm"]["name"] == "GiGPO"
        assert config["environment"]["train"]["class"] == "tests.training.small.Steps"
        assert config["environment"]["evaluation"]["example_task"].startswith("corridor/")
        assert {"torch", "agentgym", "python"} <= set(json.loads((folder / "versions.json").read_text()))
        assert [row["iteration"] for row in rows(folder)] == [1, 2, 3]
        assert [row["iteration"] for row in rows(folder, "val/success_rate")] == [0, 2, 3]
        assert list((folder / "tensorboard").rglob("events.out.tfevents*"))
        played = {f"train-00000{i}.jsonl.gz" for i in (1, 2, 3)} | {f"eval-00000{i}.jsonl" for i in (0, 2, 3)}
        assert {path.name for path in (folder / "rollouts").iterdir()} == played
        assert len(read_groups(folder / "rollouts" / "eval-000003.jsonl")) == 4
        assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")

    def test_the_report_is_honest(self, finished: Trainer) -> None:
        text = (finished.run_dir / "report.md").read_text()
        before, after = finished.evaluations[0], finished.evaluations[3]
        for part in (before.success.percent(), after.success.percent(), "from **corridor**", "paired bootstrap"):
            assert part in text

    def test_the_metrics_have_the_names_people_know(self, finished: Trainer) -> None:
        known = {"reward", "reward_std", "frac_reward_zero_std", "completions/mean_length", "entropy", "grad_norm"}
        known |= {"episode/length", "episode/success_rate", "tokens_per_second", "clip_ratio/region_mean"}
        known |= {"sampling/sampling_logp_difference/mean", "credit/lone_anchor_share", "memory/peak_gib"}
        for row in rows(finished.run_dir):
            assert known <= set(row)
            assert all(math.isfinite(value) for value in row.values())
            assert row["sampling/sampling_logp_difference/max"] < 1e-4

    def test_the_model_loads_with_transformers(self, finished: Trainer) -> None:
        folder = finished.run_dir / "checkpoints" / "iteration-000003" / "model"
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        assert weights_digest(model) == weights_digest(finished.policy.model)
        assert tokenizer.get_vocab() == finished.policy.tokenizer.get_vocab()

    def test_only_the_newest_checkpoints_stay(self, finished: Trainer) -> None:
        kept = sorted(path.name for path in (finished.run_dir / "checkpoints").iterdir())
        assert kept == ["iteration-000002", "iteration-000003"]

    def test_no_checkpoint_holds_a_pickle(self, finished: Trainer) -> None:
        files = [path for path in (finished.run_dir / "checkpoints").rglob("*") if path.is_file()]
        assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja"}

    def test_a_second_run_does_not_write_over_it(self, finished: Trainer) -> None:
        with pytest.raises(ConfigError, match="holds a run already"):
            run(finished.run_dir)

    def test_evaluation_games_do_not_depend_on_the_seed(self, finished: Trainer, tmp_path: Path) -> None:
        other = run(tmp_path / "other", iterations=0, eval_episodes=4, seed=7)
        assert other.evaluations[0].outcomes == finished.evaluations[0].outcomes


class TestEquivalence:
    def test_cutting_the_batch_changes_nothing(self, tmp_path: Path) -> None:
        whole = run(tmp_path / "whole", tokens_per_microbatch=10**6)
        cut = run(tmp_path / "cut", tokens_per_microbatch=1)
        for one, many in zip(rows(whole.run_dir), rows(cut.run_dir), strict=True):
            for name in ("loss", "grad_norm", "entropy", "clip_ratio/region_mean", "reward"):
                assert one[name] == pytest.approx(many[name], rel=1e-4, abs=1e-6)
            assert one["grad_norm"] > 0
        for a, b in zip(whole.policy.model.parameters(), cut.policy.model.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)

    def test_chunks_and_checkpointing_change_nothing(self, tmp_path: Path) -> None:
        plain = run(tmp_path / "plain", iterations=1)
        saving = run(tmp_path / "saving", iterations=1, gradient_checkpointing=True)
        one, other = rows(plain.run_dir)[0], rows(saving.run_dir)[0]
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)

    def test_half_precision_scores_what_it_sampled(self, tmp_path: Path) -> None:
        trainer = run(tmp_path / "run", iterations=1, mixed_precision="bf16")
        (row,) = rows(trainer.run_dir)
        assert 0 < row["sampling/sampling_logp_difference/mean"] < 0.02

    def test_the_seed_decides_on_everything(self, tmp_path: Path) -> None:
        digests = [
            weights_digest(run(tmp_path / name, seed=seed).policy.model)
            for name, seed in (("a", 1), ("b", 1), ("c", 2))
        ]
        assert digests[0] == digests[1] != digests[2]

    def test_minibatches_and_epochs_make_as_many_steps(self, tmp_path: Path) -> None:
        trainer = run(tmp_path / "run", iterations=1, minibatches=2, epochs=3)
        (row,) = rows(trainer.run_dir)
        assert row["updates"] == 6
        # The gap is that of the first step: later ones compare other weights.
        assert row["sampling/sampling_logp_difference/max"] < 1e-4


class _NoLoss(GRPO):
    def loss(self, tokens: TokenBatch) -> Loss:
        return Loss((tokens.logp * float("nan")).sum())


class TestFaults:
    def test_a_gradient_that_is_not_finite_is_skipped_and_then_stops_the_run(self, tmp_path: Path) -> None:
        policy = small_policy()
        digest = weights_digest(policy.model)
        with pytest.raises(TrainingError, match="not finite 10 times in a row"):
            run(tmp_path / "run", _NoLoss(), policy, iterations=5, epochs=3)
        assert weights_digest(policy.model) == digest
        assert [row["skipped_updates"] for row in rows(tmp_path / "run")] == [1.0] * 3

    def test_credit_that_is_not_finite_is_refused(self, tmp_path: Path) -> None:
        class Broken(GRPO):
            def credit(self, batch: StepBatch) -> Credit:
                return Credit(np.full(len(batch), np.nan, np.float32))

        with pytest.raises(AlgorithmError, match="Broken gave advantages that are not finite"):
            run(tmp_path / "run", Broken())

    def test_faults_are_recorded_until_the_budget_is_spent(self, tmp_path: Path) -> None:
        def make() -> Fragile:
            return _OftenBroken()

        config = small_config(tmp_path / "run", iterations=50, fault_budget=0.1, save_every=0)
        trainer = Trainer(make, small_policy(constrain="admissible"), GRPO(), config, display=False)
        with pytest.raises(TrainingError, match=r"fault_budget=0.1.*the floor gave way"):
            trainer.train()
        assert 1 < trainer.iteration < 50
        assert sum(row["episode/faults"] for row in rows(tmp_path / "run")) > 20


class _OftenBroken(Fragile):
    """Breaks whenever somebody takes the key."""

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        return super()._act("break" if action == "take key" else action)


class TestReference:
    def test_the_divergence_from_the_start_is_zero_at_first_and_then_not(self, tmp_path: Path) -> None:
        trainer = run(tmp_path / "run", GRPO(kl_coef=0.1), iterations=3, learning_rate=0.01)
        divergence = [row["kl"] for row in rows(trainer.run_dir)]
        assert divergence[0] == pytest.approx(0, abs=1e-9)
        assert divergence[2] > 1e-6

    # peft asks transformers by a name that is going away.
    @pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
    def test_an_adapter_is_its_own_reference(self, tmp_path: Path) -> None:
        peft = pytest.importorskip("peft")
        policy = small_policy(constrain="admissible")
        base = weights_digest(policy.model)
        adapter = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        policy.model = peft.get_peft_model(policy.model, adapter)
        trainer = run(tmp_path / "run", GRPO(kl_coef=0.1), policy, iterations=3, learning_rate=0.02)
        divergence = [row["kl"] for row in rows(trainer.run_dir)]
        assert divergence[0] == pytest.approx(0, abs=1e-9)
        assert divergence[2] > 1e-7
        assert not (trainer.run_dir / "reference").exists()
        assert (trainer.run_dir / "checkpoints/iteration-000003/model/adapter_model.safetensors").is_file()
        assert weights_digest(policy.model.unload()) == base


class Counter:
    """A learner that counts the batches it saw and names the rows."""

    def __init__(self, first: int) -> None:
        self.batches = first

    def setup(self, context: LearnerContext) -> None:
        self.seed = context.seed

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        assert self.seed == 0
        assert len(episodes) == batch.episode.max() + 1
        self.batches += 1
        return batch.with_columns(count=np.full(len(batch), self.batches))

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches = state["batches"]


class WithLearner(Algorithm[AlgorithmConfig]):
    def credit(self, batch: StepBatch) -> Credit:
        return Credit(np.zeros(len(batch), np.float32), diagnostics={"count": float(batch.columns["count"].mean())})

    def learners(self) -> list[LearnerSpec]:
        return [LearnerSpec(f"{__name__}:Counter", {"first": 10})]


class TestParts:
    def test_learners_add_columns_before_credit_and_are_saved(self, tmp_path: Path) -> None:
        run(tmp_path / "run", WithLearner(), iterations=2)
        config = small_config(tmp_path / "run", iterations=4)
        trainer = Trainer(make_corridor, small_policy(constrain="admissible"), WithLearner(), config, display=False)
        trainer.train(resume_from_checkpoint=True)
        assert [row["credit/count"] for row in rows(tmp_path / "run")] == [11, 12, 13, 14]

    def test_callbacks_hear_of_everything_in_order(self, tmp_path: Path) -> None:
        heard: list[str] = []

        class Listener(Callback):
            def __getattribute__(self, name: str) -> Any:
                if name.startswith("on_"):
                    heard.append(name)
                return super().__getattribute__(name)

        run(tmp_path / "run", callbacks=[Listener()], iterations=1, eval_episodes=2)
        assert heard == [
            *("on_start", "on_evaluate", "on_rollout", "on_iteration", "on_evaluate", "on_save", "on_end", "on_stop")
        ]

    def test_the_display_reads_well_in_a_log_file(self, tmp_path: Path) -> None:
        with (tmp_path / "log").open("w") as file:
            display = Display(Console(file=file, highlight=False, markup=False, soft_wrap=True))
            run(tmp_path / "run", callbacks=[display], eval_episodes=2)
        lines = (tmp_path / "log").read_text().splitlines()
        assert lines[0].startswith("evaluation after iteration 0: success ")
        assert lines[1].startswith("iteration 1/2 | success ")
        assert lines[1].endswith(" left")
        assert "gain" in lines[-3]
        assert not any("\x1b" in line for line in lines)

    def test_a_time_limit_ends_the_run_with_its_evaluation(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Trainer, "seconds", property(lambda trainer: 60.0 * trainer.iteration))
        config = small_config(tmp_path / "run", iterations=10**6, max_minutes=2, eval_episodes=2)
        result = Trainer(make_corridor, small_policy(), GRPO(), config, display=False).train()
        assert result.iterations == 2
        assert result.stopped == "time limit"
        assert result.after is not None
        assert result.checkpoint is not None
        assert result.gain is not None

    def test_a_policy_that_needs_it_gets_a_warm_start_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path / "cache"))
        runs = []
        for name in ("first", "second"):
            policy = small_policy(needs_warm_start=True)
            config = small_config(
                tmp_path / name,
                iterations=0,
                eval_episodes=4,
                eval_temperature=0,
                warm_start={"steps": 80, "demonstrations": 20, "learning_rate": 0.01, "warmup": 5, "noise": 0},
            )
            trainer = Trainer(make_corridor, policy, GRPO(), config, expert=corridor_expert, display=False)
            trainer.train()
            runs.append((trainer.warm_start, weights_digest(policy.model), trainer.evaluations[0]))
        (made, digest, played), (found, again, _) = runs
        assert made is not None
        assert found is not None
        assert (made.cached, found.cached) == (False, True)
        assert made.seconds == found.seconds > 0
        assert digest == again
        assert made.loss < 0.3
        assert played.success.value > 0.5
        assert "taken from the cache" in (tmp_path / "second" / "report.md").read_text()

    def test_without_an_expert_there_is_no_warm_start(self, tmp_path: Path) -> None:
        trainer = Trainer(make_corridor, small_policy(needs_warm_start=True), GRPO(), small_config(tmp_path / "run"))
        with pytest.raises(ConfigError, match="Steps has no expert"):
            trainer.train()

    def test_what_cannot_work_is_refused_before_any_work(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = small_config(tmp_path / "run")
        with pytest.raises(ConfigError, match="ALFWorld-v0"):
            Trainer("ALFWord-v0", small_policy(), GRPO(), config)
        with pytest.raises(ConfigError, match="cannot be made with"):
            Trainer("ALFWorld-v0", small_policy(), GRPO(), config, env_kwargs={"spilt": "train"})
        with pytest.raises(ConfigError, match="top_p"):
            Trainer(make_corridor, small_policy(top_p=0.9), GRPO(), config)
        with pytest.raises(ConfigError, match="need an environment id"):
            Trainer(make_corridor, small_policy(), GRPO(), config, env_kwargs={"split": "train"})
        with pytest.raises(ConfigError, match="Did you mean 'gigpo'"):
            Trainer(make_corridor, small_policy(), "gigpoo", config)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(MissingExtraError, match="pip install trackio"):
            Trainer(make_corridor, small_policy(), GRPO(), small_config(tmp_path / "run", report_to="trackio"))
        assert not (tmp_path / "run").exists()


def test_the_learning_rate_rises_then_follows_its_schedule(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"iterations": 10, "warmup": 4, "learning_rate": 1.0}
    for schedule, middle in (("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)):
        config = small_config(tmp_path, lr_schedule=schedule, **settings)
        rates = [learning_rate(config, i) for i in range(11)]
        assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
        assert rates[4] == 1
        assert rates[7] == pytest.approx(middle)
        assert rates[10] == pytest.approx(1.0 if schedule == "constant" else 0.0)
