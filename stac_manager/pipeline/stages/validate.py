"""The stage that validates items against their schemas."""

from __future__ import annotations

from collections.abc import Iterator

from stac_manager.items import loads
from stac_manager.pipeline.stages.protocol import StageContext, StageRun, commit
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.pipeline.state.stage_files import read_file, read_index, read_items
from stac_manager.pipeline.state.stage_writer import StageWriter
from stac_manager.quarantine import RejectedItem
from stac_manager.storage import Storage
from stac_manager.validate import ItemVerdict, ReportBuilder, Validator, Verdict

__all__ = ["run_validated"]


def run_validated(context: StageContext, run: StageRun) -> Manifest:
    """Validate the items of a partition. A verdict is reused if the item and the stage's code version are the same."""
    with StageWriter(context.storage, run.stage_partition) as out:
        version = context.code_versions("validated")
        previous = out.previous if run.reuse and out.previous and out.previous.code_version == version else None
        report = _validate(context.storage, context.validator, run, previous, out)
        path = out.folder / "report.json"
        report.write(path)
        counts = {str(verdict): count for verdict, count in report.counts.items()}
        details = {**counts, "top_reasons": report.top_reasons(10)}
        return commit(context, run, out, details=details, files={"report": path})


def _validate(
    storage: Storage, validator: Validator, run: StageRun, previous: Manifest | None, out: StageWriter
) -> ReportBuilder:
    """Write accepted items to `out` and reject the others."""
    report, valid = ReportBuilder(), _valid_before(storage, previous)
    rejected: set[str] = set()
    for item_id, digest, line in read_items(storage, run.input):
        run.on_progress(1)
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
        out.pass_on(run.input)
        return report
    for entry in read_items(storage, run.input):
        if entry[0] not in rejected:
            out.write(entry)
    return report


def _valid_before(storage: Storage, before: Manifest | None) -> dict[str, str]:
    """Id and content hash of the items that were valid."""
    if before is None:
        return {}
    doubtful = set(_listed(storage, before))
    return {item_id: digest for item_id, digest in read_index(storage, before) if item_id not in doubtful}


def _listed(storage: Storage, manifest: Manifest) -> Iterator[str]:
    """The ids in the report; an accepted item in the report is unchecked, or invalid but accepted."""
    for line in read_file(storage, manifest.details["report"]):
        if line.startswith(b'{"id"'):
            yield loads(line.rstrip(b",\n"))["id"]
