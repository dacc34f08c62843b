"""Checks an install without extras: what importing costs and loads, and that environments and offline credit work."""

import statistics
import subprocess
import sys

LIMIT = 0.5  # seconds
HEAVY = ("torch", "transformers", "accelerate", "pyarrow", "matplotlib", "scipy")


def seconds_to_import(module: str) -> list[float]:
    """Return the sorted times of importing ``module`` in fresh processes."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(7)]
    return sorted(float(run.stdout) for run in runs)


def main() -> None:
    """Run the checks; leave with a message at the first that fails."""
    for name in ("agentgym", "agentgym.algos", "agentgym.wrappers"):
        seconds = seconds_to_import(name)
        print(f"import {name}: median {statistics.median(seconds):.3f} s, best {seconds[0]:.3f} s")
        if seconds[0] > LIMIT:  # the run that other work on the machine disturbed least
            sys.exit(f"import {name} takes {seconds[0]:.3f} s, more than {LIMIT} s")

    import runpy

    runpy.run_path(sys.argv[1], run_name="__main__")  # the example that needs no extra
    if heavy := [name for name in HEAVY if name in sys.modules]:
        sys.exit(f"the core loads {heavy}")

    import gymnasium

    from agentgym.errors import MissingExtraError

    try:
        gymnasium.make("ALFWorld-v0")
        from agentgym import Trainer  # noqa: F401
    except MissingExtraError as error:
        print(f"without the train extra: {error}")
    else:
        sys.exit("importing the trainer without torch did not say which extra is missing")


if __name__ == "__main__":
    main()
