"""WebShop, native: a shop in text with the original's pages, search order and graded reward."""

__all__: list[str] = []
