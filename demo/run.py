"""Run the whole chain for every partition of the demo with Dagster, and show the results."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import click
import dagster as dg
import duckdb
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from demo.server import create_app, serve
from stac_manager.config import Workflow, load_workflows
from stac_manager.pipeline import CATALOG_KEY, partition_counts, quarantine_key, quarantine_reasons
from stac_manager.storage import Storage
from stac_manager.times import utc_now

PORT = 8917
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

_QUERIES = {
    "Scenes and mean cloud cover a month": """
        SELECT strftime(datetime, '%Y-%m') AS month, count(*) AS scenes, round(avg("eo:cloud_cover"), 1) AS cloud
        FROM read_parquet('{published}/sentinel-2-alps/items/*.parquet', union_by_name=true)
        GROUP BY month ORDER BY month""",
    "The three clearest scenes over the Bernese Alps": """
        SELECT id, round("eo:cloud_cover", 1) AS cloud, assets.red.href AS red
        FROM read_parquet('{published}/sentinel-2-alps/items/*.parquet', union_by_name=true)
        WHERE bbox.xmin < 8.0 AND bbox.xmax > 7.5 AND bbox.ymin < 46.7 AND bbox.ymax > 46.4
        ORDER BY "eo:cloud_cover", id LIMIT 3""",
}


@click.command()
def main() -> None:
    """Fetch, validate and publish the demo's catalog, offline."""
    os.environ.setdefault("STAC_WORKFLOWS", "demo/workflows")
    warnings.simplefilter("ignore")
    with serve(create_app(), PORT) as url:
        console.print(f"A small STAC API with made-up scenes answers at {url}.")
        workflow = load_workflows(os.environ["STAC_WORKFLOWS"])[0]
        failed = _materialize(workflow)
    storage = Storage(workflow.output.path)
    _show_counts(workflow, storage)
    _show_reasons(workflow, storage)
    _show_paths(workflow, storage)
    _show_queries(Path(storage.locate("published")))
    console.print("\nSee it in Dagster: [bold]make dev[/], then open http://127.0.0.1:3000")
    sys.exit(1 if failed else 0)


def _materialize(workflow: Workflow) -> int:
    from stac_assets.definitions import defs
    from stac_assets.names import catalog_key, rebuild_job_name

    definitions = defs()
    partitions = workflow.scheme().keys(utc_now())
    failed = 0
    start = time.monotonic()
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with dg.DagsterInstance.get() as instance, Progress(*columns, console=console) as bar:
        for collection in workflow.collections:
            job = definitions.resolve_job_def(rebuild_job_name(workflow, collection))
            task = bar.add_task(f"{collection} through five stages", total=len(partitions))
            for partition in partitions:
                result = job.execute_in_process(
                    partition_key=partition, instance=instance, raise_on_error=False, run_config=_QUIET
                )
                failed += not result.success
                bar.advance(task)
        catalog = definitions.get_assets_def(catalog_key(workflow))
        dg.materialize([catalog], instance=instance, resources=definitions.resources, run_config=_QUIET)
    runs = len(partitions) * len(workflow.collections)
    console.print(f"{runs - failed} of {runs} partition runs succeeded in {time.monotonic() - start:.0f} s.\n")
    return failed


_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def _show_counts(workflow: Workflow, storage: Storage) -> None:
    table = Table("collection", "partition", "fetched", "published", "quarantined", "deduplicated", "skipped")
    table.columns[0].no_wrap = True
    for collection in workflow.collections:
        for partition in workflow.scheme().keys(utc_now()):
            counts = partition_counts(storage, collection, partition)
            if counts:
                numbers = (counts.fetched, counts.published, counts.quarantined, counts.deduplicated, counts.skipped)
                table.add_row(collection, partition, *map(str, numbers))
    console.print(table)


def _show_reasons(workflow: Workflow, storage: Storage) -> None:
    reasons: Counter[tuple[str, str, str]] = Counter()
    for collection in workflow.collections:
        for partition in workflow.scheme().keys(utc_now()):
            reasons += quarantine_reasons(storage, collection, partition)
    table = Table("rejected by", "items", "why", title="Quarantined: broken on purpose")
    for (step, _, message), count in reasons.most_common():
        table.add_row(step, str(count), message)
    console.print(table)


def _show_paths(workflow: Workflow, storage: Storage) -> None:
    console.print("\nPublished:")
    console.print(f"  {storage.locate(CATALOG_KEY)}")
    for collection in workflow.collections:
        console.print(f"  {storage.locate(f'published/{collection}/items')}/*.parquet")
    console.print("Quarantine:")
    console.print(f"  {storage.locate(quarantine_key(workflow.collections[0], '*'))}")


def _show_queries(published: Path) -> None:
    with duckdb.connect() as db:
        for title, query in _QUERIES.items():
            text = query.format(published=published)
            table = Table(title=f"DuckDB: {title}")
            result = db.execute(text)
            for column in result.description or []:
                table.add_column(column[0])
            for row in result.fetchall():
                table.add_row(*(str(value) for value in row))
            console.print(f"\n{' '.join(text.split())}", style="dim", soft_wrap=True)
            console.print(table)


if __name__ == "__main__":
    main()
