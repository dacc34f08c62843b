"""Text worlds: one folder for each environment family; ``agentgym.registration`` has the ids."""

__all__: list[str] = []
