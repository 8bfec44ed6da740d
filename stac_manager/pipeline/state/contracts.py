"""Contracts: what the partitions of a collection agree on, so that their files can be read together.

There is one contract for each output. The manifest of a published partition has the details that its output reported,
and the output makes the contract from the details of all partitions (see `stac_manager.output.Output.contract_of`).
The file with the contract is a hint: until the collection is published, it may be out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from stac_manager.items import loads
from stac_manager.output import Output
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.pipeline.state.paths import collection_lock, contract_key
from stac_manager.storage import Storage

__all__ = ["extend_contract", "is_as_agreed", "output_details", "read_contract", "settle_contract"]


def read_contract(storage: Storage, collection: str, output: Output) -> dict[str, Any]:
    """The stored contract; an empty one if the file is missing or damaged.

    Raises:
        StorageError: the file cannot be read.
    """
    return _decoded(storage.get_seen(contract_key(collection, output.name)))


def extend_contract(storage: Storage, collection: str, output: Output, details: Mapping[str, Any]) -> None:
    """Extend the contract by the details of a partition.

    Raises:
        StorageError: the file cannot be read or written.
    """

    def extended(before: bytes | None) -> bytes | None:
        contract = _decoded(before)
        after = output.extended_contract(contract, details)
        return before if after == contract else _encoded(after)

    if extended(before := storage.get_seen(contract_key(collection, output.name))) != before:
        storage.update(contract_key(collection, output.name), extended, collection_lock(collection))


def settle_contract(storage: Storage, collection: str, output: Output, published: Iterable[Manifest]) -> list[str]:
    """Make the contract again from all published partitions.

    Returns:
        The partitions whose files do not follow the contract.

    Raises:
        StorageError: the file cannot be written.
    """
    manifests = list(published)
    known = (output_details(manifest, output) for manifest in manifests)
    contract = output.contract_of([details for details in known if details is not None])
    storage.update(contract_key(collection, output.name), lambda _: _encoded(contract), collection_lock(collection))
    return [manifest.partition for manifest in manifests if not is_as_agreed(manifest, output, contract)]


def is_as_agreed(manifest: Manifest, output: Output, contract: Mapping[str, Any]) -> bool:
    """Whether the files of a published partition follow the contract."""
    details = output_details(manifest, output)
    return details is not None and output.keeps_contract(details, contract)


def output_details(manifest: Manifest, output: Output) -> Mapping[str, Any] | None:
    """The details that an output reported for a partition; None if it has not written the partition."""
    outputs = manifest.details.get("outputs")
    details = outputs.get(output.name) if isinstance(outputs, dict) else None
    return details if isinstance(details, dict) else None


def _decoded(data: bytes | None) -> dict[str, Any]:
    try:
        document = loads(data) if data else None
    except ValueError:
        return {}
    contract = document.get("contract") if isinstance(document, dict) else None
    return contract if isinstance(contract, dict) else {}


def _encoded(contract: Mapping[str, Any]) -> bytes | None:
    if not contract:
        return None
    document = {"version": 1, "contract": contract}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
