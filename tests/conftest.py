"""What tests share: hypothesis profiles, the development data, one torch thread, a count of skipped parity tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Set before any test imports torch: two workers on two cores must not each start a thread per core, and no test may ask
# the Hub for what it should have at hand.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci", max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

NO_DATA = "AGENTGYM_DATA is not set: the parity tests need the development data"


@pytest.fixture(scope="session")
def agentgym_data() -> Path:
    """Return the folder of development data; tests that ask for it skip where there is none."""
    if not (folder := os.environ.get("AGENTGYM_DATA")):
        pytest.skip(NO_DATA)
    if not Path(folder).is_dir():
        pytest.fail(f"AGENTGYM_DATA={folder!r} is not a folder")
    return Path(folder)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many parity tests had no data, so that a green run cannot hide that they did not run."""
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", []) if report.longrepr]
    skipped = sum("AGENTGYM_DATA" in reason for reason in reasons)
    terminalreporter.write_line(f"parity tests skipped for want of AGENTGYM_DATA: {skipped}")
