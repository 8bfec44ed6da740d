"""A store over the real schemas, a real item, and a server on loopback that serves schemas."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stac_manager.validate import SchemaStore, Validator, Verdict


@pytest.fixture(scope="session")
def store(schema_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> SchemaStore:
    return SchemaStore([schema_dir], offline=True, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def validator(store: SchemaStore) -> Validator:
    return Validator(store)


@pytest.fixture(scope="session")
def _real_item(corpus_items: list[dict[str, Any]], validator: Validator) -> dict[str, Any]:
    return next(
        item
        for item in corpus_items
        if item["stac_version"] == "1.0.0"
        and "eo:cloud_cover" in item["properties"]
        and item.get("collection") == "sentinel-2-l2a"
        and any("/eo/" in name for name in item["stac_extensions"])
        and validator.check(item).verdict is Verdict.VALID
    )


@pytest.fixture
def item(_real_item: dict[str, Any]) -> dict[str, Any]:
    """A valid Sentinel-2 item with the extension eo; a copy of its own for each test."""
    return copy.deepcopy(_real_item)


class SchemaServer:
    """Answers GET with what `answers` holds for a path, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                status, headers, body = outer.answers.get(self.path, (404, {}, b"none"))
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def serve(self, path: str, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> str:
        """Have an answer ready; returns its address."""
        self.answers[path] = (status, headers or {}, body)
        return self.url + path

    def __enter__(self) -> SchemaServer:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[SchemaServer]:
    with SchemaServer() as running:
        yield running


@pytest.fixture
def online(tmp_path: Path) -> SchemaStore:
    """A store that may ask loopback, with an empty cache."""
    return SchemaStore(cache_dir=tmp_path / "cache", allow_hosts=["127.0.0.1"])
