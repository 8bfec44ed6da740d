"""`stac-manager replay-failed`."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from stac_manager.cli.common import Run, console, shared_options
from stac_manager.cli.rebuild import run_work
from stac_manager.errors import StacManagerError
from stac_manager.items import printable
from stac_manager.pipeline import Chain, quarantine_reasons
from stac_manager.pipeline.sync.runs import select
from stac_manager.pipeline.sync.targeted import has_quarantine, replay

__all__ = ["replay_failed"]


@click.command("replay-failed", no_args_is_help=True)
@click.option("--config", required=True, metavar="WORKFLOW", help="The workflow file.")
@click.option("--collection", "collections", multiple=True, metavar="ID", help="Only this one; may be repeated.")
@click.option("--partition", "partitions", multiple=True, metavar="P", help="Only this one; may be repeated.")
@shared_options(dry_run=True)
def replay_failed(run: Run, config: str, collections: tuple[str, ...], partitions: tuple[str, ...]) -> None:
    """Process items in quarantine again, after a fix, and publish those that pass now.

    With --dry-run, only show what is in quarantine and why.

    \b
    Example:
      stac-manager replay-failed --config workflows/earth-search.yaml --collection sentinel-2-l2a
    """
    workflow = run.load_workflow(config)
    failed = []
    for collection, keys in select(workflow, collections, partitions):
        chain = Chain.of(workflow, collection)
        selected = [key for key in keys if has_quarantine(chain, key)]
        if not selected:
            console.print(f"{collection}: nothing is in quarantine", markup=False)
            continue
        if not run.dry_run:
            failed += run_work(run, chain, replay(chain, selected), len(selected))
        _show_reasons(chain, selected)
    if failed:
        run.finish()
        raise StacManagerError("\n".join(failed))


def _show_reasons(chain: Chain, partitions: list[str]) -> None:
    table = Table("partition", "rejected by", "items", "why", title=Text(f"{chain.collection}: in quarantine"))
    for partition in partitions:
        for (step, _, message), count in quarantine_reasons(chain.storage, chain.collection, partition).most_common():
            table.add_row(partition, step, str(count), Text(printable(message)))
    if table.row_count:
        console.print(table)
