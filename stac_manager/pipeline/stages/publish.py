"""The last stage: the files of a partition, in every format that the workflow declares."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from stac_manager.config import Workflow
from stac_manager.errors import OutputError
from stac_manager.item_steps import described_by_steps
from stac_manager.items import Item, dumps, loads
from stac_manager.output import LastWrite, Output, OutputFile, OutputResult, PartitionJob, PartitionSummary
from stac_manager.pipeline.stages.collection import published_keys, require_own_place, source_collection
from stac_manager.pipeline.stages.protocol import StageContext, StageRun, commit
from stac_manager.pipeline.state.contracts import extend_contract, is_as_agreed, output_details, read_contract
from stac_manager.pipeline.state.manifest import Manifest, PublishedFile, StagePartition
from stac_manager.pipeline.state.marks import mark_collection_dirty, put_publish_intent
from stac_manager.pipeline.state.paths import publish_intent
from stac_manager.pipeline.state.stage_files import (
    compare_lines,
    read_entries,
    read_index,
    read_index_lines,
    read_manifest,
)
from stac_manager.pipeline.state.stage_writer import StageWriter
from stac_manager.plugin_errors import plugin_errors
from stac_manager.quarantine import RejectedItem
from stac_manager.storage import Storage

__all__ = ["is_as_published", "round_trip_facts", "run_published"]


def run_published(context: StageContext, run: StageRun) -> Manifest:
    """Write the files of every output, and put them in place just before the manifest."""
    storage, upstream = context.storage, run.input
    with StageWriter(storage, run.stage_partition) as out:
        stream = _ItemStream(storage, upstream)
        results, rejected = _write_all(context, run, out, stream)
        out.reject(rejected.values())
        if rejected:
            for item_id, digest in read_index(storage, upstream):
                if item_id not in rejected:
                    out.write((item_id, digest, b""), with_line=False)
        else:
            out.pass_on(upstream)
        summary = stream.summary(frozenset(rejected))
        run.on_progress(out.written)
        details = {
            "summary": summary.to_dict(),
            "outputs": {name: dict(result.details) for name, result in results.items()},
        }
        put = partial(_put_files, storage, run.stage_partition, context.outputs, results)
        mark = partial(mark_collection_dirty, storage)
        facts = {} if any(result.compare_all for result in results.values()) else round_trip_facts(context.workflow)
        return commit(context, run, out, details=details, facts=facts, published=put, before_manifest=mark)


def round_trip_facts(workflow: Workflow) -> dict[str, Any]:
    """What the check `round_trip` must know of a run: how many items it compares one by one."""
    return {"round_trip": workflow.validation.round_trip}


def is_as_published(context: StageContext, manifest: Manifest) -> bool:
    """Whether a published partition was finished, and agrees with the other partitions of its collection."""
    if context.storage.size(publish_intent(manifest.collection, manifest.partition)) is not None:
        return False
    contracts = ((one, read_contract(context.storage, manifest.collection, one)) for one in context.outputs)
    return all(is_as_agreed(manifest, output, contract) for output, contract in contracts)


class _ItemStream:
    """The items of a partition for the outputs, summed up while they are read, so that nobody reads them for that."""

    def __init__(self, storage: Storage, upstream: Manifest) -> None:
        self._storage, self._upstream = storage, upstream
        self._summaries: dict[frozenset[str], PartitionSummary] = {}

    def items(self, without: frozenset[str]) -> Iterator[Item]:
        """The items except for some ids; a new object for each item and each call."""
        return self._read(without, None)

    def some_items(self, wanted: Collection[str]) -> Iterator[Item]:
        """The items with some ids."""
        return self._read(frozenset(), frozenset(wanted))

    def summary(self, without: frozenset[str]) -> PartitionSummary:
        """The summary of the items except for some ids."""
        if without not in self._summaries:
            for _ in self._read(without, frozenset()):
                pass
        return self._summaries[without]

    def _read(self, without: frozenset[str], wanted: frozenset[str] | None) -> Iterator[Item]:
        """The wanted items (None: all); of the others, only what the summary needs is parsed."""
        summary = PartitionSummary() if without not in self._summaries else None
        for item_id, _, line in read_entries(self._storage, self._upstream):
            if item_id in without:
                continue
            is_wanted = wanted is None or item_id in wanted
            if summary:
                item = loads(line) if is_wanted else _summed_up(line)
                summary.add(item)
            elif is_wanted:
                item = loads(line)
            if is_wanted:
                yield item
        if summary:
            self._summaries[without] = summary


class _Head(msgspec.Struct):
    """The members that a summary needs, as bytes."""

    properties: msgspec.Raw
    bbox: msgspec.Raw = msgspec.Raw(b"null")


_HEAD = msgspec.json.Decoder(_Head)


def _summed_up(line: bytes) -> Item:
    """An item with nothing but its properties and its bbox; the rest of the line is not built."""
    head = _HEAD.decode(line)
    return {"properties": loads(bytes(head.properties)), "bbox": loads(bytes(head.bbox))}


def _write_all(
    context: StageContext, run: StageRun, out: StageWriter, stream: _ItemStream
) -> tuple[dict[str, OutputResult], dict[str, RejectedItem]]:
    """Let every output write its files into its own folder.

    An item that one output rejects is published by none, so that all formats have the same items. If there are several
    outputs, they write again until none of them rejects any item.
    """
    job, changed = _job(context, run, out, stream)
    rejected: dict[str, RejectedItem] = {}
    for number in count():
        results: dict[str, OutputResult] = {}
        known = len(rejected)
        for output in context.outputs:
            folder = out.folder / f"{output.name}-{number}"
            folder.mkdir()
            own = replace(
                job,
                items=partial(stream.items, frozenset(rejected)),
                folder=folder,
                contract=read_contract(context.storage, context.collection, output),
            )
            with ExitStack() as stack:
                if number == 0:
                    own = replace(own, last=_last_write(context, run, out.previous, output, stream, changed, stack))
                stack.enter_context(plugin_errors(OutputError, f"the output {output.name!r}"))
                result = results[output.name] = output.write(own)
                dumps([dict(result.details), [file.key for file in result.files]])
                rejected |= {str(one.item_id): one for one in result.rejected}
            extend_contract(context.storage, context.collection, output, result.details)
        if len(context.outputs) == 1 or len(rejected) == known:
            return results, rejected
        for output in context.outputs:
            shutil.rmtree(out.folder / f"{output.name}-{number}")
    raise AssertionError("each round rejects an item, or is the last")


def _job(
    context: StageContext, run: StageRun, out: StageWriter, stream: _ItemStream
) -> tuple[PartitionJob, frozenset[str]]:
    """What all outputs are told alike, and the ids of the items that are new or modified."""
    storage, upstream = context.storage, run.input
    compared = list(compare_lines(read_index_lines(storage, out.previous), read_index_lines(storage, upstream)))
    job = PartitionJob(
        described_by_steps([*context.transforms, *context.extensions], source_collection(storage, context.collection)),
        upstream.partition,
        partial(stream.items, frozenset()),
        out.folder,
        deleted=[item_id for kind, item_id in compared if kind == "deleted"],
    )
    return job, frozenset(item_id for kind, item_id in compared if kind != "deleted")


def _last_write(
    context: StageContext,
    run: StageRun,
    previous: Manifest | None,
    output: Output,
    stream: _ItemStream,
    changed: frozenset[str],
    stack: ExitStack,
) -> LastWrite | None:
    """What the output wrote last time; None if it must not be used. The files may be read until the stack ends."""
    version = context.code_versions(run.stage_partition.stage)
    if not run.reuse or previous is None or previous.code_version != version:
        return None
    details = output_details(previous, output)
    files = [file for file in previous.files if file.output == output.name]
    paths = [path for file in files if (path := _intact_copy(context.storage, file, stack))]
    if details is None or len(paths) != len(files):
        return None
    return LastWrite(paths, details, changed, stream.some_items)


def _intact_copy(storage: Storage, file: PublishedFile, stack: ExitStack) -> Path | None:
    """A local copy of a published file; None if its bytes are not those that were written."""
    path = stack.enter_context(storage.local_copy(file.key))
    return path if _sha256(path) == file.sha256 else None


def _put_files(
    storage: Storage, stage_partition: StagePartition, outputs: Sequence[Output], results: dict[str, OutputResult]
) -> list[PublishedFile]:
    """Put the files of all outputs in place, and remove those that no output has any more."""
    made = [(name, file) for name, result in results.items() for file in result.files]
    for name, one in made:
        if not isinstance(one.path, Path) or not one.path.is_file():
            raise OutputError(f"the output {name!r} names the file {one.path}, which it did not write")
    with plugin_errors(OutputError, "the files of an output"):
        files = [_reference(name, file) for name, file in made]
    _require_own_keys(files, stage_partition)
    manifest, keys = read_manifest(storage, stage_partition), {file.key for file in files}
    orphans = published_keys(storage, stage_partition, manifest, outputs, other_than=keys)
    changed = [
        (file, made_file.path)
        for file, (_, made_file) in zip(files, made, strict=True)
        if manifest is None or not storage.holds(file.key, file.sha256, file.size)
    ]
    for file in files:
        storage.remove_orphans(file.key)
    if changed or orphans:
        # from here on the files do not match the manifest until it is written; after a crash the next run must see that
        put_publish_intent(storage, stage_partition)
    for key in sorted(orphans):
        storage.delete(key)
    for file, path in changed:
        storage.put(file.key, path)
    return files


def _reference(name: str, file: OutputFile) -> PublishedFile:
    return PublishedFile(
        key=file.key,
        sha256=_sha256(file.path),
        size=file.path.stat().st_size,
        lines=file.items,
        output=name,
        media_type=file.media_type,
        title=file.title,
        roles=tuple(file.roles),
    )


def _require_own_keys(files: Sequence[PublishedFile], stage_partition: StagePartition) -> None:
    seen: dict[str, str] = {}
    for file in files:
        require_own_place(file.output, file.key, stage_partition)
        if file.key in seen:
            raise OutputError(f"the outputs {seen[file.key]!r} and {file.output!r} would both write {file.key}")
        seen[file.key] = file.output
    for key in {str(folder) for file in files for folder in PurePosixPath(file.key).parents} & seen.keys():
        raise OutputError(f"the output {seen[key]!r} would write {key}, which is also a folder of other files")


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
