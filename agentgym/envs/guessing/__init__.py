"""Guessing games: find a thing or a city by questions, with oracles that answer from tables of our own."""

__all__: list[str] = []
