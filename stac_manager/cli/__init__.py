"""The `stac-manager` command."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from traceback import walk_tb
from typing import Any

import click

from stac_manager.errors import StacManagerError, StorageError
from stac_manager.standard_output import flush_output, give_up_output, unwritable_output

__all__ = ["cli", "main"]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A command that is not imported yet."""

    module: str
    """Its module in this package."""
    short_help: str
    """The first line of its help."""


_COMMANDS = {
    "discover-collections": _Entry("discover", "List the collections of a STAC API."),
    "fetch-items": _Entry("fetch", "Fetch the items of a collection, each once, sorted by id."),
    "transform-metadata": _Entry(
        "stages", "Pass items through the transform stage; without a mapping they stay unchanged."
    ),
    "apply-extensions": _Entry(
        "stages", "Pass items through the extension stage; without an extension they stay unchanged."
    ),
    "validate": _Entry("validate", "Validate STAC objects against their core and extension schemas."),
    "output": _Entry("output", "Write items as stac-geoparquet, in their order."),
    "rebuild-catalog": _Entry("rebuild", "Run a workflow's stages, on the same files that Dagster uses."),
    "replay-failed": _Entry(
        "replay", "Process items in quarantine again, after a fix, and publish those that pass now."
    ),
    "check-config": _Entry("check_config", "Check workflow files, and print all of their problems at once."),
}
_PLANNED = ("scaffold-items", "update-metadata")


class _Commands(click.Group):
    """Imports a command's module when it is used; `--help` shows the table's texts, so that it is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _PLANNED:
            ctx.fail(f"{cmd_name} is not supported yet; this version has {', '.join(_COMMANDS)}.")
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"stac_manager.cli.{_COMMANDS[cmd_name].module}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.short_help) for name, entry in _COMMANDS.items()])

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _watched_output():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _watched_output():
            return super().invoke(ctx)


@contextmanager
def _watched_output() -> Iterator[None]:
    """Turn failed writes to standard output into a `StorageError`, except if the reader has closed it.

    Raises:
        StorageError: standard output cannot be written.
    """
    try:
        yield
    except BrokenPipeError:
        give_up_output()
        raise click.exceptions.Exit(0) from None
    except OSError as error:
        if not any(frame.f_code is click.echo.__code__ for frame, _ in walk_tb(error.__traceback__)):
            raise
        give_up_output()
        raise unwritable_output(error) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stac-manager")
def cli() -> None:
    """Keep STAC catalogs up to date: sync, validate and publish them.

    \b
    Exit status: 0 success · 1 finished, some items failed (see --failed) ·
    2 wrong usage or workflow, nothing done · 3 failed, nothing half-written
    """


def main() -> None:
    """Run the command; an error is one clear line, never a traceback."""
    status = run(sys.argv[1:])
    sys.exit(_flushed(status))


def _flushed(status: int) -> int:
    """Flush standard output while an error can still be shown; returns the exit status."""
    try:
        flush_output()
    except StorageError as error:
        if status != error.exit_code:  # else it was shown already
            click.echo(f"Error: {error}", err=True)
        return error.exit_code
    return status


def run(arguments: list[str]) -> int:
    """Run the command with these arguments; returns its exit status."""
    try:
        status = cli.main(arguments, prog_name="stac-manager", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return 2
    except click.exceptions.Exit as done:
        return done.exit_code
    except StacManagerError as error:
        for line in str(error).splitlines():
            click.echo(f"Error: {line}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted; nothing is half-written.", err=True)
        return 130
    except OSError as error:
        click.echo(f"Error: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        return 3
    except Exception as error:  # the last resort: a defect of this program, shown in one line
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        reason = " ".join(str(error).split()) or "no reason given"
        click.echo(f"Error: unexpected {type(error).__name__}: {reason} (--log-level DEBUG shows where)", err=True)
        return 3
