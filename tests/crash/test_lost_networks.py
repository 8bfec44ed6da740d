"""A source that is lost in the middle of a run."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
from aiohttp import web

from tests.crash.catalogs import Catalog, Source
from tests.crash.test_kills import differences

Loss = Callable[[Source, web.Request], Awaitable[None]]
QUICK = {"retry_max_attempts": 2, "timeout_seconds": 1}


async def closes(_: Source, request: web.Request) -> None:
    """The connection breaks off."""
    assert request.transport is not None
    request.transport.close()


async def is_silent(source: Source, _: web.Request) -> None:
    """No answer comes as long as the source is lost."""
    while source.before_answer:  # noqa: ASYNC110 - it is set from another thread
        await asyncio.sleep(0.05)


async def refuses(_: Source, __: web.Request) -> None:
    """Something in between answers that the source is not there."""
    raise web.HTTPBadGateway


@pytest.mark.parametrize(("mode", "loss"), [("incremental", is_silent), ("incremental", closes), ("full", refuses)])
def test_a_lost_source_leaves_what_is_published_and_when_it_is_back_the_next_run_makes_everything(
    tmp_path: Path, mode: str, loss: Loss
) -> None:
    source = Source()
    with source.serve() as url:
        calm, hit = (Catalog(tmp_path / name, url, processing=QUICK) for name in ("calm", "hit"))
        calm.run("full")
        calm.run("incremental")
        shutil.copytree(calm.data, hit.data)
        old, known = calm.readable(), source.requests
        source.change(Random(1))
        assert calm.run(mode).status == 1
        asked = source.requests - known
        for answered in (asked // 3,) if loss is is_silent else (0, asked // 3):
            lose_after(source, answered, loss)
            done = hit.run(mode)
            source.before_answer = None
            assert done.status == 3, done.out
            assert 1 <= len(done.errors) <= 4, done.out
            assert "Traceback" not in done.out
            seen = hit.readable()
            assert {name: seen[name] for name in seen if name.endswith(".parquet")}.items() <= {
                *old.items(),
                *calm.readable().items(),
            }
        assert hit.run(mode).status == 1
        assert differences(calm, hit) == []
        assert hit.leftovers() == calm.leftovers()


def lose_after(source: Source, answered: int, loss: Loss) -> None:
    """The source is lost once it has answered so many requests more."""
    last = source.requests + answered

    async def lost(request: web.Request) -> None:
        if source.requests > last:
            await loss(source, request)

    source.before_answer = lost
