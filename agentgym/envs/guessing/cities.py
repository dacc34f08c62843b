"""What Guess My City is played with: large cities, and a few coarse facts that general knowledge gives them.

The tables are our own. Numbers are rounded to classes, and each city is known for one thing only, from a short list, so
that no answer gives a city away; where general knowledge would hesitate, the row is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

__all__ = ["FACTS", "LEFT_HAND_TRAFFIC", "City", "cities"]

FACTS: Final[Mapping[str, tuple[str, str]]] = {
    "capital": ("Is it a capital?", r"capital(?! of)"),
    "sea": (
        "Does it lie by the sea?",
        r"(?:by|on|near|at) the (?:sea|coast|ocean)|coastal|a (?:port|harbou?r)",
    ),
    "island": ("Does it lie on an island?", r"on an island|an island"),
    "river": (
        "Does a large river run through it?",
        r"(?:on|have) a (?:big |large )?river|river (?:run|flow)",
    ),
    "high": (
        "Does it lie higher than 1000 metres?",
        r"high up|high altitude|in the mountains",
    ),
    "snow": ("Does it snow there in most winters?", r"snow"),
    "games": (
        "Has it hosted the Summer Olympics?",
        r"host(?:ed)? the (?:summer )?(?:olympics|olympic games)",
    ),
    "left": ("Do cars drive on the left there?", r"on the left"),
    "south": ("Does it lie south of the equator?", r"south of the equator|southern hemisphere"),
}
"""Fact to the question for it, and a pattern of words by which other wordings are understood."""

_LEFT: Final = (
    "the United Kingdom, Ireland, Japan, India, Australia, New Zealand, South Africa, Kenya, Thailand, Indonesia, "
    "Pakistan, Bangladesh, Nepal, Malaysia, Tanzania"
)
LEFT_HAND_TRAFFIC: Final = frozenset(_LEFT.split(", "))
"""Countries where cars drive on the left."""

# Continent | city/other names | country | language | millions of people, at least | known for | facts
_TABLE: Final = """
Europe|London|the United Kingdom|English|5|business|capital river games island
Europe|Edinburgh|the United Kingdom|English|0|shows|sea snow island
Europe|Manchester|the United Kingdom|English|0|sport|island
Europe|Liverpool|the United Kingdom|English|0|shows|sea island
Europe|Dublin|Ireland|English|1|its arts|capital sea island
Europe|Paris|France|French|5|its arts|capital river games
Europe|Lyon|France|French|1|food and markets|river
Europe|Marseille|France|French|1|business|sea
Europe|Brussels|Belgium|French|1|politics|capital
Europe|Antwerp|Belgium|Dutch|0|business|river games
Europe|Amsterdam|the Netherlands|Dutch|1|its nature|capital games
Europe|Rotterdam|the Netherlands|Dutch|0|business|sea river
Europe|Berlin|Germany|German|1|its past|capital river snow games
Europe|Munich|Germany|German|1|shows|river snow games
Europe|Hamburg|Germany|German|1|business|river
Europe|Frankfurt|Germany|German|0|business|river
Europe|Vienna|Austria|German|1|shows|capital river snow
Europe|Zurich|Switzerland|German|0|business|river snow
Europe|Geneva|Switzerland|French|0|politics|river snow
Europe|Madrid|Spain|Spanish|5|its arts|capital
Europe|Barcelona|Spain|Spanish|1|its buildings|sea games
Europe|Seville|Spain|Spanish|0|shows|river
Europe|Lisbon|Portugal|Portuguese|1|its past|capital sea river
Europe|Porto|Portugal|Portuguese|0|food and markets|sea river
Europe|Rome|Italy|Italian|1|its past|capital river games
Europe|Milan|Italy|Italian|1|shows|
Europe|Venice|Italy|Italian|0|its nature|sea island
Europe|Florence|Italy|Italian|0|its arts|river
Europe|Naples|Italy|Italian|1|food and markets|sea
Europe|Athens|Greece|Greek|1|its past|capital sea games
Europe|Prague|the Czech Republic|Czech|1|its buildings|capital river snow
Europe|Warsaw|Poland|Polish|1|its past|capital river snow
Europe|Krakow|Poland|Polish|0|its past|river snow
Europe|Budapest|Hungary|Hungarian|1|its buildings|capital river snow
Europe|Copenhagen|Denmark|Danish|1|its arts|capital sea island snow
Europe|Stockholm|Sweden|Swedish|1|its arts|capital sea snow games
Europe|Oslo|Norway|Norwegian|0|its nature|capital sea snow
Europe|Helsinki|Finland|Finnish|1|its arts|capital sea snow games
Europe|Moscow|Russia|Russian|5|politics|capital river snow games
Europe|Saint Petersburg/St Petersburg|Russia|Russian|5|its arts|sea river snow
Europe|Kyiv/Kiev|Ukraine|Ukrainian|1|its past|capital river snow
Europe|Istanbul|Turkey|Turkish|5|its past|sea snow
Asia|Ankara|Turkey|Turkish|5|politics|capital snow
Asia|Jerusalem|Israel|Hebrew|0|its past|
Asia|Mecca|Saudi Arabia|Arabic|1|its past|
Asia|Riyadh|Saudi Arabia|Arabic|5|business|capital
Asia|Dubai|the United Arab Emirates|Arabic|1|its buildings|sea
Asia|Baghdad|Iraq|Arabic|5|business|capital river
Asia|Tehran/Teheran|Iran|Persian|5|politics|capital high snow
Asia|Karachi|Pakistan|Urdu|5|business|sea
Asia|Delhi/New Delhi|India|Hindi|5|politics|capital river
Asia|Mumbai/Bombay|India|Hindi|5|shows|sea
Asia|Kolkata/Calcutta|India|Bengali|5|its arts|river
Asia|Dhaka|Bangladesh|Bengali|5|business|capital river
Asia|Kathmandu|Nepal|Nepali|1|its nature|capital high
Asia|Bangkok|Thailand|Thai|5|food and markets|capital river
Asia|Kuala Lumpur|Malaysia|Malay|1|its buildings|capital
Asia|Jakarta|Indonesia|Indonesian|5|business|capital sea island south
Asia|Hanoi|Vietnam|Vietnamese|5|food and markets|capital river
Asia|Ho Chi Minh City/Saigon|Vietnam|Vietnamese|5|business|river
Asia|Manila|the Philippines|Filipino|5|business|capital sea island
Asia|Beijing/Peking|China|Chinese|5|its past|capital snow games
Asia|Shanghai|China|Chinese|5|business|sea river
Asia|Hong Kong|China|Chinese|5|its buildings|sea left
Asia|Seoul|South Korea|Korean|5|technology|capital river snow games
Asia|Tokyo|Japan|Japanese|5|technology|capital sea island games
Asia|Kyoto|Japan|Japanese|1|its past|island
Asia|Osaka|Japan|Japanese|5|food and markets|sea island river
Asia|Hiroshima|Japan|Japanese|1|its past|sea island
Africa|Cairo|Egypt|Arabic|5|its past|capital river
Africa|Alexandria|Egypt|Arabic|5|its past|sea
Africa|Marrakesh/Marrakech|Morocco|Arabic|1|food and markets|
Africa|Casablanca|Morocco|Arabic|1|business|sea
Africa|Tunis|Tunisia|Arabic|1|food and markets|capital sea
Africa|Lagos|Nigeria|English|5|shows|sea
Africa|Accra|Ghana|English|1|food and markets|capital sea
Africa|Nairobi|Kenya|Swahili|1|its nature|capital high south
Africa|Addis Ababa|Ethiopia|Amharic|1|politics|capital high
Africa|Cape Town|South Africa|English|1|its nature|sea south
Africa|Johannesburg|South Africa|English|5|business|high south
North America|New York/New York City|the United States|English|5|business|sea river snow
North America|Los Angeles|the United States|English|5|shows|sea games
North America|San Francisco|the United States|English|0|technology|sea
North America|Las Vegas|the United States|English|1|shows|
North America|Chicago|the United States|English|5|its buildings|river snow
North America|Boston|the United States|English|1|its arts|sea snow
North America|Miami|the United States|English|1|its nature|sea
North America|New Orleans|the United States|English|0|shows|river
North America|Seattle|the United States|English|1|technology|sea
North America|Denver|the United States|English|1|its nature|high snow
North America|Atlanta|the United States|English|1|business|games
North America|Washington|the United States|English|1|politics|capital river snow
North America|Toronto|Canada|English|5|business|snow
North America|Montreal|Canada|French|1|shows|island river snow games
North America|Vancouver|Canada|English|1|its nature|sea
North America|Mexico City|Mexico|Spanish|5|its past|capital high games
North America|Havana|Cuba|Spanish|1|shows|capital sea island
South America|Bogota|Colombia|Spanish|5|business|capital high
South America|Lima|Peru|Spanish|5|food and markets|capital sea south
South America|Cusco/Cuzco|Peru|Spanish|0|its past|high south
South America|La Paz|Bolivia|Spanish|1|politics|high south
South America|Santiago|Chile|Spanish|5|its nature|capital south
South America|Buenos Aires|Argentina|Spanish|5|shows|capital sea river south
South America|Rio de Janeiro/Rio|Brazil|Portuguese|5|its nature|sea south games
South America|Sao Paulo|Brazil|Portuguese|5|business|south
Oceania|Sydney|Australia|English|5|its buildings|sea south games
Oceania|Melbourne|Australia|English|5|sport|sea river south games
Oceania|Perth|Australia|English|1|its nature|sea river south
Oceania|Auckland|New Zealand|English|1|its nature|sea island south
"""


@dataclass(frozen=True, slots=True)
class City:
    """A city to be guessed.

    Attributes:
        name: What it is called, without accents.
        aliases: Every name under which a guess of it is accepted, its own included.
        continent: Where it lies.
        country: Likewise, with its article.
        language: What most people there speak, or did first.
        size: How many people live there, in words.
        known_for: One thing that it is known for.
        facts: What is true of it, keys of `FACTS`.
    """

    name: str
    aliases: tuple[str, ...]
    continent: str
    country: str
    language: str
    size: str
    known_for: str
    facts: frozenset[str]


_SIZES: Final = {"0": "fewer than a million", "1": "one to five million", "5": "more than five million"}


@cache
def cities() -> tuple[City, ...]:
    """Return all cities, in the order of the table."""
    found = []
    for row in _TABLE.strip().splitlines():
        continent, names, country, language, size, known_for, facts = row.split("|")
        aliases = tuple(names.split("/"))
        marks = {*facts.split(), *(("left",) if country in LEFT_HAND_TRAFFIC else ())}
        found.append(City(aliases[0], aliases, continent, country, language, _SIZES[size], known_for, frozenset(marks)))
    return tuple(found)
