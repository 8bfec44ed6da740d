"""Where schemas come from: folders, the packaged core schemas, a local cache, the network. Each is a local file."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from stac_manager.errors import StorageError, UsageError
from stac_manager.files import atomic_file
from stac_manager.validate.schema_download import fetch
from stac_manager.validate.schema_uris import web_address
from stac_manager.validate.verdicts import SchemaUnavailableError

__all__ = ["SchemaStore"]

Schema = dict[str, Any]

_PACKAGED = Path(__file__).parent / "schemas"


class SchemaStore:
    """Schemas by their public URL.

    A schema is searched in `schema_dirs`, then in the folders of the environment variable `STAC_SCHEMA_DIR` (separated
    by `:`, on Windows by `;`), then in the packaged core schemas, then in the cache, then on the network. Folders have
    the layout `<host>/<path>`. Each result, also a missing schema, is remembered as long as the store exists. A store
    is safe to use from several threads.

    Args:
        schema_dirs: folders with schemas.
        cache_dir: where downloaded schemas are stored; by default `stac-manager/schemas` in `$XDG_CACHE_HOME` or
            `~/.cache`.
        offline: never use the network.
        allow_hosts: names of hosts in a private network that may be used; other private hosts are not.

    Raises:
        UsageError: a folder of `schema_dirs` or `STAC_SCHEMA_DIR` does not exist.
    """

    def __init__(
        self,
        schema_dirs: Sequence[Path] = (),
        *,
        cache_dir: Path | None = None,
        offline: bool = False,
        allow_hosts: Collection[str] = (),
    ) -> None:
        environment = os.environ.get("STAC_SCHEMA_DIR", "").split(os.pathsep)
        self._folders = [*map(Path, schema_dirs), *(Path(name) for name in environment if name)]
        for folder in self._folders:
            if not folder.is_dir():
                raise UsageError(f"{folder}: there is no such folder with schemas")
        self._cache = cache_dir or _default_cache()
        self._offline = offline
        self._allow_hosts = frozenset(allow_hosts)
        self._known: dict[str, Path | str] = {}
        self._documents: dict[Path, Schema] = {}
        self._lock = threading.Lock()

    def locate(self, address: str) -> Path:
        """The local file of a schema. The part of the URL after `#` is ignored.

        Raises:
            SchemaUnavailableError: there is none; the text is the reason.
        """
        with self._lock:
            found = self._known.get(address)
            if found is None:
                try:
                    found = self._find(_relative_path(address), address.partition("#")[0])
                except SchemaUnavailableError as error:
                    found = str(error)
                self._known[address] = found
        if isinstance(found, str):
            raise SchemaUnavailableError(found)
        return found

    def load(self, address: str) -> Schema:
        """The parsed schema. Callers share it and must not change it.

        Raises:
            SchemaUnavailableError: there is none, or it is not a JSON object.
        """
        path = self.locate(address)
        if path not in self._documents:
            self._documents[path] = _parse(_read(path), str(path))
        return self._documents[path]

    def add_file(self, path: Path) -> str:
        """Add a schema file of the user; returns its URL: its `$id`, or its path if it has none.

        Raises:
            UsageError: the file cannot be read, or is not a JSON object.
        """
        try:
            schema_id = _parse(_read(path), str(path)).get("$id")
        except SchemaUnavailableError as error:
            raise UsageError(f"{path}: cannot be used as a schema: {error}") from None
        address = schema_id.partition("#")[0] if isinstance(schema_id, str) and web_address(schema_id) else str(path)
        self._known[address] = path.absolute()
        return address

    def _find(self, relative: Path, address: str) -> Path:
        local = (folder / relative for folder in (*self._folders, _PACKAGED))
        path = next((path for path in local if _is_file(path)), None) or _from_pystac(relative)
        if path is not None:
            _parse(_read(path), str(path))
            return path
        return self._cached(self._cache / relative, address)

    def _cached(self, path: Path, address: str) -> Path:
        if _is_file(path):
            try:
                _parse(_read(path), str(path))
                return path
            except SchemaUnavailableError:
                path.unlink(missing_ok=True)
        if self._offline:
            raise SchemaUnavailableError("it is in none of the schema folders, and the network is not to be used")
        body = fetch(address, self._allow_hosts)
        _parse(body, "the server's answer")
        try:
            with atomic_file(path) as staging:
                staging.write_bytes(body)
        except (OSError, StorageError) as error:
            raise SchemaUnavailableError(f"it cannot be stored in the cache: {error}") from None
        return path


def _relative_path(address: str) -> Path:
    """`<host>/<path>` of a URL, never outside of the schema folder."""
    text = address.partition("#")[0]
    if not web_address(text):
        raise SchemaUnavailableError("it is not an http or https URL")
    if not (text.isascii() and text.isprintable()) or any(character in text for character in ' \\"<>'):
        raise SchemaUnavailableError("its URL has characters that are not allowed in URLs")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise SchemaUnavailableError(f"its URL is not valid: {error}") from None
    if not parts.hostname or "@" in parts.netloc or parts.query:
        raise SchemaUnavailableError("its URL has more than a host and a path")
    names = parts.path.split("/")[1:]
    if not names or any(name in ("", ".", "..") for name in names) or parts.netloc.startswith("."):
        raise SchemaUnavailableError("its URL has no usable path")
    return Path(parts.netloc.lower(), *names)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SchemaUnavailableError(f"{path} cannot be read: {error.strerror or error}") from None


def _parse(data: bytes, name: str) -> Schema:
    try:
        schema: object = orjson.loads(data)
    except ValueError:
        raise SchemaUnavailableError(f"{name} is not JSON") from None
    if not isinstance(schema, dict):
        raise SchemaUnavailableError(f"{name} is not a JSON object")
    return schema


def _default_cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path.home() / ".cache") / "stac-manager" / "schemas"


_PYSTAC_CORE = {f"schemas.stacspec.org/v1.1.0/{kind}-spec/json-schema" for kind in ("item", "collection", "catalog")}


def _from_pystac(relative: Path) -> Path | None:
    """The core schemas of 1.1.0 and of GeoJSON, which pystac ships in one flat folder each."""
    folder = relative.parent.as_posix()
    if folder in _PYSTAC_CORE:
        place = f"stac-spec/v1.1.0/{relative.name}"
    elif folder == "geojson.org/schema":
        place = f"geojson/{relative.name}"
    else:
        return None
    path = Path(str(files("pystac.validation.jsonschemas").joinpath(place)))
    return path if path.is_file() else None
