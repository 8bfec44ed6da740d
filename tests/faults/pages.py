"""Faults of what the server finds and how it pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from random import Random
from typing import Any, Literal

from tests.faults.ask import Ask, Json
from tests.faults.fault import FoundFault, PageFault, QueryFault, StoreFault
from tests.faults.paging import has_next, next_link, with_next
from tests.faults.wire import moved


@dataclass
class Changing(StoreFault):
    """The items change while a client pages through them."""

    change: Callable[[list[Json]], list[Json]]

    def act(self, items: list[Json], ask: Ask) -> list[Json]:
        return self.change(items)


def insert(item: Json) -> Callable[[list[Json]], list[Json]]:
    """A change that adds an item."""
    return lambda items: [*items, item]


def delete(item_id: str) -> Callable[[list[Json]], list[Json]]:
    """A change that takes an item away."""
    return lambda items: [item for item in items if item["id"] != item_id]


def update(item_id: str, **properties: Any) -> Callable[[list[Json]], list[Json]]:
    """A change of an item's properties."""

    def change(item: Json) -> Json:
        return {**item, "properties": {**item["properties"], **properties}} if item["id"] == item_id else item

    return lambda items: [change(item) for item in items]


@dataclass
class Ignores(QueryFault):
    """A part of the query is ignored."""

    member: str = "datetime"

    def act(self, query: Json, ask: Ask) -> Json:
        return {name: value for name, value in query.items() if name != self.member}


@dataclass
class Shuffled(FoundFault):
    """Every request finds its items in another order, or only those in another that sort alike."""

    ties_only: bool = False
    seed: int = 0

    def act(self, found: list[Json], ask: Ask) -> list[Json]:
        order = Random(f"{self.seed} {ask.tries} {ask.identity}")
        if not self.ties_only:
            return order.sample(found, len(found))
        rule = (ask.query.get("sortby") or [{"field": "datetime"}])[0]["field"].removeprefix("properties.")
        ties = [list(group) for _, group in groupby(found, lambda item: item.get(rule) or item["properties"].get(rule))]
        return [item for tie in ties for item in order.sample(tie, len(tie))]


@dataclass
class NoNext(PageFault):
    """A page that is not the last one has no `next`."""

    def act(self, page: Json, ask: Ask) -> Json:
        return with_next(page, None) if has_next(page) else page


@dataclass
class EmptyPage(PageFault):
    """A page without items whose `next` leads on to those it should have had."""

    def act(self, page: Json, ask: Ask) -> Json:
        return with_next(_holding(page, []), next_link(ask, ask.page + 1, ask.offset))


@dataclass
class LoopingNext(PageFault):
    """`next` leads nowhere new: to the page itself, to the first one, or, by ever new tokens, to the same items."""

    to: Literal["itself", "first", "stuck"] = "itself"

    def act(self, page: Json, ask: Ask) -> Json:
        place = {"itself": (ask.page, ask.offset), "first": (0, 0), "stuck": (ask.page + 1, ask.offset)}
        return with_next(page, next_link(ask, *place[self.to]))


@dataclass
class ShiftNext(PageFault):
    """The next page starts so many items late, which are lost, or (negative) early, which come again."""

    by: int

    def act(self, page: Json, ask: Ask) -> Json:
        if not has_next(page):
            return page
        regular = ask.offset + ask.limit
        return with_next(page, next_link(ask, ask.page + 1, max(regular + self.by, ask.offset + 1)))


@dataclass
class DropItems(PageFault):
    """Items are missing from the middle of a page; its links and counts are as if they were there."""

    count: int = 1

    def act(self, page: Json, ask: Ask) -> Json:
        features = page["features"]
        first = max(0, (len(features) - self.count) // 2)
        return _holding(page, features[:first] + features[first + self.count :]) if features else page


@dataclass
class Extra(PageFault):
    """The page holds more than it should: items that were not asked for, or what is no item at all."""

    members: Sequence[Any]

    def act(self, page: Json, ask: Ask) -> Json:
        return _holding(page, [*page["features"], *self.members])


@dataclass
class Spoilt(PageFault):
    """One item of the page holds a value that JSON does not have: NaN, an infinity, or half of a character."""

    index: int = 0
    value: float | str = math.nan

    def act(self, page: Json, ask: Ask) -> Json:
        features = list(page["features"])
        if self.index >= len(features):
            return page
        item = features[self.index]
        features[self.index] = {**item, "properties": {**item["properties"], "spoilt": self.value}}
        return _holding(page, features)


@dataclass
class NextAt(PageFault):
    """`next` keeps its path and query, but leads to another scheme (`https:`), host (`//host:1`), or both."""

    place: str

    def act(self, page: Json, ask: Ask) -> Json:
        links = page["links"]
        if not has_next(page):
            return page
        return {**page, "links": [{**link, "href": moved(link["href"], self.place)} for link in links]}


@dataclass
class Claims(PageFault):
    """`numberMatched` is whatever this is."""

    matched: Any

    def act(self, page: Json, ask: Ask) -> Json:
        return {**page, "numberMatched": self.matched}


def _holding(page: Json, features: list[Any]) -> Json:
    return {**page, "features": features, "numberReturned": len(features)}
