"""The stage that validates items against their schemas."""

from __future__ import annotations

from collections.abc import Iterator

from stac_manager.items import loads
from stac_manager.pipeline.stages.protocol import StageContext, StageRun, commit
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.pipeline.state.stage_files import compare_lines, read_entries, read_file, read_index_lines
from stac_manager.pipeline.state.stage_writer import StageWriter
from stac_manager.quarantine import RejectedItem
from stac_manager.storage import Storage
from stac_manager.validate import ReportBuilder, Validator

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
    report, unknown = ReportBuilder(), _without_verdict(storage, run.input, previous)
    rejected: set[str] = set()
    for item_id, _, line in read_entries(storage, run.input) if unknown is None or unknown else ():
        if unknown is not None and item_id not in unknown:
            continue
        run.on_progress(1)
        item = loads(line)
        verdict = validator.check(item)
        report.add(verdict)
        if not verdict.accepted:
            rejected.add(item_id)
            out.reject([RejectedItem(item_id, "InvalidItem", verdict.summary, "validated", item)])
    valid_before = run.input.index.lines - sum(report.counts.values())
    report.add_valid(valid_before)
    run.on_progress(valid_before)
    if not rejected:
        out.pass_on(run.input)
        return report
    for item_id, entry, line in read_entries(storage, run.input):
        if item_id not in rejected:
            out.carry_over(entry, line)
    return report


def _without_verdict(storage: Storage, upstream: Manifest, previous: Manifest | None) -> frozenset[str] | None:
    """The ids of the items that were not found valid before, as they are now; None for all items."""
    if previous is None:
        return None
    compared = compare_lines(read_index_lines(storage, previous), read_index_lines(storage, upstream))
    return frozenset(_listed(storage, previous)).union(item_id for kind, item_id in compared if kind != "deleted")


def _listed(storage: Storage, manifest: Manifest) -> Iterator[str]:
    """The ids in the report; an accepted item in the report is unchecked, or invalid but accepted."""
    for line in read_file(storage, manifest.details["report"]):
        if line.startswith(b'{"id"'):
            yield loads(line.rstrip(b",\n"))["id"]
