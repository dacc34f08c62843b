"""The shop's pages: what they say, what can be clicked, and how the observation modes show them.

A page is a list of pieces of text in the order of the original's HTML. The mode ``text`` joins them with ``[SEP]``;
``text_rich`` marks what can be clicked and what was; ``simple`` is ``text`` without the instruction, each piece in
quotes, as verl-agent's prompts show it (the original has no mode of this name and calls ``text`` its simple form).

What does not depend on the customer is made once and shared: pages are built for a product or a list of results, and
the instruction is put in front when a page is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from agentgym.envs.webshop.products import Product
from agentgym.identity import text_hash

__all__ = [
    "BUTTONS",
    "MODES",
    "SEPARATOR",
    "SUB_PAGES",
    "Click",
    "Page",
    "done_page",
    "item_page",
    "parse_action",
    "results_page",
    "search_page",
    "sub_page",
]

MODES: Final = ("text", "text_rich", "simple")
SEPARATOR: Final = " [SEP] "
PER_PAGE: Final = 10
SUB_PAGES: Final = ("description", "features", "reviews", "attributes")
BUTTONS: Final = frozenset({"search", "back to search", "< prev", "next >", *SUB_PAGES, "buy now"})
"""What the buttons of all pages say, lower case; clicks go by these names before any other."""

# What an HTML parser keeps of text that is white space only.
_BLANK: Final = " \n\t\f\r"


def parse_action(action: str) -> tuple[str, str] | None:
    r"""Split ``name[argument]`` as the original does, None if the action has another form.

    The original matches ``(.+)\[(.+)\]`` at the start. This finds the same in one pass over any text: in the first
    line, the last closing bracket and the last opening one that leaves an argument.

    >>> parse_action("search[red mug]"), parse_action("buy it")
    (('search', 'red mug'), None)
    """
    line = action.partition("\n")[0]
    last = line.rfind("]")
    first = line.rfind("[", 1, max(last - 1, 1))
    return None if first < 0 else (line[:first], line[first + 1 : last])


class Click(NamedTuple):
    """What a clickable text is.

    Attributes:
        kind: ``button``, ``product`` or ``option``.
        name: The product's identifier, or the option's name; empty for buttons.
    """

    kind: str
    name: str = ""


class _Piece(NamedTuple):
    kind: str  # text, button, label (a value of an option) or link (a product)
    text: str


class Page:
    """One page, without the instruction.

    Attributes:
        clickables: What can be clicked, by its lower-case text, in the original's order.
        admissible: The clicks that the original carries out, as actions.
        has_search_bar: Whether the original shows a search bar; a search is carried out on every page but the last.
        text: The page in the mode ``text``, from after the instruction.
        name: The hash of `text`, under which anchors find the page.
    """

    __slots__ = ("_opening", "_pieces", "admissible", "clickables", "has_search_bar", "name", "simple", "text")

    def __init__(
        self, opening: Sequence[str], pieces: Iterable[_Piece], clickables: Mapping[str, Click], searches: bool = False
    ) -> None:
        self._opening = tuple(opening)
        self._pieces = tuple(_Piece(kind, kept) for kind, text in pieces if (kept := _kept(text)))
        self.clickables = clickables
        self.has_search_bar = searches
        self.admissible = tuple(
            f"click[{name}]" for name in clickables if name != "search" and _is_action(f"click[{name}]", name)
        )
        parts = [piece.text.strip() for piece in self._pieces]
        self.text = SEPARATOR.join(parts)
        self.simple = SEPARATOR.join(f"'{part}'" for part in parts) if opening else self.text
        self.name = text_hash(self.text)

    def with_instruction(self, instruction: str) -> str:
        """Return the page in the mode ``text``."""
        if not self._opening:
            return self.text
        parts = [part.strip() for part in (*self._opening, instruction) if _kept(part)]
        return SEPARATOR.join((*parts, self.text))

    def rich(self, instruction: str | None, address: str, visited: frozenset[str]) -> str:
        """Return the page in the mode ``text_rich``.

        Args:
            instruction: What the customer asks for; None leaves it out.
            address: The address of the page, which names the chosen options.
            visited: Identifiers of the products that were opened since the search page.
        """
        lines, clicked = [], []
        if instruction is not None and self._opening:
            lines += [part for part in (*self._opening, _kept(instruction)) if part]
        for kind, text in self._pieces:
            if kind == "button":
                lines.append(f"[button] {text} [button_]")
            elif kind == "label":
                chosen = f'"{text}"' in address
                if chosen:
                    clicked.append(f"You have clicked {text}.")
                lines.append(
                    f"  [clicked button] {text} [clicked button_]" if chosen else f"  [button] {text} [button_]"
                )
            elif kind == "link":
                seen = text in visited
                lines.append(f"\n[clicked button] {text} [clicked button_]" if seen else f"\n[button] {text} [button_]")
            else:
                lines.append(text)
        return "".join(f"{line}\n" for line in (*reversed(clicked), *lines))


def _kept(text: str) -> str:
    """Return what an HTML parser keeps of a text: of white space alone a space, and nothing if it breaks a line."""
    if text.strip(_BLANK):
        return text
    return "" if "\n" in text or not text else " "


def _is_action(action: str, argument: str) -> bool:
    parsed = parse_action(action)
    return parsed is not None and parsed[1] == argument and argument == argument.lower()


_BACK: Final = _Piece("button", "Back to Search")
_PREVIOUS: Final = _Piece("button", "< Prev")
_NEXT: Final = _Piece("button", "Next >")
_OPENING: Final = ("Instruction:",)


def _buttons(pieces: Iterable[_Piece]) -> dict[str, Click]:
    return {text.lower(): Click("button") for kind, text in pieces if kind == "button"}


def search_page() -> Page:
    """Return the page that every session starts on."""
    pieces = [_Piece("button", "Search")]
    return Page(("WebShop", "Instruction: "), pieces, _buttons(pieces), searches=True)


def results_page(products: Sequence[Product], page: int, total: int) -> Page:
    """Return a page of search results.

    Args:
        products: What this page lists.
        page: Its number, from 1.
        total: How many products were found.
    """
    pieces = [_BACK, _Piece("text", f"Page {page} (Total results: {total})")]
    pieces += [_PREVIOUS, _NEXT] if page > 1 else [_NEXT]
    for product in products:
        pieces += [_Piece("link", product.asin), _Piece("text", product.title), _Piece("text", product.price_text)]
    links = {product.asin.lower(): Click("product", product.asin) for product in products}
    return Page(_OPENING, pieces, {**_buttons(pieces), **links})


def item_page(product: Product, show_attributes: bool = False) -> Page:
    """Return the page of a product."""
    pieces = [_BACK, _PREVIOUS]
    for name, values in product.options.items():
        pieces += [_Piece("text", name), *(_Piece("label", value) for value in values)]
    pieces += [
        _Piece("text", product.title),
        _Piece("text", f"Price: {product.price_text}"),
        _Piece("text", f"Rating: {product.rating}"),
    ]
    shown = SUB_PAGES if show_attributes else SUB_PAGES[:-1]
    pieces += [_Piece("button", name) for name in (*map(str.capitalize, shown), "Buy Now")]
    # A value that two options share belongs to the last of them, as in the original.
    choices = {value: Click("option", name) for name, values in product.options.items() for value in values}
    return Page(_OPENING, pieces, {**_buttons(pieces), **choices})


def sub_page(product: Product, name: str) -> Page:
    """Return one of the pages behind a product's page.

    Args:
        product: The product.
        name: One of `SUB_PAGES`.
    """
    texts: list[str] = []
    if name == "description":
        texts = [product.description]
    elif name == "features":
        texts = [f" {line}" for line in product.bullet_points]
    elif name == "reviews":
        for review in product.reviews:
            texts += [f'"{review.title}"', review.score, review.body]
    else:
        texts = [f" {attribute}" for attribute in product.attributes]
        texts += [product.category, product.query, product.product_category]
    pieces = [_BACK, _PREVIOUS, *(_Piece("text", text) for text in texts)]
    return Page(_OPENING, pieces, _buttons(pieces))


def done_page(asin: str, options: Mapping[str, str], reward: float) -> Page:
    """Return the page after a purchase; nothing can be done on it."""
    chosen = json.dumps(dict(sorted(options.items())))
    for letter in "<>&'":
        chosen = chosen.replace(letter, f"\\u{ord(letter):04x}")
    texts = ["Thank you for shopping with us!", "Your code: ", "None", " (Paste it in your MTurk interface.)"]
    texts += ["Purchased", "asin", asin, "options", chosen, "attrs", "None", "category", "None", "query", "None"]
    texts += ["product category", "None", "Target", "asin", "options", "attrs", "price upper", "instuction text"]
    texts += ["category", "product category", "query", "Goal ", "None", "Reward"]
    texts += ["Your score (min 0.0, max 1.0)", str(reward), "Reward Details ", "None"]
    return Page((), [_Piece("text", text) for text in texts], {})
