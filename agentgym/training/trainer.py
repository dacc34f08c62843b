"""The trainer: collect groups, ask for credit, step the optimiser, evaluate, log, save. It names no algorithm.

Read ``Trainer.train`` first: it is the whole run, top down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from accelerate.utils import gather_object, set_seed

from agentgym.algos import Algorithm, get_algorithm
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import LearnerContext
from agentgym.errors import ConfigError, TrainingError
from agentgym.evaluation import Evaluation, evaluate
from agentgym.policies import HFPolicy, Turn
from agentgym.rollouts import GroupCollector, MakeEnv, Rollout, build_collector
from agentgym.training.advantages import match_rms
from agentgym.training.callbacks import Callback, SaveEpisodes
from agentgym.training.checkpoint import publish, read_checkpoint, resolve_checkpoint, write_checkpoint
from agentgym.training.config import TrainConfig
from agentgym.training.display import Display
from agentgym.training.environments import resolve_environments
from agentgym.training.faults import FaultBudget
from agentgym.training.generators import generator_state, restore_generators
from agentgym.training.interrupts import Interrupts
from agentgym.training.learning import LearnerSet
from agentgym.training.loggers import MetricsFile, check_trackers, versions, write_json
from agentgym.training.processes import choose_run_dir, leave_processes, make_accelerator, start_processes
from agentgym.training.reference import Reference
from agentgym.training.report import write_report
from agentgym.training.result import TrainResult
from agentgym.training.statistics import credit_metrics
from agentgym.training.tally import Coverage, Tally
from agentgym.training.update import Updater
from agentgym.training.warm_start import WarmStart, warm_start
from agentgym.training.weights import load_weights, save_weights

__all__ = ["Trainer"]

_EVALUATION_SEED = 20_260  # not the run's: every run is measured on the same games


class Trainer:
    """Trains a policy in an environment with any algorithm.

    Args:
        env: Environment id, or a function that makes one.
        policy: A policy, or a name for ``HFPolicy.from_pretrained``.
        algorithm: An algorithm, or a name for ``agentgym.algos.get_algorithm``.
        config: Settings.
        callbacks: Hooks, after the display and the sample of episodes.
        env_kwargs: Arguments of the environment named by ``env``.
        eval_env: Environment id or function for evaluation; by default ``env`` with its held-out games.
        eval_kwargs: Arguments of the evaluation environment, over ``env_kwargs``.
        expert: Plays the demonstrations of a warm start; by default the environment's own expert.
        display: Whether to print progress.

    Attributes:
        run_dir: Everything the run writes; known once ``train`` has begun.
        iteration: Number of finished iterations.
        seconds: Wall-clock time of the run so far, interruptions left out.
        evaluations: Evaluations by the iteration after which they were made.

    Raises:
        ConfigError: If a name or a setting is wrong; before any work.
    """

    def __init__(
        self,
        env: str | MakeEnv,
        policy: HFPolicy | str = "tiny",
        algorithm: Algorithm[Any] | str = "gigpo",
        config: TrainConfig | None = None,
        *,
        callbacks: Sequence[Callback] = (),
        env_kwargs: Mapping[str, Any] | None = None,
        eval_env: str | MakeEnv | None = None,
        eval_kwargs: Mapping[str, Any] | None = None,
        expert: Callable[[Turn], str] | None = None,
        display: bool = True,
    ) -> None:
        self.config = config or TrainConfig()
        check_trackers(self.config.report_to)
        self.environments = resolve_environments(env, env_kwargs, eval_env, eval_kwargs)
        self.algorithm = get_algorithm(algorithm) if isinstance(algorithm, str) else algorithm
        if isinstance(policy, str):
            policy = HFPolicy.from_pretrained(policy, world=self.environments.name)
        self.policy = policy
        if self.policy.top_p < 1:
            raise ConfigError(
                f"training needs top_p=1, not {self.policy.top_p}: a token outside the nucleus has no log-probability"
            )
        self.callbacks: list[Callback] = [*([Display()] if display else []), SaveEpisodes(), *callbacks]
        self.run_dir = Path()
        self.iteration = 0
        self.evaluations: dict[int, Evaluation] = {}
        self.warm_start: WarmStart | None = None
        self._expert = expert
        self._interrupts = Interrupts()
        self._faults = FaultBudget(self.config.fault_budget)
        self._totals = {"episodes": 0.0, "env_steps": 0.0, "generated_tokens": 0.0, "updates": 0.0}
        self._coverage = Coverage()
        self._seconds_before = 0.0
        self._stopped = ""

    # The run ----------------------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | Path | bool | None = None) -> TrainResult:
        """Run to the end, or until a signal or the time limit.

        Args:
            resume_from_checkpoint: A checkpoint, a run directory, or True for ``config.output_dir``.

        Returns:
            The evaluations before and after, and where everything is.

        Raises:
            TrainingError: If the checkpoint is damaged or foreign, or faults are the rule.
        """
        self._began = time.perf_counter()
        with self._interrupts.installed():
            state = self._open(resume_from_checkpoint)
            try:
                with self._interrupts.may_break():
                    self._prepare(state)
                self._loop()
                return self._result()
            finally:
                self._close()

    def _loop(self) -> None:
        """Evaluate, save and iterate; a signal leaves a checkpoint of the last whole iteration."""
        try:
            while True:
                self._stopped = self._why_stop()
                self._evaluate_if_due()
                self._save_if_due()
                if self.finished:
                    return
                self._iterate()
        except KeyboardInterrupt:
            self._stopped = "interrupted"
            self._say("interrupted: writing a checkpoint")
            self._save()

    def _iterate(self) -> None:
        """One iteration: collect, credit, update, for each batch of the collector; then log."""
        tally = Tally()
        before = self._totals["generated_tokens"]
        rollouts = self._rollouts()
        while True:
            began = time.perf_counter()
            # Once weights have changed there is no way back to the start of the iteration, so it runs to its end.
            with nullcontext() if tally.has_learned else self._breakable():
                rollout = next(rollouts, None)
            if rollout is None:
                break
            batch = rollout.batch()
            tally.collected(rollout, batch, time.perf_counter() - began)
            self._coverage.add([*rollout.groups, *(rollout.trees or ())])
            if len(batch):
                self._learn(tally, rollout, batch, before)
        self._tell("on_rollout", tally.groups)
        self.iteration += 1
        self._boundary = self._state_between_iterations()
        for name in ("episodes", "env_steps", "generated_tokens"):
            self._totals[name] += tally.stats[name]
        self._totals["updates"] += tally.updates
        totals = {**self._totals, **self._coverage.totals()}
        metrics = {
            **tally.metrics(),
            **{f"total/{name}": value for name, value in totals.items()},
            "time/total": self.seconds,
        }
        self._log(metrics)
        self._tell("on_iteration", metrics)
        self._faults.check(tally.groups)

    def _rollouts(self) -> Iterator[Rollout]:
        """Yield the batches of the iteration, each of all processes, with the summed costs.

        Every process gets the whole batch: credit and learners then need no messages, whatever they compare.
        """
        batches = self._collector.batches(self.iteration)
        while True:
            with self.accelerator.autocast():
                rollout = next(batches, None)
            if rollout is None:
                return
            shares = gather_object([rollout]) if self.accelerator.num_processes > 1 else [rollout]
            yield self._collector.merge(shares)

    def _learn(self, tally: Tally, rollout: Rollout, batch: StepBatch, tokens_before: float) -> None:
        """Credit a batch and step the optimiser on it, or on what a learner has drawn in its place."""
        began = time.perf_counter()
        episodes = [episode for group in rollout.groups for episode in group.episodes]
        # The batch being learned from does not move the schedule, nor does what is drawn for it.
        tokens = tokens_before + tally.stats["generated_tokens"] - rollout.stats["generated_tokens"]
        batch, figures = self._learners.update(batch, episodes)
        credit = self._credit(batch)
        updates: list[dict[str, float]] = []
        for number, (lesson, spoken) in enumerate(self._learners.lessons(batch, episodes)):
            due = credit if lesson is batch else self._credit(lesson)
            part = (tally.parts - 1, number)
            updates.append(self._updater.update(spoken, lesson, due, self.iteration, tokens, part))
            if lesson is not batch:
                updates[-1] |= credit_metrics(lesson, due, "drawn")
        tally.spent(self._learners.costs())
        tally.learned(batch, credit, figures, updates, time.perf_counter() - began)

    def _credit(self, batch: StepBatch) -> Credit:
        credit, rms = self.algorithm.credit(batch), self.config.advantage_rms
        return credit if rms is None else match_rms(credit, batch, rms)

    # Evaluation and checkpoints ---------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether no further iteration will be made."""
        return bool(self._stopped)

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run so far, interruptions left out."""
        return self._seconds_before + time.perf_counter() - self._began

    def _why_stop(self) -> str:
        """Return why no further iteration will be made, or an empty string; all processes agree."""
        minutes, tokens = self.config.max_minutes, self.config.max_generated_tokens
        reason = "done" if self.iteration >= self.config.iterations else ""
        if not reason and tokens is not None and self._totals["generated_tokens"] >= tokens:
            reason = "token budget"
        if not reason and minutes is not None and self.seconds >= 60 * minutes:
            reason = "time limit"
        if self._interrupts.requested:
            reason = "interrupted"
        if self.accelerator.num_processes > 1:
            reasons = gather_object([reason])
            reason = max(reasons, key=["", "done", "token budget", "time limit", "interrupted"].index)
        if reason == "interrupted":
            raise KeyboardInterrupt
        return reason

    def _evaluate_if_due(self) -> None:
        config = self.config
        due = self.iteration == 0 or self.finished or (config.eval_every and self.iteration % config.eval_every == 0)
        if not due or not config.eval_episodes or self.iteration in self.evaluations:
            return
        with self._breakable(), self.accelerator.autocast():
            evaluation = evaluate(
                self.environments.make_eval,
                self.policy,
                episodes=config.eval_episodes,
                seed=_EVALUATION_SEED,
                temperature=config.eval_temperature,
                accelerator=self.accelerator,
            )
        self.evaluations[self.iteration] = evaluation
        self._log(evaluation.metrics())
        self._tell("on_evaluate", evaluation)

    def _save_if_due(self) -> None:
        due = self.finished or (self.config.save_every and self.iteration % self.config.save_every == 0)
        if due and self.iteration > 0 and self.iteration != self._saved:
            self._save()

    def _save(self) -> None:
        """Write a checkpoint of the last whole iteration."""
        state = {
            **self._boundary,
            "iteration": self.iteration,
            "seconds": self.seconds,
            "totals": self._totals,
            "coverage": self._coverage.state_dict(),
            "recent_faults": list(self._faults.recent),
            "skipped_updates": self._updater.skipped,
            "algorithm": {"name": type(self.algorithm).__name__, "state": self.algorithm.state_dict()},
            "learners": self._learners.state_dict(),
            "optimizer": self._updater.optimizer.state_dict(),
            "evaluations": [[i, evaluation.to_dict()] for i, evaluation in self.evaluations.items()],
            "warm_start": None if self.warm_start is None else asdict(self.warm_start),
            "config": self.config.model_dump(mode="json"),
        }
        if self.accelerator.is_main_process:
            folder = self.run_dir / "checkpoints"
            keep = self.config.keep_checkpoints
            path = write_checkpoint(folder, self.iteration, lambda to: save_weights(self.policy, to), state, keep)
            self._tell("on_save", path)
        self.accelerator.wait_for_everyone()
        self._saved = self.iteration

    def _state_between_iterations(self) -> dict[str, Any]:
        """Return what a broken-off collection changes, as it is now: a checkpoint then holds it as it was before."""
        generators = [generator_state()]
        if self.accelerator.num_processes > 1:
            generators = gather_object(generators)
        return {"generators": generators, "collector": self._collector.state_dict()}

    # Before the first iteration ---------------------------------------------------------------------------------------

    def _open(self, resume: str | Path | bool | None) -> dict[str, Any] | None:
        """Read the checkpoint to resume from, choose the run directory, start the processes, and open the logs."""
        where = self.config.output_dir if resume is True else resume or None
        if resume is True and where is None:
            raise ConfigError("resume_from_checkpoint=True needs output_dir, the run to go on with")
        checkpoint = None if where is None else resolve_checkpoint(where)
        state = None if checkpoint is None else read_checkpoint(checkpoint)
        start_processes(self.config)
        self.run_dir = choose_run_dir(
            self.config, checkpoint, f"{self.environments.name}-{type(self.algorithm).__name__}"
        )
        self.accelerator = make_accelerator(self.config, self.run_dir, 0 if state is None else state["iteration"])
        if self.accelerator.is_main_process:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            write_json(self.run_dir / "config.json", self.describe())
            write_json(self.run_dir / "versions.json", versions())
            keep = None if state is None else state["iteration"]
            self._metrics_file = MetricsFile(self.run_dir / "metrics.jsonl", keep)
        if checkpoint is not None:
            self._say(f"resuming from {checkpoint}")
            load_weights(self.policy, checkpoint / "model")
        return state

    def _prepare(self, state: dict[str, Any] | None) -> None:
        """Bring the policy to its first iteration, or to where the checkpoint left it."""
        accelerator, config = self.accelerator, self.config
        set_seed(config.seed)
        self._collector = self._build_collector()
        self._learners = LearnerSet(self.algorithm)
        self.policy.model.to(accelerator.device)
        if state is None and self.policy.needs_warm_start:
            self.warm_start = warm_start(
                self.policy,
                self.environments.make_train,
                config.warm_start,
                expert=self._expert,
                accelerator=accelerator,
                say=self._say,
            )
        self.policy.needs_warm_start = False
        self._reference: Reference | None = None
        reference = None if self.algorithm.config.kl_coef == 0 else self._keep_reference(resumed=state is not None)
        self._learners.setup(self._learner_context(resumed=state is not None))
        self._updater = Updater(accelerator, self.policy, self.algorithm, config, reference, self._learners.critic)
        self._saved = -1
        if state is not None:
            self._restore(state)
        self._boundary = self._state_between_iterations()
        self._tell("on_start")

    def _build_collector(self) -> GroupCollector:
        return build_collector(
            self.algorithm.collector(),
            self.environments.make_train,
            self.policy,
            groups=self.config.groups,
            group_size=self.config.group_size,
            seed=self.config.seed,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )

    def _learner_context(self, resumed: bool) -> LearnerContext:
        return LearnerContext(
            policy=self.policy,
            accelerator=self.accelerator,
            seed=self.config.seed,
            tokens_per_microbatch=self.config.tokens_per_microbatch,
            reference=lambda: self._keep_reference(resumed),
        )

    def _keep_reference(self, resumed: bool) -> Reference:
        """Return the policy as the run began, kept beside the checkpoints: for a KL penalty, and for learners."""
        if self._reference is not None:
            return self._reference
        self._reference = reference = Reference(self.policy, self.accelerator)
        folder = self.run_dir / "reference"
        if reference.is_adapter:
            return reference
        if resumed:
            reference.load(folder)
        elif self.accelerator.is_main_process:
            publish(folder, reference.save)
        return reference

    def _restore(self, state: dict[str, Any]) -> None:
        """Put back everything but the weights."""
        if state["algorithm"]["name"] != type(self.algorithm).__name__:
            raise TrainingError(
                f"the checkpoint was written by {state['algorithm']['name']}, and this run is of "
                f"{type(self.algorithm).__name__}: resume with the same algorithm"
            )
        self.iteration = self._saved = state["iteration"]
        self._seconds_before = state["seconds"] - (time.perf_counter() - self._began)
        self._totals = dict(state["totals"])
        self._coverage.load_state_dict(state["coverage"])
        self._faults.recent.extend(state["recent_faults"])
        self._updater.skipped = state["skipped_updates"]
        self.algorithm.load_state_dict(state["algorithm"]["state"])
        self._learners.load_state_dict(state["learners"])
        self._updater.optimizer.load_state_dict(state["optimizer"])
        self._collector.load_state_dict(state["collector"])
        self.evaluations = {i: Evaluation.from_dict(evaluation) for i, evaluation in state["evaluations"]}
        self.warm_start = None if state["warm_start"] is None else WarmStart(**state["warm_start"])
        if self.accelerator.process_index < len(state["generators"]):
            restore_generators(state["generators"][self.accelerator.process_index])

    # Small parts ------------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Return what is run, as written to ``config.json``."""
        context, model = self.policy.context, self.policy.model
        return {
            "config": self.config.model_dump(mode="json"),
            "algorithm": {
                "name": type(self.algorithm).__name__,
                "settings": self.algorithm.config.model_dump(mode="json"),
            },
            "environment": asdict(
                self.environments, dict_factory=lambda pairs: {k: v for k, v in pairs if not callable(v)}
            ),
            "policy": {
                "name": self.policy.name,
                "class": type(model).__name__,
                "parameters": sum(p.numel() for p in model.parameters()),
                "context": repr(context),
                "temperature": self.policy.temperature,
                "max_new_tokens": self.policy.max_new_tokens,
            },
        }

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> None:
        """Upload model and tokenizer to the Hugging Face Hub; arguments as of ``PreTrainedModel.push_to_hub``."""
        for part in (self.policy.model, self.policy.tokenizer):
            cast("Any", part).push_to_hub(repo_id, **kwargs)

    def _result(self) -> TrainResult:
        checkpoint = self.run_dir / "checkpoints" / f"iteration-{self.iteration:06d}"
        result = TrainResult(
            run_dir=self.run_dir,
            checkpoint=checkpoint if checkpoint.exists() else None,
            stopped=self._stopped,
            iterations=self.iteration,
            seconds=self.seconds,
            evaluations=dict(self.evaluations),
            warm_start=self.warm_start,
        )
        if self.accelerator.is_main_process:
            write_report(result, self.describe())
        self._tell("on_end", result)
        return result

    def _breakable(self) -> AbstractContextManager[None]:
        """Let a signal break off what changes nothing; several processes must agree first, between iterations."""
        return self._interrupts.may_break(self.accelerator.num_processes == 1)

    def _log(self, metrics: Mapping[str, float]) -> None:
        if self.accelerator.is_main_process:
            self._metrics_file.write(self.iteration, metrics)
        self.accelerator.log(dict(metrics), step=self.iteration)

    def _close(self) -> None:
        self._tell("on_stop")
        if self.accelerator.is_main_process:
            self._metrics_file.close()
        leave_processes(self.accelerator)

    def _say(self, text: str) -> None:
        self._tell("on_message", text)

    def _tell(self, hook: str, *values: Any) -> None:
        if self.accelerator.is_main_process:
            for callback in self.callbacks:
                getattr(callback, hook)(self, *values)
