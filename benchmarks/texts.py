"""The sentences of docs/benchmarks.md. They say what is measured; the tables beside them have the numbers."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["INTRODUCTION", "SECTIONS", "UNITS", "SectionText"]

INTRODUCTION = (
    "`make bench` makes this page, its plots and [the numbers as JSON](../benchmarks/results.json). Every contender "
    "runs in a process of its own, one after the other, on one machine. All ask the same local server, or read the "
    "same files. The items are copies of real ones; each copy has its own id, time and footprint. "
    "`python -m benchmarks.run --help` tells how to run one section, or all of them with small numbers."
)

UNITS = (
    "- **Seconds** are those of the whole process, with the start of Python and all imports, unless the section says "
    "otherwise. Where a run was repeated (`--repeat`), the table has the median, and in brackets the fastest and the "
    "slowest run.",
    "- **CPU seconds** add up all cores. **Items/s a core** is items divided by CPU seconds.",
    "- **Peak memory** is that of the process. If there are several processes, it is that of the largest one.",
)


class SectionText(NamedTuple):
    """What the page says about a section."""

    title: str
    text: str
    plot: str = ""
    """What its plot shows, for readers who do not see it."""


SECTIONS = {
    "fetch": SectionText(
        "Fetch {count} items, 250 a page, each answer after {delay_s} seconds",
        "Each contender searches one collection and writes a file of JSON lines. stac-manager sends up to 8 requests "
        "at once (`fetch-items --concurrency 8`). pystac-client (`pages_as_dicts`) and rustac (`search_to`) read one "
        "page after the other, because each page has the link to the next one.\n\n"
        "The plot has the memory of more runs, with fewer and more items. Their answers come after 0.02 seconds.",
        "Peak memory over the number of items, for pystac-client, rustac and stac-manager",
    ),
    "parquet": SectionText(
        "{count} items from JSON lines to stac-geoparquet",
        "stac-geoparquet documents three ways: from items in memory, from items in chunks, and from a file. The "
        "fastest one is the base. `stac-manager output` does more than the library call: it writes each id only once. "
        "rustac compresses with snappy and stac-manager with zstd, so compare sizes of files with care.",
        "Peak memory over the number of items, for stac-geoparquet, rustac and stac-manager",
    ),
    "validate": SectionText(
        "Validate against core and extension schemas",
        "Start-up is not in these numbers. Imports are done, and one item of each combination of extensions was "
        "checked before, so all schemas are loaded and compiled. Items are parsed before, too, except where the row "
        "says that reading is included. All contenders take the schemas from one folder.\n\n"
        "jsonschema-rs alone says yes or no. stac-validator gives the verdict that counts, and the reasons. "
        "stac-manager uses both: stac-validator decides on items that jsonschema-rs does not accept.",
    ),
    "stages": SectionText(
        "Five stages, {count} items in {stage_days} daily partitions",
        "The API answers at once, so these are the costs of stac-manager itself. Items are validated against core and "
        "extension schemas. The first table has each stage in one process. The checks of a stage count to it. Imports "
        "are not included. The second table has the command `rebuild-catalog --mode full`, start-up included.",
        "Items a second a core, by stage",
    ),
    "sync": SectionText(
        "Sync {sync_count} items in 100 daily partitions, each answer after 50 ms",
        "First a full rebuild, then `rebuild-catalog --mode incremental`. A changed item has a new `updated`, and a "
        "new version of one asset. When nothing changed, the sync check still searches for updates, and probes and "
        "compares a part of the collection ([how sync works](sync.md)).",
    ),
    "start": SectionText(
        "Start of the command line",
        "Ten runs after one that is not counted, so Python's bytecode is compiled.",
    ),
    "bucket": SectionText(
        "On a bucket, 20 ms a call",
        "The bucket is on a local server that speaks S3. A proxy before it counts each call and delays it by 20 ms. "
        "The first row takes 100 Sentinel-2 items through all stages. The other rows are sync checks as the sensor "
        "makes them, start-up aside. Their catalogs have one item in each partition. A full rebuild made them in a "
        "local folder, from where they were copied to the bucket without the delay.\n\n"
        "Two sync checks ran before the one that is measured. The last column has the seconds of the second of them, "
        "without the delay. The local server has a part in these.",
        "Calls of a sync check by kind, over the number of partitions",
    ),
}
"""Section -> its texts. Numbers in braces are filled in."""
