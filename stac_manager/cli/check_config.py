"""`stac-manager check-config`."""

from __future__ import annotations

import click

from stac_manager.cli.common import Run, shared_options
from stac_manager.config import load_workflow
from stac_manager.errors import ConfigError, Problem
from stac_manager.times import utc_now

__all__ = ["check_config"]


@click.command("check-config", no_args_is_help=True)
@click.argument("workflows", nargs=-1, required=True, metavar="WORKFLOW...")
@shared_options()
def check_config(run: Run, workflows: tuple[str, ...]) -> None:
    """Check workflow files, and print all of their problems at once.

    \b
    Example:
      stac-manager check-config workflows/*.yaml
    """
    problems: list[Problem] = []
    for path in workflows:
        run.summary.fetched += 1
        try:
            workflow = load_workflow(path)
        except ConfigError as error:
            problems += error.problems
        else:
            parts = len(workflow.scheme().keys(utc_now()))
            later = "" if parts else f"; the first one starts {workflow.scheme().first:%Y-%m-%d}"
            click.echo(f"{path}: good; {len(workflow.collections)} collections in {parts} partitions each{later}")
    if problems:
        raise ConfigError(problems)
