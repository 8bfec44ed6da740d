"""The `stac-manager` command."""

from __future__ import annotations

import logging
import sys
from importlib import import_module

import click

from stac_manager.errors import StacManagerError

__all__ = ["cli", "main"]

_COMMANDS = {
    "discover-collections": "discover",
    "fetch-items": "fetch",
    "transform-metadata": "stages",
    "apply-extensions": "stages",
    "validate": "validate",
    "output": "output",
    "rebuild-catalog": "rebuild",
    "replay-failed": "replay",
    "check-config": "check_config",
}
_PLANNED = ("scaffold-items", "update-metadata")


class _Commands(click.Group):
    """Loads a command's module when it is used, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _PLANNED:
            ctx.fail(f"{cmd_name} is not supported yet; this version has {', '.join(_COMMANDS)}.")
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"stac_manager.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stac-manager")
def cli() -> None:
    """Keep STAC catalogs true: sync, validate and publish them.

    \b
    Exit status: 0 all well · 1 finished, some items failed (see --failed) ·
    2 wrong usage or workflow, nothing done · 3 failed, nothing half-written
    """


def main() -> None:
    """Run the command; a person sees one clear line, never a traceback."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and give its exit status."""
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
    except Exception as error:  # the last resort: a defect of ours, told in one line
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        reason = " ".join(str(error).split()) or "no reason given"
        click.echo(f"Error: unexpected {type(error).__name__}: {reason} (--log-level DEBUG shows where)", err=True)
        return 3
