"""Contenders that validate items against core and extension schemas, which all of them read from one folder.

Only the checks are timed: items are parsed before, and each combination of version and extensions was met once.
"""

from __future__ import annotations

import copy
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from functools import partial
from itertools import batched, islice
from pathlib import Path
from typing import Any

import orjson

Item = dict[str, Any]
Check = Callable[[Item], bool]

_BATCH = 500
"""Items in memory at once."""


def ours(source: str, schema_dir: str, count: str) -> dict[str, Any]:
    """Items that are already parsed."""
    return _measured(_our_check(schema_dir), source, int(count))


def ours_reading(source: str, schema_dir: str, count: str) -> dict[str, Any]:
    """From the file: reading and parsing are timed too."""
    from stac_manager.files import read_lines
    from stac_manager.items import loads

    check = _our_check(schema_dir)
    for item in _first_of_each(_items(source, int(count))):
        check(item)
    started, cpu = time.perf_counter(), time.process_time()
    valid = sum(check(loads(line)) for line in islice(read_lines(Path(source)), int(count)))
    return {**_taken(started, cpu), "made": int(count), "valid": valid}


def jsonschema_rs_alone(source: str, schema_dir: str, count: str) -> dict[str, Any]:
    """Compiled schemas only: no messages, no second opinion."""
    import jsonschema_rs

    from stac_manager.validate import SchemaStore
    from stac_manager.validate.schema_refs import collect_schema_set

    store = SchemaStore([Path(schema_dir)], offline=True)

    def compiled(address: str) -> Callable[[Item], bool]:
        schemas = collect_schema_set(store, address)
        registry = jsonschema_rs.Registry(list(schemas.rust_documents.items()))
        validator = jsonschema_rs.Draft202012Validator(
            schemas.document, registry=registry, base_uri=schemas.base_uri, validate_formats=False, offline=True
        )
        return validator.is_valid

    plans: dict[tuple[str, ...], list[Callable[[Item], bool]]] = {}

    def check(item: Item) -> bool:
        key = (item["stac_version"], *item["stac_extensions"])
        if key not in plans:
            core = f"https://schemas.stacspec.org/v{key[0]}/item-spec/json-schema/item.json"
            plans[key] = [compiled(address) for address in (core, *key[1:])]
        return all(passes(item) for passes in plans[key])

    return _measured(check, source, int(count))


def stac_validator_normal(source: str, schema_dir: str, count: str) -> dict[str, Any]:
    """`validate_dict`; the schema cache is as large as its documentation allows, so that all schemas fit."""
    from stac_validator.stac_validator import StacValidate
    from stac_validator.utilities import set_schema_cache_size

    set_schema_cache_size(64)
    files = {address: str(path) for address, path in _schema_files(schema_dir)}

    def check(item: Item) -> bool:
        return bool(StacValidate(schema_map=dict(files)).validate_dict(item))

    return _measured(check, source, int(count))


def stac_validator_fast(source: str, schema_dir: str, count: str, cache: str) -> dict[str, Any]:
    """`FastValidator`, as one FeatureCollection a batch. Its documented cache folder has the schemas already."""
    Path(cache).mkdir(parents=True, exist_ok=True)
    for address, path in _schema_files(schema_dir):
        name = address.partition("://")[2].replace("/", "_")
        (Path(cache) / name).write_bytes(path.read_bytes())
    os.environ["STAC_VALIDATOR_CACHE_DIR"] = cache
    from stac_validator.fast_validator import FastValidator

    def check(items: list[Item]) -> list[bool]:
        validator = FastValidator("items.json", quiet=True)
        with redirect_stdout(io.StringIO()):
            validator.run_dict({"type": "FeatureCollection", "features": items})
        failed = {item_id for error in validator.message[0]["errors"] for item_id in error["affected_items"]}
        return [item["id"] not in failed for item in items]

    return _measured_batches(check, source, int(count))


def _our_check(schema_dir: str) -> Check:
    from stac_manager.validate import SchemaStore, Validator

    validator = Validator(SchemaStore([Path(schema_dir)] if schema_dir else [], offline=True))
    return lambda item: validator.check(item).verdict == "valid"


def _measured(check: Check, source: str, count: int) -> dict[str, Any]:
    return _measured_batches(partial(_each, check), source, count)


def _each(check: Check, items: list[Item]) -> list[bool]:
    return [check(item) for item in items]


def _measured_batches(check: Callable[[list[Item]], list[bool]], source: str, count: int) -> dict[str, Any]:
    """Time the checks of valid items, then ask for the verdicts on items that were broken on purpose."""
    check(list(_first_of_each(_items(source, count))))
    seconds = cpu_s = 0.0
    valid = 0
    for batch in batched(_items(source, count), _BATCH):
        items = list(batch)
        started, cpu = time.perf_counter(), time.process_time()
        valid += sum(check(items))
        taken = _taken(started, cpu)
        seconds, cpu_s = seconds + taken["seconds"], cpu_s + taken["cpu_s"]
    verdicts = check(list(_broken(_items(source, min(count, 100)))))
    return {"seconds": seconds, "cpu_s": cpu_s, "made": count, "valid": valid, "verdicts": verdicts}


def _taken(started: float, cpu: float) -> dict[str, float]:
    return {"seconds": round(time.perf_counter() - started, 5), "cpu_s": round(time.process_time() - cpu, 5)}


def _items(source: str, count: int) -> Iterator[Item]:
    with Path(source).open("rb") as file:
        yield from map(orjson.loads, islice(file, count))


def _first_of_each(items: Iterable[Item]) -> Iterator[Item]:
    seen = set()
    for item in items:
        key = (item["stac_version"], *item["stac_extensions"])
        if key not in seen:
            seen.add(key)
            yield item


def _broken(items: Iterable[Item]) -> Iterator[Item]:
    """Every item once as it is, and once with one of six defects."""
    for number, item in enumerate(items):
        yield item
        bad = copy.deepcopy(item)
        bad["id"] += "_broken"
        properties = bad["properties"]
        match number % 6:
            case 0:
                del properties["datetime"]
            case 1:
                bad["bbox"] = bad["bbox"][:3]
            case 2:
                bad["geometry"]["coordinates"] = "here"
            case 3:
                next(iter(bad["assets"].values())).pop("href")
            case 4:
                bad["links"] = [{"rel": "self"}]
            case _:
                extended = next((name for name in properties if ":" in name), "datetime")
                properties[extended] = {"not": "this"}
        yield bad


def _schema_files(schema_dir: str) -> Iterator[tuple[str, Path]]:
    """URL and file of each schema; the folders are `<host>/<path>`."""
    for path in sorted(Path(schema_dir).rglob("*")):
        if path.suffix in (".md", ".txt") or not path.is_file():
            continue
        host, *rest = path.relative_to(schema_dir).parts
        for scheme in ("https", "http"):
            yield f"{scheme}://{host}/{'/'.join(rest)}", path
