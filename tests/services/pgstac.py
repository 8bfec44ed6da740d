"""A real STAC API for tests: PostgreSQL with pgstac, served by stac-fastapi-pgstac."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import orjson
import psycopg
from psycopg.types.json import Jsonb

from tests.conftest import need

SERVER = {"PGHOST": "127.0.0.1", "PGPORT": "5432", "PGUSER": "postgres", "PGPASSWORD": "postgres"}
_LOGIN: dict[str, Any] = {"host": "127.0.0.1", "port": 5432, "user": "postgres", "password": "postgres"}


@dataclass
class PgStac:
    """A database and the API over it."""

    url: str
    database: str

    def load(self, table: str, documents: list[dict[str, Any]], folder: Path) -> None:
        """Load collections or items as `pypgstac load` does from NDJSON."""
        path = folder / f"{table}-{uuid.uuid4().hex}.ndjson"
        # pypgstac reads backslashes in a way of its own
        path.write_bytes(b"".join(orjson.dumps(one).replace(rb"\\", rb"\u005c") + b"\n" for one in documents))
        _pypgstac(self.database, "load", table, str(path), "--method", "upsert")

    def upsert(self, items: Sequence[dict[str, Any]]) -> None:
        """Create items, or put them in the place of those with their ids, also where their month is another."""
        with self._connected() as connection:
            connection.execute("SELECT pgstac.upsert_items(%s)", (Jsonb(list(items)),))

    def delete(self, ids: Sequence[str], collection: str) -> None:
        """Delete items of a collection; each must be there."""
        with self._connected() as connection:
            for item_id in ids:
                connection.execute("SELECT pgstac.delete_item(%s, %s)", (item_id, collection))

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(**_LOGIN, dbname=self.database, options="-c search_path=pgstac,public")


def _pypgstac(database: str, *arguments: str) -> None:
    program = str(Path(sys.executable).parent / "pypgstac")
    done = subprocess.run(
        [program, *arguments], env={**os.environ, **SERVER, "PGDATABASE": database}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _admin(statement: str) -> None:
    with psycopg.connect(**_LOGIN, dbname="postgres", autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def _create(database: str) -> None:
    """Make the database, one process at a time: the roles that pgstac makes belong to all databases."""
    with psycopg.connect(**_LOGIN, dbname="postgres", autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('pgstac'))")
        connection.execute(f"CREATE DATABASE {database}")  # type: ignore[call-overload]
        _pypgstac(database, "migrate")


def _ready() -> bool:
    try:
        with psycopg.connect(**_LOGIN, dbname="postgres", connect_timeout=3) as connection:
            found = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgis'").fetchone()
            return found is not None
    except psycopg.OperationalError:
        return False


@contextmanager
def pgstac_api() -> Iterator[PgStac]:
    """An empty pgstac database of its own and its API; both are gone afterwards."""
    need(_ready(), "needs PostgreSQL with PostGIS on 127.0.0.1:5432")
    database = f"stac_manager_{uuid.uuid4().hex[:12]}"
    try:
        _create(database)
        _admin(f"ALTER DATABASE {database} SET pgstac.context TO 'on'")
        port = _free_port()
        server = _serve(database, port)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/", server)
            yield PgStac(url, database)
        finally:
            server.terminate()
            server.wait(timeout=10)
    finally:
        _admin(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


def _serve(database: str, port: int) -> subprocess.Popen[bytes]:
    program = str(Path(sys.executable).parent / "uvicorn")
    return subprocess.Popen(
        [program, "--factory", "stac_fastapi.pgstac.app:create_app", "--port", str(port), "--log-level", "warning"],
        env={**os.environ, **SERVER, "PGDATABASE": database},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert server.poll() is None, "the API ended"
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except URLError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the API did not answer")
