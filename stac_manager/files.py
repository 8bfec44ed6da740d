"""Item files for the command line and Python: `.json`, `.ndjson`, `.ndjson.zst`, or `-` for the standard streams.

Parquet does not belong here: `stac_manager.output` reads and writes it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import batched
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from stac_manager.errors import InputError, StorageError, one_line
from stac_manager.feature_collections import features_of
from stac_manager.items import Item, dumps, iter_lines, loads, loads_exactly
from stac_manager.quarantine import RejectedItem
from stac_manager.standard_output import flush_output, reaches_reader

__all__ = [
    "ITEM_ENDINGS",
    "atomic_file",
    "is_staging",
    "read_lines",
    "read_values",
    "write_items",
    "write_lines",
]

ITEM_ENDINGS = (".ndjson", ".ndjson.zst", ".jsonl", ".json", ".geojson")
"""Endings of item files that are JSON."""

_CHUNK = 1 << 17
"""Bytes to read at a time; with larger chunks, most of the time goes into new memory."""

_STAGING = re.compile(r"^\..*\.\d+\.part")
_BOM = b"\xef\xbb\xbf"


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of an `.ndjson` or `.ndjson.zst` file, as a stream."""
    compression = "zstd" if path.suffix == ".zst" else None
    with pa.input_stream(str(path), compression=compression) as stream:
        yield from iter_lines(iter(lambda: stream.read(_CHUNK), b""))


def write_lines(path: Path, lines: Iterable[bytes]) -> int:
    """Write lines to an `.ndjson` or `.ndjson.zst` file; returns how many. The same lines give the same bytes."""
    compression = "zstd" if path.suffix == ".zst" else None
    count = 0
    with pa.output_stream(str(path), compression=compression) as stream:
        for batch in batched(lines, 256):
            stream.write(b"\n".join((*batch, b"")))
            count += len(batch)
    return count


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A staging path to write to; it is renamed to `path` when the block ends without an error.

    Raises:
        StorageError: the folder cannot be written.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        # a device or a pipe is written to; renaming over it would replace it by a file
        with _writing_errors(path):
            yield path
        return
    staging = path.with_name(f".{path.name}.{os.getpid()}.part{''.join(path.suffixes[-2:])}")
    try:
        with _writing_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield staging
            staging.replace(path)
    finally:
        with suppress(OSError):
            staging.unlink(missing_ok=True)


@contextmanager
def _writing_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None


def is_staging(path: Path) -> bool:
    """Whether a file is a staging file of `atomic_file`, in use or left by a killed process."""
    return _STAGING.search(path.name) is not None


def read_values(source: str, step: str) -> Iterator[Item | RejectedItem]:
    """The items of a file, or of standard input (`-`: NDJSON, a list or a FeatureCollection).

    The ending of the file decides its format. A line that is no JSON becomes a `RejectedItem`; reading continues.

    Raises:
        InputError: the file is missing, has an unknown ending, or is not JSON at all.
    """
    if source == "-":
        yield from _from_text(sys.stdin.buffer.read(), source, step)
        return
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{source}: there is no such file")
    try:
        if source.endswith((".ndjson", ".ndjson.zst", ".jsonl")):
            yield from _from_lines(read_lines(path), source, step)
        elif source.endswith((".json", ".geojson")):
            yield from _from_text(path.read_bytes(), source, step)
        else:
            raise InputError(f"{source}: the ending is not one of .json, .ndjson, .ndjson.zst")
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{source}: cannot be read: {one_line(error)}") from None


def _from_lines(lines: Iterable[bytes], source: str, step: str) -> Iterator[Item | RejectedItem]:
    for number, line in enumerate(lines, 1):
        try:
            yield loads_exactly(line.removeprefix(_BOM))
        except ValueError as error:
            text = line.decode("utf-8", "replace")
            yield RejectedItem(None, "InvalidJson", f"{source}, line {number}: {error}", step, text)


def _from_text(data: bytes, source: str, step: str) -> Iterator[Item | RejectedItem]:
    try:
        document: Any = loads(data.removeprefix(_BOM))
    except ValueError as error:
        try:
            _, items, rejected_items = features_of(data.removeprefix(_BOM), step)
        except ValueError:
            if b"\n{" not in data:
                raise InputError(f"{source}: is not JSON: {error}") from None
            yield from _from_lines(iter_lines(iter([data])), source, step)
            return
        yield from items
        yield from rejected_items
        return
    if isinstance(document, list):
        yield from document
    elif isinstance(document, dict) and isinstance(document.get("features"), list):
        yield from document["features"]
    else:
        yield document


def write_items(target: str, items: Iterable[Item]) -> int:
    """Write items to `.json` (a FeatureCollection), `.ndjson`, `.ndjson.zst` or standard output; returns how many.

    Raises:
        InputError: the ending is unknown.
        StorageError: the file cannot be written; an earlier file is unchanged.
    """
    if target == "-":
        return _to_output(items)
    path = Path(target)
    if target.endswith((".ndjson", ".ndjson.zst", ".jsonl")):
        with atomic_file(path) as staging:
            return write_lines(staging, map(dumps, items))
    if target.endswith((".json", ".geojson")):
        with atomic_file(path) as staging, staging.open("wb") as file:
            return _feature_collection(file, items)
    raise InputError(f"{target}: the ending is not one of .json, .ndjson, .ndjson.zst")


def _to_output(items: Iterable[Item]) -> int:
    count = 0
    for item in items:
        if not reaches_reader(sys.stdout.buffer.write, dumps(item) + b"\n"):
            return count
        count += 1
    flush_output()
    return count


def _feature_collection(file: IO[bytes], items: Iterable[Item]) -> int:
    count = 0
    file.write(b'{"type":"FeatureCollection","features":[')
    for item in items:
        file.write(b",\n" if count else b"\n")
        file.write(dumps(item))
        count += 1
    file.write(b"\n]}\n")
    return count
