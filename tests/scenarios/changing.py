"""Changes a collection in a pgstac database from a process of its own, while others read it.

python -m tests.scenarios.changing DATABASE SEED SECONDS
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from stac_manager.times import format_rfc3339, utc_now
from tests.services.pgstac import SERVER
from tests.stac_items import make_item

__all__ = ["FIRST", "MONTHS", "Changes", "changing", "connect", "random_time"]

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
MONTHS = ("2024-01", "2024-02", "2024-03", "2024-04")
_DAYS = 121
_KINDS = ("insert", "update", "update unsaid", "delete", "move", "move unsaid")
_WEIGHTS = (4, 6, 2, 2, 3, 1)


def connect(database: str) -> psycopg.Connection[Any]:
    """A connection that commits each statement by itself."""
    login = {name.removeprefix("PG").lower(): value for name, value in SERVER.items()}
    login["dbname"] = database
    return psycopg.connect(
        " ".join(f"{name}={value}" for name, value in login.items()),
        autocommit=True,
        options="-c search_path=pgstac,public",
    )


def random_time(chance: random.Random) -> str:
    """An instant of one of the months; some lie on their borders."""
    if chance.random() < 0.1:
        return f"{chance.choice(MONTHS)}-01T00:00:00Z"
    return format_rfc3339(FIRST + timedelta(seconds=chance.randrange(_DAYS * 86400)))


class Changes:
    """Random changes, the same for the same seed and the same items."""

    def __init__(self, connection: psycopg.Connection[Any], seed: int) -> None:
        self._connection, self._chance, self._seed, self._count = connection, random.Random(seed), seed, 0

    def next(self) -> str:
        """Make one change; says which."""
        kind = self._chance.choices(_KINDS, _WEIGHTS)[0]
        rows = self._connection.execute(
            "SELECT id, to_char(datetime AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
            " content->'properties'->>'updated' FROM items WHERE collection = 'c' ORDER BY id"
        ).fetchall()
        item_id, time, updated = self._chance.choice(rows)
        if kind == "delete":
            self._connection.execute("SELECT delete_item(%s, 'c')", (item_id,))
            return f"{kind} {item_id}"
        self._count += 1
        if kind == "insert":
            item_id, time = f"n{self._seed}-{self._count:03}", random_time(self._chance)
        elif kind.startswith("move"):
            time = random_time(self._chance)
        said = updated if kind.endswith("unsaid") else format_rfc3339(utc_now())
        item = make_item(item_id, time, updated=said, number=self._chance.randrange(10**6))
        self._connection.execute("SELECT upsert_items(%s)", (Jsonb([item]),))
        return f"{kind} {item_id} {time}"


def changing(database: str, seed: int, seconds: float) -> subprocess.Popen[bytes]:
    """A process that makes changes for so long."""
    command = [sys.executable, "-m", "tests.scenarios.changing", database, str(seed), str(seconds)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2])


def main(database: str, seed: str, seconds: str) -> None:
    until = time.monotonic() + float(seconds)
    pause = random.Random(seed)
    with connect(database) as connection:
        changes = Changes(connection, int(seed))
        changes.next()
        for _ in range(24):
            if time.monotonic() >= until:
                return
            changes.next()
            time.sleep(pause.random() * 0.2)


if __name__ == "__main__":
    main(*sys.argv[1:])
