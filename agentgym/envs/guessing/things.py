"""What Twenty Questions is played with: everyday things, and yes-or-no attributes that general knowledge gives them.

The tables are our own. An attribute that a row does not name is answered by "No.", so that a question always has the
same answer; where general knowledge would hesitate, the row is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

__all__ = ["ATTRIBUTES", "Thing", "things"]

_A: Final = r"(?:an?|kind of|type of|sort of)"
_PEOPLE: Final = "(?:you|people|we|one|humans)"
_VERY: Final = "(?:usually |mostly |often |very )?"

ATTRIBUTES: Final[Mapping[str, tuple[str, str]]] = {
    "living": ("Is it alive?", r"alive|(?:living|live) (?:thing|being|creature)"),
    "animal": ("Is it an animal?", rf"{_A} (?:animal|creature)"),
    "mammal": ("Is it a mammal?", rf"{_A} mammal"),
    "bird": ("Is it a bird?", rf"{_A} bird"),
    "insect": ("Is it an insect?", rf"{_A} (?:insect|bug)"),
    "pet": ("Do people keep it as a pet?", r"(?:as|a) (?:\w+ )?pets?"),
    "farm": ("Is it found on a farm?", r"(?:on|from) (?:a |the )?farms?"),
    "fur": ("Does it have fur?", r"have (?:any )?fur|furry"),
    "four_legs": ("Does it have four legs?", r"have (?:four|4) legs"),
    "flies": ("Can it fly?", r"it fly|able to fly|flies"),
    "aquatic": (
        "Does it live or move in water?",
        r"(?:live|move|swim|float)s? in (?:the )?(?:water|sea|ocean)|it swim|able to swim",
    ),
    "dangerous": ("Is it dangerous?", r"dangerous"),
    "africa": ("Does it live in Africa?", r"(?:in|from) africa"),
    "plant": ("Is it a plant?", rf"{_A} plant"),
    "on_trees": ("Does it grow on trees?", r"grows? on (?:a )?trees?"),
    "underground": ("Does it grow under the ground?", r"grows? (?:under the ground|underground|in the ground)"),
    "food": (
        "Can you eat it?",
        rf"{_PEOPLE} eat|eat it|eaten by (?:people|humans)|edible|(?:a|kind of|type of|some) food|it food",
    ),
    "fruit": ("Is it a fruit?", rf"{_A} fruit"),
    "vegetable": ("Is it a vegetable?", rf"{_A} vegetable"),
    "drink": (
        "Can you drink it?",
        rf"{_PEOPLE} drink|drink it|{_A} (?:drink|beverage)",
    ),
    "sweet": ("Is it sweet?", rf"(?:it|taste|tastes) {_VERY}sweet"),
    "red": ("Is it usually red?", rf"(?:it|its colou?r) {_VERY}red(?: in colou?r)?$"),
    "yellow": (
        "Is it usually yellow?",
        rf"(?:it|its colou?r) {_VERY}yellow(?: in colou?r)?$",
    ),
    "green": ("Is it usually green?", rf"(?:it|its colou?r) {_VERY}green(?: in colou?r)?$"),
    "brown": ("Is it usually brown?", rf"(?:it|its colou?r) {_VERY}brown(?: in colou?r)?$"),
    "white": ("Is it usually white?", rf"(?:it|its colou?r) {_VERY}white(?: in colou?r)?$"),
    "worn": ("Do you wear it?", rf"wear it|worn(?! on)|{_PEOPLE} wear|clothing|clothes"),
    "feet": ("Is it for the feet?", r"(?:for|on) (?:the|your|one s) (?:feet|foot)"),
    "head": ("Is it for the head?", r"(?:for|on) (?:the|your|one s) head"),
    "furniture": ("Is it a piece of furniture?", r"furniture"),
    "vehicle": ("Is it a vehicle?", rf"{_A} vehicle"),
    "wheels": ("Does it have wheels?", r"have (?:any )?wheels"),
    "engine": ("Does it have an engine?", r"have (?:an? |any )?(?:engine|motor)"),
    "tool": ("Is it a tool?", rf"{_A} tool"),
    "kitchen": ("Is it used in the kitchen?", r"in (?:the|a) kitchen"),
    "electric": (
        "Does it use electricity?",
        r"(?:use|need|run on)s? (?:electricity|power|batteries)|electric|electrical|electronic",
    ),
    "screen": ("Does it have a screen?", r"have (?:an? )?(?:screen|display)"),
    "instrument": ("Is it a musical instrument?", r"(?:musical )?instrument|make music|play music"),
    "strings": ("Does it have strings?", r"have (?:any )?strings"),
    "sport": ("Is it used in sports?", r"(?:in|for) (?:a )?sports?"),
    "toy": ("Do children play with it?", rf"(?:children|kids) play|{_A} toy"),
    "building": ("Is it a building?", rf"{_A} building"),
    "body": ("Is it a part of the body?", r"(?:human|the|your) body|body part"),
    "sky": ("Can you see it in the sky?", r"in the sky"),
    "metal": ("Is it made of metal?", r"made (?:out )?of metal|metallic"),
    "wood": ("Is it made of wood?", r"made (?:out )?of wood|wooden"),
    "cloth": ("Is it made of cloth?", r"made (?:out )?of (?:cloth|fabric)"),
    "paper": ("Is it made of paper?", r"made (?:out )?of paper"),
    "sharp": ("Is it sharp?", r"it sharp|have (?:a )?sharp"),
    "cuts": ("Do you cut with it?", r"to cut|cut with|cutting"),
    "writes": ("Do you write with it?", r"to write|write with|writing"),
    "cleans": ("Do you clean with it?", r"to clean|clean with|cleaning"),
    "bathroom": ("Is it found in the bathroom?", r"in (?:the|a) bathroom"),
    "office": ("Is it used in an office?", r"in (?:the|an) office"),
    "big": (
        "Is it bigger than a person?",
        rf"(?:bigger|larger) than (?:a )?(?:person|human|man|woman)|it {_VERY}(?:big|large)$",
    ),
    "handy": ("Does it fit into one hand?", rf"(?:in|into) (?:one|your|a) hand|handheld|it {_VERY}small$"),
    "round": ("Is it round?", rf"it {_VERY}round|round shape"),
    "loud": (
        "Does it make a loud noise?",
        rf"(?:make|makes) (?:a )?(?:loud )?(?:noise|sound)|it {_VERY}(?:loud|noisy)",
    ),
    "hot": ("Is it hot?", rf"it {_VERY}hot$"),
    "cold": ("Is it cold?", rf"it {_VERY}cold$"),
    "light": ("Does it give light?", r"(?:give|emit|produce|make)s? (?:off )?light|light source|source of light"),
    "costly": ("Is it expensive?", rf"it {_VERY}(?:expensive|costly)|cost a lot"),
    "seat": ("Can you sit on it?", r"sit (?:on|in) it"),
    "bed": ("Do you sleep in it?", r"sleep (?:in|on) it"),
    "keeps": ("Do you keep things in it?", r"container|(?:keep|store|hold|put) things"),
}
"""Attribute to the question for it, and a pattern of words by which other wordings are understood."""

# Category: what all of it has | name/other names: what it has besides, or with "-" lacks; and so on.
_TABLE: Final = """
mammal: living animal mammal fur four_legs
dog: pet loud; cat: pet; horse: farm big seat; cow: farm big -fur; pig: farm -fur; sheep: farm white; goat: farm
rabbit/bunny: pet; mouse: handy; lion: africa dangerous big loud; tiger: dangerous big
elephant: africa big -fur; giraffe: africa big; zebra: africa; monkey: -four_legs africa; bear: dangerous big brown
wolf: dangerous; fox: red; deer: brown; camel: africa big seat brown; kangaroo: -four_legs
bat: -four_legs flies handy
squirrel: handy brown; hippopotamus/hippo: africa big aquatic dangerous -fur

bird: living animal bird flies
chicken/hen: farm -flies food; duck: farm aquatic; eagle: dangerous; owl: brown; penguin: -flies aquatic
parrot: pet green; swan: aquatic white; ostrich: -flies africa big; sparrow: handy brown; crow: loud

sea animal: living animal aquatic
shark: dangerous big; whale: mammal big; dolphin: mammal; octopus:; crab: red; goldfish: pet handy
turtle/tortoise: four_legs pet; frog: four_legs green handy; crocodile/alligator: four_legs dangerous big africa green
salmon: food; jellyfish: dangerous

small animal: living animal handy
bee: insect flies yellow loud; butterfly: insect flies; ant: insect; mosquito: insect flies dangerous
ladybug/ladybird: insect flies red round; spider:; snail:; worm: underground brown; lizard: four_legs green
snake: dangerous -handy

fruit: food fruit sweet handy
apple: on_trees red round; banana: yellow; orange: on_trees round; lemon: on_trees yellow -sweet; pear: on_trees green
cherry: on_trees red round; strawberry: red; grape/grapes: green round; pineapple: -handy yellow
watermelon: -handy green round; peach: on_trees round; coconut: on_trees brown round -sweet

vegetable: food vegetable handy
carrot: underground; potato: underground brown; onion: underground round; tomato: red round; cucumber: green
broccoli: green -handy; lettuce: green round -handy; pumpkin: round -handy; garlic: underground white
pea/peas: green round; corn/maize: yellow; mushroom: white -vegetable

food: food
bread: brown; cheese: yellow; egg: white handy; rice: white; pizza: round hot; sandwich: handy; cake: sweet
chocolate: sweet brown handy; ice cream: sweet cold; soup: hot; pasta/spaghetti: yellow hot; honey: sweet yellow
cookie/biscuit: sweet round handy; hamburger/burger: hot round handy; butter: yellow cold

drink: drink
water:; milk: white cold farm; coffee: hot brown; tea: hot; juice/orange juice: sweet; beer: yellow cold; wine: red

clothing: worn cloth
shirt:; trousers/pants:; dress:; hat/cap: head; shoe/shoes: feet -cloth; sock/socks: feet handy
glove/gloves: handy; belt: -cloth; tie/necktie: office; boot/boots: feet -cloth
glasses/eyeglasses: head handy -cloth; helmet: head sport -cloth round

jewellery: worn metal costly
ring: round handy; necklace:; watch/wristwatch: handy round; crown: head

furniture: furniture
chair: four_legs seat wood; table: four_legs wood; bed: bed big four_legs; sofa/couch: seat bed big cloth
desk: four_legs wood office; bookshelf/bookcase: wood big keeps; wardrobe/closet: wood big keeps
lamp: light electric; mirror: bathroom; pillow: cloth bed white; carpet/rug: cloth big

vehicle: vehicle metal big
car: wheels engine seat costly; bus: wheels engine; bicycle/bike: wheels seat -big sport
motorcycle/motorbike: wheels engine loud seat
train: wheels engine loud; airplane/plane: wheels engine loud flies sky costly
helicopter: engine loud flies sky costly
boat: aquatic wood -metal; ship: aquatic engine costly; truck/lorry: wheels engine loud
tractor: wheels engine loud farm
rocket: engine loud flies sky hot costly; submarine: aquatic engine costly
skateboard: wheels wood sport toy -metal -big
hot air balloon: flies sky cloth round -metal

tool: tool metal
hammer: loud; saw: cuts sharp; screwdriver: handy; axe: cuts sharp; shovel/spade: farm
scissors: cuts sharp handy office
needle: sharp handy; broom: cleans wood -metal; bucket: keeps cleans; flashlight: light electric handy; ladder: big

kitchenware: kitchen
knife: metal sharp cuts handy; fork: metal sharp handy; spoon: metal handy; plate: round white; cup/mug: handy keeps
bowl: round keeps; frying pan/pan: metal round hot; kettle: metal electric hot; oven/stove: metal electric hot
refrigerator/fridge: metal electric cold big keeps white; toaster: metal electric hot; bottle: handy keeps

instrument: instrument loud
guitar: strings wood; piano: strings wood big costly; violin: strings wood costly; drum: round; flute: metal -loud
trumpet: metal; harp: strings big costly -loud; whistle: handy sport

sports: sport
soccer ball/football: round toy; basketball: round toy; tennis ball: round handy yellow
tennis racket/racket: strings; golf ball: round handy white; skis/ski: feet; surfboard: aquatic

device: electric
television/tv: screen; computer/laptop: screen office costly; telephone/phone: screen handy office
camera: handy costly
radio: loud; clock: round; washing machine: cleans white metal bathroom; vacuum cleaner/vacuum: cleans loud
printer: office; robot: metal costly; calculator: screen handy office; headphones: head

building: building big
house: bed; school:; hospital: bed; tent: cloth bed -building; lighthouse: light
bridge: -building metal

body: body
nose: head; eye/eyes: head round; ear/ears: head; finger: handy; tooth/teeth: head white sharp; hair: head; heart: red
tongue: head red; knee:

plant: living plant
tree: big wood; flower:; rose: red sharp; grass: green farm; cactus: green sharp; sunflower: yellow farm
leaf: green handy on_trees

nature:
sun: sky round hot light big yellow; moon: sky round light big white; star: sky light big; cloud: sky white big
rain: sky cold
snow: sky cold white; mountain: big cold; river: big cold ; island: big; fire: hot light dangerous red
rainbow: sky big
lightning: sky light dangerous loud hot

toys: toy
doll: handy; teddy bear: cloth fur brown; kite: flies sky paper; balloon: round flies sky; jigsaw puzzle/puzzle: paper
swing: seat

bathroom: bathroom
toothbrush: cleans handy; soap: cleans handy; towel: cloth; toilet: seat white; bathtub: big white; comb: handy head
toilet paper: paper white cleans

office: office
pen: writes handy; pencil: writes handy wood; book: paper; newspaper: paper; envelope: paper white handy
eraser: handy
backpack: cloth keeps worn -office; key: metal handy -office; umbrella: cloth -office; candle: light hot handy -office
coin: metal round handy -office; box: paper keeps; map: paper -office
"""

_UNIQUE: Final = frozenset({"sun", "moon"})
_WITHOUT_ARTICLE: Final = (
    "broccoli, lettuce, garlic, corn, bread, cheese, rice, pizza, chocolate, ice cream, soup, pasta, honey, butter, "
    "water, milk, coffee, tea, juice, beer, wine, trousers, glasses, scissors, skis, headphones, hair, grass, rain, "
    "snow, fire, lightning, soap, toilet paper"
)
_UNCOUNTED: Final = frozenset(_WITHOUT_ARTICLE.split(", "))


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing to be guessed.

    Attributes:
        name: What it is called, lower case.
        aliases: Every name under which a guess of it is accepted, its own included.
        category: The part of the table it stands in.
        attributes: What is true of it, keys of `ATTRIBUTES`.
    """

    name: str
    aliases: tuple[str, ...]
    category: str
    attributes: frozenset[str]

    @property
    def spoken(self) -> str:
        """The name as it stands in a sentence: ``a dog``, ``an owl``, ``the sun``, ``milk``."""
        if self.name in _UNCOUNTED:
            return self.name
        return f"{'the' if self.name in _UNIQUE else 'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


@cache
def things() -> tuple[Thing, ...]:
    """Return all things, in the order of the table."""
    found = []
    for block in _TABLE.strip().split("\n\n"):
        head, *rows = block.splitlines()
        category, _, shared = head.partition(":")
        for entry in ";".join(rows).split(";"):
            names, _, own = entry.strip().partition(":")
            aliases = tuple(names.split("/"))
            marks = own.split()
            lacks = {mark[1:] for mark in marks if mark.startswith("-")}
            has = {*shared.split(), *(mark for mark in marks if not mark.startswith("-"))} - lacks
            found.append(Thing(aliases[0], aliases, category, frozenset(has)))
    return tuple(found)
