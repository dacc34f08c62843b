"""The conformance check of algorithms: what a user runs on a method of their own."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agentgym.algos.base import LAWS, VALUE_LAWS, Algorithm
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError, unknown_name
from agentgym.testing.battery import battery
from agentgym.testing.laws import CREDIT_LAWS, Law
from agentgym.testing.loss_laws import LOSS_LAWS, token_batches
from agentgym.testing.shrinking import shrink, table
from agentgym.testing.value_laws import VALUE_CHECKS

__all__ = ["CONTRACT", "LawBroken", "check_algorithm"]

CONTRACT = ("answers", "purity")
"""What every algorithm keeps, beside the laws it promises: the form of its answer, and that it is a pure function."""

_CHECKS: Mapping[str, Law] = {**CREDIT_LAWS, **VALUE_CHECKS}


class LawBroken(AssertionError):
    """An algorithm breaks a law.

    Attributes:
        law: Name of the law.
        batch: The smallest batch found on which it breaks, or None where the law concerns the loss or the class.
    """

    def __init__(self, law: str, message: str, batch: StepBatch | None = None) -> None:
        super().__init__(message)
        self.law = law
        self.batch = batch


def check_algorithm(algorithm: Algorithm[Any], *, max_examples: int = 50, laws: Iterable[str] | None = None) -> None:
    """Check that an algorithm answers as algorithms do and keeps every law it promises.

    First on a fixed battery of hard batches, so that a method which breaks a law there breaks it in every run, and then
    on batches drawn by hypothesis, always the same ones. Columns that the algorithm declares in ``columns`` are filled
    within their ranges. Laws it is exempt from are skipped. A batch that ``credit`` refuses with AlgorithmError is
    passed over, unless it refuses most of the battery.

    Args:
        algorithm: Any algorithm, with its settings; it is left as it was, apart from what ``credit`` itself changes.
        max_examples: Batches to draw beyond the battery; 0 needs no hypothesis.
        laws: Names out of ``LAWS``, ``VALUE_LAWS`` and ``CONTRACT`` to check; all by default.

    Raises:
        LawBroken: At the first law that is broken; the message names it, says what was expected and shows a small
            batch on which it breaks. Also if the class leaves a law unnamed, names one twice or exempts itself without
            a reason.
        ConfigError: If a name in ``laws`` is unknown.
        MissingExtraError: If a promised law needs torch, or the drawn batches need hypothesis, and it is not installed.

    >>> from agentgym.algos import GRPO
    >>> from agentgym.testing import check_algorithm
    >>> check_algorithm(GRPO(std=None), max_examples=5)
    """
    known = (*CONTRACT, *LAWS, *VALUE_LAWS)
    wanted = set(known if laws is None else laws)
    if unknown := wanted - set(known):
        raise unknown_name("law", min(unknown), known)
    _check_names(algorithm)
    promised = wanted & {*CONTRACT, *algorithm.laws}
    new = copy.deepcopy(algorithm)  # what "purity" asks must not have been asked before
    credit_laws = [law for law in _CHECKS if law in promised]
    _check_battery(algorithm, new, credit_laws)
    for law in (law for law in LOSS_LAWS if law in promised):
        for name, tokens in token_batches().items():
            for complaint in LOSS_LAWS[law](algorithm, tokens):
                raise LawBroken(law, f"{algorithm!r} breaks the law {law!r} on tokens with {name}: {complaint}")
    if credit_laws and max_examples:
        _check_drawn(algorithm, new, credit_laws, max_examples)


def _check_names(algorithm: Algorithm[Any]) -> None:
    """Check that the class names every law once; those of values it may leave unnamed."""
    kind, promised, exempt = type(algorithm).__name__, set(algorithm.laws), set(algorithm.exemptions)
    known = (*LAWS, *VALUE_LAWS)
    for law in sorted((promised | exempt) - set(known)):
        raise LawBroken(law, f"{kind} names a law {law!r} that there is not; the laws are {', '.join(known)}")
    for law in known:
        if law in promised and law in exempt:
            raise LawBroken(law, f"{kind} both promises the law {law!r} and is exempt from it; choose one")
        if law in LAWS and law not in promised | exempt:
            raise LawBroken(
                law, f"{kind} neither promises the law {law!r} in 'laws' nor says in 'exemptions' why it does not hold"
            )
        if law in exempt and not algorithm.exemptions[law].strip():
            raise LawBroken(law, f"{kind} is exempt from the law {law!r} without a reason; say it in 'exemptions'")


def _first(law: str, algorithm: Algorithm[Any], batch: StepBatch) -> str | None:
    """Return what is wrong first, None if nothing is; AlgorithmError means that the batch is refused."""
    try:
        return next(_CHECKS[law](algorithm, batch), None)
    except (AlgorithmError, ImportError, OSError):  # a refusal, or a model or package that is not at hand
        raise
    except Exception as error:
        return f"credit() should answer every legal batch, but raised {type(error).__name__}: {error}"


def _check_battery(algorithm: Algorithm[Any], new: Algorithm[Any], laws: list[str]) -> None:
    for law in laws:
        batches = battery(algorithm.columns)
        asked = new if law == "purity" else algorithm
        refused: dict[str, AlgorithmError] = {}
        for name, batch in batches.items():
            try:
                complaint = _first(law, asked, batch)
            except AlgorithmError as error:
                refused[name] = error
                continue
            if complaint is not None:
                raise _broken(law, asked, batch, f"a batch with {name}")
        if len(refused) > len(batches) / 2 and not _refuses_by_choice(algorithm):
            name, reason = next(iter(refused.items()))
            raise LawBroken(
                law,
                f"{algorithm!r} refuses {len(refused)} of {len(batches)} legal batches, so the law {law!r} cannot be "
                f"checked; a batch with {name}: {reason}",
                batches[name],
            )


def _refuses_by_choice(algorithm: Algorithm[Any]) -> bool:
    return getattr(algorithm.config, "lone", None) == "raise"


def _broken(law: str, algorithm: Algorithm[Any], batch: StepBatch, where: str) -> LawBroken:
    """Shrink the batch while the law breaks and say what is wrong with the smallest one."""

    def breaks(candidate: StepBatch) -> bool:
        try:
            return _first(law, algorithm, candidate) is not None
        except AlgorithmError:
            return False

    small = shrink(batch, breaks)
    complaint = _first(law, algorithm, small)
    if law == "purity":
        algorithm = copy.deepcopy(algorithm)
    try:
        credit = algorithm.credit(small)
    except Exception:
        credit = None
    meaning = (_CHECKS[law].__doc__ or "").splitlines()[0]
    return LawBroken(
        law,
        f"{algorithm!r} breaks the law {law!r} ({meaning.rstrip('.')}) on {where}: {complaint}. "
        f"The smallest batch found:\n{table(small, credit)}",
        small,
    )


def _check_drawn(algorithm: Algorithm[Any], new: Algorithm[Any], laws: list[str], max_examples: int) -> None:
    for batch in _drawn(algorithm, max_examples):
        for law in laws:
            asked = new if law == "purity" else algorithm
            try:
                complaint = _first(law, asked, batch)
            except AlgorithmError:
                continue
            if complaint is not None:
                raise _broken(law, asked, batch, "a drawn batch")


def _drawn(algorithm: Algorithm[Any], max_examples: int) -> Iterator[StepBatch]:
    """Return the same batches each time, drawn by hypothesis; shrinking is ours, which knows episodes and groups."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    from agentgym.testing.strategies import EIGHTHS, step_batches

    found: list[StepBatch] = []
    rewards = st.one_of(EIGHTHS, st.integers(0, 60).map(lambda k: 10 * 0.95**k))

    @settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(batch=step_batches(rewards, columns=algorithm.columns, trees=True))
    def collect(batch: StepBatch) -> None:
        found.append(batch)

    collect()
    yield from found
