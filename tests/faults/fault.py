"""What a fault is: when it strikes, and what it acts on."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field, fields
from random import Random

from aiohttp import web

from tests.faults.ask import Ask, Json


@dataclass(frozen=True)
class When:
    """Which requests a fault strikes: those for which all of this holds."""

    times: int | None = None
    """Only the first so many."""
    tries: int | None = None
    """Only the first so many tries of each request."""
    chance: float = 1.0
    """How probable it is; the same request and try always has the same luck."""
    seed: int = 0
    """Another seed, other luck."""
    pages: Container[int] | None = None
    """Only these pages of a sequence, from 0."""
    limit_above: int | None = None
    """Only where a larger page is asked for."""
    longer_than: int | None = None
    """Only where the page really holds more."""
    holds: str | None = None
    """Only where the page holds the item with this id."""
    searches_only: bool = True
    """Spare the landing page and the collections."""
    where: Callable[[Ask], bool] | None = None
    """Whatever else."""

    def __repr__(self) -> str:
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        return f"When({', '.join(f'{name}={told[name]!r}' for name in told if told[name] != getattr(When, name))})"

    def fits(self, ask: Ask, happened: int) -> bool:
        """Whether the fault, having struck so often, strikes this request."""
        return (
            not (self.searches_only and ask.search is None)
            and (self.times is None or happened < self.times)
            and (self.tries is None or ask.tries < self.tries)
            and (self.pages is None or ask.page in self.pages)
            and (self.limit_above is None or ask.asked_limit > self.limit_above)
            and (self.longer_than is None or len(ask.features) > self.longer_than)
            and (self.holds is None or self.holds in _ids(ask))
            and (self.where is None or self.where(ask))
            and (self.chance >= 1 or Random(f"{self.seed} {ask.tries} {ask.identity}").random() < self.chance)
        )


def _ids(ask: Ask) -> set[object]:
    return {member.get("id") for member in ask.features if isinstance(member, dict)}


@dataclass
class Fault:
    """Something that goes wrong; each subclass `act`s on another step of an answer."""

    when: When = field(default=When(), kw_only=True)
    happened: int = field(default=0, init=False, repr=False)
    """How often it struck and changed something."""

    def applies(self, ask: Ask) -> bool:
        """Whether it strikes this request."""
        return self.when.fits(ask, self.happened)


class StoreFault(Fault):
    """Changes, for good, what the server holds, before it answers."""

    def act(self, items: list[Json], ask: Ask) -> list[Json]:
        """The items that the server holds from now on."""
        raise NotImplementedError


class QueryFault(Fault):
    """The server understands another query than was sent."""

    def act(self, query: Json, ask: Ask) -> Json:
        """What it understands."""
        raise NotImplementedError


class FoundFault(Fault):
    """The search finds other items, or in another order."""

    def act(self, found: list[Json], ask: Ask) -> list[Json]:
        """What it finds, over all pages."""
        raise NotImplementedError


class PageFault(Fault):
    """The page has other members or links than it should."""

    def act(self, page: Json, ask: Ask) -> Json:
        """The page as it leaves the server."""
        raise NotImplementedError


class AnswerFault(Fault):
    """Something other than the answer is sent, or not in the way it should be; the first that strikes wins."""

    async def act(self, request: web.Request, answer: bytes, ask: Ask) -> web.StreamResponse:
        """What is sent; `answer` is the body that it should have."""
        raise NotImplementedError
