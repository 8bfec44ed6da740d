"""The first stage: fetch a partition's items from the source, with as few requests as possible."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial

from stac_manager.errors import FilterIgnoredError
from stac_manager.ingest import NO_FILTER, FetchFacts, IngestModule, Since
from stac_manager.pipeline.stages.protocol import StageContext, StageRun
from stac_manager.pipeline.state.manifest import Manifest
from stac_manager.times import Window, parse_rfc3339, utc_now

__all__ = ["ensure_full_compare", "run_raw_items", "since_of"]

log = logging.getLogger(__name__)


def run_raw_items(context: StageContext, run: StageRun) -> Manifest:
    """Keep the partition as it is, merge changes, or scan its window, depending on the mode."""
    partition, fetcher, sync_state = run.stage_partition.partition, context.fetcher, context.sync_state
    if run.mode in ("resume", "replay") and (done := fetcher.intact_manifest(partition)):
        return fetcher.unchanged(done)
    if run.mode == "changes" and (merged := _merge_changes(context, run, partition)):
        return merged
    cycle = ensure_full_compare(context)
    done = fetcher.scan(partition, run.on_progress, allow_deletes=run.allow_deletes)
    sync_state.scanned(partition, cycle)
    return done


def ensure_full_compare(context: StageContext) -> str | None:
    """Begin a full comparison if there is neither a watermark nor a full comparison; returns its newest update.

    Raises:
        SourceError: the source failed.
    """
    every = partial(context.fetcher.scheme.keys, utc_now())
    return context.sync_state.ensure_full_compare(every, partial(_newest, context))


def _merge_changes(context: StageContext, run: StageRun, partition: str) -> Manifest | None:
    """Merge the changes that the source reports; None if a scan is needed."""
    fetcher, feed = context.fetcher, run.feed
    if feed and feed.holds(fetcher.reusable_manifest(partition)):
        fetched, probe = partial(feed.fill, partition), feed.probe(partition)
        return fetcher.merge(partition, run.on_progress, lambda ingest, _: fetched(ingest), counted=True, probe=probe)
    since = since_of(context)
    if since is None:
        return None

    def changed(ingest: IngestModule, window: Window) -> FetchFacts:
        return ingest.fetch(window, since=since)

    try:
        return fetcher.merge(partition, run.on_progress, changed, counted=True)
    except FilterIgnoredError as error:
        log.warning("%s; reading all of %s", error, partition)
        return None


def since_of(context: StageContext) -> Since | None:
    """From when on to request changes; None if the source cannot filter by `updated`, or there is no watermark."""
    sync_state = context.sync_state.load()
    overlap = timedelta(minutes=context.workflow.sync.overlap_minutes)
    if sync_state.watermark is None or sync_state.updated_filter in (None, NO_FILTER):
        return None
    return Since(parse_rfc3339(sync_state.watermark) - overlap, str(sync_state.updated_filter))


def _newest(context: StageContext) -> datetime | None:
    return asyncio.run(context.source.newest(context.fetcher.all_time()))
