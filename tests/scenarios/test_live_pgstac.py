"""A real STAC API whose items other processes change, also while they are read."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pystac_client import Client

from stac_assets.definitions import build_defs
from stac_manager.errors import StacManagerError
from stac_manager.output import same_after_parquet
from tests.dagster.conftest import QUIET
from tests.dagster.conftest import Site as DagsterSite
from tests.dagster.test_sensors import tick
from tests.pipeline.site import Site
from tests.scenarios.changing import MONTHS, changing, connect, random_time
from tests.services.pgstac import PgStac, pgstac_api
from tests.stac_items import make_collection, make_item

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]

ROUNDS = 2
KILLS = 2
OPTIONS: dict[str, Any] = {
    "sync": {"overlap_minutes": 1, "delete_threshold": 0.5},
    "partitions": {"by": "month", "start": "2024-01-01", "end": "2024-04-30"},
}


@pytest.fixture(scope="module", params=["counts", "no counts"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgStac]:
    """Three hundred items over four months; numberMatched is given, or is not, as by default."""
    with pgstac_api() as api:
        if request.param == "no counts":
            give_no_counts(api.database)
        api.load("collections", [make_collection()], tmp_path_factory.mktemp("ndjson"))
        chance = random.Random(0)
        api.upsert(
            [make_item(f"i{n:03}", random_time(chance), updated="2024-06-01T00:00:00Z", number=n) for n in range(300)]
        )
        yield api


def give_no_counts(database: str) -> None:
    with connect(database) as connection:
        connection.execute(f"ALTER DATABASE {database} SET pgstac.context TO 'off'")  # type: ignore[call-overload]
        # what is connected already has the setting from before
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (database,),
        )


def differences(api: PgStac, site: Site) -> list[str]:
    """How what is published differs from what the API serves."""
    served = {item["id"]: item for item in Client.open(api.url).search(collections=["c"], limit=200).items_as_dicts()}
    places = site.everywhere()
    found = [f"{item_id} is missing" for item_id in served if item_id not in places]
    found += [f"{item_id} is kept" for item_id in places if item_id not in served]
    found += [f"{item_id} is in {keys}" for item_id, keys in places.items() if len(keys) != 1]
    for month in MONTHS:
        for item_id, one in site.published(month).items():
            if item_id in served and not served[item_id]["properties"]["datetime"].startswith(month):
                found.append(f"{item_id} is in {month}")
            elif item_id in served and (difference := same_after_parquet(served[item_id], one)):
                found.append(f"{item_id}: {difference}")
    return found


def sync(site: Site) -> list[str]:
    """One sync; the errors of its partitions."""
    return [f"{key}: {result.error}" for key, result in site.sync().items() if result.error]


def sync_meanwhile(site: Site, other: subprocess.Popen[bytes]) -> None:
    """Sync again and again while another process changes the source; what cannot be read whole is read later."""
    try:
        while other.poll() is None:
            try:
                sync(site)
            except StacManagerError:
                continue
        assert other.returncode == 0
    finally:
        other.kill()
        other.wait(timeout=10)


def test_what_the_api_serves_is_published_after_two_syncs(api: PgStac, tmp_path: Path) -> None:
    site = Site(api.url, [], tmp_path, **OPTIONS)
    sync(site)
    assert differences(api, site) == []
    for number in range(ROUNDS):
        sync_meanwhile(site, changing(api.database, number, 1.5))
        errors = sync(site)
        if differences(api, site):
            errors += sync(site)
        assert (number, errors, differences(api, site)) == (number, [], [])
    assert (sync(site), site.sync()) == ([], {})


def test_what_the_api_serves_is_published_after_three_ticks(api: PgStac, tmp_path: Path) -> None:
    site = Site(api.url, [], tmp_path, **OPTIONS)
    sync(site)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        definitions = build_defs([site.workflow])
    with dg.DagsterInstance.ephemeral() as instance:
        dagster = DagsterSite([], site.workflow, definitions, instance, tmp_path)
        other = changing(api.database, 100, 1)
        cursor = follow(dagster, None)
        assert other.wait(timeout=30) == 0
        for _ in range(3):
            cursor = follow(dagster, cursor)
        assert differences(api, site) == []
        assert tick(dagster, cursor)[0] == []


def follow(site: DagsterSite, cursor: str | None) -> str | None:
    """One tick, and the runs that it asks for."""
    requests, after = tick(site, cursor)
    job = site.definitions.resolve_job_def("rebuild_w_c")
    for request in requests:
        tags = dict(request.tags)
        job.execute_in_process(
            partition_key=request.partition_key,
            instance=site.instance,
            run_config=QUIET,
            tags=tags,
            raise_on_error=False,
        )
    return after or cursor


def test_syncs_that_are_killed_lose_nothing(api: PgStac, tmp_path: Path) -> None:
    site = Site(api.url, [], tmp_path, **OPTIONS)
    chance, killed = random.Random(7), 0
    for number in range(KILLS):
        other = changing(api.database, 200 + number, 1)
        killed += kill_a_sync(site, chance.random())
        assert other.wait(timeout=30) == 0
    assert killed >= KILLS // 2
    errors = sync(site) + sync(site)
    assert (errors, differences(api, site)) == ([], [])


def kill_a_sync(site: Site, part: float) -> bool:
    """Start the command, and kill it a part of a second after it has begun to write; whether it was still at work."""
    program = Path(sys.executable).parent / "stac-manager"
    command = [program, "rebuild-catalog", "--config", str(site.folder / "w.yaml"), "--mode", "incremental"]
    quiet = subprocess.DEVNULL
    before = traces(site)
    work = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        while work.poll() is None and before == traces(site):
            time.sleep(0.01)
        time.sleep(part)
        return work.poll() is None
    finally:
        if work.poll() is None:
            os.killpg(work.pid, signal.SIGKILL)
        work.wait(timeout=10)


def traces(site: Site) -> set[str]:
    """The files that are there."""
    return {str(path) for path in (site.folder / "data").rglob("*")}
