"""Checks of a finished stage, from its files. Dagster's asset checks and the command line both show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from stac_manager.errors import LedgerError, PluginError, one_line
from stac_manager.items import Item, loads
from stac_manager.output import Output
from stac_manager.pipeline.changes.deletions import read_pending_deletions, read_tombstones
from stac_manager.pipeline.state.manifest import STAGES, Manifest, Stage
from stac_manager.pipeline.state.stage_files import read_file, read_index, read_items, read_rejected
from stac_manager.pipeline.state.sync_state import SyncStateStore
from stac_manager.plugin_errors import plugin_errors
from stac_manager.registry import CHECKS, OUTPUTS
from stac_manager.storage import Storage

__all__ = [
    "ALLOW_DELETES_TAG",
    "COMPLETE",
    "DELETIONS",
    "LEDGER_BALANCES",
    "ROUND_TRIP",
    "SCHEMA_VALID",
    "UNIQUE_IDS",
    "Check",
    "CheckOutcome",
    "checks_of",
    "last_compared",
    "run_check",
    "run_checks",
]

ALLOW_DELETES_TAG = "stac_manager/allow_deletes"
"""The tag with which a person approves the deletions of a Dagster run."""


@dataclass(frozen=True)
class CheckOutcome:
    """The result of a check."""

    name: str
    passed: bool
    description: str
    """One line for a person."""
    facts: dict[str, Any] = field(default_factory=dict)
    blocking: bool = False
    """Whether a failure stops the later stages."""
    warning: bool = False
    """Whether a failure is about quality only: it is shown and stops nothing."""


@dataclass(frozen=True)
class Check:
    """A check of a finished stage; registered in `stac_manager.registry.CHECKS`."""

    name: str
    stages: tuple[Stage, ...]
    """The stages after which it runs."""
    description: str
    """What it checks, in one sentence."""
    run: Callable[[Storage, Manifest], CheckOutcome]
    blocking: bool = False
    """Whether a failure stops the later stages."""
    warning: bool = False
    """Whether it checks quality only."""


def _ledger_balances(storage: Storage, manifest: Manifest) -> CheckOutcome:
    """The numbers of items in the files match the ledger, and the stage before passed as many as this one received."""
    ledger = manifest.ledger
    facts: dict[str, Any] = ledger.model_dump()
    kept = sum(1 for _ in read_index(storage, manifest))
    rejected = sum(1 for _ in read_rejected(storage, manifest))
    problems = []
    try:
        ledger.require_balance()
    except LedgerError as error:
        problems.append(str(error))
    if (kept, rejected) != (ledger.passed, ledger.quarantined):
        problems.append(f"the files have {kept} items and {rejected} rejected items")
    if manifest.items and manifest.items.lines != kept:
        problems.append(f"{manifest.items.key} has {manifest.items.lines} items, the index {kept}")
    problems += _against_upstream(storage, manifest, facts)
    return CheckOutcome("ledger_balances", not problems, "; ".join(problems) or _ledger_line(facts), facts)


def _against_upstream(storage: Storage, manifest: Manifest, facts: dict[str, Any]) -> list[str]:
    before = manifest.stage_partition.upstream
    upstream = before.read(storage) if before else None
    if before is None:
        return []
    if upstream is None:
        return [f"{before.stage} is missing"]
    facts["upstream_passed"] = upstream.ledger.passed
    if upstream.content_hash != manifest.input_hash:
        return [f"{before.stage} has changed since; run {manifest.stage} again"]
    if upstream.ledger.passed != manifest.ledger.received:
        return [f"{before.stage} passed {upstream.ledger.passed} items, but {manifest.ledger.received} were received"]
    return []


def _ledger_line(facts: dict[str, Any]) -> str:
    parts = [f"{facts[name]} {name}" for name in ("passed", "quarantined", "deduplicated", "skipped") if facts[name]]
    carried = f" + {facts['carried']} carried over" if facts["carried"] else ""
    return f"{facts['received']} received{carried} = {' + '.join(parts) or '0'}"


def _complete(storage: Storage, manifest: Manifest) -> CheckOutcome:
    """Compare the source's own count with the number of items received."""
    claimed, distinct = manifest.details["matched"], manifest.details["distinct"]
    facts = {"matched": claimed, "received": distinct, "skipped": manifest.ledger.skipped}
    facts["last_compared"] = last_compared(storage, manifest)
    if claimed is None:
        return CheckOutcome("complete", True, f"{distinct} items; the source gives no count to compare with", facts)
    if claimed in (distinct, manifest.ledger.received):
        return CheckOutcome("complete", True, f"the source counts {claimed} items, and all were received", facts)
    if claimed < distinct:
        text = f"{distinct} items were received, more than the source counts ({claimed}): its count is out of date"
        return CheckOutcome("complete", True, text, facts)
    return CheckOutcome("complete", False, f"the source counts {claimed} items, but {distinct} were received", facts)


def last_compared(storage: Storage, manifest: Manifest) -> str:
    """When a partition was last scanned or compared item by item, to the hour (RFC 3339)."""
    sync_state = SyncStateStore(storage, manifest.collection, manifest.code_version)
    return sync_state.load().compared_at.get(manifest.partition, "not yet")


def _deletions(storage: Storage, manifest: Manifest) -> CheckOutcome:
    """Items deleted at the source are deleted here, unless there are so many that a person must approve."""
    pending = read_pending_deletions(storage, manifest)
    gone = sum(1 for _ in read_tombstones(storage, manifest))
    facts = {"pending": len(pending), "tombstones": gone, "examples": sorted(pending)[:10]}
    if not pending:
        return CheckOutcome(
            "deletions", True, f"no deletion awaits approval; {gone} items are known to be deleted", facts
        )
    text = (
        f"{len(pending)} of {manifest.index.lines} items are gone at the source and are kept: their deletion "
        "awaits approval. If it is right, run this partition with --allow-deletes, or in Dagster with the run tag "
        f"{ALLOW_DELETES_TAG}=true"
    )
    return CheckOutcome("deletions", False, text, facts)


def _unique_ids(storage: Storage, manifest: Manifest) -> CheckOutcome:
    if manifest.stage == "published":
        found = [(f" in {output.name}", sorted(ids)) for output, ids in _published_ids(storage, manifest)]
    else:
        found = [("", list(_index_ids(storage, manifest)))]
    counts: list[int] = []
    repeated: list[str] = []
    for place, ids in found:
        count, last = 0, None
        for item_id in ids:
            if item_id == last:
                repeated.append(f"{item_id}{place}")
            count, last = count + 1, item_id
        counts.append(count)
    items = max(counts, default=0)
    facts = {"items": items, "repeated": len(repeated), "examples": repeated[:10]}
    text = f"{len(repeated)} ids occur more than once" if repeated else f"{items} items, every id once"
    return CheckOutcome("unique_ids", not repeated, text, facts)


def _index_ids(storage: Storage, manifest: Manifest) -> Iterator[str]:
    return (item_id for item_id, _ in read_index(storage, manifest))


def _published_ids(storage: Storage, manifest: Manifest) -> Iterator[tuple[Output, Iterable[str]]]:
    """The outputs whose files can be read back, with their ids."""
    for output, paths in _local_files(storage, manifest):
        ids = output.read_ids(paths)
        if ids is not None:
            yield output, ids


def _local_files(storage: Storage, manifest: Manifest) -> Iterator[tuple[Output, list[Path]]]:
    """The outputs of a published partition, each with its files in the order of their keys."""
    for name in sorted({file.output for file in manifest.files}):
        with ExitStack() as stack:
            keys = [file.key for file in manifest.files if file.output == name]
            yield OUTPUTS.get(name), [stack.enter_context(storage.local_copy(key)) for key in keys]


def _schema_valid(storage: Storage, manifest: Manifest) -> CheckOutcome:
    details = manifest.details
    counts = {name: int(details[name]) for name in ("valid", "invalid", "unchecked")}
    total = sum(counts.values())
    rate = counts["valid"] / total if total else 1.0
    facts = {**counts, "rate": rate, "top_reasons": details["top_reasons"], "report": storage.locate(details["report"])}
    text = f"{counts['valid']} of {total} items valid ({rate:.1%})"
    for name in ("invalid", "unchecked"):
        text += f", {counts[name]} {name}" if counts[name] else ""
    return CheckOutcome("schema_valid", counts["valid"] == total, text, facts)


def _round_trip(storage: Storage, manifest: Manifest) -> CheckOutcome:
    """Every published item, read back from its file, equals the validated one.

    If the workflow asks for a sample, the rest is compared by the checksum of the rows.
    """
    validated = manifest.stage_partition.at("validated").read(storage)
    if validated is None:
        return CheckOutcome("round_trip", False, "validated is missing, so there is nothing to compare with")
    rows = _rows_to_compare(manifest)
    rejected = {record["item_id"] for record in read_rejected(storage, manifest)}
    compared, by_checksum = 0, False
    differences: list[str] = []
    for output, paths in _local_files(storage, manifest):
        details = manifest.details.get("outputs", {}).get(output.name, {})
        sent = partial(_validated_items, storage, validated, rejected)
        try:
            sample = None if rows is None else output.read_sample(paths, details, rows)
            written = output.read(paths) if sample is None else sample
            if written is None:
                continue
            count, found = _compare(output, sent(None if sample is None else rows), written)
            if sample is not None:
                by_checksum = True
                found += _other_ids(storage, manifest, output, paths)
        except (OSError, ValueError, OverflowError) as error:
            count, found = 0, [f"the files of {output.name} cannot be read back: {one_line(error)}"]
        compared, differences = max(compared, count), differences + found
    items = manifest.ledger.passed if by_checksum else compared
    facts = {"items": items, "compared": compared, "different": len(differences), "examples": differences[:10]}
    text = f"{items} items read back the same"
    if by_checksum and compared < items:
        text = f"{items} items read back the same: {compared} were compared one by one, the others by their checksum"
    text = f"{len(differences)} of {items} items differ" if differences else text
    return CheckOutcome("round_trip", not differences, text, facts)


def _rows_to_compare(manifest: Manifest) -> list[int] | None:
    """The positions of the items to compare one by one, evenly spread; None for all items."""
    wanted, items = manifest.run.get("round_trip", "all"), manifest.ledger.passed
    if not isinstance(wanted, int) or wanted >= items:
        return None
    return [(2 * number + 1) * items // (2 * wanted) for number in range(wanted)]


def _validated_items(
    storage: Storage, validated: Manifest, rejected: set[str], rows: Sequence[int] | None
) -> Iterator[Item]:
    """The items that were to be published, or those at some positions."""
    lines = read_file(storage, validated.items.key if validated.items else None)
    if rejected:
        lines = (line for item_id, _, line in read_items(storage, validated) if item_id not in rejected)
    wanted = None if rows is None else frozenset(rows)
    return (loads(line) for number, line in enumerate(lines) if wanted is None or number in wanted)


def _other_ids(storage: Storage, manifest: Manifest, output: Output, paths: list[Path]) -> list[str]:
    """Where the ids of the files are not those of the stage, in its order."""
    pairs = zip_longest(_index_ids(storage, manifest), output.read_ids(paths) or ())
    return [f"{one or other}: is not at its place in {output.name}" for one, other in pairs if one != other]


def _compare(output: Output, sent: Iterator[Item], written: Iterator[Item]) -> tuple[int, list[str]]:
    """The number of compared items, and the differences."""
    count, differences = 0, []
    for one, other in zip_longest(sent, written):
        count += 1
        if one is None or other is None:
            differences.append(f"the files of {output.name} have another number of items")
        elif problem := output.difference(one, other):
            differences.append(f"{one['id']}: {problem}")
    return count, differences


LEDGER_BALANCES = Check(
    "ledger_balances",
    STAGES,
    "Every received item is passed, quarantined, deduplicated or skipped; counted again from the files.",
    _ledger_balances,
    blocking=True,
)
COMPLETE = Check(
    "complete",
    ("raw_items",),
    "The source's own count of the window equals the number of items received.",
    _complete,
    warning=True,
)
DELETIONS = Check(
    "deletions",
    ("raw_items",),
    "Items that were deleted at the source are deleted here; fails while deletions await approval.",
    _deletions,
)
UNIQUE_IDS = Check("unique_ids", ("raw_items", "published"), "No id occurs twice in the partition.", _unique_ids)
SCHEMA_VALID = Check(
    "schema_valid",
    ("validated",),
    "The validation report: every item is valid by its core and extension schemas.",
    _schema_valid,
    warning=True,
)
ROUND_TRIP = Check(
    "round_trip",
    ("published",),
    "Every published item, read back from its file, equals the validated one.",
    _round_trip,
)


def checks_of(stage: Stage) -> list[Check]:
    """The checks of a stage, those of plugins last.

    Raises:
        PluginError: a plugin cannot be loaded.
    """
    return [check for check in CHECKS.all().values() if stage in check.stages]


def run_checks(storage: Storage, manifest: Manifest) -> list[CheckOutcome]:
    """Run all checks of a finished stage. Dagster and the command line both call this.

    Raises:
        StorageError: a file of the stage cannot be read.
    """
    return [run_check(check.name, storage, manifest) for check in checks_of(manifest.stage)]


def run_check(name: str, storage: Storage, manifest: Manifest) -> CheckOutcome:
    """Run one check of a stage.

    Raises:
        StorageError: a file of the stage cannot be read.
    """
    check = CHECKS.get(name)
    try:
        with plugin_errors(PluginError, f"the check {name!r} could not be run"):
            outcome = replace(check.run(storage, manifest), name=name)
    except PluginError as error:
        outcome = CheckOutcome(name, False, str(error))
    return replace(outcome, blocking=check.blocking, warning=check.warning)
