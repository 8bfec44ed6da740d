"""A source that changes, and catalogs that the real command makes of it in processes of its own."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web

from demo.server import create_app, serve
from stac_manager.output import read_geoparquet
from stac_manager.storage import Storage
from stac_manager.times import format_rfc3339
from tests.stac_items import make_collection, make_item
from tests.workflows import write_workflow

ROOT = Path(__file__).parents[2]
MONTHS = ("2024-01", "2024-02", "2024-03")
STAGING = re.compile(r".+#\d+")
LEFT_OVER = re.compile(r"#\d+$|\.part|/publish-intent$|/rescan$|/new-ids/|/dirty/")
LEASE = re.compile(r"^stages/c/locks/|^stages/catalog\.lock$")
FIRST = datetime(2024, 6, 1, tzinfo=UTC)

# pandas, which pyarrow loads in the middle of a run, would take most of a short one, with nothing in it to break
COMMAND = "import pandas; from stac_manager.cli import main; main()"

SHORT_LEASES = f"from stac_manager import locks; locks.LEASE_SECONDS = 3.0; {COMMAND}"
"""The same, for buckets where runs are killed: the next run waits for this long, not for a minute."""

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def item_of(item_id: str, month: str, day: int, hours: float = 0, **properties: Any) -> Json:
    """An item that was updated so many hours after the first ones."""
    updated = format_rfc3339(FIRST + timedelta(hours=hours))
    return make_item(item_id, f"{month}-{day:02}T10:00:00Z", updated=updated, **properties)


@dataclass
class Source:
    """The items of a server, which change from round to round; each third month has three items that are invalid."""

    items: list[Json] = field(default_factory=list)
    slow: float = 0.0
    """Seconds that each answer takes."""
    requests: int = 0
    before_answer: Callable[[web.Request], Awaitable[None]] | None = None
    """May wait, or close the connection."""
    hours: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self.items += [item_of(f"i{month[-1]}-{n:02}", month, n % 28 + 1) for month in MONTHS for n in range(40)]
        for number in (3, 4, 5, 44, 45, 46):
            self.items[number]["assets"] = None
        for number in (6, 86):
            self.items[number]["huge"] = 2**80 + 1

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve on 127.0.0.1 from a thread of its own; gives the URL."""

        @web.middleware
        async def delayed(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.requests += 1
            if self.slow:
                await asyncio.sleep(self.slow)
            if self.before_answer:
                await self.before_answer(request)
            return await handler(request)

        app = create_app([make_collection()], self.items)
        app.middlewares.append(delayed)
        app.on_startup.append(self._started)
        with serve(app) as self.url:
            yield self.url

    async def _started(self, _: web.Application) -> None:
        self._loop = asyncio.get_running_loop()

    def change(self, chance: Random) -> None:
        """Something of everything that happens to items, between two answers."""

        async def step() -> None:
            self._change(chance)

        asyncio.run_coroutine_threadsafe(step(), self._loop).result(timeout=30)

    def _change(self, chance: Random) -> None:
        self.hours += 1
        valid = [one for one in self.items if one["assets"] is not None and "huge" not in one]
        changed, broken, moved, gone = chance.sample(valid, 4)
        self._update(changed, cloud=self.hours)
        self._update(broken)["assets"] = None
        target = chance.choice([month for month in MONTHS if not moved["properties"]["datetime"].startswith(month)])
        self._update(moved, datetime=f"{target}-{chance.randint(1, 28):02}T10:00:00Z")
        self.items.remove(gone)
        self.items.append(item_of(f"new-{self.hours:03}", chance.choice(MONTHS), chance.randint(1, 28), self.hours))
        for mended in [one for one in self.items if one not in valid][:1]:
            self._update(mended).update(assets={})
            mended.pop("huge", None)

    def _update(self, item: Json, **properties: Any) -> Json:
        item["properties"].update(properties, updated=format_rfc3339(FIRST + timedelta(hours=self.hours)))
        return item

    def valid(self) -> dict[str, Json]:
        """The properties by id of what is to be published."""
        return {
            one["id"]: deepcopy(one["properties"])
            for one in self.items
            if one["assets"] is not None and "huge" not in one
        }


@dataclass
class Done:
    """How a command ended."""

    status: int
    out: str
    seconds: float = 0.0

    @property
    def errors(self) -> list[str]:
        """The lines that say what went wrong."""
        return [line for line in self.out.splitlines() if line.startswith("Error:")]


class Running:
    """The command in a process of its own."""

    def __init__(self, catalog: Catalog, options: Sequence[str], code: str, environment: dict[str, str]) -> None:
        self._catalog, self._known = catalog, set(catalog.temporary.iterdir())
        environment = {
            **os.environ,
            **environment,
            "SOURCE_DATE_EPOCH": "1750000000",
            "TMPDIR": str(catalog.temporary),
            "PYTHONPYCACHEPREFIX": str(catalog.compiled),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "rebuild-catalog", "--config", str(catalog.workflow), "--mode", *options],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for_work(self) -> bool:
        """Wait for its first temporary folder; whether it came before the process ended."""
        while self._known >= set(self._catalog.temporary.iterdir()):
            if self.process.poll() is not None:
                return False
            time.sleep(0.001)
        self.began = time.monotonic()
        return True

    def kill_after(self, seconds: float) -> bool:
        """SIGKILL so long after it began to work; whether it was still running."""
        if self.wait_for_work():
            time.sleep(max(0.0, self.began + seconds - time.monotonic()))
        self.process.kill()
        self.process.communicate()
        return self.process.returncode == -9

    def end(self) -> Done:
        """Let it run to its end."""
        worked = self.wait_for_work()
        out, _ = self.process.communicate(timeout=120)
        return Done(self.process.returncode, out, time.monotonic() - self.began if worked else 0.0)


class Catalog:
    """A workflow, its output folder and its temporary folder."""

    def __init__(
        self, folder: Path, url: str, data: Path | None = None, temporary: Path | None = None, **changes: Any
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.data = data or folder / "data"
        self.temporary = temporary or folder / "tmp"
        self.compiled = folder.parent.parent / "compiled"  # for all tests
        self.temporary.mkdir(exist_ok=True)
        changes.setdefault("output", {"path": str(self.data)})
        self.workflow = write_workflow(folder, url, **changes)

    def start(self, mode: str, *options: str, code: str = COMMAND, **environment: str) -> Running:
        return Running(self, (mode, *options), code, environment)

    def run(self, mode: str, *options: str) -> Done:
        return self.start(mode, *options).end()

    def files(self) -> dict[str, bytes]:
        """Every file, by its path."""
        found = [path for path in self.data.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.data)): path.read_bytes() for path in found}

    def readable(self) -> dict[str, bytes]:
        """What readers see."""
        seen = ("published/", "quarantine/")
        return {
            name: data for name, data in self.files().items() if name.startswith(seen) and not STAGING.fullmatch(name)
        }

    def published(self) -> dict[str, list[tuple[str, Json]]]:
        """Id -> the partitions it is published in, with its properties there."""
        found: dict[str, list[tuple[str, Json]]] = {}
        for path in sorted((self.data / "published" / "c" / "items").glob("*.parquet")):
            for item in read_geoparquet(path):
                found.setdefault(item["id"], []).append((path.stem, item["properties"]))
        return found

    def copy_of(self, other: Catalog) -> None:
        """Have what another one has."""
        shutil.copytree(other.data, self.data)

    def age_leftovers(self) -> None:
        """Make temporary folders look old enough to be swept: an empty one is left alone for a day."""
        for path in self.temporary.iterdir():
            os.utime(path, (time.time() - 2 * 86_400,) * 2)

    def leftovers(self) -> list[str]:
        """What no run may leave: staging files, temporary folders, and marks of what is unfinished."""
        names = [name for name in self.files() if LEFT_OVER.search(name)]
        return sorted(names + [path.name for path in self.temporary.iterdir()])


class BucketCatalog(Catalog):
    """A catalog whose output is in a bucket."""

    def __init__(self, folder: Path, url: str, bucket_url: str, code: str = COMMAND) -> None:
        self.code = code
        self.storage = Storage(f"{bucket_url}/{folder.parent.name}/{folder.name}")
        super().__init__(folder, url, output={"path": self.storage.root})

    def start(self, mode: str, *options: str, code: str = "", **environment: str) -> Running:
        return super().start(mode, *options, code=code or self.code, **environment)

    def files(self) -> dict[str, bytes]:
        """Every object but leases, as soon as no call of a killed run changes them any more."""
        found, before = self._objects(), None
        while found != before:
            found, before = self._objects(), found
        return found

    def _objects(self) -> dict[str, bytes]:
        keys = [key for key in self.storage.list("") if not LEASE.search(key)]
        return {key: content for key in keys if (content := self.storage.get(key)) is not None}

    def published(self) -> dict[str, list[tuple[str, Json]]]:
        found: dict[str, list[tuple[str, Json]]] = {}
        for key in self.storage.list("published/c/items"):
            with self.storage.local_copy(key) as path:
                for item in read_geoparquet(path):
                    found.setdefault(item["id"], []).append((path.stem, item["properties"]))
        return found

    def copy_of(self, other: Catalog) -> None:
        for key, content in other.files().items():
            self.storage.put(key, content)
