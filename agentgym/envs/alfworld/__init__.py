"""ALFWorld text games, native: an engine exact to the original, with real and built-in games."""

__all__: list[str] = []
