"""WebShop as a Gymnasium environment."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from agentgym.envs.webshop.expert import ShoppingExpert, known_action
from agentgym.envs.webshop.generator import ShopConfig
from agentgym.envs.webshop.pages import MODES, Page, done_page, parse_action
from agentgym.envs.webshop.products import Goal
from agentgym.envs.webshop.records import Kind
from agentgym.envs.webshop.reward import Purchase, RewardRules, judge
from agentgym.envs.webshop.shop import START, Place
from agentgym.envs.webshop.sources import find_data, open_goals, open_shop
from agentgym.errors import EnvironmentFault, SnapshotError, unknown_name
from agentgym.identity import text_hash, value_hash
from agentgym.text_env import Status, TextEnv

__all__ = ["WebShopEnv"]

_BUY: Final = "buy now"
_EXPERTS: Final = ("searching", "knowing")
_PRICE_CLAUSE = re.compile(r",? and price lower than [\d.]+ dollars$")
_UNSEARCHABLE = re.compile(r"[\[\]\s]+")


class _Saved(NamedTuple):
    """A session as snapshots keep it, with what the expert remembers of it; products are not in it."""

    source: str
    shop: int
    goal: Goal
    place: Place
    purchase: Purchase | None
    expert: ShoppingExpert | None


class WebShopEnv(TextEnv):
    """Shop for what a customer asks: search, read, choose options, buy.

    Pages, clickable texts, the order of results and the reward equal those of the original. Actions are ``search[...]``
    and ``click[...]``; any other text leaves the page as it is. Buying ends the episode with a reward in [0, 1], which
    is ``info["score"]`` too; ``info["won"]`` asks for all of it. `obs_hash` names the page without the instruction.
    Beyond what every environment has, ``info["reward_exact"]`` says whether rewards are the original's.

    Args:
        split: ``train``, ``validation`` or ``test``.
        data: ``"builtin"``; a folder of the original's files, one of its products files, or an index of a catalogue; or
            None for what the environment variables ``AGENTGYM_DATA`` or ``WEBSHOP_DATA`` name, and the built-in shop
            where they name none.
        difficulty: Preset (``easy``, ``default``, ``hard``, ``mall``) or configuration of the built-in shop.
        goals: ``synthetic`` or ``human``, for the original's catalogue; None takes the original's choice.
        observation: ``text``, ``text_rich``, or ``simple`` (without the instruction).
        split_rule: How the original's goals are split: ``product``, ``original`` or ``verl_agent``.
        worker_seed: For ``split_rule="verl_agent"``: the seed with which that worker shuffles the goals.
        price_seed: Seed of prices and price bounds: what the original draws after ``random.seed(price_seed)``.
        rules: Quirks of the reward to keep, as such or by name, ``{"plain_colours": False}``; all of them by default.
        show_attributes: Whether products have a page of their attributes, as the original's ``show_attrs``.
        expert: Who ``expert_action`` asks: ``searching``, who goes by what pages say, or ``knowing``, who knows more.
        render_mode: ``"ansi"`` or ``"human"``.

    Example:
        >>> env = WebShopEnv(data="builtin")
        >>> observation, info = env.reset(seed=0)
        >>> observation.startswith("WebShop [SEP] Instruction: [SEP] ")
        True
        >>> observation, reward, terminated, truncated, info = env.step("search[boots]")
        >>> info["admissible"][0]
        'click[back to search]'
    """

    def __init__(
        self,
        split: str = "train",
        data: str | os.PathLike[str] | None = None,
        difficulty: str | ShopConfig = "default",
        goals: Kind | None = None,
        observation: str = "text",
        split_rule: str = "product",
        worker_seed: int = 0,
        price_seed: int = 0,
        rules: RewardRules | Mapping[str, bool] | None = None,
        show_attributes: bool = False,
        expert: str = "searching",
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        if expert not in _EXPERTS:
            raise unknown_name("expert", expert, _EXPERTS)
        self._searching = expert == "searching"
        if observation not in MODES:
            raise unknown_name("observation mode", observation, MODES)
        self._mode = observation
        self._rules = RewardRules.of(rules)
        place = find_data(data)
        self._goals = open_goals(
            place,
            split,
            difficulty=difficulty,
            kind=goals,
            split_rule=split_rule,
            worker_seed=worker_seed,
            price_seed=price_seed,
        )
        self._open = partial(open_shop, place, difficulty, price_seed, show_attributes)
        self._number = 0
        self._shop = self._open()
        self._exact = self._shop.catalogue.exact_nouns and self._rules == RewardRules()
        self._source = value_hash([self._shop.fingerprint, price_seed])
        self._goal: Goal | None = None
        self._place = START
        self._purchase: Purchase | None = None
        self._receipt: Page | None = None
        self._expert: ShoppingExpert | None = None

    @property
    def tasks(self) -> tuple[str, ...] | None:
        """Ids of the split's goals; None for built-in goals, which are endless."""
        return self._goals.tasks

    @property
    def held_out(self) -> dict[str, str]:
        """Arguments that give goals held out from training."""
        return {"split": "validation"}

    @property
    def customer_goal(self) -> Goal:
        """What the customer asks for, with what the instruction does not say.

        Raises:
            EnvironmentFault: Before the first reset.
        """
        if self._goal is None:
            raise EnvironmentFault("there is no goal before the first reset()")
        return self._goal

    @property
    def page(self) -> Page:
        """The page in front of the customer."""
        return self._shop.page(self._place) if self._receipt is None else self._receipt

    @property
    def purchase(self) -> Purchase | None:
        """How the purchase was judged, part by part; None before it."""
        return self._purchase

    def _begin(self, task: str | None) -> str:
        task_id = self._goals.draw(self.np_random) if task is None else task
        goal = self._goals.load(task_id)
        self.task_id, self.task_type, self.goal = task_id, goal.category, goal.instruction
        self._start(goal, self._goals.shop_of(task_id))
        self._stand(START, None)
        return self._show()

    def _start(self, goal: Goal, shop: int) -> None:
        self._goal = goal
        if shop != self._number:
            self._number, self._shop = shop, self._open(shop)
        self._expert = None
        text = _UNSEARCHABLE.sub(" ", goal.instruction).strip().lower()
        found = dict.fromkeys((text, _PRICE_CLAUSE.sub("", text)))
        self._searches = tuple(f"search[{query}]" for query in found if query)
        wanted = [shop, goal.asin, goal.instruction, goal.attributes, goal.options, goal.price_upper]
        self._named = value_hash([self._source, *wanted])

    def expert_action(self, searching: bool | None = None) -> str:
        """Return what an expert would do now.

        Args:
            searching: Whether the expert goes by what pages say, as any customer must, and is done within 15 steps; ask
            searching: Whether the expert goes by what pages say, as any customer must, and is done within 15 steps; ask
                it every step, and snapshots keep what it remembers. Otherwise it searches for the words of the
                instruction and knows the product in mind and its options when it sees them. None asks the one that the
                environment was made with.

        Raises:
            EnvironmentFault: If no episode is running.
        """
        if self._over:
            raise EnvironmentFault("the expert needs a running episode: call reset() first")
        if self._searching if searching is None else searching:
            self._expert = self._expert or ShoppingExpert()
            return self._expert.act(self.page.with_instruction(self.goal), self.goal, self.page.admissible)
        return known_action(self.customer_goal, self._shop, self._place)

    def _stand(self, place: Place, purchase: Purchase | None) -> None:
        """Take up a place, before or after the purchase."""
        self._place, self._purchase, self._receipt = place, purchase, None
        if purchase is not None:
            asin = self._shop.catalogue.product(place.product).asin
            self._receipt = done_page(asin, dict(place.options), purchase.reward)

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        parsed = parse_action(action)
        valid = parsed is not None and self._carry_out(*parsed)
        if self._purchase is None:
            return self._show(), 0.0, False, valid
        return self._show(), self._purchase.reward, True, valid

    def _carry_out(self, name: str, argument: str) -> bool:
        """Carry out an action and return whether the original would."""
        argument, place = argument.lower(), self._place
        if name == "search":
            there = self._shop.search(place, argument, self._draw(argument))
        elif name != "click" or argument not in self._shop.page(place).clickables:
            return False
        elif argument == _BUY:
            self._stand(place, self._judge())
            return True
        else:
            there = self._shop.click(place, argument, self._draw(place.query))
        if there is not None:
            self._place = there
        return there is not None

    def _draw(self, query: str) -> int:
        """Return a seed for the search ``<r>``, whose results are random; other searches draw nothing."""
        return int(self.np_random.integers(2**31)) if query.startswith("<r>") else 0

    def _judge(self) -> Purchase:
        goal, catalogue = self.customer_goal, self._shop.catalogue
        product = catalogue.product(self._place.product)
        nouns = catalogue.nouns(catalogue.index_of(goal.asin)), catalogue.nouns(self._place.product)
        return judge(goal, product, self._shop.prices[product.asin], dict(self._place.options), nouns, self._rules)

    def _show(self) -> str:
        page = self.page
        if self._mode == "text":
            return page.with_instruction(self.goal)
        if self._mode == "simple":
            return page.simple
        return page.rich(self.goal, self._shop.address(self._place), self._place.visited)

    def _status(self) -> Status:
        if self._purchase is not None:
            reward = self._purchase.reward
            return Status((), reward == 1.0, reward, text_hash(self.state_text()))
        page = self._shop.page(self._place)
        admissible = self._searches + page.admissible if page.has_search_bar else page.admissible
        return Status(admissible, False, 0.0, text_hash(self.state_text()))

    def _info(self, observation: str, reward: float, valid: bool) -> dict[str, Any]:
        info = super()._info(observation, reward, valid)
        info["reward_exact"] = self._exact
        return info

    def _obs_hash(self, observation: str) -> str:
        if self._mode != "text_rich":
            return self.page.name
        return text_hash(self.page.rich(None, self._shop.address(self._place), self._place.visited))

    def state_text(self) -> str:
        """Describe the hidden state in full: equal texts mean equal states."""
        if self._goal is None:
            raise EnvironmentFault("there is no state before the first reset()")
        place = self._place
        # What was opened is shown in one mode only, and the order of choices matters to no page and no reward.
        visited = sorted(place.visited) if self._mode == "text_rich" else []
        bought = None if self._purchase is None else self._purchase.reward
        state = [*place[:5], sorted(place.options), visited, place.draw, bought]
        return f"goal {self._named}\n{json.dumps(state)}"

    def _get_state(self) -> _Saved | None:
        if self._goal is None:
            return None
        expert = copy.deepcopy(self._expert)
        return _Saved(self._source, self._number, self._goal, self._place, self._purchase, expert)

    def _set_state(self, state: _Saved | None) -> None:
        if state is None:
            self._goal = None
            self._stand(START, None)
            return
        if state.source != self._source:
            raise SnapshotError(
                "this snapshot was taken in another shop; restore it into an environment of the same data, difficulty, "
                "price_seed and show_attributes"
            )
        self._start(state.goal, state.shop)
        self._stand(state.place, state.purchase)
        self._expert = copy.deepcopy(state.expert)
