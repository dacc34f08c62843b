"""Runs the command line, as ``python -m agentgym``; this is how ``torchrun -m agentgym`` starts it."""

from agentgym.cli import main

__all__: list[str] = []

main()
