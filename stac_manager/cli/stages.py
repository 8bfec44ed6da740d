"""`stac-manager transform-metadata` and `apply-extensions`."""

from __future__ import annotations

import click

from stac_manager.cli.common import Run, check_target, not_yet, shared_options
from stac_manager.extension import ExtensionModule
from stac_manager.transform import TransformModule

__all__ = ["apply_extensions", "transform_metadata"]


@click.command("transform-metadata", no_args_is_help=True)
@click.option("--input", "source", required=True, metavar="F|DIR", help="A file of items, a folder of them, or - .")
@click.option("--mapping-schema", metavar="F", help="Not supported yet.")
@click.option("--audit-log", metavar="F", help="Not supported yet.")
@click.option("--output", required=True, metavar="F", help=".ndjson, .ndjson.zst, .json, .parquet or - .")
@shared_options(dry_run=True)
def transform_metadata(run: Run, source: str, mapping_schema: str | None, audit_log: str | None, output: str) -> None:
    """Pass items through the transform stage; without a mapping they stay unchanged.

    \b
    Example:
      stac-manager transform-metadata --input items.ndjson --output same.ndjson
    """
    for option, value in (("--mapping-schema", mapping_schema), ("--audit-log", audit_log)):
        if value:
            raise not_yet(option)
    check_target(output)
    run.write(output, run.accepted(TransformModule().apply(run.items(source, "transformed"))))


@click.command("apply-extensions", no_args_is_help=True)
@click.option("--input", "source", required=True, metavar="F|DIR", help="A file of items, a folder of them, or - .")
@click.option("--extension", metavar="NAME", help="Not supported yet.")
@click.option("--extension-config", metavar="F", help="Not supported yet.")
@click.option("--output", required=True, metavar="F", help=".ndjson, .ndjson.zst, .json, .parquet or - .")
@shared_options(dry_run=True)
def apply_extensions(run: Run, source: str, extension: str | None, extension_config: str | None, output: str) -> None:
    """Pass items through the extension stage; without an extension they stay unchanged.

    \b
    Example:
      stac-manager apply-extensions --input items.ndjson --output same.ndjson
    """
    for option, value in (("--extension", extension), ("--extension-config", extension_config)):
        if value:
            raise not_yet(option)
    check_target(output)
    run.write(output, run.accepted(ExtensionModule().apply(run.items(source, "extended"))))
