"""Pure functions over flat arrays that the algorithms share; one module per kind, imported by name.

Letters: N values of any kind, R rows, L tokens, S segments. A segment is the set of entries with one code, whatever
their position.
"""

__all__: list[str] = []
