"""The stages that change items one by one: `transformed` and `extended`. Only changed items are processed again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from stac_manager.extension import ExtensionModule
from stac_manager.ingest import belongs_to
from stac_manager.items import HashedItem, Item, content_hash, dumps, loads
from stac_manager.pipeline.stages.protocol import StageContext, StageRun, commit
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.pipeline.state.stage_files import read_file, read_items
from stac_manager.pipeline.state.stage_writer import StageWriter
from stac_manager.quarantine import RejectedItem
from stac_manager.storage import Storage
from stac_manager.transform import TransformModule

__all__ = ["run_extended", "run_transformed"]

Apply = Callable[[Iterable[Item]], Iterator[Item | RejectedItem]]
"""The `apply` of a module: a stream of items in, a stream of items out."""

_INPUTS = "inputs"
"""The index of the items that a stage was made from: a file of the stage before."""


def run_transformed(context: StageContext, run: StageRun) -> Manifest:
    """Apply the workflow's transforms."""
    return _run(context, run, TransformModule(context.transforms).apply if context.transforms else None)


def run_extended(context: StageContext, run: StageRun) -> Manifest:
    """Apply the workflow's extensions."""
    return _run(context, run, ExtensionModule(context.extensions).apply if context.extensions else None)


def _run(context: StageContext, run: StageRun, apply: Apply | None) -> Manifest:
    with StageWriter(context.storage, run.stage_partition) as out:
        if apply is None:
            out.pass_on(run.input)
            run.on_progress(out.written)
            return commit(context, run, out)
        for result in _results(context, run, out.previous, apply):
            if isinstance(result, RejectedItem):
                out.reject([result])
            else:
                out.write(result)
            run.on_progress(1)
        return commit(context, run, out, details={_INPUTS: run.input.index.key})


def _results(
    context: StageContext, run: StageRun, previous: Manifest | None, apply: Apply
) -> Iterator[HashedItem | RejectedItem]:
    """The result for each item, sorted by id: that of an earlier run if the item is unchanged, else that of `apply`."""
    stage = run.stage_partition.stage
    reusable = run.reuse and previous and previous.code_version == context.code_versions(stage)
    made = _made_before(context.storage, previous) if reusable and previous else iter(())
    known = next(made, None)
    for item_id, digest, line in read_items(context.storage, run.input):
        while known is not None and known[1][0] < item_id:
            known = next(made, None)
        if known is not None and known[1][0] == item_id and known[0] == digest:
            yield known[1]
            continue
        (result,) = apply([loads(line)])
        if not isinstance(result, RejectedItem) and not _stays(context, run, result):
            reason = "its time was changed so that it belongs to another partition"
            result = RejectedItem(item_id, "MovedByStep", reason, stage, loads(line))
        yield result if isinstance(result, RejectedItem) else (item_id, content_hash(result), dumps(result))


def _stays(context: StageContext, run: StageRun, item: Item) -> bool:
    """Whether an item still belongs to the partition after its times may have been changed."""
    try:
        return belongs_to(item, run.stage_partition.partition, context.fetcher.scheme)
    except ValueError:
        return True  # the validation says what is wrong with it


def _made_before(storage: Storage, previous: Manifest) -> Iterator[tuple[str, HashedItem]]:
    """The results of an earlier run with the content hash of their input, sorted by id, without rejected items."""
    inputs = map(loads, read_file(storage, previous.details.get(_INPUTS)))
    known = next(inputs, None)
    for item in read_items(storage, previous) if known else ():
        while known is not None and known[0] < item[0]:
            known = next(inputs, None)
        if known is not None and known[0] == item[0]:
            yield known[1], item
