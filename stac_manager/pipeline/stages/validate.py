"""The stage that judges items by their schemas; a verdict stands as long as its item and the workflow do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stac_manager.items import loads
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.pipeline.state.stage_files import StageWriter, read_file, read_index, read_items
from stac_manager.quarantine import RejectedItem
from stac_manager.storage import Storage
from stac_manager.validate import ItemVerdict, ReportBuilder, Validator, Verdict

__all__ = ["validate_partition"]


def validate_partition(
    storage: Storage,
    validator: Validator,
    upstream: Manifest,
    before: Manifest | None,
    out: StageWriter,
    progress: Callable[[int], None],
) -> ReportBuilder:
    """PartitionAssigner the items of a partition; tells `out` which are accepted and which refused.

    Where nothing is refused, `out` gets the index only: the items are those of the stage before, to the byte.

    Args:
        storage: where the stages are kept.
        validator: judges what is new or changed, and again what was not valid.
        upstream: the stage that is judged.
        before: an earlier generation whose verdicts stand; None judges everything.
        out: hears what is accepted and refused.
        progress: hears how many items were judged.
    """
    report, valid = ReportBuilder(), _valid_before(storage, before)
    rejected: set[str] = set()
    for item_id, digest, line in read_items(storage, upstream):
        progress(1)
        if valid.get(item_id) == digest:
            report.add(ItemVerdict(item_id, None, Verdict.VALID, (), accepted=True, lenient=False))
            continue
        item = loads(line)
        verdict = validator.check(item)
        report.add(verdict)
        if not verdict.accepted:
            rejected.add(item_id)
            out.reject([RejectedItem(item_id, "InvalidItem", verdict.summary, "validated", item)])
    if not rejected:
        for item_id, digest in read_index(storage, upstream):
            out.write((item_id, digest, b""), with_line=False)
        return report
    for entry in read_items(storage, upstream):
        if entry[0] not in rejected:
            out.write(entry)
    return report


def _valid_before(storage: Storage, before: Manifest | None) -> dict[str, str]:
    """Id and content hash of the items that were found valid."""
    if before is None:
        return {}
    doubtful = set(_listed(storage, before))
    return {item_id: digest for item_id, digest in read_index(storage, before) if item_id not in doubtful}


def _listed(storage: Storage, manifest: Manifest) -> Iterator[str]:
    """The ids in the report: what is accepted and listed is unchecked, or invalid and let through."""
    for line in read_file(storage, manifest.details["report"]):
        if line.startswith(b'{"id"'):
            yield loads(line.rstrip(b",\n"))["id"]
